//! A transaction for the user's own commands.
//!
//! Redis has none that could be read in and written in, so this one is optimistic: reads go to the
//! server and are noted with a footprint of what was seen; writes are kept here; the commit is one
//! script that checks every footprint and every write, and then applies all or nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use exactly_once_core::{BoxError, Error, ErrorKind, Result, Transactional};
use redis::RedisError;

use super::{
    commands::{Guard, Part, Verb, Work, Write, refused},
    error::{BACKEND, Effect, error, from_driver},
    overlay::{Base, FieldChange, Misfit, Overlay, sum},
    reply::{Item, Reply},
    schema::{Placement, Shard},
    scripts,
    store::RedisStore,
};

/// A part of a key, as it is read.
type PartKey = (Part, Vec<u8>, Vec<u8>);

/// A transaction on Redis. Its reads see its own writes; nobody else does, before the commit.
///
/// What it has read and what somebody else changes before its commit makes the commit
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
        }
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

    /// The string under a key.
    ///
    /// # Errors
    /// [Refused](ErrorKind::Refused): another type, another slot; retryable kinds.
    pub async fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        let key = self.claim_key("get", key.as_ref())?;
        let value = self.string(&key).await;
        self.noted(value)
    }

    /// Sets the string under a key, whatever was there.
    ///
    /// # Errors
    /// [Refused](ErrorKind::Refused): another slot; [invalid](ErrorKind::Invalid): our own key.
    pub fn set(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        let key = self.claim_key("set", key.as_ref())?;
        self.put_string(key, value.as_ref());
        Ok(())
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn del(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        let key = self.claim_key("del", key.as_ref())?;
        self.overlays
            .insert(key.clone(), Overlay::upon(Base::Absent));
        self.work.writes.push(Write::new(Verb::Del, key, [], []));
        Ok(())
    }

    /// Whether there is anything under a key.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn exists(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        let key = self.claim_key("exists", key.as_ref())?;
        let overlay = self.overlay(&key);
        if overlay.surely_present() {
            return Ok(true);
        }
        if !overlay.is_on_server() {
            return Ok(false);
        }
        // Only removals of parts: whether anything is left shows in what is left.
        if !overlay.fields.is_empty() {
            let left = self.hash(&key).await;
            return self.noted(left).map(|fields| !fields.is_empty());
        }
        if !overlay.members.is_empty() {
            let left = self.set_members(&key).await;
            return self.noted(left).map(|members| !members.is_empty());
        }
        let seen = self.part("exists", Part::Present, &key, b"").await;
        self.noted(seen).map(|found| found.is_some())
    }

    /// Adds to the number under a key, without reading it. That it is a number, and stays within
    /// 64 bits, is checked at the commit.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn incr_by(&mut self, key: impl AsRef<[u8]>, delta: i64) -> Result<()> {
        let key = self.claim_key("incr_by", key.as_ref())?;
        let fits = self.overlays.entry(key.clone()).or_default().add(delta);
        self.fitting("incr_by", fits)?;
        self.work
            .writes
            .push(Write::new(Verb::Incr, key, delta.to_string(), []));
        Ok(())
    }

    /// A field of a hash.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn hget(
        &mut self,
        key: impl AsRef<[u8]>,
        field: impl AsRef<[u8]>,
    ) -> Result<Option<Vec<u8>>> {
        let key = self.claim_key("hget", key.as_ref())?;
        let value = self.field(&key, field.as_ref()).await;
        self.noted(value)
    }

    /// Sets a field of a hash.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn hset(
        &mut self,
        key: impl AsRef<[u8]>,
        field: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<()> {
        let key = self.claim_key("hset", key.as_ref())?;
        let fits = self.put_field(key, field.as_ref(), value.as_ref());
        self.fitting("hset", fits)
    }

    /// Removes a field of a hash.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn hdel(&mut self, key: impl AsRef<[u8]>, field: impl AsRef<[u8]>) -> Result<()> {
        let key = self.claim_key("hdel", key.as_ref())?;
        let overlay = self.overlays.entry(key.clone()).or_default();
        let fits = overlay.be("hash");
        overlay
            .fields
            .insert(field.as_ref().to_vec(), FieldChange::Deleted);
        self.fitting("hdel", fits)?;
        self.work
            .writes
            .push(Write::new(Verb::HDel, key, field.as_ref(), []));
        Ok(())
    }

    /// All fields of a hash.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn hget_all(&mut self, key: impl AsRef<[u8]>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let key = self.claim_key("hget_all", key.as_ref())?;
        let fields = self.hash(&key).await;
        self.noted(fields)
    }

    /// Adds to the number in a field of a hash, without reading it; see [`Self::incr_by`].
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn hincr_by(
        &mut self,
        key: impl AsRef<[u8]>,
        field: impl AsRef<[u8]>,
        delta: i64,
    ) -> Result<()> {
        let key = self.claim_key("hincr_by", key.as_ref())?;
        let field = field.as_ref().to_vec();
        let fits = self
            .overlays
            .entry(key.clone())
            .or_default()
            .add_to_field(field.clone(), delta);
        self.fitting("hincr_by", fits)?;
        self.work
            .writes
            .push(Write::new(Verb::HIncr, key, field, delta.to_string()));
        Ok(())
    }

    /// Adds a member to a set.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn sadd(&mut self, key: impl AsRef<[u8]>, member: impl AsRef<[u8]>) -> Result<()> {
        self.put_member("sadd", Verb::SAdd, key.as_ref(), member.as_ref())
    }

    /// Removes a member from a set.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn srem(&mut self, key: impl AsRef<[u8]>, member: impl AsRef<[u8]>) -> Result<()> {
        self.put_member("srem", Verb::SRem, key.as_ref(), member.as_ref())
    }

    /// Whether a set has a member.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn sismember(
        &mut self,
        key: impl AsRef<[u8]>,
        member: impl AsRef<[u8]>,
    ) -> Result<bool> {
        let key = self.claim_key("sismember", key.as_ref())?;
        let overlay = self.overlay(&key);
        let fits = overlay.fits("set");
        self.fitting("sismember", fits)?;
        if let Some(in_set) = overlay.members.get(member.as_ref()) {
            return Ok(*in_set);
        }
        if !overlay.is_on_server() {
            return Ok(false);
        }
        let seen = self
            .part("sismember", Part::Member, &key, member.as_ref())
            .await;
        self.noted(seen).map(|found| found.is_some())
    }

    /// All members of a set.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn smembers(&mut self, key: impl AsRef<[u8]>) -> Result<BTreeSet<Vec<u8>>> {
        let key = self.claim_key("smembers", key.as_ref())?;
        let members = self.set_members(&key).await;
        self.noted(members)
    }

    /// Appends to a list, without reading it.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn rpush(&mut self, key: impl AsRef<[u8]>, item: impl AsRef<[u8]>) -> Result<()> {
        let key = self.claim_key("rpush", key.as_ref())?;
        let overlay = self.overlays.entry(key.clone()).or_default();
        let fits = overlay.be("list");
        overlay.pushed.push(item.as_ref().to_vec());
        self.fitting("rpush", fits)?;
        self.work
            .writes
            .push(Write::new(Verb::RPush, key, item.as_ref(), []));
        Ok(())
    }

    /// All items of a list.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn list(&mut self, key: impl AsRef<[u8]>) -> Result<Vec<Vec<u8>>> {
        let key = self.claim_key("list", key.as_ref())?;
        let overlay = self.overlay(&key);
        let fits = overlay.fits("list");
        self.fitting("list", fits)?;
        let mut items = Vec::new();
        if overlay.is_on_server() {
            let seen = self.part("list", Part::Value, &key, b"list").await;
            items = items_of(self.noted(seen)?);
        }
        items.extend(overlay.pushed);
        Ok(items)
    }

    /// Adds a member to a sorted set, or gives it another score.
    ///
    /// # Errors
    /// As [`Self::set`]; also for a score that is not finite.
    pub fn zadd(
        &mut self,
        key: impl AsRef<[u8]>,
        member: impl AsRef<[u8]>,
        score: f64,
    ) -> Result<()> {
        let key = self.claim_key("zadd", key.as_ref())?;
        let fits = self.overlays.entry(key.clone()).or_default().be("zset");
        self.fitting("zadd", fits)?;
        if !score.is_finite() {
            let error = refused("zadd", format!("a score of {score} is no finite number"));
            return self.noted(Err(error));
        }
        self.work.writes.push(Write::new(
            Verb::ZAdd,
            key,
            member.as_ref(),
            score.to_string(),
        ));
        Ok(())
    }
}

/// What the methods are made of; these note no error, and take our own keys too.
impl RedisTx {
    fn overlay(&self, key: &[u8]) -> Overlay {
        self.overlays.get(key).cloned().unwrap_or_default()
    }

    pub(super) fn put_string(&mut self, key: Vec<u8>, value: &[u8]) {
        self.overlays
            .insert(key.clone(), Overlay::upon(Base::Text(value.to_vec())));
        self.work.writes.push(Write::new(Verb::Set, key, value, []));
    }

    pub(super) fn put_field(
        &mut self,
        key: Vec<u8>,
        field: &[u8],
        value: &[u8],
    ) -> std::result::Result<(), Misfit> {
        let overlay = self.overlays.entry(key.clone()).or_default();
        overlay.be("hash")?;
        overlay
            .fields
            .insert(field.to_vec(), FieldChange::Set(value.to_vec()));
        self.work
            .writes
            .push(Write::new(Verb::HSet, key, field, value));
        Ok(())
    }

    fn put_member(
        &mut self,
        operation: &'static str,
        verb: Verb,
        key: &[u8],
        member: &[u8],
    ) -> Result<()> {
        let key = self.claim_key(operation, key)?;
        let overlay = self.overlays.entry(key.clone()).or_default();
        let fits = overlay.be("set");
        overlay.members.insert(member.to_vec(), verb == Verb::SAdd);
        self.fitting(operation, fits)?;
        self.work.writes.push(Write::new(verb, key, member, []));
        Ok(())
    }

    pub(super) async fn string(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let overlay = self.overlay(key);
        overlay
            .fits("string")
            .map_err(|misfit| misfit_error("get", misfit))?;
        let before = match overlay.base {
            Base::Absent => None,
            Base::Text(text) => Some(text),
            Base::Server => self
                .part("get", Part::Value, key, b"string")
                .await?
                .and_then(Item::bytes),
        };
        if overlay.added == 0 {
            return Ok(before);
        }
        let after =
            sum(before.as_deref(), overlay.added).map_err(|misfit| misfit_error("get", misfit))?;
        Ok(Some(after.to_string().into_bytes()))
    }

    pub(super) async fn field(&mut self, key: &[u8], field: &[u8]) -> Result<Option<Vec<u8>>> {
        let overlay = self.overlay(key);
        overlay
            .fits("hash")
            .map_err(|misfit| misfit_error("hget", misfit))?;
        let delta = match overlay.fields.get(field) {
            Some(FieldChange::Set(value)) => return Ok(Some(value.clone())),
            Some(FieldChange::Deleted) => return Ok(None),
            Some(FieldChange::Added(delta)) => Some(*delta),
            None if overlay.is_on_server() => None,
            None => return Ok(None),
        };
        let before = self
            .part("hget", Part::Field, key, field)
            .await?
            .and_then(Item::bytes);
        match delta {
            None => Ok(before),
            Some(delta) => sum(before.as_deref(), delta)
                .map(|after| Some(after.to_string().into_bytes()))
                .map_err(|misfit| misfit_error("hget", misfit)),
        }
    }

    async fn hash(&mut self, key: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let overlay = self.overlay(key);
        let mut fields = BTreeMap::new();
        overlay
            .fits("hash")
            .map_err(|misfit| misfit_error("hget_all", misfit))?;
        if overlay.is_on_server() {
            let flat = items_of(self.part("hget_all", Part::Value, key, b"hash").await?);
            let mut flat = flat.into_iter();
            while let (Some(field), Some(value)) = (flat.next(), flat.next()) {
                fields.insert(field, value);
            }
        }
        for (field, change) in overlay.fields {
            match change {
                FieldChange::Set(value) => fields.insert(field, value),
                FieldChange::Deleted => fields.remove(&field),
                FieldChange::Added(delta) => {
                    let after = sum(fields.get(&field).map(Vec::as_slice), delta)
                        .map_err(|misfit| misfit_error("hget_all", misfit))?;
                    fields.insert(field, after.to_string().into_bytes())
                }
            };
        }
        Ok(fields)
    }

    async fn set_members(&mut self, key: &[u8]) -> Result<BTreeSet<Vec<u8>>> {
        let overlay = self.overlay(key);
        overlay
            .fits("set")
            .map_err(|misfit| misfit_error("smembers", misfit))?;
        let mut members = BTreeSet::new();
        if overlay.is_on_server() {
            members.extend(items_of(
                self.part("smembers", Part::Value, key, b"set").await?,
            ));
        }
        for (member, in_set) in overlay.members {
            if in_set {
                members.insert(member);
            } else {
                members.remove(&member);
            }
        }
        Ok(members)
    }

    /// A part of a key as the server has it: read once, and guarded from then on.
    async fn part(
        &mut self,
        operation: &'static str,
        part: Part,
        key: &[u8],
        argument: &[u8],
    ) -> Result<Option<Item>> {
        let wanted = (part, key.to_vec(), argument.to_vec());
        self.fetch(operation, vec![wanted.clone()]).await?;
        Ok(self.seen.get(&wanted).cloned().flatten())
    }

    /// Reads parts that were not read yet, all in one trip.
    pub(super) async fn fetch(
        &mut self,
        operation: &'static str,
        mut parts: Vec<PartKey>,
    ) -> Result<()> {
        parts.retain(|part| !self.seen.contains_key(part));
        if parts.is_empty() {
            return Ok(());
        }
        let shard = self.shard.unwrap_or_else(|| Shard::of_key(&parts[0].1));
        let keys: Vec<_> = parts.iter().map(|(_, key, _)| key.clone()).collect();
        let mut arguments = Vec::new();
        for (at, (part, _, argument)) in (1..=parts.len()).zip(&parts) {
            arguments.push(part.as_str().into());
            arguments.push(at.to_string().into_bytes());
            arguments.push(argument.clone());
        }
        let reply = self
            .store
            .read(operation, &scripts::READ, shard, keys, arguments)
            .await?;
        let unexpected = reply.unexpected();
        if reply.items.len() != parts.len() {
            return Err(unexpected);
        }
        for (wanted, answer) in parts.into_iter().zip(reply.items) {
            let Item::List(answer) = answer else {
                return Err(unexpected);
            };
            let mut answer = answer.into_iter();
            let word = answer.next().and_then(Item::bytes).unwrap_or_default();
            let print = answer.next().and_then(Item::bytes).unwrap_or_default();
            if word != b"read" {
                let key = String::from_utf8_lossy(&wanted.1).into_owned();
                let found = String::from_utf8_lossy(&print).into_owned();
                return Err(refused(operation, format!("the key {key} holds a {found}")));
            }
            let value = match answer.next() {
                None | Some(Item::Nothing) if wanted.0 == Part::Present => {
                    (print == b"yes").then_some(Item::Nothing)
                }
                None | Some(Item::Nothing) => None,
                value => value,
            };
            let (part, key, argument) = wanted.clone();
            self.work.guards.push(Guard {
                part,
                key,
                argument,
                footprint: print,
            });
            self.seen.insert(wanted, value);
        }
        Ok(())
    }

    /// Takes a user's key: not one of ours, and in the transaction's slot.
    fn claim_key(&mut self, operation: &'static str, key: &[u8]) -> Result<Vec<u8>> {
        let taken = self.check_key(operation, key);
        self.noted(taken)?;
        Ok(key.to_vec())
    }

    fn check_key(&mut self, operation: &'static str, key: &[u8]) -> Result<()> {
        if let Some((kind, message)) = &self.broken {
            return Err(error(*kind, operation).with_message(message.clone()));
        }
        check_user_key(&self.store, operation, key)?;
        self.enter(operation, Shard::of_key(key))
    }

    /// Takes a slot: the first one is the transaction's.
    pub(super) fn enter(&mut self, operation: &'static str, shard: Shard) -> Result<()> {
        if self.store.layout().placement == Placement::OneNode {
            return Ok(());
        }
        let own = *self.shard.get_or_insert(shard);
        if own == shard {
            return Ok(());
        }
        Err(refused(
            operation,
            format!(
                "the key lies in slot {} of the cluster and the transaction in slot {}: give both \
                 the same hash tag, as `charge:{{order-17}}`, or name the key by `tx.key(…)`",
                shard.number(),
                own.number()
            ),
        ))
    }

    /// Remembers an error, so that the transaction can't be committed as if there were none.
    pub(super) fn noted<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result
            && self.broken.is_none()
        {
            let message = format!("an earlier command of the transaction failed: {error}");
            self.broken = Some((error.kind(), message));
        }
        result
    }

    pub(super) fn fitting(
        &mut self,
        operation: &'static str,
        fits: std::result::Result<(), Misfit>,
    ) -> Result<()> {
        self.noted(fits.map_err(|misfit| misfit_error(operation, misfit)))
    }

    /// The work, unless a command failed.
    pub(super) fn finish(self, operation: &'static str) -> Result<Work> {
        match self.broken {
            Some((kind, message)) => Err(error(kind, operation).with_message(message)),
            None => Ok(self.work),
        }
    }
}

/// Refuses a user's key that is one of ours.
pub(super) fn check_user_key(
    store: &RedisStore,
    operation: &'static str,
    key: &[u8],
) -> Result<()> {
    if store.layout().is_ours(key) {
        return Err(error(ErrorKind::Invalid, operation)
            .with_message("the key starts as this crate's own keys do: choose another name"));
    }
    Ok(())
}

fn misfit_error(operation: &'static str, misfit: Misfit) -> Error {
    match misfit {
        Misfit::Type { found, needed } => refused(
            operation,
            format!("the key holds a {found}, not a {needed}"),
        ),
        Misfit::NoInteger => refused(operation, "the value is no 64-bit integer".to_owned()),
        Misfit::Overflow => error(ErrorKind::Overflow, operation)
            .with_message("the number would leave the range of a 64-bit integer"),
    }
}

fn items_of(item: Option<Item>) -> Vec<Vec<u8>> {
    match item {
        Some(Item::List(items)) => items.into_iter().filter_map(Item::bytes).collect(),
        _ => Vec::new(),
    }
}

/// The error for an answer by which a script refused a transaction's work.
pub(super) fn refusal(operation: &'static str, reply: &Reply) -> Error {
    let told = reply.lossy(1);
    match reply.word() {
        "changed" => error(ErrorKind::Busy, operation).with_message(format!(
            "{told} was changed by somebody else since the transaction read it"
        )),
        "reserved" => error(ErrorKind::Reserved, operation).with_message(format!(
            "a key is reserved for the prepared transaction {told}"
        )),
        "refused" => refused(operation, told),
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
        let source = match source.downcast::<Error>() {
            Ok(error) => return *error,
            Err(source) => source,
        };
        match source.downcast::<RedisError>() {
            Ok(error) => from_driver(operation, *error, Effect::Read),
            Err(source) => {
                Error::new(ErrorKind::WorkFailed, operation, BACKEND).with_source(source)
            }
        }
    }
}
