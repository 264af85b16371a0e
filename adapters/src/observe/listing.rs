//! What is in doubt, as gauges: counted over the pages of one listing, and set after its last page.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use exactly_once_core::{InDoubtPage, Store, TransactionDigest};

/// The listings that have more pages to come.
#[derive(Clone, Debug, Default)]
pub(super) struct Listings(Arc<Mutex<VecDeque<Listing>>>);

/// How many of them are kept: one that is given up is forgotten as others come.
const KEPT: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Listing {
    /// Where its next page begins.
    next: TransactionDigest,
    count: u64,
    oldest: Duration,
}

impl Listings {
    /// A page was listed. A listing that did not begin with the first page is not counted: it would
    /// report a part as the whole.
    pub(super) fn listed<S: Store>(
        &self,
        store: &S,
        after: Option<&TransactionDigest>,
        page: &InDoubtPage,
    ) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, oldest) = match after {
            None => (0, Duration::ZERO),
            Some(after) => {
                let Some(at) = open.iter().position(|listing| listing.next == *after) else {
                    return;
                };
                match open.remove(at) {
                    Some(before) => (before.count, before.oldest),
                    None => return,
                }
            }
        };
        let count = count + page.entries.len() as u64;
        let ages = page.entries.iter().map(|entry| entry.age);
        let oldest = ages.fold(oldest, Duration::max);
        match page.next {
            None => set(store, count, oldest),
            Some(next) => {
                open.truncate(KEPT - 1);
                open.push_front(Listing {
                    next,
                    count,
                    oldest,
                });
            }
        }
    }
}

#[cfg(feature = "metrics")]
fn set<S: Store>(store: &S, count: u64, oldest: Duration) {
    let labels = [
        ("backend", store.backend().to_owned()),
        ("namespace", store.namespace().to_string()),
        ("place", store.place().to_string()),
    ];
    // Fewer than f64 can count.
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    metrics::gauge!("exactly_once_in_doubt", &labels).set(f64::from(count));
    metrics::gauge!("exactly_once_in_doubt_oldest_seconds", &labels).set(oldest.as_secs_f64());
}

#[cfg(not(feature = "metrics"))]
fn set<S: Store>(_: &S, _: u64, _: Duration) {}
