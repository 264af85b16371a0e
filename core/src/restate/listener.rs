//! Serving handlers, with `TCP_NODELAY` and an orderly end.
//!
//! The accept loop is ours because the SDK's keeps its socket open while it ends, waits ten seconds
//! whatever the deployment allows, and leaves the handlers that are not done by then running.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use hyper::{
    Request,
    body::Incoming,
    server::conn::http2,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::graceful::GracefulShutdown,
};
use restate_sdk::{endpoint::Endpoint, hyper::HyperEndpoint};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// How many connections may wait to be accepted; Restate opens few.
const BACKLOG: u32 = 1024;

/// How long what is in flight may take to end, by default. Orchestrators commonly kill 30 seconds
/// after they have asked.
const GRACE: Duration = Duration::from_secs(10);

/// The pause after a connection could not be accepted: out of file descriptors, say.
const PAUSE: Duration = Duration::from_millis(50);

/// A listening socket whose connections have `TCP_NODELAY`.
///
/// The SDK's own does not set it, and Nagle's algorithm then holds small answers back: a step with
/// one insert took 27 ms instead of 6.4 ms.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    grace: Duration,
}

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
        socket.bind(address)?;
        Ok(Self {
            socket: socket.listen(BACKLOG)?,
            grace: GRACE,
        })
    }

    /// With another time for what is in flight to end; ten seconds if not said.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `shutdown` is ready, and then ends in order:
    ///
    /// 1. The port is closed, so that new work goes elsewhere.
    /// 2. Invocations in flight may end, within the grace period.
    /// 3. What has not ended by then is **given back**: its connection is closed and its handler
    ///    dropped, transactions roll back, and Restate runs it again where it is served next. Its
    ///    journaled keys keep what it did from happening twice.
    ///
    /// An invocation that sleeps or waits counts as in flight until Restate suspends it.
    pub async fn serve(self, endpoint: Endpoint, shutdown: impl Future<Output = ()> + Send) {
        self.serve_current(move || endpoint.clone(), shutdown).await;
    }

    /// As [`serve`](Self::serve), with an endpoint that may be replaced meanwhile: `current` is called
    /// for each request, so what Restate sends from then on goes to the new one. An invocation in flight
    /// keeps the endpoint that it began with.
    pub async fn serve_current<F>(self, current: F, shutdown: impl Future<Output = ()> + Send)
    where
        F: Fn() -> Endpoint + Clone + Send + Sync + 'static,
    {
        let graceful = GracefulShutdown::new();
        // Dropped with the connections in it, also if this future is dropped.
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let stream = tokio::select! {
                accepted = self.accept() => accepted,
                () = &mut shutdown => break,
            };
            let current = current.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                HyperEndpoint::new(current()).call(request)
            });
            let connection = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection);
            connections.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection of Restate ended");
                }
            });
            // Those that have ended.
            while connections.try_join_next().is_some() {}
        }
        drop(self.socket);
        if timeout(self.grace, graceful.shutdown()).await.is_err() {
            tracing::warn!(grace = ?self.grace, "invocations in flight are given back");
        }
        connections.shutdown().await;
    }

    async fn accept(&self) -> TcpStream {
        loop {
            let accepted = self.socket.accept().await;
            match accepted.and_then(|(stream, _)| stream.set_nodelay(true).map(|()| stream)) {
                Ok(stream) => return stream,
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Listens at the address and serves until `shutdown` is ready, [`shutdown_signal`] say; see
/// [`Listener::serve`] for how it ends.
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
        let client = TcpStream::connect(address).await.unwrap();
        let accepted = listener.accept().await;
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
