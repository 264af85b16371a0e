//! Identities of stores: the proof that a decision register is the one a transaction names.
//!
//! A URL, an address or a [`Place`](crate::Place) changes when a server moves, and says nothing about
//! a restored copy. An identity is random, stands among the data, and goes where the data go: through
//! a backup, a restore, a move and a rename.

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{error::Result, names::Namespace, store::Store};

/// The bytes of an identity.
pub const IDENTITY_BYTES: usize = 16;

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; IDENTITY_BYTES]);

        impl $name {
            /// An identity that was stored.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; IDENTITY_BYTES]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; IDENTITY_BYTES] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

identity! {
    /// The identity of a store's data: random, made with its tables; see [`Store::identity`].
    StoreIdentity
}

identity! {
    /// The identity of one namespace of a store: what a register and a participant are known by.
    NamespaceIdentity
}

/// The first bytes of a SHA-256.
pub(crate) fn short(hash: Sha256) -> [u8; IDENTITY_BYTES] {
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk().copied().unwrap_or_default()
}

impl StoreIdentity {
    /// A new one, for an adapter that creates its tables, or adopts a copy of them.
    ///
    /// To ensure correctness, store it in the transaction that creates the tables: two processes that
    /// create them at once must read back the same identity.
    #[must_use]
    pub fn random() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut hash = Sha256::new();
        hash.update(b"exactly-once/identity/1");
        // The state is seeded by the operating system, with 128 random bits.
        let state = RandomState::new();
        for part in 0_u64..4 {
            hash.update(state.hash_one(part).to_be_bytes());
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        hash.update(since.unwrap_or_default().as_nanos().to_be_bytes());
        hash.update(std::process::id().to_be_bytes());
        hash.update(NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Self(short(hash))
    }

    /// The identity of one namespace of this store.
    #[must_use]
    pub fn within(&self, namespace: &Namespace) -> NamespaceIdentity {
        let mut hash = Sha256::new();
        hash.update(b"exactly-once/identity/namespace/1");
        hash.update(self.0);
        hash.update(namespace.as_str().as_bytes());
        NamespaceIdentity(short(hash))
    }

    /// The identity of a part of this store that is a participant of its own, as one shard.
    #[must_use]
    pub fn part(&self, part: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"exactly-once/identity/part/1");
        hash.update(self.0);
        hash.update(part);
        Self(short(hash))
    }
}

impl NamespaceIdentity {
    /// What stands in a [`Participation`](crate::Participation) that names no register yet.
    pub const NONE: Self = Self([0; IDENTITY_BYTES]);
}

/// The identity of the namespace that a handle is bound to.
///
/// # Errors
/// As [`Store::identity`].
pub async fn identity_of<S: Store>(store: &S) -> Result<NamespaceIdentity> {
    Ok(store.identity().await?.within(store.namespace()))
}

/// The participants of one transaction: those that write.
///
/// Two sets are equal if their digests are: the order in which an attempt lists its participants and
/// the names that it gives them don't count. A set that was read back from a prepared transaction
/// knows its digest only; one that was read back from a decision also
/// [names](Self::named) its members.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Participants {
    digest: [u8; IDENTITY_BYTES],
    named: Option<Vec<NamespaceIdentity>>,
}

impl PartialEq for Participants {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Participants {}

impl std::hash::Hash for Participants {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl Participants {
    /// No set at all: of a [`Participation`](crate::Participation) that no coordinator has completed.
    pub const NONE: Self = Self {
        digest: [0; IDENTITY_BYTES],
        named: None,
    };

    /// The set of these, in any order.
    #[must_use]
    pub fn of(members: impl IntoIterator<Item = NamespaceIdentity>) -> Self {
        let mut named = Vec::from_iter(members);
        named.sort_unstable();
        named.dedup();
        let mut hash = Sha256::new();
        hash.update(b"exactly-once/participants/1");
        for member in &named {
            hash.update(member.0);
        }
        Self {
            digest: short(hash),
            named: Some(named),
        }
    }

    /// A set of which only the digest was stored.
    #[must_use]
    pub const fn from_digest(digest: [u8; IDENTITY_BYTES]) -> Self {
        Self {
            digest,
            named: None,
        }
    }

    /// The digest over the identities in their order by bytes.
    #[must_use]
    pub const fn digest(&self) -> &[u8; IDENTITY_BYTES] {
        &self.digest
    }

    /// The members, where they are known.
    #[must_use]
    pub fn named(&self) -> Option<&[NamespaceIdentity]> {
        self.named.as_deref()
    }

    /// The members as bytes, 16 each, for a register's row; empty where they are not known.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let named = self.named.iter().flatten();
        named.flat_map(|member| member.0).collect()
    }

    /// With its members, where they are among these: the digest says which. Of more than twelve it is
    /// only seen whether they are all of them, as each further one doubles the sets to try.
    #[must_use]
    pub fn with_named_among(self, known: impl IntoIterator<Item = NamespaceIdentity>) -> Self {
        const MOST: usize = 12;
        if self.named.is_some() {
            return self;
        }
        let all = Self::of(known);
        if all == self {
            return all;
        }
        let known = all.named.unwrap_or_default();
        if known.len() > MOST {
            return self;
        }
        let sets = (1_u32..1 << known.len()).map(|set| {
            let members = known.iter().enumerate();
            Self::of(members.filter_map(|(at, member)| (set >> at & 1 == 1).then_some(*member)))
        });
        sets.into_iter().find(|set| *set == self).unwrap_or(self)
    }

    /// With the members that [`Self::to_bytes`] gave. Bytes that don't match the digest leave the
    /// members unknown.
    #[must_use]
    pub fn with_named(self, bytes: &[u8]) -> Self {
        let (members, []) = bytes.as_chunks::<IDENTITY_BYTES>() else {
            return self;
        };
        let read = Self::of(members.iter().copied().map(NamespaceIdentity));
        if read.digest == self.digest {
            read
        } else {
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str) -> Namespace {
        Namespace::new(name).unwrap()
    }

    #[test]
    fn identities_differ_by_store_and_by_namespace() {
        let (one, two) = (StoreIdentity::random(), StoreIdentity::random());
        assert_ne!(one, two);
        assert_ne!(one.within(&namespace("a")), one.within(&namespace("b")));
        assert_ne!(one.within(&namespace("a")), two.within(&namespace("a")));
        assert_eq!(one.within(&namespace("a")), one.within(&namespace("a")));
        assert_ne!(one.part(b"1"), one.part(b"2"));
        assert_eq!(one.to_string().len(), 32);
    }

    #[test]
    fn a_set_is_its_members_in_any_order() {
        let [a, b, c] = [1, 2, 3].map(|byte| NamespaceIdentity([byte; 16]));
        assert_eq!(Participants::of([a, b]), Participants::of([b, a, a]));
        assert_ne!(Participants::of([a, b]), Participants::of([a, c]));
        assert_ne!(Participants::of([a]), Participants::NONE);
        let set = Participants::of([b, a]);
        let read = Participants::from_digest(*set.digest());
        assert_eq!((&read, read.named()), (&set, None));
        let read = read.with_named(&set.to_bytes());
        assert_eq!(read.named(), Some(&[a, b][..]));
        let unnamed = || Participants::from_digest(*set.digest());
        let among = unnamed().with_named_among([c, b, a]);
        assert_eq!(among.named(), Some(&[a, b][..]));
        assert_eq!(unnamed().with_named_among([a, c]).named(), None);
        let many = (0..40).map(|byte| NamespaceIdentity([byte; 16]));
        assert_eq!(unnamed().with_named_among(many).named(), None);
        let other = Participants::from_digest(*set.digest());
        assert_eq!(other.with_named(&[1; 16]).named(), None);
    }
}
