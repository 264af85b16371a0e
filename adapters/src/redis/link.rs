//! The shared connection: opened and checked when needed, replaced when it broke, went silent, or
//! turned out to lead to a server that takes no writes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use exactly_once_core::{Error, ErrorKind, Result};
use redis::{
    Cmd, Pipeline, RedisError, RedisResult, Value, cluster_routing::SingleNodeRoutingInfo,
};
use tokio::time::{Instant, timeout_at};

use super::{
    checks::{self, Rules, Standing},
    connection::{Connection, Target},
    error::{self, Effect, error, from_driver, lost_reply},
    replicas::Waiters,
    reply::Origin,
};

/// After this long without a call, the server or something between may have closed the connection:
/// it is asked before a command is entrusted to it, which would be ambiguous.
const IDLE: Duration = Duration::from_millis(500);

/// The trips of a connection that is opened and checked, one after the other.
const OPENING_TRIPS: u32 = 4;

/// How often a cluster whose connections broke is checked again.
const RECHECK: Duration = Duration::from_secs(1);

/// A connection that was checked.
#[derive(Clone)]
struct Opened {
    connection: Connection,
    generation: u64,
    standing: Arc<Standing>,
    /// When it was last used.
    used: Arc<Mutex<Instant>>,
}

impl Opened {
    fn used(&self) -> MutexGuard<'_, Instant> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Live {
    opened: Option<Opened>,
    generation: u64,
    closed: bool,
    /// Of a cluster, one of whose connections broke: since when its servers may be others.
    suspect: Option<Instant>,
    /// Of a cluster, what was found then.
    refusal: Option<(ErrorKind, String)>,
}

/// All handles on one store share one.
pub(super) struct Link {
    target: Target,
    rules: Rules,
    pub(super) response_timeout: Duration,
    pub(super) waiters: Waiters,
    live: RwLock<Live>,
    connecting: tokio::sync::Mutex<()>,
    /// Servers whose append-only file was found whole.
    known: Mutex<BTreeSet<String>>,
}

impl Link {
    pub(super) fn new(target: Target, rules: Rules, response_timeout: Duration) -> Self {
        Self {
            target,
            rules,
            response_timeout,
            waiters: Waiters::default(),
            live: RwLock::default(),
            connecting: tokio::sync::Mutex::default(),
            known: Mutex::default(),
        }
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(super) fn database(&self) -> String {
        self.target.database()
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.target.is_cluster()
    }

    /// When a call that starts now is given up.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.response_timeout
    }

    /// When opening a connection is given up: it is several trips, each as long as any other. A call
    /// that waits for it has its own deadline, and the next call finds it opened.
    pub(super) fn opening_deadline(&self) -> Instant {
        Instant::now() + self.response_timeout.saturating_mul(OPENING_TRIPS)
    }

    /// What the server is and takes, as of the current connection; opened if there is none.
    pub(super) async fn standing(
        self: &Arc<Self>,
        operation: &'static str,
        deadline: Instant,
    ) -> Result<Arc<Standing>> {
        Ok(self.connection(operation, deadline).await?.standing)
    }

    /// Sends a command. The outer error is ours, the inner one the driver's.
    pub(super) async fn send(
        self: &Arc<Self>,
        operation: &'static str,
        command: &Cmd,
        effect: Effect,
        deadline: Instant,
    ) -> Result<(RedisResult<Value>, Origin)> {
        let opened = self.connection(operation, deadline).await?;
        let origin = self.origin(&opened);
        let sent = opened.connection.clone().command(command);
        let Ok(result) = timeout_at(deadline, sent).await else {
            return Err(self.silent(operation, effect, opened.generation));
        };
        match &result {
            Ok(_) => *opened.used() = Instant::now(),
            Err(error) => self.replace_if_broken(error, opened.generation),
        }
        Ok((result, origin))
    }

    pub(super) async fn pipeline(
        self: &Arc<Self>,
        operation: &'static str,
        pipeline: &Pipeline,
        count: usize,
        route: SingleNodeRoutingInfo,
        deadline: Instant,
    ) -> Result<Vec<Value>> {
        let opened = self.connection(operation, deadline).await?;
        let sent = opened.connection.clone().pipeline(pipeline, count, route);
        let Ok(result) = timeout_at(deadline, sent).await else {
            return Err(self.silent(operation, Effect::Write, opened.generation));
        };
        result.map_err(|error| {
            self.replace_if_broken(&error, opened.generation);
            from_driver(operation, error, Effect::Write)
        })
    }

    /// A connection beside the shared one, unchecked.
    pub(super) async fn another(&self, operation: &'static str) -> Result<Connection> {
        self.target.open(operation, self.response_timeout).await
    }

    /// The server that a command goes to, where that is known before.
    fn origin(&self, opened: &Opened) -> Origin {
        if self.is_cluster() {
            return Origin::default();
        }
        Origin::new(opened.standing.servers.first())
    }

    /// A reply that is not awaited any longer. Its connection may be dead without knowing it.
    fn silent(&self, operation: &'static str, effect: Effect, generation: u64) -> Error {
        self.drop_connection(generation);
        error(lost_reply(effect), operation)
            .with_message(format!("no reply within {:?}", self.response_timeout))
    }

    fn replace_if_broken(&self, error: &RedisError, generation: u64) {
        let broken = error.is_unrecoverable_error();
        if self.is_cluster() {
            // It reconnects to the node by itself, and keeps the connections to the others.
            if broken {
                self.suspect();
            }
        } else if broken || error::ends_connection(error) {
            self.drop_connection(generation);
        }
    }

    fn live(&self) -> std::sync::RwLockWriteGuard<'_, Live> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_connection(&self, generation: u64) {
        let mut live = self.live();
        if live.generation == generation {
            live.opened = None;
        }
    }

    /// Opens and checks a new connection before the next call.
    pub(super) fn renew(&self) {
        if self.is_cluster() {
            self.suspect();
        } else {
            self.live().opened = None;
        }
    }

    fn suspect(&self) {
        self.live().suspect.get_or_insert_with(Instant::now);
    }

    fn current(&self, operation: &'static str) -> Result<Option<(Opened, bool)>> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        if live.closed {
            return Err(
                error(ErrorKind::Unavailable, operation).with_message("the store is closed")
            );
        }
        if let Some((kind, message)) = &live.refusal {
            return Err(error(*kind, operation).with_message(message.clone()));
        }
        let due = live.suspect.is_some_and(|since| since <= Instant::now());
        Ok(live.opened.clone().map(|opened| (opened, due)))
    }

    /// The connection, opened if there is none. Nothing was executed if that fails.
    async fn connection(
        self: &Arc<Self>,
        operation: &'static str,
        deadline: Instant,
    ) -> Result<Opened> {
        match self.current(operation) {
            Ok(None) => {}
            Ok(Some((opened, due))) => {
                if due {
                    self.check_cluster(opened.connection.clone());
                }
                if self.is_cluster() || opened.used().elapsed() < IDLE {
                    return Ok(opened);
                }
                if self.answers(&opened, deadline).await {
                    return Ok(opened);
                }
                self.drop_connection(opened.generation);
            }
            Err(refused) => {
                self.check_cluster_again();
                return Err(refused);
            }
        }
        // A task of its own: a caller that does not go on must not keep the others from it.
        let link = self.clone();
        let opening = tokio::spawn(async move { link.open(operation).await });
        match timeout_at(deadline, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => Err(error(ErrorKind::Unavailable, operation)
                .with_message("the runtime of the connection has ended")),
            Err(_) => Err(error(ErrorKind::Unavailable, operation)
                .with_message(format!("no connection within {:?}", self.response_timeout))),
        }
    }

    async fn answers(&self, opened: &Opened, deadline: Instant) -> bool {
        let ping = redis::cmd("PING");
        let answer = timeout_at(deadline, opened.connection.clone().command(&ping)).await;
        let answers = matches!(answer, Ok(Ok(_)));
        if answers {
            *opened.used() = Instant::now();
        }
        answers
    }

    async fn open(&self, operation: &'static str) -> Result<Opened> {
        let _one_at_a_time = self.connecting.lock().await;
        if let Some((current, _)) = self.current(operation)? {
            return Ok(current);
        }
        let opening = async {
            let connection = self.target.open(operation, self.response_timeout).await?;
            let standing = self.check(operation, &connection).await?;
            Ok((connection, standing))
        };
        let opened = timeout_at(self.opening_deadline(), opening).await;
        let (connection, standing) = opened
            .unwrap_or_else(|_| {
                Err(error(ErrorKind::Unavailable, operation)
                    .with_message(format!("no connection within {:?}", self.response_timeout)))
            })
            .inspect_err(|error| tracing::debug!(%error, "redis: connecting"))?;
        let mut live = self.live();
        live.generation += 1;
        let opened = Opened {
            connection,
            generation: live.generation,
            standing: Arc::new(standing),
            used: Arc::new(Mutex::new(Instant::now())),
        };
        live.opened = Some(opened.clone());
        Ok(opened)
    }

    async fn check(&self, operation: &'static str, connection: &Connection) -> Result<Standing> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known().clone();
        let standing = checks::check(operation, connection, &self.rules, &before).await?;
        known().extend(standing.servers.iter().cloned());
        Ok(standing)
    }

    /// Checks a cluster's servers beside the calls: one of them may have come back with other
    /// settings.
    fn check_cluster(self: &Arc<Self>, connection: Connection) {
        self.live().suspect = Some(Instant::now() + RECHECK);
        let link = self.clone();
        tokio::spawn(async move {
            let checked =
                timeout_at(link.opening_deadline(), link.check("connect", &connection)).await;
            let mut live = link.live();
            match checked {
                Ok(Ok(_)) => (live.suspect, live.refusal) = (None, None),
                Ok(Err(found)) if found.kind() == ErrorKind::Configuration => {
                    let message = found.message().unwrap_or_default().to_owned();
                    live.refusal = Some((found.kind(), message));
                }
                // A node is away: the others go on.
                Ok(Err(_)) | Err(_) => live.refusal = None,
            }
        });
    }

    /// A cluster that was refused may have been put right.
    fn check_cluster_again(self: &Arc<Self>) {
        let due = {
            let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
            let due = live.suspect.is_some_and(|since| since <= Instant::now());
            live.opened
                .clone()
                .filter(|_| due && live.refusal.is_some())
        };
        if let Some(opened) = due {
            self.check_cluster(opened.connection);
        }
    }

    /// Refuses all later calls and lets the connection go; calls under way keep it until they end.
    pub(super) fn close(&self) {
        let mut live = self.live();
        live.closed = true;
        live.opened = None;
        drop(live);
        self.waiters.close();
    }

    pub(super) fn ensure_open(&self, operation: &'static str) -> Result<()> {
        self.current(operation).map(drop)
    }
}
