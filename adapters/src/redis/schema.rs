//! Where everything lies: the names of our keys, and their shards.
//!
//! Every key of ours is `prefix:{tag}:length:namespace:kind:name`. The length makes the namespace
//! end where it ends, whatever is in it, and the tag puts a shard's keys into one slot of a
//! cluster. Reservations belong to a shard, not to a namespace: users' own keys have none.

use std::sync::LazyLock;

use exactly_once_core::{AccountId, IdempotencyKey, Namespace, TransactionDigest};

/// Slots of a Redis Cluster.
const SLOTS: u16 = 16_384;
/// Slots over which one namespace spreads what has no tag of its own.
const BUCKETS: u16 = 64;

/// How a namespace lies on the server or servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// One node: everything is together.
    OneNode,
    /// A cluster: accounts, keys and transactions each have a slot.
    Spread,
    /// A cluster: each namespace has one slot.
    ByNamespace,
}

/// A slot of a cluster; always the same one on a single node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Shard(u16);

/// The names of keys.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) prefix: String,
    pub(super) placement: Placement,
}

/// A short tag for each slot: the smallest number that hashes to it.
static TAGS: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let mut tags = vec![None; usize::from(SLOTS)];
    let mut missing = tags.len();
    let mut number = 0_u32;
    while missing > 0 {
        let slot = usize::from(slot_of_tag(number.to_string().as_bytes()));
        if let Some(empty @ None) = tags.get_mut(slot) {
            *empty = Some(number);
            missing -= 1;
        }
        number += 1;
    }
    tags.into_iter().flatten().collect()
});

impl Shard {
    /// The slot of a user's key, as the server computes it.
    pub(super) fn of_key(key: &[u8]) -> Self {
        Self(slot_of_tag(tag_in(key).unwrap_or(key)))
    }

    fn tag(self) -> u32 {
        TAGS.get(usize::from(self.0)).copied().unwrap_or_default()
    }

    pub(super) fn number(self) -> u16 {
        self.0
    }

    pub(super) fn from_number(number: u16) -> Option<Self> {
        (number < SLOTS).then_some(Self(number))
    }
}

impl Layout {
    fn home(&self, namespace: &Namespace) -> Shard {
        match self.placement {
            Placement::OneNode => Shard(0),
            Placement::Spread | Placement::ByNamespace => {
                Shard(slot_of_tag(namespace.as_str().as_bytes()))
            }
        }
    }

    /// The shard of a name without a tag: one of the namespace's buckets.
    fn bucket(&self, namespace: &Namespace, name: &[u8]) -> Shard {
        let home = self.home(namespace);
        if self.placement == Placement::Spread {
            let width = SLOTS / BUCKETS;
            return Shard((home.0 + crc16(name) % BUCKETS * width) % SLOTS);
        }
        home
    }

    /// The shard of a name in which the user may have put a tag, as `order:{17}`.
    pub(super) fn shard_of(&self, namespace: &Namespace, name: &str) -> Shard {
        match tag_in(name.as_bytes()) {
            Some(tag) if self.placement == Placement::Spread => Shard(slot_of_tag(tag)),
            _ => self.bucket(namespace, name.as_bytes()),
        }
    }

    pub(super) fn shard_of_key(&self, namespace: &Namespace, key: &IdempotencyKey) -> Shard {
        self.shard_of(namespace, key.as_str())
    }

    pub(super) fn shard_of_account(&self, namespace: &Namespace, account: &AccountId) -> Shard {
        self.shard_of(namespace, account.as_str())
    }

    pub(super) fn shard_of_digest(
        &self,
        namespace: &Namespace,
        digest: &TransactionDigest,
    ) -> Shard {
        self.bucket(namespace, digest.as_bytes())
    }

    /// Whether a shard is one of the namespace's own, which are known without being listed.
    pub(super) fn is_bucket(&self, namespace: &Namespace, shard: Shard) -> bool {
        self.buckets(namespace).contains(&shard)
    }

    /// Every shard that holds names without a tag.
    pub(super) fn buckets(&self, namespace: &Namespace) -> Vec<Shard> {
        let home = self.home(namespace);
        if self.placement == Placement::Spread {
            let width = SLOTS / BUCKETS;
            return (0..BUCKETS)
                .map(|bucket| Shard((home.0 + bucket * width) % SLOTS))
                .collect();
        }
        vec![home]
    }

    /// A pattern of the server's for the keys of one kind that have no name, in every namespace.
    #[cfg(feature = "cli")]
    pub(super) fn pattern(&self, kind: &str) -> Vec<u8> {
        let mut pattern = String::new();
        for character in self.prefix.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '^' | '\\') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        format!("{pattern}:{{*}}:*:{kind}:").into_bytes()
    }

    /// A key of ours.
    pub(super) fn key(
        &self,
        shard: Shard,
        namespace: &Namespace,
        kind: &str,
        name: impl AsRef<[u8]>,
    ) -> Vec<u8> {
        let mut key = format!(
            "{}:{{{}}}:{}:{namespace}:{kind}:",
            self.prefix,
            shard.tag(),
            namespace.as_str().len(),
        )
        .into_bytes();
        key.extend_from_slice(name.as_ref());
        key
    }

    /// The shards in use that are no buckets, a set of numbers.
    pub(super) fn shards(&self, namespace: &Namespace) -> Vec<u8> {
        self.key(self.home(namespace), namespace, "shards", "")
    }

    /// Which keys of a shard are reserved, and for which transaction: of all namespaces.
    pub(super) fn reservations(&self, shard: Shard) -> Vec<u8> {
        format!("{}:{{{}}}:reserved", self.prefix, shard.tag()).into_bytes()
    }

    /// The identity of the data, of all namespaces, and its shard.
    pub(super) fn identity(&self) -> (Shard, Vec<u8>) {
        let shard = Shard(0);
        let key = format!("{}:{{{}}}:identity", self.prefix, shard.tag());
        (shard, key.into_bytes())
    }

    /// A key that is never there: to try to remove it shows that the server is a master.
    pub(super) fn fence(&self, shard: Shard) -> Vec<u8> {
        format!("{}:{{{}}}:fence", self.prefix, shard.tag()).into_bytes()
    }

    /// What is written to be waited for on a cluster, and a channel's name elsewhere.
    pub(super) fn barrier(&self, shard: Shard) -> Vec<u8> {
        format!("{}:{{{}}}:barrier", self.prefix, shard.tag()).into_bytes()
    }

    /// A key for the user's own data in the shard.
    pub(super) fn user_key(&self, shard: Shard, name: &[u8]) -> Vec<u8> {
        let mut key = format!("{{{}}}", shard.tag()).into_bytes();
        key.extend_from_slice(name);
        key
    }

    /// Whether a user's key would be one of ours.
    pub(super) fn is_ours(&self, key: &[u8]) -> bool {
        key.strip_prefix(self.prefix.as_bytes())
            .is_some_and(|rest| rest.starts_with(b":{"))
    }
}

/// A key that is never there, of any shard.
pub(super) fn probe_key(prefix: &str) -> Vec<u8> {
    format!("{prefix}:{{{}}}:probe", Shard(0).tag()).into_bytes()
}

/// What stands between the first `{` and the next `}`, unless it is empty.
fn tag_in(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let rest = key.get(open + 1..)?;
    let close = rest.iter().position(|byte| *byte == b'}')?;
    rest.get(..close).filter(|tag| !tag.is_empty())
}

fn slot_of_tag(tag: &[u8]) -> u16 {
    crc16(tag) % SLOTS
}

/// CRC-16/XMODEM, as the cluster's specification has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(placement: Placement) -> Layout {
        Layout {
            prefix: "eo".to_owned(),
            placement,
        }
    }

    fn namespace(name: &str) -> Namespace {
        Namespace::new(name).unwrap()
    }

    #[test]
    fn slots_are_the_servers() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(Shard::of_key(b"foo{bar}").0, Shard::of_key(b"bar").0);
        assert_eq!(Shard::of_key(b"foo").0, 12_182);
        assert_eq!(Shard::of_key(b"foo{}").0, slot_of_tag(b"foo{}"));
    }

    #[test]
    fn our_keys_lie_in_the_shard_they_name() {
        let layout = layout(Placement::Spread);
        for number in [0, 1, 4_095, 16_383] {
            let shard = Shard(number);
            let key = layout.key(shard, &namespace("a{b}c"), "account", "x{y}");
            assert_eq!(Shard::of_key(&key), shard);
            assert_eq!(Shard::of_key(&layout.user_key(shard, b"x{y}")), shard);
            assert_eq!(Shard::of_key(&layout.reservations(shard)), shard);
        }
    }

    #[test]
    fn namespaces_do_not_run_into_one_another() {
        let layout = layout(Placement::OneNode);
        let key = |space: &str, name: &str| layout.key(Shard(0), &namespace(space), "key", name);
        assert_ne!(key("a", "b:c"), key("a:b", "c"));
        assert_ne!(key("a", "1:a:key:b"), key("a:key:1:a", "b"));
    }

    #[test]
    fn a_tag_in_a_name_counts_only_where_names_spread() {
        let space = namespace("shop");
        let spread = layout(Placement::Spread);
        assert_eq!(spread.shard_of(&space, "a:{17}"), Shard::of_key(b"{17}"));
        assert!(spread.is_bucket(&space, spread.shard_of(&space, "plain")));
        let together = layout(Placement::ByNamespace);
        assert_eq!(
            together.shard_of(&space, "a:{17}"),
            together.shard_of(&space, "b")
        );
    }
}
