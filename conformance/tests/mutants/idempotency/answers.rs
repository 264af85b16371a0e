//! Mutants whose answers are not true, or differ from the first one.

use exactly_once::{
    BoxError, Claim, Claimed, Error, ErrorKind, IdempotencyStore, Outcome, Rejection, Result,
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

/// Looks at the outermost error only.
#[derive(Clone, Default)]
struct OutermostOnly;

impl Patch for OutermostOnly {
    fn classify(&self, _: &MemoryStore, operation: &'static str, source: BoxError) -> Error {
        match source.downcast::<Error>() {
            Ok(error) => *error,
            Err(source) => {
                Error::new(ErrorKind::WorkFailed, operation, "mutant").with_source(source)
            }
        }
    }
}

#[test]
fn only_the_outermost_error_counts() {
    assert_killed::<OutermostOnly>("idempotency::answers::i92_own_errors_keep_their_meaning");
}

/// Keeps a rejection's HTTP status instead of what is to be stored.
#[derive(Clone, Default)]
struct HttpStatusOnly;

impl Patch for HttpStatusOnly {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        Ok(match right.claim(claim).await? {
            Claimed::Completed(Outcome::Rejected(no)) => {
                Claimed::Completed(Outcome::Rejected(Rejection::new(no.status(), no.message())))
            }
            other => other,
        })
    }
}

#[test]
fn a_refusal_is_kept_by_its_http_status() {
    assert_killed::<HttpStatusOnly>(
        "idempotency::answers::i94_refusals_are_replayed_as_first_answered",
    );
}
