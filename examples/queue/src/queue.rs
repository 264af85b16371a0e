//! The stream and its commands.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result};
use redis::{AsyncConnectionConfig, Client, aio::MultiplexedConnection, cmd, pipe};
use serde::{Deserialize, Serialize};

const STREAM: &str = "payments";
const GROUP: &str = "ledger";
const DEAD: &str = "payments:dead";
const FIELD: &str = "message";
/// The driver's own half a second is short where every write waits for a disk.
const PATIENCE: Duration = Duration::from_secs(30);
/// Messages taken at once.
const BATCH: usize = 8;

/// What is sent: money to an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The message's own number, the same in each copy of it.
    pub id: String,
    /// Who gets it.
    pub account: String,
    /// How much, in cents.
    pub cents: i64,
}

/// A message in the hands of one consumer, until it is acknowledged or another's.
#[derive(Debug)]
pub struct Delivery {
    entry: String,
    /// What was sent; an error where it can't be read.
    pub message: Result<Message, String>,
}

type Entries = Vec<(String, HashMap<String, String>)>;

/// A handle on the queue.
#[derive(Clone)]
pub struct Queue {
    connection: MultiplexedConnection,
}

impl Queue {
    /// Connects, and makes the stream and its group if they are not there.
    ///
    /// # Errors
    /// Where the server can't be reached.
    pub async fn connect(url: &str) -> Result<Self> {
        let patient = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        let mut connection = Client::open(url)?
            .get_multiplexed_async_connection_with_config(&patient)
            .await?;
        let made: redis::RedisResult<()> = cmd("XGROUP")
            .arg(&["CREATE", STREAM, GROUP, "0", "MKSTREAM"])
            .query_async(&mut connection)
            .await;
        match made {
            Err(error) if error.code() != Some("BUSYGROUP") => Err(error.into()),
            _ => Ok(Self { connection }),
        }
    }

    /// Sends a message. A producer without a reply sends it again: the copy is known by its number.
    ///
    /// # Errors
    /// As the server has them.
    pub async fn send(&mut self, message: &Message) -> Result<()> {
        let text = serde_json::to_string(message)?;
        let add = cmd("XADD").arg(&[STREAM, "*", FIELD, &text]).to_owned();
        let _: String = add.query_async(&mut self.connection).await?;
        Ok(())
    }

    /// Takes over what others have left lying for this long, else what is new; nothing if there is
    /// neither.
    ///
    /// # Errors
    /// As the server has them.
    pub async fn take(&mut self, consumer: &str, idle: Duration) -> Result<Vec<Delivery>> {
        let (_, left, _): (String, Entries, Vec<String>) = cmd("XAUTOCLAIM")
            .arg(&[STREAM, GROUP, consumer])
            .arg(idle.as_millis().to_string())
            .arg(&["0", "COUNT"])
            .arg(BATCH)
            .query_async(&mut self.connection)
            .await
            .context("XAUTOCLAIM")?;
        if !left.is_empty() {
            return Ok(read(left));
        }
        // No BLOCK: it would hold up all that shares the connection.
        let new: Option<Vec<(String, Entries)>> = cmd("XREADGROUP")
            .arg(&["GROUP", GROUP, consumer, "COUNT"])
            .arg(BATCH)
            .arg(&["STREAMS", STREAM, ">"])
            .query_async(&mut self.connection)
            .await
            .context("XREADGROUP")?;
        let streams = new.unwrap_or_default().into_iter();
        Ok(streams.flat_map(|(_, entries)| read(entries)).collect())
    }

    /// Done with it.
    ///
    /// # Errors
    /// As the server has them; then it may come again, which does no harm.
    pub async fn acknowledge(&mut self, delivery: &Delivery) -> Result<()> {
        let ack = cmd("XACK")
            .arg(&[STREAM, GROUP, &delivery.entry])
            .to_owned();
        let _: i64 = ack.query_async(&mut self.connection).await?;
        Ok(())
    }

    /// Out of the way, for people to look at, with the reason; in one step with the acknowledgement.
    ///
    /// # Errors
    /// As the server has them.
    pub async fn bury(&mut self, delivery: &Delivery, reason: &str) -> Result<()> {
        let id = delivery
            .message
            .as_ref()
            .map_or("", |message| message.id.as_str());
        let _: () = pipe()
            .atomic()
            .cmd("XADD")
            .arg(&[DEAD, "*", "id", id, "reason", reason])
            .ignore()
            .cmd("XACK")
            .arg(&[STREAM, GROUP, &delivery.entry])
            .ignore()
            .query_async(&mut self.connection)
            .await?;
        Ok(())
    }

    /// The numbers of the dead letters.
    ///
    /// # Errors
    /// As the server has them.
    pub async fn dead(&mut self) -> Result<Vec<String>> {
        let range = cmd("XRANGE").arg(&[DEAD, "-", "+"]).to_owned();
        let entries: Entries = range.query_async(&mut self.connection).await?;
        let ids = entries
            .into_iter()
            .filter_map(|(_, mut fields)| fields.remove("id"));
        Ok(ids.collect())
    }

    /// How many entries are not acknowledged yet.
    ///
    /// # Errors
    /// As the server has them.
    pub async fn open(&mut self) -> Result<usize> {
        let groups: Vec<HashMap<String, redis::Value>> = cmd("XINFO")
            .arg(&["GROUPS", STREAM])
            .query_async(&mut self.connection)
            .await?;
        let count = |name: &str| -> Result<usize> {
            let value = groups.first().and_then(|group| group.get(name));
            let value = value.with_context(|| format!("the group has no {name}"))?;
            Ok(redis::from_redis_value(value.clone())?)
        };
        Ok(count("pending")? + count("lag")?)
    }

    /// Counts one more of something, for the driver's report.
    ///
    /// # Errors
    /// As the server has them.
    pub async fn count(&mut self, what: &str, by: i64) -> Result<i64> {
        let add = cmd("INCRBY").arg(what).arg(by).to_owned();
        Ok(add.query_async(&mut self.connection).await?)
    }
}

fn read(entries: Entries) -> Vec<Delivery> {
    let deliveries = entries.into_iter().map(|(entry, fields)| Delivery {
        entry,
        message: match fields.get(FIELD) {
            Some(text) => serde_json::from_str(text).map_err(|error| error.to_string()),
            None => Err("the entry has no message".to_owned()),
        },
    });
    deliveries.collect()
}
