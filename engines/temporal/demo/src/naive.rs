//! The same activities as the usual guides have them: an effect, and a report afterwards.
//!
//! "Activities should be idempotent", and the usual one is not: its `INSERT` has no key. Under a key of
//! the run id it would still be doubled by a reset; see the package's tests.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Result;
use rusqlite::Connection;
use temporalio_sdk::activities::{ActivityContext, ActivityError, activities};
use tokio::sync::Mutex;

use crate::{
    control::{Control, CrashPoint},
    model::{Answer, LIMIT, MERCHANT, Order, Receipt},
    till::{BANK, WAREHOUSE},
};

/// The same two databases, by a plain driver.
pub struct Naive {
    bank: Mutex<Connection>,
    warehouse: Mutex<Connection>,
    control: Control,
}

impl Naive {
    /// Opens both databases in the folder.
    ///
    /// # Errors
    /// As SQLite has them.
    pub fn open(folder: &Path) -> Result<Self> {
        let open = |name| -> Result<Connection> {
            let connection = Connection::open(folder.join(name))?;
            connection.busy_timeout(Duration::from_secs(10))?;
            Ok(connection)
        };
        Ok(Self {
            bank: Mutex::new(open(BANK)?),
            warehouse: Mutex::new(open(WAREHOUSE)?),
            control: Control::new(folder),
        })
    }
}

const MOVE: &str = "UPDATE account SET cents = cents + ?2 WHERE name = ?1 RETURNING cents";

#[activities]
impl Naive {
    /// Debit, credit and row in one transaction of the database, which is as good as it gets.
    #[activity(name = "naive-charge")]
    pub async fn charge(
        self: Arc<Self>,
        _ctx: ActivityContext,
        order: Order,
    ) -> Result<Answer, ActivityError> {
        self.control.attempt();
        let refused = |kind: &str, status| Answer::Refused {
            kind: kind.to_owned(),
            status,
        };
        if !(1..=LIMIT).contains(&order.cents) {
            return Ok(refused("rejected", 422));
        }
        let receipt = {
            let mut bank = self.bank.lock().await;
            let tx = bank.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let debit = (&order.customer, -order.cents);
            let left: i64 = tx.query_row(MOVE, debit, |row| row.get(0))?;
            if left < 0 {
                return Ok(refused("insufficient_funds", 402));
            }
            tx.query_row(MOVE, (MERCHANT, order.cents), |_| Ok(()))?;
            let insert = "INSERT INTO payment (order_name, cents) VALUES (?1, ?2) RETURNING number";
            let row = tx.query_row(insert, (&order.name, order.cents), |row| row.get(0))?;
            self.control.pass(CrashPoint::ChargeWritten);
            tx.commit()?;
            Receipt { row, left }
        };
        self.control.pass(CrashPoint::ChargeCommitted);
        self.control.pass(CrashPoint::CreditCommitted);
        Ok(Answer::Done(receipt))
    }

    /// One database after the other.
    #[activity(name = "naive-ship")]
    pub async fn ship(
        self: Arc<Self>,
        _ctx: ActivityContext,
        order: Order,
    ) -> Result<(), ActivityError> {
        self.control.attempt();
        let invoice = "INSERT INTO invoice (order_name) VALUES (?1)";
        self.bank.lock().await.execute(invoice, [&order.name])?;
        self.control.pass(CrashPoint::ShipmentBegun);
        let parcel = "INSERT INTO parcel (order_name) VALUES (?1)";
        self.warehouse.lock().await.execute(parcel, [&order.name])?;
        self.control.pass(CrashPoint::ShipmentCommitted);
        Ok(())
    }
}
