//! A way to a server that counts round trips: how often a client sends after the server has
//! answered. Messages that are sent in one go, without waiting, are one trip.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::AbortHandle,
};

/// Forwards connections as long as it lives.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    trips: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// A relay to a server on this port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(server: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let trips = Arc::new(AtomicU64::new(0));
        let counter = trips.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let trips = counter.clone();
                tokio::spawn(async move {
                    // The client meets a closed connection, and says so.
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await {
                        forward(client, server, trips);
                    }
                });
            }
        });
        Ok(Self {
            address,
            trips,
            task: task.abort_handle(),
        })
    }

    /// Where to connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Round trips so far.
    #[must_use]
    pub fn trips(&self) -> u64 {
        self.trips.load(Ordering::Relaxed)
    }
}

fn forward(client: TcpStream, server: TcpStream, trips: Arc<AtomicU64>) {
    // Without it a small message would wait for the acknowledgement of the one before.
    if client
        .set_nodelay(true)
        .and(server.set_nodelay(true))
        .is_err()
    {
        return;
    }
    let asked = Arc::new(AtomicBool::new(false));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let answered = asked.clone();
    tokio::spawn(copy(from_client, to_server, move || {
        if !asked.swap(true, Ordering::Relaxed) {
            trips.fetch_add(1, Ordering::Relaxed);
        }
    }));
    tokio::spawn(copy(from_server, to_client, move || {
        answered.store(false, Ordering::Relaxed);
    }));
}

/// Until either end closes; dropping our halves then closes the other one.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, before_each: impl Fn() + Send) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count) = from.read(&mut bytes).await {
        before_each();
        if count == 0 || to.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_in_one_go_is_one_trip() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Answers each three bytes by one.
            let mut three = [0; 3];
            while stream.read_exact(&mut three).await.is_ok() {
                stream.write_all(b".").await.unwrap();
            }
        });
        let relay = Relay::start(port).await.unwrap();
        let mut client = TcpStream::connect(relay.address()).await.unwrap();
        for trip in 1..=4 {
            client.write_all(b"ab").await.unwrap();
            client.write_all(b"c").await.unwrap();
            let mut answer = [0];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(relay.trips(), trip);
        }
    }
}
