//! The cases, by trait and topic. Ids are those of the catalogue, and stable.
//!
//! A case is a private `async fn` that takes a [`Context`], listed by the macro `cases!` at the
//! end of its file. One that is taken out of the list is dead code, which is denied.

pub(crate) mod balance;
pub(crate) mod balance_tx;
pub(crate) mod entitled;
pub(crate) mod faulty;
pub(crate) mod idempotency;
pub(crate) mod invariants;
pub(crate) mod keys;
pub(crate) mod lease;
pub(crate) mod one_shot;
pub(crate) mod prepared;
pub(crate) mod prepared_one_shot;
pub(crate) mod register;
pub(crate) mod statements;
pub(crate) mod support;
pub(crate) mod together;
pub(crate) mod two_phase;

mod again;

use std::{future::Future, sync::Arc};

use crate::{
    CaseResult,
    context::Context,
    harness::Harness,
    runner::{CaseInfo, Trial, Variant},
};

/// Collects the trials of one harness and variant.
pub(crate) struct Registry<H: Harness> {
    harness: Arc<H>,
    variant: Variant,
    trials: Vec<Trial>,
}

impl<H: Harness> Registry<H> {
    pub(crate) fn new(harness: Arc<H>, variant: Variant) -> Self {
        Self {
            harness,
            variant,
            trials: Vec::new(),
        }
    }

    pub(crate) fn add<F, Fut>(&mut self, info: CaseInfo, body: F)
    where
        F: Fn(Context<H>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = CaseResult> + Send + 'static,
    {
        let harness = self.harness.clone();
        self.trials
            .push(Trial::new(info, self.variant, async move |case| {
                again::run_patiently(harness, case, body).await
            }));
    }

    pub(crate) fn into_trials(self) -> Vec<Trial> {
        self.trials
    }
}

/// Lists the cases of a file: `cases! { "topic::path" for Bound, "contract"; ID name: "goal", …; }`.
///
/// Each line is `ID function: "goal", "likely mistake";`, with `, waits` before the semicolon for one
/// that sleeps more than it works. Cases that need two traits of a store are listed
/// `for Bound where Another`.
macro_rules! cases {
    (
        $topic:literal for $bound:path $(where $more:path)?, $contract:literal;
        $($id:ident $case:ident: $goal:literal, $mistake:literal $(, $waits:ident)?;)*
    ) => {
        pub(crate) fn register<H>(registry: &mut $crate::cases::Registry<H>)
        where
            H: $crate::harness::Harness,
            H::Store: $bound $(+ $more)?,
        {
            $(registry.add(
                $crate::runner::CaseInfo::new(
                    stringify!($id),
                    concat!($topic, "::", stringify!($case)),
                )
                .goal($goal)
                .contract($contract)
                .mistake($mistake)
                $(.$waits())?,
                $case::<H>,
            );)*
        }
    };
}
pub(crate) use cases;
