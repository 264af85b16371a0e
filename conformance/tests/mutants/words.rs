//! Mutants that refuse what they must, with a kind or with words of their own.

use exactly_once::{
    BegunPrepared, Claim, Error, ErrorKind, FencingToken, LeaseStore, Outcome, Participation,
    PreparedTransactions, Result, memory::MemoryStore, memory::MemoryTx,
};

use crate::{harness::assert_killed, patch::Patch};

fn reworded(error: &Error) -> Error {
    Error::new(error.kind(), error.operation(), error.store()).with_message("no")
}

/// Another outcome is a conflict in the store's own words.
#[derive(Clone, Default)]
struct OwnWordsOfLeases;

impl Patch for OwnWordsOfLeases {
    async fn finalize(
        &self,
        right: &MemoryStore,
        claim: &Claim,
        token: FencingToken,
        outcome: &Outcome,
    ) -> Result<()> {
        let answer = right.finalize(claim, token, outcome).await;
        answer.map_err(|error| match error.kind() {
            ErrorKind::Conflict { .. } => reworded(&error),
            _ => error,
        })
    }
}

/// The deadline has passed, in the store's own words.
#[derive(Clone, Default)]
struct OwnWordsOfTransactions;

impl Patch for OwnWordsOfTransactions {
    async fn begin_prepared(
        &self,
        right: &MemoryStore,
        participation: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        let answer = right.begin_prepared(participation).await;
        answer.map_err(|error| reworded(&error))
    }
}

/// Compares token and request at once, and calls all else stale.
#[derive(Clone, Default)]
struct AnotherRequestIsStale;

impl Patch for AnotherRequestIsStale {
    async fn release(&self, right: &MemoryStore, claim: &Claim, token: FencingToken) -> Result<()> {
        let answer = right.release(claim, token).await;
        answer.map_err(|error| match error.kind() {
            ErrorKind::Mismatch => Error::new(ErrorKind::Fenced, "release", error.store()),
            _ => error,
        })
    }
}

#[test]
fn words_of_its_own() {
    assert_killed::<OwnWordsOfLeases>("lease::words::i110_refusals_have_one_text");
    assert_killed::<OwnWordsOfTransactions>("prepared::words::t110_refusals_have_one_text");
}

#[test]
fn another_request_is_no_stale_token() {
    assert_killed::<AnotherRequestIsStale>("lease::basic::i22l_other_request_with_the_token");
    assert_killed::<AnotherRequestIsStale>("lease::ended::i69_released_is_over");
}
