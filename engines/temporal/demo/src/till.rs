//! The activities: what a user of this library writes in a worker.
//!
//! A crash is possible between any two lines. Each attempt meets the same key, and gets the same
//! answer.

use std::{path::Path, sync::Arc};

use anyhow::Result;
use exactly_once::engine::Engine;
use exactly_once::{
    AccountId, Adjust, Amount, BalanceTransaction, Error, IdempotencyKey, Rejection,
    sqlite::{SqliteStore, SqliteTx},
};
use exactly_once_temporal::{Effects, Refusal, Temporal};
use temporalio_sdk::activities::{ActivityContext, ActivityError, activities};

use crate::{
    control::{Control, CrashPoint},
    model::{LIMIT, MERCHANT, Order, Receipt, Shipment},
};

/// The bank's and the warehouse's databases.
pub struct Till {
    bank: SqliteStore,
    warehouse: SqliteStore,
    control: Control,
}

/// The bank's file in a folder.
pub const BANK: &str = "bank.db";
/// The warehouse's file.
pub const WAREHOUSE: &str = "warehouse.db";

impl Till {
    /// Opens both databases in the folder.
    ///
    /// # Errors
    /// As the stores have them.
    pub async fn open(folder: &Path) -> Result<Self> {
        Ok(Self {
            bank: SqliteStore::open(folder.join(BANK)).await?,
            warehouse: SqliteStore::open(folder.join(WAREHOUSE)).await?,
            control: Control::new(folder),
        })
    }
}

#[activities]
impl Till {
    /// Takes money from a customer: the payment's row and the debit in one transaction with the key.
    #[activity(name = "charge")]
    pub async fn charge(
        self: Arc<Self>,
        ctx: ActivityContext,
        order: Order,
    ) -> Result<Receipt, ActivityError> {
        self.control.attempt();
        let (bank, control, request) = (self.bank.clone(), self.control.clone(), order.clone());
        let work = async move |tx: &mut SqliteTx| {
            if !(1..=LIMIT).contains(&request.cents) {
                return Err(Rejection::new(422, "a payment must be 1 to the limit").into());
            }
            let key = IdempotencyKey::new(format!("debit/{}", request.name))?;
            let customer = AccountId::new(request.customer.as_str())?;
            let debit = Adjust::new(key, customer, -Amount::new(request.cents));
            let left = bank.adjust_in(tx, &debit).await?.change.after.get();
            let insert = "INSERT INTO payment (order_name, cents) VALUES (?1, ?2) RETURNING number";
            let values = (request.name, request.cents);
            let row = tx.run(move |db| db.query_row(insert, values, |row| row.get(0)));
            let row = row.await?;
            control.pass(CrashPoint::ChargeWritten);
            Ok(Receipt { row, left })
        };
        let receipt = ctx.execute_once(&self.bank, "charge", &order, work).await?;
        self.control.pass(CrashPoint::ChargeCommitted);
        Ok(receipt)
    }

    /// Credits the merchant.
    #[activity(name = "credit")]
    pub async fn credit(
        self: Arc<Self>,
        ctx: ActivityContext,
        order: Order,
    ) -> Result<i64, ActivityError> {
        self.control.attempt();
        let merchant = AccountId::new(MERCHANT).map_err(|error| refused(&ctx, error.into()))?;
        let amount = Amount::new(order.cents);
        let credited = ctx.adjust(&self.bank, "credit", &merchant, amount).await?;
        self.control.pass(CrashPoint::CreditCommitted);
        Ok(credited.change.after.get())
    }

    /// Ships: a row in the bank's database and one in the warehouse's, both or none.
    #[activity(name = "ship")]
    pub async fn ship(
        self: Arc<Self>,
        ctx: ActivityContext,
        shipment: Shipment,
    ) -> Result<(), ActivityError> {
        self.control.attempt();
        let Shipment { order, identity } = shipment;
        let (bank, warehouse) = (self.bank.clone(), self.warehouse.clone());
        let (invoiced, picked, control) = (order.clone(), order.clone(), self.control.clone());
        ctx.two_phase_as(&self.bank, "ship", &identity, &order, move |commit| {
            let invoice = async move |tx: &mut SqliteTx| {
                let insert = "INSERT INTO invoice (order_name) VALUES (?1)";
                tx.run(move |db| db.execute(insert, [invoiced.name]))
                    .await?;
                Ok(())
            };
            let pick = async move |tx: &mut SqliteTx| {
                control.pass(CrashPoint::ShipmentBegun);
                let insert = "INSERT INTO parcel (order_name) VALUES (?1)";
                tx.run(move |db| db.execute(insert, [picked.name])).await?;
                Ok(())
            };
            commit
                .participant("bank", &bank, invoice)
                .participant("warehouse", &warehouse, pick)
        })
        .await?;
        self.control.pass(CrashPoint::ShipmentCommitted);
        Ok(())
    }
}

fn refused(ctx: &ActivityContext, error: Error) -> ActivityError {
    Engine::<'_, Temporal>::refused(ctx, Refusal::from_error(&error))
}
