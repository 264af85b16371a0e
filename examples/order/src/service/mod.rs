//! The order service: what a user of this library writes.
//!
//! A crash is possible between any two lines, and in each of the three databases.

// The SDK generates a client without documentation.
#![allow(missing_docs)]

pub mod work;

use std::time::Duration;

use exactly_once::{
    ErrorKind,
    engine::{Refusal, Step},
    restate::ExactlyOnce,
};
use restate_sdk::prelude::*;

use crate::{
    control::{CrashPoint, Faults},
    model::{Order, Placed},
    stores::CrashStores,
};

/// How often an order is tried again whose transaction ran out of time.
const ATTEMPTS: usize = 10;

/// The service.
#[derive(Clone, Debug)]
pub struct Orders<F> {
    stores: CrashStores<F>,
    deadline: Duration,
}

impl<F: Faults> Orders<F> {
    /// On these databases. A transaction that is not decided within the deadline is rolled back.
    pub fn new(stores: CrashStores<F>, deadline: Duration) -> Self {
        Self { stores, deadline }
    }

    /// The row in Postgres, the stock in SQLite, the quota in Redis: all or none.
    async fn try_once(&self, ctx: &Context<'_>, order: &Order) -> Result<(), TerminalError> {
        let step = Step::named("order").with_deadline(self.deadline);
        let (stores, placed) = (self.stores.clone(), order.clone());
        ctx.two_phase(&self.stores.orders, step, order, move |transaction| {
            let (row, taken, used) = (placed.clone(), placed.clone(), placed);
            let (orders, stock, quota) = (
                stores.orders.clone(),
                stores.stock.clone(),
                stores.quota.clone(),
            );
            transaction
                .participant("orders", &stores.orders, async move |tx| {
                    work::write_order(tx, &orders, &row).await
                })
                .participant("stock", &stores.stock, async move |tx| {
                    work::take_stock(tx, &stock, taken).await
                })
                .participant("quota", &stores.quota, async move |tx| {
                    work::use_quota(tx, &quota, &used).await
                })
        })
        .await
    }
}

#[restate_sdk::service(name = "Orders")]
impl<F: Faults> Orders<F> {
    /// Places an order, or refuses it for good.
    #[handler]
    async fn place(
        &self,
        ctx: Context<'_>,
        Json(order): Json<Order>,
    ) -> Result<Json<Placed>, TerminalError> {
        let mut placed = self.try_once(&ctx, &order).await;
        for _ in 1..ATTEMPTS {
            match &placed {
                Err(error) if out_of_time(error) => placed = self.try_once(&ctx, &order).await,
                _ => break,
            }
        }
        placed?;
        self.stores.faults.pass(CrashPoint::BetweenSteps).await;
        Ok(Json(Placed {
            name: order.name,
            units: order.units,
        }))
    }
}

/// Rolled back everywhere, and none has refused: the deadline has passed while something was
/// down, or while two orders were waiting for each other's rows. Nothing was done, so it may be
/// tried again, as a transaction of its own.
fn out_of_time(error: &TerminalError) -> bool {
    Refusal::of(error).is_some_and(|refusal| refusal.kind() == ErrorKind::RolledBack)
}
