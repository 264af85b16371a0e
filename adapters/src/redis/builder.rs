//! How a store is configured and opened.

use std::{
    collections::BTreeSet,
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use exactly_once_core::{Error, ErrorKind, MAX_RECEIPT_BYTES, Namespace, Result};

use super::{
    checks::{Require, Rules},
    connection::Target,
    error::{BACKEND, error},
    group::Groups,
    link::Link,
    nat::NatMap,
    replicas::Replicas,
    schema::{Layout, Placement},
    store::{Made, RedisStore, Shared},
    tls::Asked,
};
use crate::runtime;

const OPERATION: &str = "connect";
/// Below this many callers a script each is quicker: it waits for no other.
const GROUP_FROM: usize = 32;
const MAX_PREFIX_BYTES: usize = 64;

/// Options of a [`RedisStore`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `connect`"]
pub struct RedisStoreBuilder {
    urls: Vec<String>,
    cluster: bool,
    by_namespace: bool,
    nat_map: Vec<(String, SocketAddr)>,
    namespace: String,
    prefix: String,
    response_timeout: Duration,
    require: Require,
    replicas: Option<Replicas>,
    max_receipt_bytes: usize,
    group_from: usize,
    existing: bool,
}

/// Without the URLs, which may hold a password.
impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder")
            .field("cluster", &self.cluster)
            .field("nat_map", &self.nat_map)
            .field("namespace", &self.namespace)
            .field("prefix", &self.prefix)
            .field("response_timeout", &self.response_timeout)
            .field("require", &self.require)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}

impl RedisStoreBuilder {
    pub(super) fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            cluster: false,
            by_namespace: false,
            nat_map: Vec::new(),
            namespace: "default".to_owned(),
            prefix: "exactly-once".to_owned(),
            response_timeout: Duration::from_secs(5),
            require: Require::default(),
            replicas: None,
            max_receipt_bytes: MAX_RECEIPT_BYTES,
            group_from: GROUP_FROM,
            existing: false,
        }
    }

    /// A Redis Cluster, with more of its nodes to start from.
    pub fn cluster<U: Into<String>>(mut self, urls: impl IntoIterator<Item = U>) -> Self {
        self.cluster = true;
        self.urls.extend(urls.into_iter().map(Into::into));
        self
    }

    /// On a cluster: all of a namespace in one slot, so that a transaction or transfer may touch
    /// any of it. It scales with the number of namespaces. All handles must agree on it.
    pub fn one_slot_per_namespace(mut self) -> Self {
        self.by_namespace = true;
        self
    }

    /// On a cluster: nodes that can't be reached where they say they are, as behind NAT, in
    /// containers or through tunnels; each by the `host:port` that `CLUSTER SLOTS` reports of it, and
    /// where it is from here. Others are looked up by their names. Certificates must still be those
    /// of the announced hosts.
    pub fn nat_map<N: Into<String>>(
        mut self,
        nodes: impl IntoIterator<Item = (N, SocketAddr)>,
    ) -> Self {
        let nodes = nodes
            .into_iter()
            .map(|(announced, here)| (announced.into(), here));
        self.nat_map.extend(nodes);
        self
    }

    /// The namespace; `"default"` if not said.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// What every key of this crate starts with; `"exactly-once"` if not said. At most 64 bytes,
    /// without braces. All handles must agree on it.
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long a reply is awaited; 5 seconds if not said. After that a write is *ambiguous*.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// What an acknowledged write must survive; a power cut if not said.
    pub fn require(mut self, require: Require) -> Self {
        self.require = require;
        self
    }

    /// Replicas that must confirm each write; none if not said.
    pub fn replicas(mut self, replicas: Replicas) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// The largest receipt; 1 MiB if not said.
    pub fn max_receipt_bytes(mut self, bytes: usize) -> Self {
        self.max_receipt_bytes = bytes;
        self
    }

    /// From how many callers at once on the writes of one-shot effects and balances share a script
    /// (32): each still succeeds or fails alone. Fewer are quicker without; `usize::MAX` never
    /// groups.
    pub fn group_from(mut self, callers: usize) -> Self {
        self.group_from = callers;
        self
    }

    /// Connects only where a store has been before, under this key prefix: nothing is made. Without it
    /// a wrong server or prefix looks like an empty store.
    pub fn existing(mut self) -> Self {
        self.existing = true;
        self
    }

    /// Connects, and checks the server's settings.
    ///
    /// # Errors
    /// [Configuration](ErrorKind::Configuration), with the setting and the command that fixes it;
    /// [invalid](ErrorKind::Invalid) options; retryable kinds.
    pub async fn connect(self) -> Result<RedisStore> {
        let namespace = Namespace::new(self.namespace)?;
        check_prefix(&self.prefix)?;
        if self.response_timeout.is_zero() {
            return Err(error(ErrorKind::Invalid, OPERATION)
                .with_message("a response timeout of zero would end every call"));
        }
        let nat_map = NatMap::of(self.nat_map)?;
        let asked = Asked::of(self.urls)?;
        let user = user_of(asked.urls.first().map(String::as_str).unwrap_or_default());
        let target = Target::new(asked, self.cluster, nat_map, self.response_timeout)?;
        let rules = Rules {
            require: self.require,
            replicas: self.replicas,
            prefix: self.prefix.clone(),
            user,
            cluster: self.cluster,
            sentinel: target.is_sentinel(),
        };
        runtime::check(OPERATION, BACKEND).await?;
        let link = Arc::new(Link::new(target, rules, self.response_timeout));
        let standing = Box::pin(link.standing(OPERATION, link.opening_deadline())).await?;
        let identity = format!("{}/{}", identity_of(&standing.servers), link.database());
        let placement = match (self.cluster, self.by_namespace) {
            (false, _) => Placement::OneNode,
            (true, false) => Placement::Spread,
            (true, true) => Placement::ByNamespace,
        };
        let store = RedisStore::new(
            Arc::new(Shared {
                link,
                data: std::sync::Mutex::default(),
                identity,
                layout: Layout {
                    prefix: self.prefix,
                    placement,
                },
                max_receipt_bytes: self.max_receipt_bytes,
                durability: self.require.durability(),
                listed: std::sync::Mutex::default(),
                groups: Groups::new(self.group_from),
            }),
            namespace,
        );
        let made = if self.existing {
            Made::Never
        } else {
            Made::IfMissing
        };
        store.read_identity(OPERATION, made).await?;
        Ok(store)
    }
}

/// What distinguishes this server or cluster from others.
fn identity_of(servers: &BTreeSet<String>) -> String {
    if servers.is_empty() {
        // A server that does not name itself: then only clones of one handle are known as one.
        static UNKNOWN: AtomicU64 = AtomicU64::new(0);
        return UNKNOWN.fetch_add(1, Ordering::Relaxed).to_string();
    }
    Vec::from_iter(servers.iter().map(String::as_str)).join(" ")
}

/// The server's user, for the line that gives it what it lacks.
fn user_of(url: &str) -> String {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let login = authority.rsplit_once('@').map_or("", |(login, _)| login);
    let user = login.split_once(':').map_or(login, |(user, _)| user);
    if user.is_empty() { "default" } else { user }.to_owned()
}

fn check_prefix(prefix: &str) -> Result<(), Error> {
    if (1..=MAX_PREFIX_BYTES).contains(&prefix.len()) && !prefix.contains(['{', '}']) {
        return Ok(());
    }
    Err(error(ErrorKind::Invalid, OPERATION).with_message(format!(
        "the key prefix must have 1 to {MAX_PREFIX_BYTES} bytes and no brace, which would be read \
         as a hash tag"
    )))
}
