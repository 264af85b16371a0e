//! Serving handlers, with `TCP_NODELAY` and an orderly end.

use std::{future::Future, io, net::SocketAddr};

use restate_sdk::{endpoint::Endpoint, http_server::HttpServer};
use tokio::net::{TcpListener, TcpSocket};

/// How many connections may wait to be accepted; Restate opens few.
const BACKLOG: u32 = 1024;

/// A listening socket whose connections have `TCP_NODELAY`.
///
/// The SDK's own does not set it, and Nagle's algorithm then holds small answers back: a step with
/// one insert took 27 ms instead of 6.4 ms. Accepted connections inherit the option from the
/// listening socket on Linux, macOS and the BSDs.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Listens at the address; port 0 is any free one.
    ///
    /// # Errors
    /// Where the address can't be had.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A service that was killed must get its port back at once.
        socket.set_reuseaddr(true)?;
        socket.set_nodelay(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG).map(Self)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves until `shutdown` is ready; then accepts nothing more and gives what is in flight ten
    /// seconds to end.
    pub async fn serve(self, endpoint: Endpoint, shutdown: impl Future<Output = ()> + Send) {
        HttpServer::new(endpoint)
            .serve_with_cancel(self.0, shutdown)
            .await;
    }
}

/// Listens at the address and serves until `shutdown` is ready, [`shutdown_signal`] say.
///
/// # Errors
/// Where the address can't be had.
pub async fn serve(
    endpoint: Endpoint,
    address: SocketAddr,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    Listener::bind(address)?.serve(endpoint, shutdown).await;
    Ok(())
}

/// Ready at SIGINT (Ctrl-C) or SIGTERM, the two by which a service is asked to end.
pub async fn shutdown_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // A system without signals: then only the process's own end stops it.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_connections_have_nodelay_and_the_port_comes_back() {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let client = tokio::net::TcpStream::connect(address).await.unwrap();
        let (accepted, _) = listener.0.accept().await.unwrap();
        assert!(accepted.nodelay().unwrap());
        // The server's side closes first, which leaves the connection in TIME-WAIT.
        drop((accepted, listener));
        drop(client);
        assert_eq!(
            Listener::bind(address).unwrap().local_addr().unwrap(),
            address
        );
    }
}
