//! Shared fate, on every adapter whose callers share commits, connections or a thread: members of every
//! kind at once, one of them poisoned in each way; each answer is what the member gets alone.
#![cfg(all(
    feature = "rusqlite",
    feature = "redis",
    feature = "tokio-postgres",
    feature = "sqlx-postgres"
))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code
)]

mod members;
mod poison;
mod postgres;
mod redis;
mod sqlite;
#[path = "../support/postgres_world.rs"]
mod world;

use std::{future::Future, time::Duration};

use exactly_once::{
    BalanceStore, DecisionRegister, IdempotencyStore, LeaseStore, OneShotParticipant, OneShotStore,
    Statement,
};

use members::{Kind, Members};
use poison::Poison;

/// A store on a place of its own, and the way to it past the store.
pub(crate) trait Ground: Sync {
    type Store: IdempotencyStore
        + OneShotStore
        + LeaseStore
        + BalanceStore
        + DecisionRegister
        + OneShotParticipant;

    fn store(&self) -> &Self::Store;

    /// Adds one to what is counted under this name.
    fn effect(&self, name: &str) -> Statement;

    /// What is counted under this name, read past the store.
    fn effects(&self, name: &str) -> impl Future<Output = u64>;

    /// Statements that are refused, by what they do to those that share a commit with them.
    fn poisons(&self) -> Vec<(&'static str, Vec<Statement>)>;

    /// A statement that takes longer than a statement may, where there is a limit.
    fn slow(&self) -> Option<Statement> {
        None
    }

    /// Runs these calls so that they meet in one batch.
    fn together<T>(&self, calls: impl Future<Output = T>) -> impl Future<Output = T> {
        calls
    }
}

/// How many members there are of each kind in a batch.
const COPIES: usize = 3;

/// Long enough for any machine; what is wrong hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Each poison among members of every kind, at the begin, in the middle and at the end.
pub(crate) async fn every_answer_is_that_of_a_member_alone(ground: &impl Ground) {
    let alone = Members::prepare(ground, "alone", 1).await;
    let mut expected = Vec::new();
    for kind in Kind::ALL {
        let answer = alone.call(kind, 0).await;
        assert!(!answer.starts_with("Err"), "{kind:?} alone: {answer}");
        expected.push(answer);
    }
    for (number, poison) in Poison::all(ground).into_iter().enumerate() {
        let bad = poison.call(ground, &format!("bad alone {number}")).await;
        let places = if poison.is_slow() || poison.is_staged() {
            1..2
        } else {
            0..3
        };
        for at in places {
            let round = format!("{number}/{at}");
            let members = Members::prepare(ground, &round, COPIES).await;
            let name = format!("bad {round}");
            let calls = members.beside(poison.call(ground, &name), at);
            let met = tokio::time::timeout(PATIENCE, ground.together(calls)).await;
            let (answer, answers) = met.unwrap_or_else(|_| panic!("calls beside {poison} hang"));
            assert_eq!(answer, bad, "{poison}, at {at}");
            for ((kind, copy), answer) in answers {
                let alone = &expected[kind as usize];
                assert_eq!(&answer, alone, "{kind:?} {copy} beside {poison}, at {at}");
            }
            members.ensure_effects(ground).await;
            poison.ensure_effects(ground, &name).await;
        }
    }
}
