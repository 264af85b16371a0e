//! What the cases of this topic share: operations in one line, and the books audited.

use exactly_once_core::{
    AccountState, Adjust, Amount, Applied, BalanceStore, Change, CloseAccount, CompareAndSet,
    Expected, Floor, InvalidName, Leg, OpenAccount, Store, Transfer, Version,
};

use crate::{
    CaseResult,
    cases::support::{account, amount, key, retry},
    check::Expecting,
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// Opens the account under this key.
pub(crate) fn open(name: &str, holder: &str) -> Result<OpenAccount, InvalidName> {
    Ok(OpenAccount::new(key(name)?, account(holder)?))
}

/// Closes the account under this key.
pub(crate) fn close(name: &str, holder: &str) -> Result<CloseAccount, InvalidName> {
    Ok(CloseAccount::new(key(name)?, account(holder)?))
}

/// Adds the delta to the account under this key.
pub(crate) fn adjust(name: &str, holder: &str, delta: i64) -> Result<Adjust, InvalidName> {
    Ok(Adjust::new(key(name)?, account(holder)?, amount(delta)))
}

/// Sets the account to the amount under this key.
pub(crate) fn set(
    name: &str,
    holder: &str,
    expected: Expected,
    minor_units: i64,
) -> Result<CompareAndSet, InvalidName> {
    Ok(CompareAndSet::new(
        key(name)?,
        account(holder)?,
        expected,
        amount(minor_units),
    ))
}

/// A transfer with these legs under this key.
pub(crate) fn transfer(name: &str, legs: &[(&str, i64)]) -> CaseResult<Transfer> {
    let legs = legs
        .iter()
        .map(|(holder, delta)| {
            Ok(Leg {
                account: account(holder)?,
                delta: amount(*delta),
            })
        })
        .collect::<Result<Vec<_>, InvalidName>>()?;
    Ok(Transfer::new(key(name)?, legs)?)
}

/// The version with this number.
pub(crate) fn version(number: i64) -> CaseResult<Version> {
    Ok(Version::new(number)?)
}

/// Opens an account with floor zero and this amount, under the key `open/` and its name.
pub(crate) async fn opened<H: Harness<Store: BalanceStore>>(
    cx: &Context<H>,
    holder: &str,
    minor_units: i64,
) -> CaseResult<Applied> {
    let operation = open(&format!("open/{holder}"), holder)?.with_amount(amount(minor_units));
    cx.store()
        .open_account(&operation)
        .await
        .expecting("a new account to be opened")
}

/// As [`opened`], without a floor.
pub(crate) async fn opened_without_floor<H: Harness<Store: BalanceStore>>(
    cx: &Context<H>,
    holder: &str,
    minor_units: i64,
) -> CaseResult<Applied> {
    let operation = open(&format!("open/{holder}"), holder)?
        .with_floor(Floor::None)
        .with_amount(amount(minor_units));
    cx.store()
        .open_account(&operation)
        .await
        .expecting("a new account to be opened")
}

/// The state of an account that must be known.
pub(crate) async fn held<H: Harness<Store: BalanceStore>>(
    cx: &Context<H>,
    holder: &str,
) -> CaseResult<AccountState> {
    let holder = account(holder)?;
    let store = cx.store();
    retry(|| store.balance(&holder))
        .await?
        .expecting("the account to be known")
}

/// Requires this amount and version.
pub(crate) async fn ensure_held<H: Harness<Store: BalanceStore>>(
    cx: &Context<H>,
    holder: &str,
    minor_units: i64,
    at: i64,
) -> CaseResult {
    let state = held(cx, holder).await?;
    ensure_eq!(
        (state.amount.get(), state.version.get()),
        (minor_units, at),
        "amount and version of {holder:?}"
    );
    Ok(())
}

/// The whole history, page by page.
pub(crate) async fn whole_history<S: BalanceStore>(
    store: &S,
    holder: &str,
) -> CaseResult<Vec<Change>> {
    let holder = account(holder)?;
    let mut changes = Vec::new();
    let mut after = None;
    loop {
        let page = retry(|| store.history(&holder, after, 100)).await?;
        ensure!(page.changes.len() <= 100, seen: page.changes.len(), "a page within its limit");
        ensure!(
            page.next.is_none() || !page.changes.is_empty(),
            "an empty page to be the last: a reader would go round for ever"
        );
        changes.extend(page.changes);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(changes),
        }
    }
}

/// Audits an account that does not change now: versions without a gap, each change following the
/// one before, and the sum of the deltas equal to the balance.
pub(crate) async fn ensure_sound<S: BalanceStore>(
    store: &S,
    holder: &str,
) -> CaseResult<(AccountState, Vec<Change>)> {
    let name = account(holder)?;
    let state = retry(|| store.balance(&name))
        .await?
        .expecting("the account to be known")?;
    let changes = whole_history(store, holder).await?;
    let mut sum = 0_i128;
    for (place, change) in changes.iter().enumerate() {
        ensure_eq!(
            change.version.get(),
            place as i64 + 1,
            "the version of change {place} of {holder:?}"
        );
        ensure_eq!(
            i128::from(change.before.get()),
            sum,
            "the balance before {change:?}"
        );
        sum += i128::from(change.delta.get());
        ensure_eq!(
            i128::from(change.after.get()),
            sum,
            "the balance after {change:?}"
        );
    }
    ensure_eq!(
        i128::from(state.amount.get()),
        sum,
        "the balance, by the sum of the deltas"
    );
    ensure_eq!(
        state.version.get(),
        changes.len() as i64,
        "the version, by the history's length"
    );
    Ok((state, changes))
}

/// Requires the account to be as if it had never been.
pub(crate) async fn ensure_unknown<H: Harness<Store: BalanceStore>>(
    cx: &Context<H>,
    holder: &str,
) -> CaseResult {
    ensure_eq!(
        cx.store().balance(&account(holder)?).await?,
        None,
        "the balance of {holder:?}"
    );
    Ok(())
}

/// Ends the case as ignored where transfers between any accounts are not declared.
pub(crate) fn needs_transfers<H: Harness<Store: BalanceStore>>(cx: &Context<H>) -> CaseResult {
    if cx.store().capabilities().transfers_across_shards {
        return Ok(());
    }
    cx.ignore("the store declares no transfers between any two accounts (a cluster)")
}

/// Ends the case as ignored where a transaction may not reach an account wherever it lies.
pub(crate) fn reaches_any_account<H: Harness<Store: BalanceStore>>(cx: &Context<H>) -> CaseResult {
    if cx.store().capabilities().transfers_across_shards {
        return Ok(());
    }
    cx.ignore("a transaction reaches one shard, and this account may lie in another (a cluster)")
}

/// The largest amount.
pub(crate) const MAX: i64 = Amount::MAX.get();
/// The smallest amount.
pub(crate) const MIN: i64 = Amount::MIN.get();
