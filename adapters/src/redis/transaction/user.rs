//! What a user does in a transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use exactly_once_core::Result;

use super::{RedisTx, reads::items_of};
use crate::redis::{
    commands::{Part, Verb, Write},
    error::refused,
    overlay::{Base, Overlay},
};

impl RedisTx {
    /// The string under a key.
    ///
    /// # Errors
    /// [Refused](exactly_once_core::ErrorKind::Refused): another type, another slot; retryable
    /// kinds.
    pub async fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        let key = self.claim_key("get", key.as_ref())?;
        let value = self.string(&key).await;
        self.noted(value)
    }

    /// Sets the string under a key, whatever was there.
    ///
    /// # Errors
    /// [Refused](exactly_once_core::ErrorKind::Refused): another slot;
    /// [invalid](exactly_once_core::ErrorKind::Invalid): our own key.
    pub fn set(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        let key = self.claim_key("set", key.as_ref())?;
        self.put_string(key, value.as_ref());
        Ok(())
    }

    /// Sets the string under a key, which vanishes this long after the commit. In a two-phase commit,
    /// that is the commit of the second phase.
    ///
    /// # Errors
    /// As [`Self::set`]; also for a time of less than a millisecond.
    pub fn set_for(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        time_to_live: Duration,
    ) -> Result<()> {
        let milliseconds = time_to_live.as_millis();
        if milliseconds == 0 || milliseconds > (i64::MAX / 2) as u128 {
            let error = refused("set_for", format!("{time_to_live:?} is no time to live"));
            return self.noted(Err(error));
        }
        let stays = format!(" PX {milliseconds}");
        self.set_with(key, value, stays.as_bytes())
    }

    /// With how long the value stays, as the scripts take it.
    pub(in crate::redis) fn set_with(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        stays: &[u8],
    ) -> Result<()> {
        let key = self.claim_key("set", key.as_ref())?;
        self.put_string(key, value.as_ref());
        if let Some(write) = self.work.writes.last_mut() {
            write.b = stays.to_vec();
        }
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
        overlay.remove_field(field.as_ref());
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
        let overlay = self.as_type("sismember", &key, "set").await;
        let overlay = self.noted(overlay)?;
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
        let overlay = self.as_type("list", &key, "list").await;
        let overlay = self.noted(overlay)?;
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
