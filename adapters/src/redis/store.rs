//! The store itself: a namespace on a shared connection.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use exactly_once_core::{
    Capabilities, ClaimMode, Durability, ErrorKind, IdempotencyKey, Namespace, Place, Result,
    Store, StoreIdentity, Timestamp, TwoPhase,
};

use super::{
    builder::RedisStoreBuilder,
    call::Call,
    error::{BACKEND, Effect, error},
    group::Groups,
    link::Link,
    reply::{Origin, Reply},
    schema::{Layout, Placement, Shard},
    scripts::{self, LuaScript},
};

/// How long a shard counts as listed.
const LISTED_FOR: Duration = Duration::from_secs(600);

/// Whether reading the identity of the data makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// Where there is none: the store is a new one.
    IfMissing,
    /// In the place of the one that stands.
    Adopted,
    /// Not at all.
    Never,
}

impl Made {
    /// As the script reads it.
    fn word(self) -> &'static str {
        match self {
            Self::IfMissing => "",
            Self::Adopted => "adopt",
            Self::Never => "existing",
        }
    }
}

/// What all handles on one connection share.
pub(super) struct Shared {
    pub(super) link: Arc<Link>,
    /// Which database of which server or cluster this is, the same for every handle on it.
    pub(super) identity: String,
    /// The identity of the data; a handle reads it once.
    pub(super) data: Mutex<Option<StoreIdentity>>,
    pub(super) layout: Layout,
    pub(super) max_receipt_bytes: usize,
    pub(super) durability: Durability,
    /// Shards that this process has listed on the server, and when: a failover may lose the list.
    pub(super) listed: Mutex<HashMap<(Namespace, Shard), Instant>>,
    pub(super) groups: Groups,
}

/// A store on Redis or Valkey. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct RedisStore {
    pub(super) shared: Arc<Shared>,
    pub(super) namespace: Namespace,
    pub(super) bound: Option<Shard>,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("namespace", &self.namespace)
            .field("layout", &self.shared.layout)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Options for a store at this URL, `redis://user:password@host:port/database`.
    pub fn builder(url: impl Into<String>) -> RedisStoreBuilder {
        RedisStoreBuilder::new(url)
    }

    pub(super) fn new(shared: Arc<Shared>, namespace: Namespace) -> Self {
        Self {
            shared,
            namespace,
            bound: None,
        }
    }

    /// On a cluster: a handle whose plain and prepared transactions lie where the account or tag
    /// of this name lies (`"alice"`, `"{order-17}"`). It is a **participant of its own** in a
    /// two-phase commit, with its own records in doubt: recover them by a handle bound alike.
    /// Elsewhere, the same handle.
    #[must_use]
    pub fn at(&self, name: &str) -> Self {
        let layout = &self.shared.layout;
        let bound =
            (layout.placement == Placement::Spread).then(|| layout.shard_of(&self.namespace, name));
        Self {
            bound,
            ..self.clone()
        }
    }

    /// On a cluster: a key for the user's own data that lies beside the record of an idempotency
    /// key, for the statements of a one-shot effect. On a single node, the name itself. See
    /// [`RedisTx::key`](super::RedisTx::key).
    #[must_use]
    pub fn key_beside(&self, key: &IdempotencyKey, name: impl AsRef<[u8]>) -> Vec<u8> {
        match self.layout().placement {
            Placement::OneNode => name.as_ref().to_vec(),
            Placement::Spread | Placement::ByNamespace => {
                let shard = self.layout().shard_of_key(&self.namespace, key);
                self.layout().user_key(shard, name.as_ref())
            }
        }
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    /// A key of this namespace.
    pub(super) fn key(&self, shard: Shard, kind: &str, name: impl AsRef<[u8]>) -> Vec<u8> {
        self.layout().key(shard, &self.namespace, kind, name)
    }

    /// Runs a script that only reads.
    pub(super) async fn read(
        &self,
        operation: &'static str,
        script: &'static LuaScript,
        shard: Shard,
        keys: Vec<Vec<u8>>,
        arguments: Vec<Vec<u8>>,
    ) -> Result<Reply> {
        let effect = Effect::Read;
        let call = Call {
            operation,
            script,
            shard,
            keys,
            arguments,
            effect,
        };
        let link = &self.shared.link;
        link.run(call, link.deadline()).await
    }

    /// Runs a script that may write, and waits for the replicas.
    pub(super) async fn write(
        &self,
        operation: &'static str,
        script: &'static LuaScript,
        shard: Shard,
        keys: Vec<Vec<u8>>,
        arguments: Vec<Vec<u8>>,
    ) -> Result<Reply> {
        let effect = Effect::Write;
        let call = Call {
            operation,
            script,
            shard,
            keys,
            arguments,
            effect,
        };
        // One for all that is waited for.
        let deadline = self.shared.link.deadline();
        let reply = if script.grouped.is_some() {
            self.shared.run_in_group(call, deadline).await?
        } else {
            self.shared.link.run(call, deadline).await?
        };
        self.confirm(operation, shard, &reply.origin, deadline)
            .await?;
        Ok(reply)
    }

    /// Reads the identity of the data, makes it, or replaces it.
    pub(super) async fn read_identity(
        &self,
        operation: &'static str,
        made: Made,
    ) -> Result<StoreIdentity> {
        let (shard, key) = self.layout().identity();
        let arguments = vec![
            StoreIdentity::random().as_bytes().to_vec(),
            made.word().as_bytes().to_vec(),
        ];
        let reply = self
            .read(operation, &scripts::IDENTITY, shard, vec![key], arguments)
            .await?;
        match reply.word() {
            // A failover must not bring another one.
            "made" => self.replicate(operation, shard, &reply).await?,
            "missing" => {
                return Err(error(ErrorKind::Configuration, operation).with_message(format!(
                    "there is no store of exactly-once under the key prefix {:?}: check the server, \
                     the database number and the prefix that the URL names, or make one with \
                     `exactly-once migrate`",
                    self.layout().prefix
                )));
            }
            _ => {}
        }
        let identity = reply.bytes(1).try_into();
        let identity = StoreIdentity::from_bytes(identity.map_err(|_| reply.unexpected())?);
        let mut known = self
            .shared
            .data
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *known = Some(identity);
        Ok(identity)
    }

    fn known_identity(&self) -> Option<StoreIdentity> {
        *self
            .shared
            .data
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What vouches for a write waits like the write: it must have reached the replicas, also where
    /// an earlier call wrote it.
    pub(super) async fn replicate(
        &self,
        operation: &'static str,
        shard: Shard,
        reply: &Reply,
    ) -> Result<()> {
        let deadline = self.shared.link.deadline();
        self.confirm(operation, shard, &reply.origin, deadline)
            .await
    }

    async fn confirm(
        &self,
        operation: &'static str,
        shard: Shard,
        origin: &Origin,
        deadline: tokio::time::Instant,
    ) -> Result<()> {
        let barrier = self.layout().barrier(shard);
        let link = &self.shared.link;
        link.replicate(operation, shard, barrier, origin.clone(), deadline)
            .await
    }

    /// Notes a shard on the server before the first write to it, so that upkeep finds it.
    pub(super) async fn list_shard(&self, operation: &'static str, shard: Shard) -> Result<()> {
        if self.layout().placement != Placement::Spread
            || self.layout().is_bucket(&self.namespace, shard)
        {
            return Ok(());
        }
        let entry = (self.namespace.clone(), shard);
        let listed = || {
            self.shared
                .listed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let lately = |at: &Instant| at.elapsed() < LISTED_FOR;
        if listed().get(&entry).is_some_and(lately) {
            return Ok(());
        }
        let list = self.layout().shards(&self.namespace);
        self.shared
            .link
            .add_member(operation, list, shard.number())
            .await?;
        listed().insert(entry, Instant::now());
        Ok(())
    }

    /// Every shard in which this namespace has anything.
    pub(super) async fn all_shards(&self, operation: &'static str) -> Result<Vec<Shard>> {
        let mut shards = self.layout().buckets(&self.namespace);
        if self.layout().placement == Placement::Spread {
            let list = self.layout().shards(&self.namespace);
            let more = self.shared.link.members(operation, list).await?;
            shards.extend(more.into_iter().filter_map(Shard::from_number));
            // What the server has lost of the list, this process still knows.
            let known: Vec<Shard> = {
                let listed = &self.shared.listed;
                let listed = listed.lock().unwrap_or_else(PoisonError::into_inner);
                let own = listed.keys().filter(|(name, _)| *name == self.namespace);
                own.map(|(_, shard)| *shard).collect()
            };
            for shard in known {
                if !shards.contains(&shard) {
                    let list = self.layout().shards(&self.namespace);
                    let link = &self.shared.link;
                    link.add_member(operation, list, shard.number()).await?;
                    shards.push(shard);
                }
            }
        }
        Ok(shards)
    }
}

#[cfg(feature = "cli")]
impl RedisStore {
    /// How much waits for a decision or was decided and is not carried out, in every namespace.
    pub(crate) async fn left_anywhere(&self) -> Result<u64> {
        const OPERATION: &str = "adopt";
        let link = &self.shared.link;
        if link.is_cluster() {
            return Err(error(ErrorKind::Unsupported, OPERATION)
                .with_message("a cluster has no list of its keys over all nodes"));
        }
        let mut left = 0;
        for kind in [
            "transaction-doubt",
            "transaction-at-doubt",
            "decision-unfinished",
        ] {
            let pattern = self.layout().pattern(kind);
            left += link.members_of_matching(OPERATION, &pattern).await?;
        }
        Ok(left)
    }
}

impl Store for RedisStore {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn place(&self) -> Place {
        let Shared {
            identity, layout, ..
        } = &*self.shared;
        Place::new([BACKEND, identity, &layout.prefix])
    }

    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn with_namespace(&self, namespace: Namespace) -> Self {
        Self {
            namespace,
            ..self.clone()
        }
    }

    fn capabilities(&self) -> Capabilities {
        let staged = TwoPhase::Staged {
            stops_foreign_writers: false,
        };
        Capabilities::new(self.shared.durability, staged)
            .with_max_receipt_bytes(self.shared.max_receipt_bytes)
            .with_claim(ClaimMode::Optimistic)
            .with_transfers_across_shards(self.layout().placement != Placement::Spread)
    }

    async fn now(&self) -> Result<Timestamp> {
        let shard = self.layout().shard_of(&self.namespace, "clock");
        let index = self.key(shard, "clock", "");
        let arguments = vec![Vec::new(), b"1".to_vec()];
        let reply = self
            .read("now", &scripts::PAGE, shard, vec![index], arguments)
            .await?;
        reply.time(1)
    }

    async fn identity(&self) -> Result<StoreIdentity> {
        let identity = match self.known_identity() {
            Some(known) => known,
            None => self.read_identity("identity", Made::IfMissing).await?,
        };
        // A bound handle is a participant of its own.
        Ok(match self.bound {
            Some(shard) => identity.part(&shard.number().to_be_bytes()),
            None => identity,
        })
    }

    async fn adopt(&self) -> Result<StoreIdentity> {
        self.read_identity("adopt", Made::Adopted).await
    }

    async fn close(&self) -> Result<()> {
        self.shared.link.close();
        Ok(())
    }
}
