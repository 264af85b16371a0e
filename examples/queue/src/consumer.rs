//! A delivery, its effect, its end.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::Args;
use exactly_once::{
    Advice, Claim, ExecuteOnce, Fingerprint, IdempotencyKey, Rejection, Transactional, WorkError,
    sqlite::{SqliteStore, SqliteTx},
};
use rustix::process::{Signal, getpid, kill_process};

use crate::queue::{Delivery, Message, Queue};

/// How often each delivery was taken, in all.
pub const TAKEN: &str = "count:taken";
/// How many consumers shall still die between effect and acknowledgement; set by the driver.
pub const DOOMED: &str = "count:doomed";
/// How long an empty queue is left alone.
const NAP: Duration = Duration::from_millis(20);

/// The arguments of a consumer.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The queue's server
    #[arg(long, env = "QUEUE_URL", hide_env_values = true)]
    pub queue: String,
    /// The SQLite file of the effects; made if it is not there
    #[arg(long)]
    pub database: PathBuf,
    /// This consumer's name in the group
    #[arg(long)]
    pub name: String,
    /// After how many milliseconds an unacknowledged delivery is taken from its consumer
    #[arg(long, default_value_t = 200)]
    pub idle: u64,
}

/// Takes, applies and acknowledges, until it is killed.
///
/// # Errors
/// Where the queue or the database is gone.
pub async fn run(options: Options) -> Result<()> {
    let store = open(&options.database).await?;
    let mut queue = Queue::connect(&options.queue).await?;
    loop {
        let idle = Duration::from_millis(options.idle);
        let deliveries = queue.take(&options.name, idle).await?;
        if deliveries.is_empty() {
            tokio::time::sleep(NAP).await;
        }
        for delivery in deliveries {
            queue.count(TAKEN, 1).await?;
            handle(&store, &mut queue, &delivery).await?;
        }
    }
}

/// Opens the database and makes the consumer's own table.
///
/// # Errors
/// As the store has them.
pub async fn open(database: &std::path::Path) -> Result<SqliteStore> {
    let store = SqliteStore::open(database).await?;
    let mut tx = store.begin().await?;
    // No unique column on purpose: a message that was applied twice would be there twice.
    tx.run(|db| {
        db.execute_batch(
            "CREATE TABLE IF NOT EXISTS payment (message TEXT, account TEXT, cents INTEGER) STRICT",
        )
    })
    .await?;
    store.commit(tx).await?;
    Ok(store)
}

async fn handle(store: &SqliteStore, queue: &mut Queue, delivery: &Delivery) -> Result<()> {
    let message = match &delivery.message {
        Ok(message) => message.clone(),
        Err(unreadable) => return queue.bury(delivery, unreadable).await,
    };
    let applied = apply(store, message).await;
    die_if_doomed(queue).await?;
    match applied {
        Ok(_) => queue.acknowledge(delivery).await,
        Err(error) => match error.kind().advice() {
            // It comes again, here or elsewhere, and finds the key.
            Advice::RetrySameKey | Advice::Retry { .. } => Ok(()),
            Advice::Stop { .. } => queue.bury(delivery, error.kind().as_str()).await,
            // Nothing that another delivery would do better: a person has to look.
            _ => Err(error.into()),
        },
    }
}

/// The effect: once for each number, however often it is delivered.
async fn apply(store: &SqliteStore, message: Message) -> exactly_once::Result<()> {
    let key = IdempotencyKey::new(message.id.as_str())?;
    let claim = Claim::new(key, Fingerprint::of("pay", &message)?);
    let work = async move |tx: &mut SqliteTx| -> Result<(), WorkError> {
        if message.cents <= 0 {
            return Err(Rejection::new(422, "a payment has at least one cent").into());
        }
        let insert = "INSERT INTO payment VALUES (?1, ?2, ?3)";
        tx.run(move |db| db.execute(insert, (message.id, message.account, message.cents)))
            .await?;
        Ok(())
    };
    store.execute_once(&claim, work).await?;
    Ok(())
}

/// Between effect and acknowledgement: a real SIGKILL, as often as the driver has asked for.
async fn die_if_doomed(queue: &mut Queue) -> Result<()> {
    if queue.count(DOOMED, -1).await? < 0 {
        queue.count(DOOMED, 1).await?;
        return Ok(());
    }
    kill_process(getpid(), Signal::KILL)?;
    // The signal is on its way; nothing more may happen here.
    std::future::pending().await
}
