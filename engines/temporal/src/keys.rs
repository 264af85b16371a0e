//! Keys that workflow code makes: they hold where an activity's own can't.

use std::{collections::HashMap, time::Duration};

use exactly_once_core::{
    Error, ErrorKind, IdempotencyKey, Retention, Timestamp,
    engine::{Details, Refusal, TransactionIdentity, key_of},
};
use temporalio_common::error::ApplicationFailure;
use temporalio_sdk::{WorkflowContext, WorkflowContextView, WorkflowTermination};

use crate::ENGINE;

/// Sets these keys apart from those that activities make, which have three parts.
const MADE_BY: &str = "workflow";

/// Makes keys in workflow code, to be passed to activities as input.
///
/// A key is the original execution run id, a name, and how many keys of that name came before. It is
/// the same on every replay, after a reset of the workflow, and on every attempt of a local activity;
/// each run of a chain (continue-as-new, retry, cron) has its own keys.
///
/// **One per run**, kept in the workflow's state: two of them make the same keys. Numbers count by
/// name, so a new version of the workflow that adds an effect of another name shifts none.
///
/// # Effects side by side
/// Take the keys in an order that no race decides: before the activities start, in the order of the input.
/// Taken as activities complete, they swap where the activities complete in another order after a reset, and
/// then one effect is refused as a *mismatch* or takes the other's receipt. Where the order must be that of
/// completion, put what the effect belongs to into its name: `keys.next(&format!("ship/{item}"))`.
///
/// ```no_run
/// # use std::time::Duration;
/// # use exactly_once::IdempotencyKey;
/// # use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult};
/// # use temporalio_sdk::activities::{ActivityContext, ActivityError};
/// # use temporalio_workflow::{workflow, workflow_methods};
/// use exactly_once_temporal::EffectKeys;
/// # struct Till;
/// # #[temporalio_sdk::activities::activities]
/// # impl Till {
/// #     #[activity]
/// #     async fn charge(_: ActivityContext, _: (IdempotencyKey, i64)) -> Result<(), ActivityError> { Ok(()) }
/// # }
/// # #[workflow]
/// # #[derive(Default)]
/// # struct TwoPayments;
///
/// #[workflow_methods]
/// impl TwoPayments {
///     #[run]
///     async fn run(ctx: &mut WorkflowContext<Self>, cents: i64) -> WorkflowResult<()> {
///         let mut keys = EffectKeys::of(ctx);
///         let options = || ActivityOptions::start_to_close_timeout(Duration::from_secs(10));
///         for _ in 0..2 {
///             let payment = (keys.next("charge")?, cents);
///             ctx.execute_activity(Till::charge, payment, options()).await?;
///         }
///         Ok(())
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct EffectKeys {
    original_run: String,
    made: HashMap<String, u64>,
}

impl EffectKeys {
    /// The keys of this run.
    #[must_use]
    pub fn of<W>(ctx: &WorkflowContext<W>) -> Self {
        Self::of_view(&ctx.info())
    }

    /// As [`Self::of`], in a workflow's `#[init]`.
    #[must_use]
    pub fn of_view(view: &WorkflowContextView) -> Self {
        Self {
            original_run: view.raw().original_execution_run_id.clone(),
            made: HashMap::new(),
        }
    }

    /// The next key of this name.
    ///
    /// # Errors
    /// A termination that fails the workflow: the server names no original execution run.
    pub fn next(&mut self, name: &str) -> Result<IdempotencyKey, WorkflowTermination> {
        if self.original_run.is_empty() {
            let old = Error::new(ErrorKind::Configuration, "effect_keys", ENGINE).with_message(
                "the run has no original execution run id: update the Temporal server, or make keys of \
                 your own, from the order's number say",
            );
            return Err(ended(&old));
        }
        let made = self.made.entry(name.to_owned()).or_default();
        *made += 1;
        let parts = [&self.original_run, MADE_BY, name, &made.to_string()];
        key_of(&parts).map_err(|error| ended(&error.into()))
    }

    /// Name and deadlines of a two-phase commit, for
    /// [`two_phase_as`](exactly_once_core::engine::Effects::two_phase_as): the workflow passes them to
    /// the activity, so the history keeps them for every attempt.
    ///
    /// The deadlines count from the workflow's time. After a reset to before this call they are later
    /// ones, and where the transaction has begun already the activity is refused with a *mismatch*:
    /// nothing is done twice. [`recorded_identity`](crate::recorded_identity) survives that as well.
    ///
    /// # Errors
    /// A termination that fails the workflow: a deadline that is out of range, or as [`Self::next`].
    pub fn transaction<W>(
        &mut self,
        ctx: &WorkflowContext<W>,
        name: &str,
        deadline: Duration,
        retention: Retention,
    ) -> Result<TransactionIdentity, WorkflowTermination> {
        let key = self.next(name)?;
        let since = ctx.workflow_time().and_then(|now| {
            let since = now.duration_since(std::time::UNIX_EPOCH).ok()?;
            Timestamp::from_micros(0).checked_add(since)
        });
        let now = since.ok_or_else(|| {
            let none = Error::new(ErrorKind::Invalid, "effect_keys", ENGINE);
            ended(&none.with_message("the workflow has no time yet"))
        })?;
        TransactionIdentity::new(key, now, deadline, retention).map_err(|error| ended(&error))
    }
}

/// What fails the workflow: no retry of it could succeed.
fn ended(error: &Error) -> WorkflowTermination {
    let refusal = Refusal::from_error(error);
    let details = Details::of(error.kind());
    ApplicationFailure::builder(refusal.message().to_owned())
        .type_name(details.failure_type())
        .non_retryable(true)
        .details(details)
        .build()
        .into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const RUN: &str = "01a22d74-4812-760a-8c6b-f6debc045656";

    fn keys() -> EffectKeys {
        EffectKeys {
            original_run: RUN.to_owned(),
            made: HashMap::new(),
        }
    }

    #[test]
    fn numbers_count_by_name() {
        let (mut before, mut after) = (keys(), keys());
        let first = [before.next("charge"), before.next("charge")].map(Result::unwrap);
        assert_eq!(first[0].as_str(), format!("{RUN}/workflow/charge/1"));
        // The next version of the workflow sends a mail before it.
        after.next("mail").unwrap();
        let second = [after.next("charge"), after.next("charge")].map(Result::unwrap);
        assert_eq!(first, second);
    }

    /// Whatever the activity's id and the step's name are.
    #[test]
    fn no_key_is_one_that_an_activity_makes() {
        let mut keys = keys();
        let made: HashSet<_> = ["charge", "charge/1", "", "1"]
            .map(|name| keys.next(name).unwrap())
            .into();
        assert_eq!(made.len(), 4);
        for activity in [
            ["workflow", "charge/1"],
            ["workflow/charge", "1"],
            ["workflow", "charge"],
        ] {
            let key = key_of(&[RUN, activity[0], activity[1]]).unwrap();
            assert!(!made.contains(&key), "{key}");
        }
    }

    #[test]
    fn a_server_that_names_no_run_fails_the_workflow() {
        let mut keys = EffectKeys {
            original_run: String::new(),
            made: HashMap::new(),
        };
        assert!(keys.next("charge").is_err());
    }
}
