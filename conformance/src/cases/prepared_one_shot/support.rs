//! What the cases of this topic share.

use exactly_once_core::{Error, OneShotParticipant, Participation, PreparedOneShot, Statement};

use crate::{CaseResult, cases::support::retry, context::Context, ensure_eq, harness::Harness};

/// Which of the two calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Prepare,
    Alone,
}

pub(super) const CALLS: [Call; 2] = [Call::Prepare, Call::Alone];

impl Call {
    pub(super) async fn once<S: OneShotParticipant>(
        self,
        store: &S,
        work: &Participation,
        statements: &[Statement],
    ) -> Result<PreparedOneShot, Error> {
        match self {
            Self::Prepare => store.prepare_one_shot(work, statements).await,
            Self::Alone => store.commit_alone_one_shot(work, statements).await,
        }
    }

    /// Again while it may be retried.
    pub(super) async fn retried<S: OneShotParticipant>(
        self,
        store: &S,
        work: &Participation,
        statements: &[Statement],
    ) -> Result<PreparedOneShot, Error> {
        retry(|| self.once(store, work, statements)).await
    }
}

/// The statement that has the effect `id`; ends the case where the harness has none.
pub(super) fn statement<H: Harness>(cx: &Context<H>, id: &str) -> CaseResult<Statement> {
    match cx.harness().effect_statement_at(cx.guard(), id) {
        Some(statement) => Ok(statement),
        None => cx.ignore("this harness has no statement for an effect (`effect_statement`)"),
    }
}

/// A statement that is refused for good; ends the case where the harness has none.
pub(super) fn refused_statement<H: Harness>(cx: &Context<H>) -> CaseResult<Statement> {
    match cx.harness().refused_statement() {
        Some(statement) => Ok(statement),
        None => cx.ignore("this harness has no statement that is refused (`refused_statement`)"),
    }
}

/// Requires that this very call did it.
pub(super) fn ensure_done(answer: PreparedOneShot, what: &str) -> CaseResult {
    ensure_eq!(answer, PreparedOneShot::Done, "{what}");
    Ok(())
}
