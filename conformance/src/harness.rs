//! What the suite asks of an adapter.
//!
//! Four methods are required; everything else is optional, and a case that needs what a harness
//! does not offer is reported as *ignored*, with the reason.

use std::{future::Future, net::SocketAddr, time::Duration};

use exactly_once_core::{
    AccountId, Error, Namespace, Statement, Transactional, Value, Version, WorkError,
};

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

    /// Optional: the same, where the statement depends on the place: on the shard of its namespace,
    /// say.
    fn effect_statement_at(&self, guard: &Self::Guard, id: &str) -> Option<Statement> {
        let _ = guard;
        self.effect_statement(id)
    }

    /// Optional: a statement that returns rows, without its limits; `None` where this backend has no
    /// such statement. Ids are new to each call, unless the same statement is wanted again.
    fn returning_statement(&self, guard: &Self::Guard, wanted: RowsOf<'_>) -> Option<Statement> {
        let _ = (guard, wanted);
        None
    }

    /// Optional: a statement that the database refuses for good, whatever the state.
    fn refused_statement(&self) -> Option<Statement> {
        None
    }

    /// Optional: statements of one-shot effects that the database refuses, each with what it does to
    /// the callers that share a commit or a connection with it: a constraint that is checked at the
    /// commit, a statement that rolls the whole transaction back, a savepoint, a setting.
    fn poisoned_statements(&self) -> Vec<(&'static str, Vec<Statement>)> {
        Vec::new()
    }

    /// Optional: does a write and fails in the same step, by an error or a panic of the work's own
    /// code in that step. Says whether it could.
    fn fail_half_way(
        &self,
        tx: &mut <Self::Store as Transactional>::Tx,
        id: &str,
    ) -> impl Future<Output = bool> + Send {
        let _ = (tx, id);
        async { false }
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

    /// Optional: ends the transaction **behind the store's back**, by the driver's own handle (a
    /// plain `COMMIT`). Says whether it could.
    fn end_behind(
        &self,
        tx: &mut <Self::Store as Transactional>::Tx,
    ) -> impl Future<Output = bool> + Send {
        let _ = tx;
        async { false }
    }

    /// Optional: a write that the database refuses only at the end of the transaction, as a
    /// deferred constraint is. Says whether it could.
    fn violate_at_the_end(
        &self,
        tx: &mut <Self::Store as Transactional>::Tx,
    ) -> impl Future<Output = bool> + Send {
        let _ = tx;
        async { false }
    }

    /// Optional: changes what a connection keeps beyond a transaction (a setting, a temporary object,
    /// a lock) in the way of this number, and says which; `None` where there are no more ways. A store
    /// may refuse it.
    fn change_session(
        &self,
        tx: &mut <Self::Store as Transactional>::Tx,
        number: usize,
    ) -> impl Future<Output = Option<&'static str>> + Send {
        let _ = (tx, number);
        async { None }
    }

    /// With [`Self::change_session`]: whether this transaction sees the change of this number.
    fn sees_session(
        &self,
        tx: &mut <Self::Store as Transactional>::Tx,
        number: usize,
    ) -> impl Future<Output = bool> + Send {
        let _ = (tx, number);
        async { false }
    }

    /// Optional: does the kind of work of this number that can't be prepared, and says what it is;
    /// `None` where there are no more kinds.
    fn unpreparable(
        &self,
        tx: &mut <Self::Store as Transactional>::Tx,
        number: usize,
    ) -> impl Future<Output = Option<&'static str>> + Send {
        let _ = (tx, number);
        async { None }
    }

    /// Optional: a place whose server keeps one prepared transaction at a time.
    fn fresh_scarce(&self) -> impl Future<Output = CaseResult<Self::Guard>> + Send {
        async {
            Err(CaseFailure::ignored(
                "this harness limits no prepared transactions (`fresh_scarce`)",
            ))
        }
    }

    /// Optional: a handle that comes another way.
    fn open_by(
        &self,
        guard: &Self::Guard,
        way: Way,
    ) -> impl Future<Output = CaseResult<Self::Store>> + Send {
        let _ = guard;
        async move {
            Err(CaseFailure::ignored(format!(
                "this harness opens no handle by {way:?} (`open_by`)"
            )))
        }
    }

    /// Optional: makes the store's own tables those of another version of the adapter, as an older
    /// one has left or a newer one would leave them, and opens a handle on them.
    fn open_aged(
        &self,
        guard: &Self::Guard,
        age: Age,
    ) -> impl Future<Output = CaseResult<Result<Self::Store, Error>>> + Send {
        let _ = guard;
        async move {
            Err(CaseFailure::ignored(format!(
                "this harness has no {age:?} schema (`open_aged`)"
            )))
        }
    }

    /// Optional: defaults of the server that an operator may have set and that do harm to who
    /// relies on others.
    fn hostile_settings(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Optional, with [`Self::hostile_settings`]: sets one, for this place, and opens a handle.
    fn open_hostile(
        &self,
        guard: &Self::Guard,
        setting: &'static str,
    ) -> impl Future<Output = CaseResult<Result<Self::Store, Error>>> + Send {
        let _ = (guard, setting);
        async {
            Err(CaseFailure::ignored(
                "this harness has no hostile settings (`open_hostile`)",
            ))
        }
    }

    /// Optional: gives an account another version, past the store: there is no time to make
    /// 2^63 changes.
    fn set_version(
        &self,
        guard: &Self::Guard,
        namespace: &Namespace,
        account: &AccountId,
        version: Version,
    ) -> impl Future<Output = CaseResult> + Send {
        let _ = (guard, namespace, account, version);
        async {
            Err(CaseFailure::ignored(
                "this harness can't set an account's version (`set_version`)",
            ))
        }
    }

    /// Optional: the shortest time that the store can tell apart from the next; times in expiry
    /// cases are some multiples of it. Raise it for a slow or distant server.
    fn tick(&self) -> Duration {
        Duration::from_millis(40)
    }
}

/// What a statement that returns rows is to do; see [`Harness::returning_statement`].
#[derive(Clone, Copy, Debug)]
pub enum RowsOf<'a> {
    /// Adds effects for the id, as [`Harness::write_effect`] does, and returns a row for each of them.
    /// A row holds what no other run of the statement returns: a number that the database counts.
    Effects {
        /// Of the effects.
        id: &'a str,
        /// How many effects and rows.
        count: u32,
    },
    /// Returns a row with one column: the value that the statement binds, as the database has stored
    /// it under the id.
    Value {
        /// New to each value.
        id: &'a str,
        /// What is bound.
        value: &'a Value,
    },
}

/// Another way to the same server; see [`Harness::open_by`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Way {
    /// As another role, which may read and write the tables, and has prepared nothing.
    AnotherRole,
    /// On another database of the same server, in the same namespace.
    AnotherDatabase,
    /// Through a pooler that gives each transaction another connection.
    TransactionPooler,
}

/// Which version of the adapter has made the tables; see [`Harness::open_aged`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Age {
    /// An older one: they are upgraded, and nothing is lost.
    Older,
    /// A newer one, which this one can't know: it must not touch them.
    Newer,
}
