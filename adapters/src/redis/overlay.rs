//! What a transaction's own writes have made of a key, for its own reads.

use std::collections::BTreeMap;

/// What a key was replaced by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// What is on the server.
    Server,
    Absent,
    Text(Vec<u8>),
}

/// What a field was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FieldChange {
    Set(Vec<u8>),
    Deleted,
    Added(i128),
}

/// The transaction's own changes of one key, upon its base.
#[derive(Clone, Debug)]
pub(super) struct Overlay {
    pub(super) base: Base,
    /// Wider than the server's numbers: what the steps add up to need not fit, as long as the value
    /// does after each of them.
    pub(super) added: i128,
    pub(super) fields: BTreeMap<Vec<u8>, FieldChange>,
    pub(super) members: BTreeMap<Vec<u8>, bool>,
    pub(super) pushed: Vec<Vec<u8>>,
    kind: Option<&'static str>,
}

impl Default for Overlay {
    fn default() -> Self {
        Self::upon(Base::Server)
    }
}

/// Why a change can't be noted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    Type {
        found: &'static str,
        needed: &'static str,
    },
    NoInteger,
    Overflow,
}

impl Overlay {
    /// A key that was replaced; all earlier changes are gone.
    pub(super) fn upon(base: Base) -> Self {
        let kind = matches!(base, Base::Text(_)).then_some("string");
        Self {
            base,
            added: 0,
            fields: BTreeMap::new(),
            members: BTreeMap::new(),
            pushed: Vec::new(),
            kind,
        }
    }

    /// Notes that the key is of a type from now on, unless it is surely of another. Where only parts of
    /// another were removed, the server takes this change if nothing of it was left, and else none of
    /// them: so nothing was.
    pub(super) fn be(&mut self, needed: &'static str) -> Result<(), Misfit> {
        if let Err(misfit) = self.fits(needed) {
            if self.surely_present() {
                return Err(misfit);
            }
            *self = Self::upon(Base::Absent);
        }
        self.kind = Some(needed);
        Ok(())
    }

    pub(super) fn remove_field(&mut self, field: &[u8]) {
        self.fields.insert(field.to_vec(), FieldChange::Deleted);
        self.forget_type();
    }

    pub(super) fn put_member(&mut self, member: &[u8], in_set: bool) {
        self.members.insert(member.to_vec(), in_set);
        self.forget_type();
    }

    /// A key that begins with nothing is gone with its last part.
    fn forget_type(&mut self) {
        if self.base == Base::Absent && !self.surely_present() {
            *self = Self::upon(Base::Absent);
        }
    }

    /// Whether the key may be read as a type.
    pub(super) fn fits(&self, needed: &'static str) -> Result<(), Misfit> {
        match self.kind {
            Some(found) if found != needed => Err(Misfit::Type { found, needed }),
            _ => Ok(()),
        }
    }

    pub(super) fn is_on_server(&self) -> bool {
        self.base == Base::Server
    }

    /// Whether anything was put there that makes the key present.
    pub(super) fn surely_present(&self) -> bool {
        matches!(self.base, Base::Text(_))
            || !self.pushed.is_empty()
            || self.kind == Some("string")
            || self.kind == Some("zset")
            || self.members.values().any(|in_set| *in_set)
            || self
                .fields
                .values()
                .any(|change| *change != FieldChange::Deleted)
    }

    pub(super) fn add(&mut self, delta: i64) -> Result<(), Misfit> {
        self.be("string")?;
        self.added = self
            .added
            .checked_add(delta.into())
            .ok_or(Misfit::Overflow)?;
        Ok(())
    }

    pub(super) fn add_to_field(&mut self, field: Vec<u8>, delta: i64) -> Result<(), Misfit> {
        self.be("hash")?;
        let change = match self.fields.get(&field) {
            Some(FieldChange::Set(value)) => {
                FieldChange::Set(sum(Some(value), delta.into())?.to_string().into_bytes())
            }
            Some(FieldChange::Deleted) => FieldChange::Set(delta.to_string().into_bytes()),
            Some(FieldChange::Added(before)) => {
                FieldChange::Added(before.checked_add(delta.into()).ok_or(Misfit::Overflow)?)
            }
            None if self.is_on_server() => FieldChange::Added(delta.into()),
            None => FieldChange::Set(delta.to_string().into_bytes()),
        };
        self.fields.insert(field, change);
        Ok(())
    }
}

/// A number as it is stored, with a delta; an absent one is zero.
pub(super) fn sum(stored: Option<&[u8]>, delta: i128) -> Result<i64, Misfit> {
    let before = match stored {
        None => 0,
        Some(bytes) => std::str::from_utf8(bytes)
            .ok()
            // As the server reads it: no plus sign, no leading zero.
            .and_then(|text| text.parse::<i64>().ok().filter(|n| n.to_string() == text))
            .ok_or(Misfit::NoInteger)?,
    };
    let after = i128::from(before).checked_add(delta);
    after
        .and_then(|after| i64::try_from(after).ok())
        .ok_or(Misfit::Overflow)
}
