//! The member of a batch that goes wrong.

use std::{
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use exactly_once::{
    ExecuteOnce, IdempotencyStore, KeyState, MAX_RECEIPT_BYTES, OneShotParticipant, OneShotStore,
    Outcome, Receipt, Statement, Transactional, WorkError,
};
use futures_util::FutureExt;

use crate::{
    Ground,
    members::{claim, key, participation, shot},
};

/// The way in which it goes wrong.
pub(crate) enum Poison {
    /// A statement is refused, behind an effect that must be undone.
    Statements(&'static str, Vec<Statement>),
    /// The same in work that is to be prepared.
    Prepare(&'static str, Vec<Statement>),
    /// A statement takes too long.
    Timeout(Statement),
    /// Its receipt is larger than a store takes.
    OversizeReceipt,
    /// Its work panics.
    Panic,
    /// Its work says no.
    Rejection,
    /// Its caller polls it once, and drops it after a while.
    Dropped,
    /// Its caller is cancelled about when the batch runs.
    Cancelled,
}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Statements(what, _) => what,
            Self::Prepare(what, _) => return write!(f, "{what}, to be prepared"),
            Self::Timeout(_) => "a timeout",
            Self::OversizeReceipt => "a receipt that is too large",
            Self::Panic => "a panic",
            Self::Rejection => "a rejection",
            Self::Dropped => "a dropped call",
            Self::Cancelled => "a cancelled call",
        })
    }
}

impl Poison {
    pub(crate) fn all(ground: &impl Ground) -> Vec<Self> {
        let statements = ground.poisons().into_iter();
        let mut all: Vec<_> = statements
            .flat_map(|(what, bad)| {
                [
                    Self::Statements(what, bad.clone()),
                    Self::Prepare(what, bad),
                ]
            })
            .collect();
        all.extend(ground.slow().map(Self::Timeout));
        all.extend([
            Self::OversizeReceipt,
            Self::Panic,
            Self::Rejection,
            Self::Dropped,
            Self::Cancelled,
        ]);
        all
    }

    pub(crate) fn is_slow(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// Staged work of one caller meets the others wherever it stands among them.
    pub(crate) fn is_staged(&self) -> bool {
        matches!(self, Self::Prepare(..))
    }

    /// What its caller gets.
    pub(crate) async fn call<G: Ground>(&self, ground: &G, name: &str) -> String {
        let store = ground.store();
        let one_shot = |more: &[Statement]| {
            let mut statements = vec![ground.effect(name)];
            statements.extend(more.iter().cloned());
            shot(name, statements)
        };
        let answer = match self {
            Self::Statements(_, statements) => store.execute_one_shot(&one_shot(statements)).await,
            Self::Prepare(_, statements) => {
                let part = participation(store, name).await;
                let statements = one_shot(statements).statements;
                let refused = store.prepare_one_shot(&part, &statements).await;
                return format!("{:?}", refused.map(drop).map_err(|error| error.kind()));
            }
            Self::Timeout(slow) => {
                let slow = std::slice::from_ref(slow);
                store.execute_one_shot(&one_shot(slow)).await
            }
            Self::OversizeReceipt => {
                let receipt = Receipt::from_bytes(vec![7; MAX_RECEIPT_BYTES + 1]);
                let effect = exactly_once::OneShot {
                    receipt,
                    ..one_shot(&[])
                };
                store.execute_one_shot(&effect).await
            }
            Self::Panic => {
                let work =
                    async |_: &mut <G::Store as Transactional>::Tx| -> Result<u8, WorkError> {
                        panic!("a bug in the work")
                    };
                let asked = claim(name);
                let call = AssertUnwindSafe(store.execute_once(&asked, work)).catch_unwind();
                return format!("{}", call.await.is_err());
            }
            Self::Rejection => {
                let work = async |_: &mut <G::Store as Transactional>::Tx| {
                    Err::<u8, _>(exactly_once::Rejection::new(409, "closed").into())
                };
                let refused = store.execute_once(&claim(name), work).await;
                return format!("{:?}", refused.map(drop).map_err(|error| error.kind()));
            }
            Self::Dropped => {
                let effect = one_shot(&[]);
                let mut call = pin!(store.execute_one_shot(&effect));
                let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(polled, Poll::Pending), "it ended at once");
                tokio::time::sleep(Duration::from_millis(30)).await;
                return "dropped".to_owned();
            }
            Self::Cancelled => {
                let effect = one_shot(&[]);
                let call = store.execute_one_shot(&effect);
                let _ = tokio::time::timeout(Duration::from_millis(1), call).await;
                return "cancelled".to_owned();
            }
        };
        format!("{:?}", answer.map(drop).map_err(|error| error.kind()))
    }

    /// An effect is there where its key says so, and nowhere else.
    pub(crate) async fn ensure_effects<G: Ground>(&self, ground: &G, name: &str) {
        let applied = async || {
            let record = ground.store().lookup(&key(name)).await.unwrap();
            record.is_some_and(|record| {
                matches!(
                    record.state,
                    KeyState::Completed {
                        outcome: Outcome::Applied(_),
                        ..
                    }
                )
            })
        };
        let mut before = applied().await;
        let effects = loop {
            let effects = ground.effects(name).await;
            // A call that was dropped may still be under way.
            let after = applied().await;
            if after == before {
                break effects;
            }
            before = after;
        };
        assert_eq!(effects, u64::from(before), "{self}");
        if !matches!(self, Self::Dropped | Self::Cancelled) {
            assert_eq!(effects, 0, "{self}");
        }
    }
}
