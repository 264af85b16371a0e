//! Random operations, and the store held against the model over thousands of them.

use exactly_once_core::{
    Adjust, Amount, BalanceStore, CloseAccount, CompareAndSet, Expected, Floor, InvalidName,
    OpenAccount, Store, Transfer, Version,
};

use super::{
    model::{Answer, Books, Op, ask},
    support::{MAX, MIN, ensure_sound},
};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{account, key, race, retry},
    },
    context::Context,
    ensure_eq,
    harness::Harness,
    seed::CaseRng,
};

/// Draws operations on a few accounts; the same seed gives the same operations.
pub(crate) struct Draw {
    rng: CaseRng,
    holders: Vec<String>,
    prefix: String,
    drawn: u64,
    transfers: bool,
    earlier: Vec<Op>,
}

impl Draw {
    /// Operations on these accounts, whose keys have this prefix.
    pub(crate) fn new(rng: CaseRng, prefix: &str, holders: &[String], transfers: bool) -> Self {
        Self {
            rng,
            holders: holders.to_vec(),
            prefix: prefix.to_owned(),
            drawn: 0,
            transfers,
            earlier: Vec::new(),
        }
    }

    /// The next one: mostly a new operation, at times an earlier one again.
    pub(crate) fn next(&mut self, books: &Books) -> Result<Op, InvalidName> {
        if self.rng.one_in(8)
            && let Some(op) = self.rng.pick(&self.earlier).cloned()
        {
            return Ok(if self.rng.one_in(3) {
                self.altered(op)
            } else {
                op
            });
        }
        let op = self.fresh(books)?;
        if !matches!(op, Op::Balance(_)) {
            self.earlier.push(op.clone());
        }
        Ok(op)
    }

    /// The same key with another parameter.
    fn altered(&mut self, op: Op) -> Op {
        let amount = self.amount();
        match op {
            Op::Adjust(operation) => Op::Adjust(Adjust {
                delta: amount,
                ..operation
            }),
            Op::Set(operation) => Op::Set(CompareAndSet {
                amount,
                ..operation
            }),
            Op::Open(operation) => Op::Open(OpenAccount {
                amount,
                ..operation
            }),
            Op::Close(CloseAccount { key, account }) => {
                Op::Adjust(Adjust::new(key, account, amount))
            }
            other => other,
        }
    }

    fn fresh(&mut self, books: &Books) -> Result<Op, InvalidName> {
        self.drawn += 1;
        let key = key(&format!("{}{}", self.prefix, self.drawn))?;
        let at = self.rng.below(self.holders.len());
        let holder = account(&self.holders[at])?;
        let state = books.account(&holder).copied();
        let floor = self.floor();
        Ok(match self.rng.below(20) {
            0 | 1 => Op::Open(
                OpenAccount::new(key, holder)
                    .with_floor(floor)
                    .with_amount(self.amount()),
            ),
            2 => Op::Close(CloseAccount::new(key, holder)),
            // Back to nothing, so that closing succeeds at times.
            3 => Op::Set(CompareAndSet::new(key, holder, Expected::Any, Amount::ZERO)),
            4..=6 => {
                let expected = match (self.rng.below(4), state) {
                    (0, _) => Expected::Absent,
                    (1, Some(state)) => Expected::Version(state.version),
                    (2, _) => Expected::Version(Version::FIRST),
                    _ => Expected::Any,
                };
                let set = CompareAndSet::new(key, holder, expected, self.amount());
                Op::Set(if self.rng.one_in(3) {
                    set.with_floor(floor)
                } else {
                    set
                })
            }
            7..=9 if self.transfers => {
                let other = account(&self.holders[(at + 1) % self.holders.len()])?;
                let amount = Amount::new(self.amount().get().unsigned_abs().min(1 << 62) as i64);
                match Transfer::between(key.clone(), holder.clone(), other, amount) {
                    Ok(transfer) => Op::Transfer(transfer),
                    Err(_) => Op::Balance(holder),
                }
            }
            10 => Op::Balance(holder),
            _ => {
                let adjust = Adjust::new(key, holder, self.amount());
                let adjust = if self.rng.one_in(4) {
                    adjust.with_floor(floor)
                } else {
                    adjust
                };
                Op::Adjust(match state {
                    Some(state) if self.rng.one_in(4) => adjust.expecting(state.version),
                    _ => adjust,
                })
            }
        })
    }

    /// Small amounts mostly, and those at which something changes: 2^53, both ends of `i64`.
    fn amount(&mut self) -> Amount {
        let edge = [1 << 53, -(1 << 53), MAX, MIN, MAX / 2, MIN / 2, 0];
        let near = self.rng.within(-3..=3);
        Amount::new(match self.rng.below(6) {
            0 => self
                .rng
                .pick(&edge)
                .copied()
                .unwrap_or(0)
                .saturating_add(near),
            1 => self.rng.within(MIN..=MAX),
            2 => near,
            _ => self.rng.within(-1_000..=1_000),
        })
    }

    fn floor(&mut self) -> Floor {
        match self.rng.below(3) {
            0 => Floor::default(),
            1 => Floor::None,
            _ => Floor::At(self.amount()),
        }
    }
}

/// Goal: any operation in any state is decided as whole numbers say. Method: 10,000 random ones
/// against a model in 128 bits, in tasks with two accounts each; each answer must be the model's.
async fn b38_random_operations<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    let tasks = cx.case().scaled(16, 4);
    let each = cx.case().scaled(10_000, 320) / tasks;
    let transfers = cx.store().capabilities().transfers_across_shards;
    let walks = (0..tasks).map(|task| {
        let store = cx.store().clone();
        let rng = cx.case().seed().derive(&format!("task {task}")).rng();
        async move { walk(&store, rng, task, each, transfers).await }
    });
    for walked in race(walks.collect::<Vec<_>>()).await? {
        walked?;
    }
    Ok(())
}

async fn walk<S: BalanceStore>(
    store: &S,
    rng: CaseRng,
    task: usize,
    steps: usize,
    transfers: bool,
) -> CaseResult {
    let holders = [format!("b38/{task}/x"), format!("b38/{task}/y")];
    let mut draw = Draw::new(rng, &format!("{task}/"), &holders, transfers);
    let mut books = Books::default();
    for step in 0..steps {
        let op = draw.next(&books)?;
        let expected = books.apply(&op);
        let seen = retry(|| ask(store, &op)).await?;
        ensure_eq!(
            seen,
            expected,
            "the answer to operation {step} of task {task}, {op:?},"
        );
    }
    for holder in &holders {
        let op = Op::Balance(account(holder)?);
        let expected = books.apply(&op);
        ensure_eq!(
            retry(|| ask(store, &op)).await?,
            expected,
            "the state in the end"
        );
        if let Answer::State(Some(_)) = expected {
            ensure_sound(store, holder).await?;
        }
    }
    Ok(())
}

cases! { "balance::random" for BalanceStore, "core::balance::rules";
    B38 b38_random_operations: "10,000 random operations are decided as a model in 128 bits decides them",
        "arithmetic, floor or version at an edge; or a refusal that leaves something behind";
}
