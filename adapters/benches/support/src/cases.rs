//! The cases that are the same for every adapter, over the traits.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use exactly_once_core::{
    AccountId, Adjust, Amount, BalanceStore, Claim, CompareAndSet, ErrorKind, ExecuteOnce,
    Expected, Fingerprint, Floor, IdempotencyKey, IdempotencyStore, OneShot, OneShotStore,
    OpenAccount, Receipt, Retention, Statement, Transfer, Version, WorkError,
};
use futures_util::future::BoxFuture;

use crate::{
    case::{Operation, Turn, operation},
    slice::run_calls,
};

/// Accounts of the cases that spread over many.
pub const ACCOUNTS: u64 = 10_000;

/// Keys that are replayed.
const REPLAYED: u64 = 1_000;

/// The work of an attempt in a transaction of the store's.
pub type TxWork<S> = Arc<
    dyn for<'t> Fn(
            &'t mut <S as exactly_once_core::Transactional>::Tx,
            Turn,
        ) -> BoxFuture<'t, Result<(), WorkError>>
        + Send
        + Sync,
>;

/// Which run this is, so that two runs on one database share no key.
fn run() -> u64 {
    static RUN: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *RUN.get_or_init(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.unwrap_or_default().as_secs()
    })
}

/// A fresh key, in the order of time.
///
/// # Errors
/// None: it is a name.
pub fn key(turn: Turn) -> Result<IdempotencyKey> {
    Ok(IdempotencyKey::new(format!(
        "charge/{:010x}-{:016x}",
        run(),
        turn.number
    ))?)
}

/// A claim of a fresh key.
///
/// # Errors
/// None: it is a name.
pub fn claim(turn: Turn) -> Result<Claim> {
    let fingerprint = Fingerprint::of("charge", &turn.number)?;
    Ok(Claim::new(key(turn)?, fingerprint))
}

fn effect(turn: Turn, statement: Statement) -> Result<OneShot> {
    Ok(OneShot {
        claim: claim(turn)?,
        statements: vec![statement],
        receipt: Receipt::json(&turn.number)?,
    })
}

/// Execute once, as a statement that is known up front.
pub fn one_shot<S: OneShotStore>(
    store: &S,
    statement: impl Fn(Turn) -> Statement + Send + Sync + 'static,
) -> Operation {
    let store = store.clone();
    operation(move |turn| {
        let (store, effect) = (store.clone(), effect(turn, statement(turn)));
        async move {
            let done = store.execute_one_shot(&effect?).await?;
            ensure!(!done.replayed, "a fresh key was replayed");
            Ok(())
        }
    })
}

/// The same, remembered for a millisecond only: what fills a store, and can be expired.
pub fn filling<S: OneShotStore>(store: &S) -> Operation {
    let store = store.clone();
    operation(move |turn| {
        let store = store.clone();
        async move {
            let retention = Retention::new(Duration::from_millis(1))?;
            let effect = OneShot {
                claim: claim(turn)?.with_retention(retention),
                statements: Vec::new(),
                receipt: Receipt::json(&turn.number)?,
            };
            store.execute_one_shot(&effect).await?;
            Ok(())
        }
    })
}

/// Execute once, as an async closure.
pub fn closure<S: IdempotencyStore>(store: &S, work: TxWork<S>) -> Operation {
    let store = store.clone();
    operation(move |turn| {
        let (store, work) = (store.clone(), work.clone());
        async move {
            let claim = claim(turn)?;
            let done = store
                .execute_once(&claim, async move |tx: &mut S::Tx| {
                    work(tx, turn).await?;
                    Ok(turn.number)
                })
                .await?;
            ensure!(!done.replayed, "a fresh key was replayed");
            Ok(())
        }
    })
}

/// Replay of completed keys, by the one-shot form.
///
/// # Errors
/// When they can't be completed first.
pub async fn replay<S: OneShotStore>(
    store: &S,
    statement: impl Fn(Turn) -> Statement + Send + Sync + 'static,
) -> Result<Operation> {
    let statement = Arc::new(statement);
    let effects = Arc::new(Mutex::new(Vec::new()));
    let (list, first) = (effects.clone(), statement.clone());
    let (completing, asked) = (store.clone(), store.clone());
    let complete = operation(move |turn| {
        let (store, list) = (completing.clone(), list.clone());
        let effect = effect(turn, first(turn));
        async move {
            let effect = effect?;
            store.execute_one_shot(&effect).await?;
            list.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(effect);
            Ok(())
        }
    });
    run_calls(&complete, 16, REPLAYED).await?;
    let effects = Arc::new(std::mem::take(
        &mut *effects.lock().unwrap_or_else(PoisonError::into_inner),
    ));
    Ok(operation(move |turn| {
        let (store, effects) = (asked.clone(), effects.clone());
        async move {
            #[allow(clippy::cast_possible_truncation)] // below a thousand
            let at = (turn.number % REPLAYED) as usize;
            let done = store.execute_one_shot(&effects[at]).await?;
            ensure!(done.replayed, "a completed key was applied again");
            Ok(())
        }
    }))
}

/// The account of this number.
///
/// # Errors
/// None: it is a name.
pub fn account(number: u64) -> Result<AccountId> {
    Ok(AccountId::new(format!("account-{number}"))?)
}

/// Opens the accounts, without a floor.
///
/// # Errors
/// When one can't be opened.
pub async fn open_accounts<S: BalanceStore>(store: &S, count: u64) -> Result<()> {
    let next = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let opening = store.clone();
    let open = operation(move |turn| {
        let store = opening.clone();
        let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            let open = OpenAccount::new(key(turn)?, account(number)?).with_floor(Floor::None);
            store.open_account(&open).await?;
            Ok(())
        }
    });
    run_calls(&open, 64, count).await
}

/// Adjusts one of so many accounts, in no order that a cache could use.
pub fn adjust<S: BalanceStore>(store: &S, accounts: u64) -> Operation {
    let store = store.clone();
    operation(move |turn| {
        let store = store.clone();
        async move {
            let adjust = Adjust::new(
                key(turn)?,
                account(scattered(turn, accounts))?,
                Amount::new(1),
            );
            let applied = store.adjust(&adjust).await?;
            ensure!(!applied.replayed, "a fresh key was replayed");
            Ok(())
        }
    })
}

/// A number below `count`, scattered.
#[must_use]
pub fn scattered(turn: Turn, count: u64) -> u64 {
    (turn.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % count.max(1)
}

/// Each caller sets an account of its own, whose version it knows.
pub fn compare_and_set<S: BalanceStore>(store: &S) -> Operation {
    let (store, versions) = (store.clone(), Arc::new(Mutex::new(Vec::new())));
    operation(move |turn| {
        let (store, versions) = (store.clone(), versions.clone());
        async move {
            let account = account(u64::try_from(turn.caller)? + 1)?;
            let known: Option<Version> = {
                let mut versions = versions.lock().unwrap_or_else(PoisonError::into_inner);
                if versions.len() <= turn.caller {
                    versions.resize(turn.caller + 1, None);
                }
                versions[turn.caller].take()
            };
            let version = match known {
                Some(version) => version,
                None => match store.balance(&account).await? {
                    Some(state) => state.version,
                    None => bail!("the account is not there"),
                },
            };
            let amount = Amount::new(i64::try_from(turn.number % 1_000)?);
            let expected = Expected::Version(version);
            let change = CompareAndSet::new(key(turn)?, account.clone(), expected, amount);
            match store.compare_and_set(&change).await {
                Ok(applied) => {
                    let mut versions = versions.lock().unwrap_or_else(PoisonError::into_inner);
                    versions[turn.caller] = Some(applied.change.version);
                    Ok(())
                }
                // Another case has changed it; the next call asks for the version.
                Err(error) if matches!(error.kind(), ErrorKind::Conflict { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
    })
}

/// Moves one unit between two of so many accounts.
pub fn transfer<S: BalanceStore>(store: &S, accounts: u64) -> Operation {
    let store = store.clone();
    operation(move |turn| {
        let store = store.clone();
        async move {
            let from = scattered(turn, accounts);
            let to = (from + 1) % accounts;
            let transfer =
                Transfer::between(key(turn)?, account(from)?, account(to)?, Amount::new(1))?;
            store.transfer(&transfer).await?;
            Ok(())
        }
    })
}
