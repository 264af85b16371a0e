//! What the suite asks of an adapter.
//!
//! Four methods are required; everything else is optional, and a case that needs what a harness
//! does not offer is reported as *ignored*, with the reason.

use std::{future::Future, net::SocketAddr, time::Duration};

use exactly_once_core::{Statement, Transactional, WorkError};

use crate::{CaseFailure, CaseResult};

/// How a harness makes, opens and looks into stores of one adapter.
///
/// ```
/// # use exactly_once_conformance::{CaseResult, harness::Harness};
/// # use exactly_once_core::{Transactional, WorkError};
/// struct Mine;
///
/// # async fn make_a_folder() -> CaseResult<Folder> { todo_in_your_adapter() }
/// # fn todo_in_your_adapter<T>() -> CaseResult<T> { Err(exactly_once_conformance::CaseFailure::unexpected("doc")) }
/// # struct Folder;
/// # async fn open_store<S>(_: &Folder) -> CaseResult<S> { todo_in_your_adapter() }
/// # type MyStore = exactly_once_core::AnyStore;
/// impl Harness for Mine {
///     type Store = MyStore;
///     type Guard = Folder; // removes itself when dropped
///
///     fn name(&self) -> &str {
///         "mine"
///     }
///     async fn fresh(&self) -> CaseResult<Folder> {
///         make_a_folder().await
///     }
///     async fn open(&self, folder: &Folder) -> CaseResult<MyStore> {
///         open_store(folder).await
///     }
///     async fn write_effect(
///         &self,
///         _tx: &mut <MyStore as Transactional>::Tx,
///         _id: &str,
///     ) -> Result<(), WorkError> {
///         Ok(()) // INSERT INTO effects VALUES (id), by the driver's own handle
///     }
///     async fn count_effects(&self, _folder: &Folder, _id: &str) -> CaseResult<u64> {
///         Ok(0) // SELECT count(*) FROM effects WHERE id = …, past your own store
///     }
/// }
/// ```
pub trait Harness: Send + Sync + 'static {
    /// The store under test.
    type Store: Transactional;

    /// An empty place for one case; whatever it made is removed when it is dropped.
    type Guard: Send + Sync + 'static;

    /// The adapter's name in reports, as `"sqlite"`.
    fn name(&self) -> &str;

    /// Makes an empty place: a new file, a new database, or a new namespace in a shared one,
    /// ready for effects too.
    fn fresh(&self) -> impl Future<Output = CaseResult<Self::Guard>> + Send;

    /// Opens one more handle on the place, independent of all others: its own connections, as a
    /// second process would have. The same place gives the same data and namespace, also after
    /// all handles were dropped.
    fn open(&self, guard: &Self::Guard) -> impl Future<Output = CaseResult<Self::Store>> + Send;

    /// A user's own write in the transaction: adds one more row for `id` in a table of the
    /// harness's own, **without** a unique key, so that a doubled effect shows.
    fn write_effect(
        &self,
        tx: &mut <Self::Store as Transactional>::Tx,
        id: &str,
    ) -> impl Future<Output = Result<(), WorkError>> + Send;

    /// How many committed effects there are for `id`, read past the store under test.
    fn count_effects(
        &self,
        guard: &Self::Guard,
        id: &str,
    ) -> impl Future<Output = CaseResult<u64>> + Send;

    /// Optional: the same write as [`Self::write_effect`], as a statement for one-shot effects.
    fn effect_statement(&self, id: &str) -> Option<Statement> {
        let _ = id;
        None
    }

    /// Optional: a statement that the database refuses for good, whatever the state.
    fn refused_statement(&self) -> Option<Statement> {
        None
    }

    /// Optional: meets an error in the transaction **and swallows it**, as careless work does.
    /// Says whether it could. In PostgreSQL any failing statement does it.
    fn spoil(
        &self,
        tx: &mut <Self::Store as Transactional>::Tx,
    ) -> impl Future<Output = bool> + Send {
        let _ = tx;
        async { false }
    }

    /// Optional: where the server listens, for cases that put a fault proxy before it. Embedded
    /// stores have none.
    fn server(&self, guard: &Self::Guard) -> Option<SocketAddr> {
        let _ = guard;
        None
    }

    /// Optional, with [`Self::server`]: opens a handle that talks to this address instead.
    fn open_through(
        &self,
        guard: &Self::Guard,
        proxy: SocketAddr,
    ) -> impl Future<Output = CaseResult<Self::Store>> + Send {
        let _ = (guard, proxy);
        async {
            Err(CaseFailure::ignored(
                "this harness opens no handle through a proxy",
            ))
        }
    }

    /// Optional: a handle with a pool of one connection and this acquire timeout.
    fn open_starved(
        &self,
        guard: &Self::Guard,
        acquire: Duration,
    ) -> impl Future<Output = CaseResult<Self::Store>> + Send {
        let _ = (guard, acquire);
        async {
            Err(CaseFailure::ignored(
                "this harness opens no handle with a pool of one",
            ))
        }
    }

    /// Optional: a handle whose **client's** clock is off by so many seconds. It must change
    /// nothing.
    fn open_skewed(
        &self,
        guard: &Self::Guard,
        seconds: i64,
    ) -> impl Future<Output = CaseResult<Self::Store>> + Send {
        let _ = (guard, seconds);
        async {
            Err(CaseFailure::ignored(
                "this harness has no client clock to shift",
            ))
        }
    }

    /// Optional: kills the server (or what holds the data) without warning and starts it again.
    fn crash(&self, guard: &Self::Guard) -> impl Future<Output = CaseResult> + Send {
        let _ = guard;
        async { Err(CaseFailure::ignored("this harness has no server to kill")) }
    }

    /// Optional: what is left open at the server by all handles of the place: transactions that
    /// are open, locks that are held. `None` where it can't be seen.
    fn left_open(
        &self,
        guard: &Self::Guard,
    ) -> impl Future<Output = CaseResult<Option<u64>>> + Send {
        let _ = guard;
        async { Ok(None) }
    }

    /// Optional: a name by which another process finds the place; with [`Self::attach`].
    fn locate(&self, guard: &Self::Guard) -> Option<String> {
        let _ = guard;
        None
    }

    /// Optional, with [`Self::locate`]: the place of that name, which is not removed when this
    /// guard is dropped.
    fn attach(&self, place: &str) -> impl Future<Output = CaseResult<Self::Guard>> + Send {
        let _ = place;
        async {
            Err(CaseFailure::ignored(
                "this harness attaches to no place of another process",
            ))
        }
    }

    /// Optional: the shortest time that the store can tell apart from the next; times in expiry
    /// cases are some multiples of it. Raise it for a slow or distant server.
    fn tick(&self) -> Duration {
        Duration::from_millis(40)
    }
}
