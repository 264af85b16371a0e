//! Mutants that read a lost connection wrongly. The store talks to a server of its own: a request
//! names an operation that lies ready, the server executes it, and the reply says that it has.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use exactly_once::{
    Claim, Error, ErrorKind, IdempotencyStore, Receipt, Result, Settled, Store, Timestamp,
    memory::{MemoryStore, MemoryTx},
};
use exactly_once_conformance::CaseResult;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{harness::assert_told_apart, patch::Patch};

/// How long a reply may take.
const REPLY_MAX: Duration = Duration::from_millis(500);

/// Completions that were asked for, and what became of them.
#[derive(Default)]
struct Desk {
    next: AtomicU64,
    asked: Mutex<HashMap<u64, (MemoryTx, Claim, Receipt)>>,
    done: Mutex<HashMap<u64, Result<Settled>>>,
}

/// A store behind a connection, which says `KIND` of a reply that is lost.
#[derive(Clone, Default)]
struct Wired<const MISTAKE: u8> {
    desk: Arc<Desk>,
    server: Option<SocketAddr>,
}

/// A lost reply is ambiguous.
const RIGHT: u8 = 0;
/// A lost connection is a final answer.
const TERMINAL: u8 = 1;
/// A lost reply means that nothing was executed.
const UNAVAILABLE: u8 = 2;
/// A reply that does not come is waited for.
const PATIENT: u8 = 3;
/// A lost reply means that it was executed.
const HOPEFUL: u8 = 4;

impl<const MISTAKE: u8> Wired<MISTAKE> {
    fn lost(error: std::io::Error) -> Error {
        let kind = match MISTAKE {
            TERMINAL => ErrorKind::Refused,
            UNAVAILABLE => ErrorKind::Unavailable,
            _ => ErrorKind::Ambiguous,
        };
        Error::new(kind, "complete", "wired").with_source(error)
    }

    /// Sends a number and waits until it comes back.
    async fn round_trip(&self, number: u64) -> std::io::Result<()> {
        let server = self.server.ok_or(std::io::ErrorKind::NotConnected)?;
        let conversation = async {
            let mut stream = TcpStream::connect(server).await?;
            stream.write_u64(number).await?;
            stream.read_u64().await?;
            Ok(())
        };
        if MISTAKE == PATIENT {
            return conversation.await;
        }
        timeout(REPLY_MAX, conversation).await?
    }
}

async fn answer(mut stream: TcpStream, desk: Arc<Desk>, right: MemoryStore) {
    while let Ok(number) = stream.read_u64().await {
        let asked = desk
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number);
        if let Some((tx, claim, receipt)) = asked {
            let settled = right.complete(tx, &claim, &receipt).await;
            desk.done
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(number, settled);
        }
        if stream.write_u64(number).await.is_err() {
            return;
        }
    }
}

impl<const MISTAKE: u8> Patch for Wired<MISTAKE> {
    async fn serve(&self, right: &MemoryStore) -> CaseResult<Option<SocketAddr>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (desk, right) = (self.desk.clone(), right.another_handle());
        // Ends with the case's runtime.
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, desk.clone(), right.clone()));
            }
        });
        Ok(Some(address))
    }
    fn through(&self, address: SocketAddr) -> Self {
        Self {
            server: Some(address),
            ..self.clone()
        }
    }
    async fn now(&self, right: &MemoryStore) -> Result<Timestamp> {
        right.now().await
    }
    async fn complete(
        &self,
        _right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        let number = self.desk.next.fetch_add(1, Ordering::Relaxed);
        let asked = (tx, claim.clone(), receipt.clone());
        self.desk
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, asked);
        let reply = self.round_trip(number).await;
        // What the server never saw is rolled back with its connection.
        drop(
            self.desk
                .asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&number),
        );
        match reply {
            Ok(()) => {
                let done = self
                    .desk
                    .done
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&number);
                done.unwrap_or_else(|| Err(Self::lost(std::io::ErrorKind::NotFound.into())))
            }
            Err(_) if MISTAKE == HOPEFUL => Ok(Settled::Recorded),
            Err(error) => Err(Self::lost(error)),
        }
    }
}

#[test]
fn lost_connection_as_terminal() {
    let cases = [
        "crash::i42_cut_before_commit",
        "crash::i43_cut_at_every_request",
    ];
    for case in cases {
        assert_told_apart::<Wired<RIGHT>, Wired<TERMINAL>>(&format!("idempotency::{case}"));
    }
}

#[test]
fn lost_reply_as_not_executed() {
    let case = "idempotency::crash::i43_cut_at_every_request";
    assert_told_apart::<Wired<RIGHT>, Wired<UNAVAILABLE>>(case);
}

#[test]
fn lost_reply_as_executed() {
    assert_told_apart::<Wired<RIGHT>, Wired<HOPEFUL>>("idempotency::crash::i42_cut_before_commit");
}

#[test]
fn silence_waited_out() {
    assert_told_apart::<Wired<RIGHT>, Wired<PATIENT>>("idempotency::crash::i44_blackhole");
}
