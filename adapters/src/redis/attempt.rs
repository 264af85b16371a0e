//! One attempt at a prepared transaction at a time, within this process.
//!
//! Work on Redis is optimistic, so nothing on the server holds a marker before the prepare. If two
//! participants of one transaction are really one store, both would begin, and the second would
//! take the first's prepared work for its own, and leave its own work out. Both belong to one
//! coordinator and so to one process: here they meet.

use std::{
    collections::HashSet,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

/// The server's identity, and the record of the transaction on it.
type Place = (String, Vec<u8>);

static OPEN: LazyLock<Mutex<HashSet<Place>>> = LazyLock::new(Mutex::default);

fn open() -> MutexGuard<'static, HashSet<Place>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to be at a transaction; given back when it is dropped.
pub(super) struct Attempt(Place);

impl Attempt {
    /// `None` where another attempt is at it.
    pub(super) fn begin(server: &str, record: &[u8]) -> Option<Self> {
        let place = (server.to_owned(), record.to_vec());
        open().insert(place.clone()).then(|| Self(place))
    }

    /// Whether it is at the transaction with this record.
    pub(super) fn is_at(&self, record: &[u8]) -> bool {
        self.0.1 == record
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        open().remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_attempt_waits_for_the_first() {
        let first = Attempt::begin("a test's", b"record").unwrap();
        assert!(first.is_at(b"record") && !first.is_at(b"another"));
        assert!(Attempt::begin("a test's", b"record").is_none());
        assert!(Attempt::begin("a test's", b"another").is_some());
        assert!(Attempt::begin("another test's", b"record").is_some());
        drop(first);
        assert!(Attempt::begin("a test's", b"record").is_some());
    }
}
