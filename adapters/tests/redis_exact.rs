//! Goal: amounts on Redis are exact over all of `i64`, and every refusal is right.
//! Method: 30,000 random operations at the edges of the range, on eight accounts at once, against
//! a model in `i128` that shares no line with the crate's rules or scripts.

#![cfg(feature = "redis")]

use anyhow::{Context, Result, ensure};
use exactly_once::redis::{RedisStore, Require};
use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore, Change, CloseAccount, CompareAndSet, ErrorKind,
    Expected, Floor, IdempotencyKey, OpenAccount, Version,
};
use exactly_once_servers::{Redis, RedisOptions};

const ACCOUNTS: u64 = 8;
const OPERATIONS: u64 = 30_000;

/// A small generator of our own: the same operations in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Mostly near an edge: of the range, of the doubles, of zero.
    fn amount(&mut self) -> i64 {
        let near = i64::try_from(self.below(5)).unwrap_or(0) - 2;
        match self.below(9) {
            0 => i64::MAX.saturating_add(near),
            1 => i64::MIN.saturating_add(near),
            2 => (1 << 53) + near,
            3 => -(1 << 53) + near,
            4 => 10_000_000_000 + near,
            5 => -10_000_000_000 + near,
            6 => i64::MAX / 2 + near,
            7 => self.next().cast_signed(),
            _ => near,
        }
    }

    fn floor(&mut self) -> Floor {
        match self.below(4) {
            0 => Floor::default(),
            1 => Floor::At(Amount::new(self.amount())),
            _ => Floor::None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Model {
    amount: i128,
    version: i128,
    floor: Option<i128>,
    open: bool,
}

fn wide(floor: Floor) -> Option<i128> {
    match floor {
        Floor::At(amount) => Some(amount.get().into()),
        Floor::None => None,
    }
}

fn fits(number: i128) -> bool {
    i64::try_from(number).is_ok()
}

#[derive(Clone, Debug)]
enum Operation {
    Open(OpenAccount),
    Close(CloseAccount),
    Adjust(Adjust),
    Set(CompareAndSet),
}

/// What must come of it: before, after; or the kind of refusal, without what it carries.
fn expected(
    model: &mut Option<Model>,
    operation: &Operation,
) -> Result<(i128, i128), &'static str> {
    let version = model.map_or(0, |state| state.version);
    let open = model.filter(|state| state.open);
    let put = |model: &mut Option<Model>, before: i128, after: i128, floor, stays_open| {
        *model = Some(Model {
            amount: after,
            version: version + 1,
            floor,
            open: stays_open,
        });
        Ok((before, after))
    };
    let create = |model: &mut Option<Model>, amount: Amount, floor: Floor| {
        let amount = i128::from(amount.get());
        match (open, wide(floor)) {
            (Some(_), _) => Err("conflict"),
            (None, Some(least)) if amount < least => Err("insufficient_funds"),
            (None, floor) => put(model, 0, amount, floor, true),
        }
    };
    match operation {
        Operation::Open(open) => create(model, open.amount, open.floor),
        Operation::Set(set) if set.expected == Expected::Absent => {
            create(model, set.amount, set.floor.unwrap_or_default())
        }
        Operation::Close(_) => match open {
            None => Err("unknown_account"),
            Some(state) if state.amount != 0 => Err("conflict"),
            Some(state) => put(model, 0, 0, state.floor, false),
        },
        Operation::Adjust(adjust) => {
            let Some(state) = open else {
                return Err("unknown_account");
            };
            if adjust
                .expected
                .is_some_and(|at| i128::from(at.get()) != state.version)
            {
                return Err("conflict");
            }
            let delta = i128::from(adjust.delta.get());
            let after = state.amount + delta;
            let least = adjust.floor.map_or(state.floor, wide);
            match least {
                _ if !fits(after) => Err("overflow"),
                Some(least) if after < least && delta < 0 => Err("insufficient_funds"),
                _ => put(model, state.amount, after, state.floor, true),
            }
        }
        Operation::Set(set) => {
            let Some(state) = open else {
                return Err("unknown_account");
            };
            if matches!(set.expected, Expected::Version(at) if i128::from(at.get()) != state.version)
            {
                return Err("conflict");
            }
            let after = i128::from(set.amount.get());
            let least = set.floor.map_or(state.floor, wide);
            match least {
                _ if !fits(after - state.amount) => Err("overflow"),
                Some(least) if after < least => Err("insufficient_funds"),
                _ => put(model, state.amount, after, state.floor, true),
            }
        }
    }
}

fn operation(
    dice: &mut Dice,
    account: &AccountId,
    key: String,
    version: i128,
) -> Result<Operation> {
    let (key, account) = (IdempotencyKey::new(key)?, account.clone());
    let at = Version::new(i64::try_from(version)?.max(1) + i64::from(dice.below(8) == 0))?;
    Ok(match dice.below(20) {
        0 => Operation::Open(
            OpenAccount::new(key, account)
                .with_floor(dice.floor())
                .with_amount(Amount::new(dice.amount())),
        ),
        1 => Operation::Close(CloseAccount::new(key, account)),
        2 => {
            let set = CompareAndSet::new(key, account, Expected::Any, Amount::ZERO);
            Operation::Set(set.with_floor(Floor::None))
        }
        3..=6 => {
            let by = match dice.below(4) {
                0 => Expected::Absent,
                1 => Expected::Any,
                _ => Expected::Version(at),
            };
            let set = CompareAndSet::new(key, account, by, Amount::new(dice.amount()));
            Operation::Set(if dice.below(2) == 0 {
                set.with_floor(dice.floor())
            } else {
                set
            })
        }
        _ => {
            let adjust = Adjust::new(key, account, Amount::new(dice.amount()));
            let adjust = if dice.below(4) == 0 {
                adjust.expecting(at)
            } else {
                adjust
            };
            Operation::Adjust(match dice.below(3) {
                0 => adjust.with_floor(dice.floor()),
                _ => adjust,
            })
        }
    })
}

async fn apply(store: &RedisStore, operation: &Operation) -> Result<Change, exactly_once::Error> {
    let applied = match operation {
        Operation::Open(open) => store.open_account(open).await,
        Operation::Close(close) => store.close_account(close).await,
        Operation::Adjust(adjust) => store.adjust(adjust).await,
        Operation::Set(set) => store.compare_and_set(set).await,
    };
    applied.map(|applied| applied.change)
}

/// Gives how many operations were applied.
async fn one_account(store: RedisStore, number: u64) -> Result<u64> {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ (number + 1));
    let account = AccountId::new(format!("account-{number}"))?;
    let (mut model, mut applied) = (None, 0);
    for step in 0..OPERATIONS / ACCOUNTS {
        let version = model.map_or(0, |state: Model| state.version);
        let operation = operation(&mut dice, &account, format!("{number}/{step}"), version)?;
        let before = model;
        let wanted = expected(&mut model, &operation);
        let found = apply(&store, &operation).await;
        let told = || format!("{operation:?} on {before:?}");
        match (wanted, found) {
            (Ok((was, is)), Ok(change)) => {
                ensure!(i128::from(change.before.get()) == was, "before: {}", told());
                ensure!(i128::from(change.after.get()) == is, "after: {}", told());
                ensure!(
                    i128::from(change.delta.get()) == is - was,
                    "delta: {}",
                    told()
                );
                ensure!(
                    i128::from(change.version.get()) == version + 1,
                    "version: {}",
                    told()
                );
                applied += 1;
            }
            (Err(kind), Err(error)) => {
                ensure!(
                    error.kind().as_str() == kind,
                    "{error} for {kind}: {}",
                    told()
                );
                if let ErrorKind::Conflict { current } = error.kind() {
                    let current = current.context("the current version")?.get();
                    ensure!(i128::from(current) == version, "{current}: {}", told());
                }
            }
            (wanted, found) => anyhow::bail!("{found:?}, not {wanted:?}: {}", told()),
        }
    }
    let state = store.balance(&account).await?.context("the account")?;
    let model = model.context("the model")?;
    ensure!(i128::from(state.amount.get()) == model.amount && state.open == model.open);
    Ok(applied)
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_thousand_operations_are_as_the_model_has_them() -> Result<()> {
    exact_on(Redis::options()).await
}

/// Its scripts run in a Lua of its own build.
#[tokio::test(flavor = "multi_thread")]
async fn thirty_thousand_operations_are_exact_on_valkey_too() -> Result<()> {
    exact_on(Redis::options().valkey()).await
}

async fn exact_on(options: RedisOptions) -> Result<()> {
    let server = options.append_fsync("everysec").start().await?;
    let store = RedisStore::builder(server.url())
        .require(Require::ProcessSafe)
        .connect()
        .await?;
    let tasks: Vec<_> = (0..ACCOUNTS)
        .map(|number| tokio::spawn(one_account(store.clone(), number)))
        .collect();
    let mut applied = 0;
    for task in tasks {
        applied += task.await??;
    }
    // Both sides of the rules were met, or the run says little.
    ensure!(applied > OPERATIONS / 5, "only {applied} were applied");
    ensure!(
        applied < OPERATIONS * 4 / 5,
        "only {} were refused",
        OPERATIONS - applied
    );
    Ok(())
}
