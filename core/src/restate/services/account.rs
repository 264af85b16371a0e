//! An account as a virtual object.

use restate_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    amount::{Amount, Version},
    balance::{
        AccountState, Adjust, Applied, BalanceStore, CloseAccount, CompareAndSet, Expected, Floor,
        HistoryPage, Leg, OpenAccount, Transferred,
    },
    engine::{Refusal, Step},
    error::{Error, ErrorKind, Result},
    names::{AccountId, IdempotencyKey},
    restate::ExactlyOnce,
};

/// How many changes a page of the history has if not said.
const PAGE: u32 = 100;

/// An account as a virtual object: its key is the account's name, and its balance is in the store.
///
/// Changes of one account queue up here instead of meeting in the database. The balance is the
/// store's all the same: a change past this object is seen, by the version.
///
/// Every change takes an optional `operation`, a key of the caller's own: then other invocations
/// with that key are the same change. Without one, the change belongs to its invocation.
///
/// | handler | input | answer |
/// |---|---|---|
/// | `open` | [`Opening`] | the change |
/// | `adjust` | [`Adjustment`] | the change |
/// | `compare_and_set` | [`Setting`] | the change |
/// | `transfer` | [`Sending`] | the changes of both accounts |
/// | `close` | [`Closing`] | the change |
/// | `balance` (shared) | | the state, or `null` if it never was |
/// | `history` (shared) | [`HistoryQuery`] | a page of changes |
///
/// What is refused is a terminal error with its HTTP status; see
/// [`Refusal`](crate::engine::Refusal).
pub struct Account<S>(S);

impl<S: BalanceStore> Account<S> {
    /// Accounts of this store.
    pub fn new(store: S) -> Self {
        Self(store)
    }
}

/// Opens the account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Opening {
    /// What it holds at first, in minor units.
    pub amount: Amount,
    /// The least that it may be left with.
    pub floor: Floor,
    /// A key of the caller's own.
    pub operation: Option<String>,
}

/// Adds a delta.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    /// What to add, in minor units; negative takes away.
    pub delta: Amount,
    /// The version that the account must have, if any.
    #[serde(default)]
    pub expected: Option<Version>,
    /// A key of the caller's own.
    #[serde(default)]
    pub operation: Option<String>,
}

/// Sets the amount if the account is as expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// What the account must be like: `"Any"`, `"Absent"` or `{"Version": 7}`.
    pub expected: Expected,
    /// What it shall hold, in minor units.
    pub amount: Amount,
    /// A key of the caller's own.
    #[serde(default)]
    pub operation: Option<String>,
}

/// Moves an amount from this account to another one, both or neither.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sending {
    /// The account that receives.
    pub to: String,
    /// How much, in minor units; above zero.
    pub amount: Amount,
    /// A key of the caller's own.
    #[serde(default)]
    pub operation: Option<String>,
}

/// Closes the account, whose balance must be zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Closing {
    /// A key of the caller's own.
    pub operation: Option<String>,
}

/// Asks for a page of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryQuery {
    /// Only changes with a version above this one.
    pub after: Option<Version>,
    /// How many at most; 100 if not said.
    pub limit: Option<u32>,
}

fn step(name: &str, operation: Option<String>) -> Result<Step, TerminalError> {
    let step = Step::named(name);
    Ok(match operation {
        Some(key) => step.with_key(IdempotencyKey::new(key)?),
        None => step,
    })
}

/// A negative amount would take from the other account, whose object this is not.
fn legs(from: &str, sending: &Sending) -> Result<Vec<Leg>> {
    if sending.amount <= Amount::ZERO {
        return Err(Error::new(ErrorKind::Invalid, "transfer", "restate")
            .with_message("the amount of a transfer must be above zero"));
    }
    let leg = |account: &str, delta| -> Result<Leg> {
        let account = AccountId::new(account)?;
        Ok(Leg { account, delta })
    };
    Ok(vec![
        leg(from, -sending.amount)?,
        leg(&sending.to, sending.amount)?,
    ])
}

#[restate_sdk::object(name = "Account")]
impl<S: BalanceStore> Account<S> {
    #[handler]
    async fn open(
        &self,
        ctx: ObjectContext<'_>,
        Json(opening): Json<Opening>,
    ) -> Result<Json<Applied>, TerminalError> {
        let account = AccountId::new(ctx.key())?;
        let Opening {
            amount,
            floor,
            operation,
        } = opening;
        let open = move |key| {
            OpenAccount::new(key, account)
                .with_amount(amount)
                .with_floor(floor)
        };
        let applied = ctx.balance_operation(&self.0, step("open", operation)?, open);
        Ok(Json(applied.await?))
    }

    #[handler]
    async fn adjust(
        &self,
        ctx: ObjectContext<'_>,
        Json(adjustment): Json<Adjustment>,
    ) -> Result<Json<Applied>, TerminalError> {
        let account = AccountId::new(ctx.key())?;
        let Adjustment {
            delta,
            expected,
            operation,
        } = adjustment;
        let adjust = move |key| Adjust {
            expected,
            ..Adjust::new(key, account, delta)
        };
        let applied = ctx.balance_operation(&self.0, step("adjust", operation)?, adjust);
        Ok(Json(applied.await?))
    }

    #[handler]
    async fn compare_and_set(
        &self,
        ctx: ObjectContext<'_>,
        Json(setting): Json<Setting>,
    ) -> Result<Json<Applied>, TerminalError> {
        let account = AccountId::new(ctx.key())?;
        let Setting {
            expected,
            amount,
            operation,
        } = setting;
        let set = move |key| CompareAndSet::new(key, account, expected, amount);
        let applied = ctx.balance_operation(&self.0, step("compare_and_set", operation)?, set);
        Ok(Json(applied.await?))
    }

    #[handler]
    async fn transfer(
        &self,
        ctx: ObjectContext<'_>,
        Json(sending): Json<Sending>,
    ) -> Result<Json<Transferred>, TerminalError> {
        let step = step("transfer", sending.operation.clone())?;
        let legs = legs(ctx.key(), &sending).map_err(|error| Refusal::from_error(&error))?;
        Ok(Json(ctx.transfer(&self.0, step, legs).await?))
    }

    #[handler]
    async fn close(
        &self,
        ctx: ObjectContext<'_>,
        Json(closing): Json<Closing>,
    ) -> Result<Json<Applied>, TerminalError> {
        let account = AccountId::new(ctx.key())?;
        let close = move |key| CloseAccount::new(key, account);
        let applied = ctx.balance_operation(&self.0, step("close", closing.operation)?, close);
        Ok(Json(applied.await?))
    }

    #[handler]
    async fn balance(
        &self,
        ctx: SharedObjectContext<'_>,
    ) -> Result<Json<Option<AccountState>>, TerminalError> {
        let (store, account) = (self.0.clone(), AccountId::new(ctx.key())?);
        let read = async move || Ok(store.balance(&account).await?);
        Ok(Json(ctx.durable_read("balance", read).await?))
    }

    #[handler]
    async fn history(
        &self,
        ctx: SharedObjectContext<'_>,
        Json(query): Json<HistoryQuery>,
    ) -> Result<Json<HistoryPage>, TerminalError> {
        let (store, account) = (self.0.clone(), AccountId::new(ctx.key())?);
        let limit = query.limit.unwrap_or(PAGE);
        let read = async move || Ok(store.history(&account, query.after, limit).await?);
        Ok(Json(ctx.durable_read("history", read).await?))
    }
}
