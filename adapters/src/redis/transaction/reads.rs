//! What the methods are made of.

use std::collections::{BTreeMap, BTreeSet};

use exactly_once_core::{Error, ErrorKind, Result};

use super::{PartKey, RedisTx};
use crate::redis::{
    commands::{Guard, Part, Verb, Write},
    error::{error, refused},
    overlay::{Base, FieldChange, Misfit, Overlay, sum},
    reply::Item,
    schema::Shard,
    scripts,
};

/// What the methods are made of; these note no error, and take our own keys too.
impl RedisTx {
    pub(super) fn overlay(&self, key: &[u8]) -> Overlay {
        self.overlays.get(key).cloned().unwrap_or_default()
    }

    /// What the transaction has made of a key, for a read as a type. Removals alone leave open whether
    /// anything of the other type is left: then that is looked at.
    pub(super) async fn as_type(
        &mut self,
        operation: &'static str,
        key: &[u8],
        needed: &'static str,
    ) -> Result<Overlay> {
        let overlay = self.overlay(key);
        let left = match overlay.fits(needed) {
            Ok(()) => return Ok(overlay),
            Err(misfit) if overlay.surely_present() => return Err(misfit_error(operation, misfit)),
            Err(misfit) => match misfit {
                Misfit::Type { found: "hash", .. } => !self.hash_of(key, overlay).await?.is_empty(),
                _ => !self.set_of(key, overlay).await?.is_empty(),
            },
        };
        if left {
            let message = format!("the key holds another type than a {needed}");
            return Err(refused(operation, message));
        }
        let gone = Overlay::upon(Base::Absent);
        self.overlays.insert(key.to_vec(), gone.clone());
        Ok(gone)
    }

    pub(in crate::redis) fn put_string(&mut self, key: Vec<u8>, value: &[u8]) {
        self.overlays
            .insert(key.clone(), Overlay::upon(Base::Text(value.to_vec())));
        self.work.writes.push(Write::new(Verb::Set, key, value, []));
    }

    pub(in crate::redis) fn put_field(
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

    pub(super) fn put_member(
        &mut self,
        operation: &'static str,
        verb: Verb,
        key: &[u8],
        member: &[u8],
    ) -> Result<()> {
        let key = self.claim_key(operation, key)?;
        let overlay = self.overlays.entry(key.clone()).or_default();
        let fits = overlay.be("set");
        overlay.put_member(member, verb == Verb::SAdd);
        self.fitting(operation, fits)?;
        self.work.writes.push(Write::new(verb, key, member, []));
        Ok(())
    }

    pub(in crate::redis) async fn string(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let overlay = self.as_type("get", key, "string").await?;
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

    pub(in crate::redis) async fn field(
        &mut self,
        key: &[u8],
        field: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let overlay = self.as_type("hget", key, "hash").await?;
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

    pub(super) async fn hash(&mut self, key: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let overlay = self.as_type("hget_all", key, "hash").await?;
        self.hash_of(key, overlay).await
    }

    async fn hash_of(
        &mut self,
        key: &[u8],
        overlay: Overlay,
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut fields = BTreeMap::new();
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

    pub(super) async fn set_members(&mut self, key: &[u8]) -> Result<BTreeSet<Vec<u8>>> {
        let overlay = self.as_type("smembers", key, "set").await?;
        self.set_of(key, overlay).await
    }

    async fn set_of(&mut self, key: &[u8], overlay: Overlay) -> Result<BTreeSet<Vec<u8>>> {
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
    pub(super) async fn part(
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

    /// Which prepared transaction holds the key, if any does. Not guarded: only a refusal asks.
    ///
    /// # Errors
    /// [Busy](ErrorKind::Busy) where the field, which this transaction has read, has changed since: a
    /// refusal by the old value would be wrong, also where the holder has committed in between.
    pub(in crate::redis) async fn holder_of(
        &self,
        operation: &'static str,
        shard: Shard,
        key: &[u8],
        field: &[u8],
    ) -> Result<Option<String>> {
        let layout = self.store.layout();
        // The last one is what the script deletes as its fence, so it must be ours and empty.
        let keys = vec![
            layout.reservations(shard),
            key.to_vec(),
            layout.fence(shard),
        ];
        let of =
            |at: &[u8], field: &[u8]| [Part::Field.as_str().into(), at.to_vec(), field.to_vec()];
        let arguments = [of(b"1", key), of(b"2", field)].concat();
        let reply = self
            .store
            .read(operation, &scripts::READ, shard, keys, arguments)
            .await?;
        // Of each: its word, its footprint, its value.
        let mut answers = reply.items.into_iter().map(|item| match item {
            Item::List(answer) => answer,
            _ => Vec::new(),
        });
        let holder = answers.next().and_then(|answer| answer.into_iter().nth(2));
        if let Some(holder) = holder.and_then(Item::bytes) {
            return Ok(Some(String::from_utf8_lossy(&holder).into_owned()));
        }
        let print = answers.next().and_then(|answer| answer.into_iter().nth(1));
        let print = print.and_then(Item::bytes);
        let is_it = |guard: &&Guard| {
            guard.part == Part::Field && guard.key == key && guard.argument == field
        };
        let seen = self.work.guards.iter().find(is_it);
        if seen.is_some_and(|guard| Some(&guard.footprint) != print.as_ref()) {
            return Err(error(ErrorKind::Busy, operation)
                .with_message("what this transaction has read has changed; run it again"));
        }
        Ok(None)
    }

    /// Reads parts that were not read yet, all in one trip.
    pub(in crate::redis) async fn fetch(
        &mut self,
        operation: &'static str,
        mut parts: Vec<PartKey>,
    ) -> Result<()> {
        parts.retain(|part| !self.seen.contains_key(part));
        if parts.is_empty() {
            return Ok(());
        }
        let shard = self.shard.unwrap_or_else(|| Shard::of_key(&parts[0].1));
        let mut keys: Vec<_> = parts.iter().map(|(_, key, _)| key.clone()).collect();
        keys.push(self.store.layout().fence(shard));
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
}

pub(super) fn misfit_error(operation: &'static str, misfit: Misfit) -> Error {
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

pub(super) fn items_of(item: Option<Item>) -> Vec<Vec<u8>> {
    match item {
        Some(Item::List(items)) => items.into_iter().filter_map(Item::bytes).collect(),
        _ => Vec::new(),
    }
}
