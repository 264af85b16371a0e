//! Where a store's data are.

use std::{fmt, sync::Arc};

/// Where a store's data are. Two handles have the same place exactly if they see the same data,
/// whatever addresses and users they were opened by; the namespace is apart from it.
///
/// It is compared, within one process, and shown to people: a coordinator refuses a store that
/// stands twice under two names. It may change when the server is restarted, so it is not for
/// keeping.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Place(Arc<str>);

impl Place {
    /// The place that these parts name together, as `["postgres", server, database, schema]`.
    ///
    /// To ensure correctness:
    /// - **The same for all handles on the same data**; otherwise a transaction that names one
    ///   store twice is not refused at once, and waits for itself until its deadline.
    /// - **Different for other data**, also for a copy of the same data: otherwise two stores
    ///   are refused as one. An address is not enough where many names lead to one server, and a
    ///   number that was made with the data is not enough where the data were copied.
    /// - **No secret**: it stands in errors.
    #[must_use]
    pub fn new<P: AsRef<str>>(parts: impl IntoIterator<Item = P>) -> Self {
        // Quoted, so that no part runs into the next one.
        let parts: Vec<_> = parts
            .into_iter()
            .map(|part| format!("{:?}", part.as_ref()))
            .collect();
        Self(parts.join(" ").into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_runs_into_the_next() {
        let places = [
            Place::new(["a", "b"]),
            Place::new(["a b"]),
            Place::new(["a\" \"b"]),
            Place::new(["ab", ""]),
            Place::new(["", "ab"]),
        ];
        for (at, place) in places.iter().enumerate() {
            assert!(places[..at].iter().all(|other| other != place), "{place}");
        }
        assert_eq!(places[0], Place::new(["a".to_owned(), "b".to_owned()]));
    }
}
