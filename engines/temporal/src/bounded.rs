//! A map that forgets the entry that was used least recently when it is full.
//!
//! The SDK's contexts have no place for state of ours, so what belongs to a run or an attempt is kept
//! beside them. Nothing says when a run ends, hence the bound.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    /// With the moment of each entry's last use, counted.
    entries: HashMap<K, (u64, V)>,
    by_use: BTreeMap<u64, K>,
    uses: u64,
    capacity: usize,
}

impl<K: Eq + Hash + Clone, V> Bounded<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            capacity,
        }
    }

    /// The entry; this is a use of it.
    pub(crate) fn get(&mut self, key: &K) -> Option<&mut V> {
        let (last, value) = self.entries.get_mut(key)?;
        if let Some(key) = self.by_use.remove(last) {
            self.uses += 1;
            *last = self.uses;
            self.by_use.insert(self.uses, key);
        }
        Some(value)
    }

    /// The entry, made by default where there is none.
    pub(crate) fn entry(&mut self, key: &K) -> &mut V
    where
        V: Default,
    {
        if self.get(key).is_none() {
            self.add(key.clone(), V::default());
        }
        &mut self.entries.entry(key.clone()).or_default().1
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.get(&key) {
            Some(entry) => *entry = value,
            None => self.add(key, value),
        }
    }

    fn add(&mut self, key: K, value: V) {
        while self.entries.len() >= self.capacity {
            let Some((_, unused)) = self.by_use.pop_first() else {
                break;
            };
            self.entries.remove(&unused);
        }
        self.uses += 1;
        self.by_use.insert(self.uses, key.clone());
        self.entries.insert(key, (self.uses, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_that_was_used_least_recently_makes_room() {
        let mut map = Bounded::new(2);
        map.insert("a", 1);
        map.insert("b", 2);
        // The older one is in use.
        assert_eq!(map.get(&"a"), Some(&mut 1));
        map.insert("c", 3);
        assert_eq!(map.get(&"b"), None);
        assert_eq!(map.get(&"a"), Some(&mut 1));
        *map.entry(&"c") += 10;
        *map.entry(&"d") += 4;
        assert_eq!(map.get(&"a"), None);
        assert_eq!(map.get(&"c"), Some(&mut 13));
        map.insert("d", 5);
        map.insert("e", 6);
        assert_eq!(map.get(&"c"), None);
        assert_eq!(map.get(&"d"), Some(&mut 5));
        assert_eq!((map.entries.len(), map.by_use.len()), (2, 2));
    }
}
