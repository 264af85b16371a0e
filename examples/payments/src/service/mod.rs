//! The payment service: what a user of this library writes.
//!
//! A crash is possible between any two lines. Whatever is retried meets the same key, and gets the
//! same answer.

// The SDK generates a client without documentation.
#![allow(missing_docs)]

pub mod crash_store;
pub mod table;

use exactly_once::{
    AccountId, Adjust, Amount, BalanceTransaction, Change, IdempotencyKey, IdempotencyStore, Leg,
    Rejection, WorkError, engine::Step, restate::ExactlyOnce, sqlite::SqliteTx,
};
use restate_sdk::prelude::*;

use crate::{
    control::{Control, CrashPoint, Faults, Handler},
    model::{Charge, LIMIT, Line, MERCHANT, Receipt, Refund, TransferOrder},
};

/// The service, on any store whose transactions are SQLite's.
#[derive(Clone, Debug)]
pub struct Payments<S> {
    store: S,
    control: Control,
}

impl<S> Payments<S> {
    /// On this store, with these crash points.
    pub fn new(store: S, control: Control) -> Self {
        Self { store, control }
    }

    fn between_steps(&self, handler: Handler) {
        // This one kills, or does nothing.
        let _ = self.control.pass(CrashPoint::BetweenSteps, handler);
    }
}

#[restate_sdk::service(name = "Payments")]
impl<S> Payments<S>
where
    S: IdempotencyStore<Tx = SqliteTx> + BalanceTransaction,
{
    /// Takes money from a customer: the payment's row and the debit in one transaction with the
    /// idempotency key, then the merchant's credit as a step of its own.
    #[handler]
    async fn charge(
        &self,
        ctx: Context<'_>,
        Json(charge): Json<Charge>,
    ) -> Result<Json<Receipt>, TerminalError> {
        let (store, request) = (self.store.clone(), charge.clone());
        let work = async move |tx: &mut SqliteTx| {
            if !(1..=LIMIT).contains(&request.amount) {
                return Err(Rejection::new(422, "a payment must be 1 to the limit").into());
            }
            let debit = Adjust::new(
                IdempotencyKey::new(format!("debit/{}", request.payment))?,
                AccountId::new(request.account.as_str())?,
                -Amount::new(request.amount),
            );
            let debit = store.adjust_in(tx, &debit).await?;
            table::insert_payment(tx, request.clone()).await?;
            Ok(receipt(request.payment, &debit.change))
        };
        let answer = ctx
            .execute_once(&self.store, "charge", &charge, work)
            .await?;

        self.between_steps(Handler::Charge);
        let (merchant, amount) = (AccountId::new(MERCHANT)?, Amount::new(charge.amount));
        ctx.adjust(&self.store, "credit the merchant", &merchant, amount)
            .await?;
        Ok(Json(answer))
    }

    /// Gives a payment back, once, however often it is asked for.
    #[handler]
    async fn refund(
        &self,
        ctx: Context<'_>,
        Json(refund): Json<Refund>,
    ) -> Result<Json<Receipt>, TerminalError> {
        let (store, request) = (self.store.clone(), refund.clone());
        let work = async move |tx: &mut SqliteTx| {
            let Some((customer, amount)) = table::refund_payment(tx, request.clone()).await? else {
                return Err(Rejection::new(409, "no such payment, or it is refunded").into());
            };
            let name = &request.request;
            let debit = step_of(&format!("refund-debit/{name}"), MERCHANT, -amount)?;
            store.adjust_in(tx, &debit).await?;
            let credit = step_of(&format!("refund/{name}"), &customer, amount)?;
            let credit = store.adjust_in(tx, &credit).await?;
            Ok(receipt(request.request, &credit.change))
        };
        let answer = ctx
            .execute_once(&self.store, "refund", &refund, work)
            .await?;
        self.between_steps(Handler::Refund);
        Ok(Json(answer))
    }

    /// Moves money between two customers, under a key of the caller's own.
    #[handler]
    async fn transfer(
        &self,
        ctx: Context<'_>,
        Json(order): Json<TransferOrder>,
    ) -> Result<Json<Receipt>, TerminalError> {
        if order.amount < 1 {
            return Err(TerminalError::new_with_code(
                422,
                "a transfer must be above zero",
            ));
        }
        let legs = vec![
            Leg {
                account: AccountId::new(order.from)?,
                delta: -Amount::new(order.amount),
            },
            Leg {
                account: AccountId::new(order.to)?,
                delta: Amount::new(order.amount),
            },
        ];
        let key = IdempotencyKey::new(format!("transfer/{}", order.order))?;
        let step = Step::named("transfer").with_key(key);
        let moved = ctx.transfer(&self.store, step, legs).await?;
        self.between_steps(Handler::Transfer);
        match moved.changes.first() {
            Some(debit) => Ok(Json(receipt(order.order, debit))),
            None => Err(TerminalError::new("a transfer without legs")),
        }
    }

    /// Opens an account with a first balance.
    #[handler]
    async fn open(
        &self,
        ctx: Context<'_>,
        Json((name, first)): Json<(String, i64)>,
    ) -> Result<(), TerminalError> {
        ctx.open_account(
            &self.store,
            "open",
            &AccountId::new(name)?,
            Amount::new(first),
        )
        .await?;
        Ok(())
    }

    /// What an account holds; a retry of this call answers with what was read first.
    #[handler]
    async fn balance(&self, ctx: Context<'_>, name: String) -> Result<i64, TerminalError> {
        let (store, account) = (self.store.clone(), AccountId::new(name)?);
        let state = ctx
            .durable_read("balance", async move || Ok(store.balance(&account).await?))
            .await?;
        match state {
            Some(state) => Ok(state.amount.get()),
            None => Err(TerminalError::new_with_code(404, "no such account")),
        }
    }

    /// The first 100 changes of an account.
    #[handler]
    async fn statement(
        &self,
        ctx: Context<'_>,
        name: String,
    ) -> Result<Json<Vec<Line>>, TerminalError> {
        let (store, account) = (self.store.clone(), AccountId::new(name)?);
        let page = ctx
            .durable_read("statement", async move || {
                Ok(store.history(&account, None, 100).await?)
            })
            .await?;
        Ok(Json(page.changes.iter().map(line).collect()))
    }
}

fn step_of(key: &str, account: &str, delta: i64) -> Result<Adjust, WorkError> {
    let (key, account) = (IdempotencyKey::new(key)?, AccountId::new(account)?);
    Ok(Adjust::new(key, account, Amount::new(delta)))
}

fn receipt(name: String, change: &Change) -> Receipt {
    Receipt {
        name,
        account: change.account.as_str().to_owned(),
        delta: change.delta.get(),
        left: change.after.get(),
        version: change.version.get(),
    }
}

fn line(change: &Change) -> Line {
    Line {
        delta: change.delta.get(),
        after: change.after.get(),
        version: change.version.get(),
    }
}
