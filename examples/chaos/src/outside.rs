//! The world outside: a log of effects that no database of ours has a hand in.
//!
//! It does what such a system should: it remembers the greatest fencing token of each key, and
//! refuses a smaller one. It is not killed, since it stands for another system; its
//! connections are cut like all the others.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use crate::model::Sent;

/// What came in for each operation: the tokens that were taken, in order.
pub type Log = HashMap<String, Vec<Sent>>;

/// The log's server. It ends when this is dropped.
#[derive(Debug)]
pub struct Outside {
    address: SocketAddr,
    log: Arc<Mutex<State>>,
    serving: AbortHandle,
}

#[derive(Debug, Default)]
struct State {
    log: Log,
    entries: u64,
    fenced: u64,
}

impl Outside {
    /// Listens on a free port.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let log = Arc::new(Mutex::new(State::default()));
        let shared = log.clone();
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(answer(client, shared.clone()));
            }
        });
        Ok(Self {
            address,
            log,
            serving: serving.abort_handle(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has come in, and how often a zombie was turned away.
    #[must_use]
    pub fn log(&self) -> (Log, u64) {
        let state = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        (state.log.clone(), state.fenced)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A line `<name> <token>` is answered by `ok <entry>` or by `fenced`.
async fn answer(client: TcpStream, log: Arc<Mutex<State>>) -> Result<()> {
    let mut client = BufReader::new(client);
    let mut line = String::new();
    client.read_line(&mut line).await?;
    // A line without its end was cut.
    let (name, token) = line
        .strip_suffix('\n')
        .and_then(|line| line.split_once(' '))
        .context("no line")?;
    let answer = log
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take(name, token.parse()?);
    client.write_all(answer.as_bytes()).await?;
    Ok(())
}

impl State {
    fn take(&mut self, name: &str, token: i64) -> String {
        let sent = self.log.entry(name.to_owned()).or_default();
        if sent.last().is_some_and(|last| last.token > token) {
            self.fenced += 1;
            return "fenced\n".to_owned();
        }
        self.entries += 1;
        sent.push(Sent {
            token,
            entry: self.entries,
        });
        format!("ok {}\n", self.entries)
    }
}

/// Sends one effect outside.
///
/// # Errors
/// Where the connection breaks: then it may have come in. Where a greater token came in before.
pub async fn send(outside: SocketAddr, name: &str, token: i64) -> Result<Sent> {
    let mut stream = BufReader::new(TcpStream::connect(outside).await?);
    stream
        .write_all(format!("{name} {token}\n").as_bytes())
        .await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    match line.trim_end().split_once(' ') {
        Some(("ok", entry)) if line.ends_with('\n') => Ok(Sent {
            token,
            entry: entry.parse()?,
        }),
        _ => bail!("the outside answers {line:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_smaller_token_is_fenced() -> Result<()> {
        let outside = Outside::start().await?;
        assert_eq!(send(outside.address(), "a", 2).await?.entry, 1);
        assert!(send(outside.address(), "a", 1).await.is_err());
        assert_eq!(send(outside.address(), "a", 3).await?.entry, 2);
        let (log, fenced) = outside.log();
        assert_eq!((log["a"].len(), fenced), (2, 1));
        Ok(())
    }
}
