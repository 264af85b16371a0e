//! A TCP fault proxy on loopback: the network between a store and its server, out of order on
//! purpose.
//!
//! A store connects to [`Proxy::addr`] instead of its server. What happens to the bytes is a
//! [`Rule`] that may be changed at any time, also while a call is under way. The proxy knows
//! nothing of the protocol: a *request* is what a client sends between two replies, so a pipelined
//! batch is one request, and a round trip is a request with its reply.

mod rule;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use self::rule::Armed;
pub use self::rule::{Cut, Rule, Trigger};

/// A proxy in front of one server. Dropping it closes its port and all its connections.
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

/// What has passed through a proxy so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections that clients have opened.
    pub connections: u64,
    /// Connections that are open now.
    pub open: u64,
    /// Requests begun by clients.
    pub requests: u64,
    /// Requests whose reply has begun to reach the client.
    pub round_trips: u64,
    /// Connections that a rule or [`Proxy::cut_all`] has cut. A case that sets a rule must see
    /// this grow, or it has tested nothing.
    pub cuts: u64,
    /// Requests that met the trigger of their rule. A request that nothing answers (a client's goodbye,
    /// say) can meet a trigger without a cut: the attempt beside it was then not cut, and says nothing.
    pub fired: u64,
    /// Requests at which [`Rule::HoldFrom`] began to hold.
    pub held: u64,
}

/// What the connections of a proxy share.
struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
    /// How bytes flow at the moment; connections wait here while they don't.
    flow: watch::Sender<Flow>,
    /// Grows with each [`Proxy::cut_all`].
    cut_all: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    stats: Stats,
    armed: Option<Armed>,
}

#[derive(Clone, Copy, Default)]
struct Flow {
    delay: Duration,
    hold_requests: bool,
    hold_replies: bool,
}

impl Proxy {
    /// Starts a proxy on a free loopback port, in front of the server at this address.
    ///
    /// # Errors
    /// No port could be bound.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            state: Mutex::default(),
            flow: watch::Sender::new(Flow::default()),
            cut_all: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self {
            addr,
            shared,
            accepting,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes the rule, for open connections too, and begins to count for its trigger.
    pub fn set(&self, rule: Rule) {
        let (hold_requests, hold_replies) = match rule {
            Rule::Pass | Rule::Cut(_) | Rule::HoldFrom(_) => (false, false),
            Rule::Blackhole => (true, true),
            Rule::HoldReplies => (false, true),
        };
        self.shared.lock().armed = Armed::new(rule);
        self.shared.flow.send_modify(|flow| {
            flow.hold_requests = hold_requests;
            flow.hold_replies = hold_replies;
        });
    }

    /// Delays what is sent, each way and under any rule; zero to stop.
    pub fn set_delay(&self, delay: Duration) {
        self.shared.flow.send_modify(|flow| flow.delay = delay);
    }

    /// Cuts all connections that are open now, as a network that went away does.
    pub fn cut_all(&self) {
        self.shared.cut_all.send_modify(|times| *times += 1);
    }

    /// What has passed so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.lock().stats
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The accepting task owns the connections' tasks: they end with it.
        self.accepting.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing goes to the server from here on. Who sees it counted finds it held.
    fn hold(&self) {
        self.flow.send_modify(|flow| flow.hold_requests = true);
        self.lock().stats.held += 1;
    }

    /// Called before the sockets are closed: a client that sees its connection end must find the
    /// cut counted.
    fn count_cut(&self) {
        self.lock().stats.cuts += 1;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    connections.spawn(wire::carry(client, Arc::clone(&shared)));
                }
                // Out of file handles, most likely: let some connection end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
