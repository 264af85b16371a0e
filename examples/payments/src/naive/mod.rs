//! The payment service by the recipes of the usual guides. **Do not copy.**
//!
//! - *charge*: check whether the payment is there, then insert it, as two steps.
//! - *refund*: insert the idempotency key in the transaction of the effect, and let its unique
//!   violation fail the step.
//! - *transfer*: read both balances, then set them if they are still the same (compare by value),
//!   and answer 409 otherwise.
//!
//! Each is right as long as nothing crashes between the commit and the journal.

// The SDK generates a client without documentation.
#![allow(missing_docs)]

pub mod database;
pub mod evidence;
mod statements;

use anyhow::Result;
use restate_sdk::prelude::*;
use rusqlite::Transaction;

use self::database::Database;
use crate::{
    control::{Control, Counter, CrashPoint, Faults, Handler},
    model::{Charge, LIMIT, Receipt, Refund, TransferOrder},
};

/// The service.
#[derive(Clone, Debug)]
pub struct Naive {
    database: Database,
    control: Control,
}

impl Naive {
    /// On this database, with these crash points.
    #[must_use]
    pub fn new(database: Database, control: Control) -> Self {
        Self { database, control }
    }

    /// An effect in a transaction, with the same crash points as the other service has; `None` is
    /// that nothing was done.
    async fn effect<T: Send + 'static>(
        &self,
        handler: Handler,
        work: impl FnOnce(&Transaction<'_>) -> Result<Option<T>> + Send + 'static,
    ) -> Result<Option<T>> {
        let control = self.control.clone();
        self.database
            .with(move |connection| {
                control.count(Counter::Attempts);
                control.pass(CrashPoint::BeforeTransaction, handler)?;
                let transaction = connection.transaction()?;
                let value = work(&transaction)?;
                control.pass(CrashPoint::BeforeCommit, handler)?;
                transaction.commit()?;
                if value.is_some() {
                    control.pass(CrashPoint::AfterCommit, handler)?;
                }
                Ok(value)
            })
            .await
    }
}

#[restate_sdk::service(name = "Payments")]
impl Naive {
    /// Check, then insert.
    #[handler]
    async fn charge(
        &self,
        ctx: Context<'_>,
        Json(charge): Json<Charge>,
    ) -> HandlerResult<Json<Receipt>> {
        if charge.amount > LIMIT {
            return Err(TerminalError::new_with_code(422, "above the limit").into());
        }
        let (service, name) = (self.clone(), charge.payment.clone());
        let there =
            ctx.run(move || async move {
                Ok(service.database.with(|c| statements::paid(c, name)).await?)
            })
            .name("check")
            .await?;
        if there {
            return Err(TerminalError::new_with_code(409, "paid already").into());
        }
        self.control
            .pass(CrashPoint::BetweenSteps, Handler::Charge)?;
        let service = self.clone();
        let insert = move || async move {
            let paid = service.effect(Handler::Charge, |sql| statements::pay(sql, charge));
            Ok(Json(paid.await?))
        };
        match ctx.run(insert).name("insert").await?.into_inner() {
            Some(receipt) => Ok(Json(receipt)),
            None => Err(TerminalError::new_with_code(402, "insufficient funds").into()),
        }
    }

    /// Insert the key; its unique violation fails the step.
    #[handler]
    async fn refund(
        &self,
        ctx: Context<'_>,
        Json(refund): Json<Refund>,
    ) -> HandlerResult<Json<Receipt>> {
        let service = self.clone();
        let insert = move || async move {
            let back = service.effect(Handler::Refund, |sql| statements::give_back(sql, refund));
            Ok(Json(back.await?))
        };
        let answer = ctx.run(insert).name("insert the key").await?.into_inner();
        self.control
            .pass(CrashPoint::BetweenSteps, Handler::Refund)?;
        match answer {
            Some(receipt) => Ok(Json(receipt)),
            None => Err(TerminalError::new_with_code(409, "refunded already").into()),
        }
    }

    /// Compare by value, then set.
    #[handler]
    async fn transfer(
        &self,
        ctx: Context<'_>,
        Json(order): Json<TransferOrder>,
    ) -> HandlerResult<Json<Receipt>> {
        let (service, asked) = (self.clone(), order.clone());
        let read = move || async move {
            Ok(Json(
                service
                    .database
                    .with(move |c| statements::both(c, &asked))
                    .await?,
            ))
        };
        let seen = ctx.run(read).name("read").await?.into_inner();
        if seen.0 < order.amount {
            return Err(TerminalError::new_with_code(402, "insufficient funds").into());
        }
        self.control
            .pass(CrashPoint::BetweenSteps, Handler::Transfer)?;
        let service = self.clone();
        let set = move || async move {
            let moved = service.effect(Handler::Transfer, move |sql| {
                statements::set(sql, order, seen)
            });
            match moved.await? {
                Some(receipt) => Ok(Json(receipt)),
                None => Err(TerminalError::new_with_code(409, "conflict").into()),
            }
        };
        Ok(ctx.run(set).name("compare and set").await?)
    }

    /// Opens an account with a first balance.
    #[handler]
    async fn open(
        &self,
        ctx: Context<'_>,
        Json((name, first)): Json<(String, i64)>,
    ) -> HandlerResult<()> {
        let database = self.database.clone();
        ctx.run(move || async move {
            Ok(database
                .with(move |connection| statements::open(connection, &name, first))
                .await?)
        })
        .name("open")
        .await?;
        Ok(())
    }

    /// What an account holds.
    #[handler]
    async fn balance(&self, ctx: Context<'_>, name: String) -> HandlerResult<i64> {
        let database = self.database.clone();
        let read = move || async move {
            Ok(database
                .with(move |connection| statements::balance(connection, &name))
                .await?)
        };
        Ok(ctx.run(read).name("balance").await?)
    }
}
