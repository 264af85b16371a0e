//! A map that forgets its oldest entry when it is full.
//!
//! The SDK's contexts have no place for state of ours, so what belongs to a run or an attempt is kept
//! beside them. Nothing says when a run ends, hence the bound.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    entries: HashMap<K, V>,
    oldest_first: VecDeque<K>,
    capacity: usize,
}

impl<K: Eq + Hash + Clone, V> Bounded<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            entries: HashMap::new(),
            oldest_first: VecDeque::new(),
            capacity,
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    /// The entry, made by default where there is none.
    pub(crate) fn entry(&mut self, key: &K) -> &mut V
    where
        V: Default,
    {
        if !self.entries.contains_key(key) {
            self.make_room();
            self.oldest_first.push_back(key.clone());
        }
        self.entries.entry(key.clone()).or_default()
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.entries.insert(key.clone(), value).is_none() {
            self.make_room();
            self.oldest_first.push_back(key);
        }
    }

    fn make_room(&mut self) {
        while self.oldest_first.len() >= self.capacity {
            let Some(oldest) = self.oldest_first.pop_front() else {
                return;
            };
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entry_makes_room() {
        let mut map = Bounded::new(2);
        map.insert("a", 1);
        map.insert("b", 2);
        map.insert("a", 3);
        *map.entry(&"b") += 10;
        assert_eq!((map.get(&"a"), map.get(&"b")), (Some(&3), Some(&12)));
        *map.entry(&"c") += 1;
        assert_eq!((map.get(&"a"), map.get(&"c")), (None, Some(&1)));
        map.insert("d", 4);
        assert_eq!(map.get_mut(&"d"), Some(&mut 4));
        assert_eq!(map.get(&"b"), None);
        assert_eq!(map.entries.len(), 2);
        assert_eq!(map.oldest_first.len(), 2);
    }
}
