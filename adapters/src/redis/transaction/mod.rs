//! A transaction for the user's own commands.
//!
//! Redis has none that could be read in and written in, so this one is optimistic: reads go to the
//! server and are noted with a footprint of what was seen; writes are kept here; the commit is one
//! script that checks every footprint and every write, and then applies all or nothing.

mod keys;
mod reads;
mod user;

use std::{collections::HashMap, fmt};

use exactly_once_core::{
    BoxError, Claim, Error, ErrorKind, Namespace, Receipt, Result, Returning, Store, Transactional,
    adapter::refusals,
};

pub(super) use keys::check_user_key;

use super::{
    attempt::Attempt,
    commands::{Part, Work},
    error::{BACKEND, classify, error, refused},
    overlay::Overlay,
    reply::{Item, Reply},
    schema::{Placement, Shard},
    scripts,
    store::RedisStore,
};

/// A part of a key, as it is read.
type PartKey = (Part, Vec<u8>, Vec<u8>);

/// A transaction on Redis. Its reads see its own writes; no other caller does, before the commit.
///
/// What it has read and another caller changes before its commit makes the commit
/// [busy](ErrorKind::Busy): run the work again. [`RedisTx::incr_by`] reads nothing, so it never
/// conflicts; a [`RedisTx::get`] of the same key does.
///
/// An error of any method is not forgotten: the transaction can't be committed after it.
pub struct RedisTx {
    pub(super) store: RedisStore,
    pub(super) shard: Option<Shard>,
    pub(super) work: Work,
    seen: HashMap<PartKey, Option<Item>>,
    overlays: HashMap<Vec<u8>, Overlay>,
    broken: Option<(ErrorKind, String)>,
    /// Of a prepared transaction.
    pub(in crate::redis) attempt: Option<Attempt>,
    /// The claim that gave it, if one did.
    pub(in crate::redis) claim: Option<Claim>,
}

/// Without keys and values.
impl fmt::Debug for RedisTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTx")
            .field("reads", &self.work.guards.len())
            .field("writes", &self.work.writes.len())
            .field("broken", &self.broken.is_some())
            .finish_non_exhaustive()
    }
}

impl RedisTx {
    pub(super) fn new(store: RedisStore, shard: Option<Shard>) -> Self {
        Self {
            store,
            shard,
            work: Work::default(),
            seen: HashMap::new(),
            overlays: HashMap::new(),
            broken: None,
            attempt: None,
            claim: None,
        }
    }

    /// The namespace of the store that began it.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.store.namespace
    }

    /// Refuses a transaction that another store began: its work would be committed here, where no key,
    /// marker or reservation of it stands.
    pub(super) fn check_home(&self, store: &RedisStore, operation: &'static str) -> Result<()> {
        let found = if self.store.place() != store.place() {
            "the transaction was begun in another database"
        } else if self.store.namespace != store.namespace {
            "the transaction was begun in another namespace"
        } else {
            return Ok(());
        };
        Err(error(ErrorKind::Invalid, operation).with_message(found))
    }

    /// What this crate's own keys start with, in the store that began it.
    #[must_use]
    pub fn key_prefix(&self) -> &str {
        &self.store.layout().prefix
    }

    /// A key that lies in this transaction's slot, for names that have no tag of their own. On a
    /// single node, and before a transaction's slot is known, it is the name itself.
    #[must_use]
    pub fn key(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        match self.shard {
            Some(shard) if self.store.layout().placement != Placement::OneNode => {
                self.store.layout().user_key(shard, name.as_ref())
            }
            _ => name.as_ref().to_vec(),
        }
    }
}

/// The error for an answer by which a script refused a transaction's work.
pub(super) fn refusal(operation: &'static str, reply: &Reply) -> Error {
    let told = reply.lossy(1);
    let number = |at: usize| reply.integer(at).ok().and_then(|n| u64::try_from(n).ok());
    let to_usize = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    match reply.word() {
        "changed" => error(ErrorKind::Busy, operation).with_message(format!(
            "{told} was changed by somebody else since the transaction read it"
        )),
        "reserved" => refusals::reserved("a key", &told, operation, BACKEND),
        "refused" => refused(operation, told),
        "rows" => match (number(1), number(2), number(3)) {
            (Some(statement), Some(changed), Some(expected)) => {
                refusals::rows(to_usize(statement), changed, expected, operation, BACKEND)
            }
            _ => reply.unexpected(),
        },
        "too large" => match (number(1), number(2)) {
            (Some(statement), Some(bytes)) => {
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                let limits = Returning::rows(1).within_bytes(bytes);
                refusals::rows_too_large(to_usize(statement), limits, operation, BACKEND)
            }
            _ => reply.unexpected(),
        },
        "receipt" => match (number(1), number(2)) {
            (Some(size), Some(limit)) => {
                let receipt = Receipt::from_bytes(vec![0; to_usize(size)]);
                let checked = receipt.check_size(to_usize(limit), operation, BACKEND);
                checked.err().unwrap_or_else(|| reply.unexpected())
            }
            _ => reply.unexpected(),
        },
        "overflow" => error(ErrorKind::Overflow, operation).with_message(told),
        _ => reply.unexpected(),
    }
}

impl Transactional for RedisStore {
    type Tx = RedisTx;

    async fn begin(&self) -> Result<RedisTx> {
        self.shared.link.ensure_open("begin")?;
        let shard = match self.layout().placement {
            Placement::Spread => self.bound,
            Placement::OneNode | Placement::ByNamespace => {
                Some(self.layout().shard_of(&self.namespace, ""))
            }
        };
        Ok(RedisTx::new(self.clone(), shard))
    }

    async fn commit(&self, tx: RedisTx) -> Result<()> {
        tx.check_home(self, "commit")?;
        let Some(shard) = tx.shard else {
            return tx.finish("commit").map(drop);
        };
        let work = tx.finish("commit")?;
        self.shared.link.ensure_open("commit")?;
        if work.is_empty() {
            return Ok(());
        }
        let (keys, arguments) = work.for_script();
        let keys = [vec![self.layout().reservations(shard)], keys].concat();
        self.list_shard("commit", shard).await?;
        let reply = self
            .write("commit", &scripts::COMMIT, shard, keys, arguments)
            .await?;
        match reply.word() {
            "ok" => Ok(()),
            _ => Err(refusal("commit", &reply)),
        }
    }

    async fn rollback(&self, _tx: RedisTx) -> Result<()> {
        Ok(())
    }

    fn classify(&self, operation: &'static str, source: BoxError) -> Error {
        classify(operation, source)
    }
}
