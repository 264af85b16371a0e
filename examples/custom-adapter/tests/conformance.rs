//! The conformance suite, on redb: `cargo test --test conformance`.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use exactly_once_conformance::{CaseFailure, CaseResult, Harness, Suite};
use exactly_once_core::WorkError;
use exactly_once_redb::{RedbStore, RedbTx};
use redb::{ConcurrencyMode, Database, ReadableDatabase, ReadableTable, TransactionError};
use tempfile::TempDir;

/// A user's own table: how often each effect was had.
const EFFECTS: redb::TableDefinition<&str, u64> = redb::TableDefinition::new("effects");

struct Redb;

/// A folder with one file in it; only the one who made it removes it.
struct Place {
    file: PathBuf,
    /// Looks into the file past the store. Open all the time, for opening waits for who writes.
    eye: Database,
    _folder: Option<TempDir>,
}

impl Place {
    fn new(file: PathBuf, folder: Option<TempDir>) -> CaseResult<Self> {
        let mut options = Database::builder();
        options.set_concurrency_mode(ConcurrencyMode::MultiWriter);
        let eye = options.create(&file).map_err(failed)?;
        Ok(Self {
            file,
            eye,
            _folder: folder,
        })
    }
}

fn failed(error: impl std::fmt::Display) -> CaseFailure {
    CaseFailure::unexpected(error.to_string())
}

impl Harness for Redb {
    type Store = RedbStore;
    type Guard = Place;

    fn name(&self) -> &str {
        "redb"
    }

    async fn fresh(&self) -> CaseResult<Place> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("store.redb");
        Place::new(file, Some(folder))
    }

    async fn open(&self, place: &Place) -> CaseResult<RedbStore> {
        Ok(RedbStore::open(&place.file).await?)
    }

    async fn write_effect(&self, tx: &mut RedbTx, id: &str) -> Result<(), WorkError> {
        let mut effects = tx.transaction().open_table(EFFECTS)?;
        let count = effects.get(id)?.map_or(0, |count| count.value());
        effects.insert(id, count + 1)?;
        Ok(())
    }

    async fn count_effects(&self, place: &Place, id: &str) -> CaseResult<u64> {
        let tx = place.eye.begin_read().map_err(failed)?;
        match tx.open_table(EFFECTS) {
            Ok(effects) => Ok(effects
                .get(id)
                .map_err(failed)?
                .map_or(0, |count| count.value())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
            Err(error) => Err(failed(error)),
        }
    }

    /// Work that panics half way through a change, and is caught, leaves the transaction poisoned.
    async fn spoil(&self, tx: &mut RedbTx) -> bool {
        let Ok(mut effects) = tx.transaction().open_table(EFFECTS) else {
            return false;
        };
        let change = || effects.retain(|_, _| resume_unwind(Box::new("half way")));
        catch_unwind(AssertUnwindSafe(change)).is_err()
    }

    async fn open_starved(&self, place: &Place, acquire: Duration) -> CaseResult<RedbStore> {
        let builder = RedbStore::builder(&place.file).lock_timeout(acquire);
        Ok(builder.open().await?)
    }

    async fn left_open(&self, place: &Place) -> CaseResult<Option<u64>> {
        match place.eye.try_begin_write() {
            Ok(_) => Ok(Some(0)),
            Err(TransactionError::WouldBlock) => Ok(Some(1)),
            Err(error) => Err(failed(error)),
        }
    }

    fn locate(&self, place: &Place) -> Option<String> {
        place.file.to_str().map(str::to_owned)
    }

    async fn attach(&self, place: &str) -> CaseResult<Place> {
        Place::new(place.into(), None)
    }
}

fn main() -> ExitCode {
    Suite::new(Redb)
        .idempotency()
        .leases()
        .balances()
        .balance_transactions()
        .key_invariants()
        .effects_on_balances()
        .run()
}
