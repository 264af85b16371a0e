//! Work as a blocking closure: it shares a commit with the work of other callers.

use exactly_once_core::{
    Claim, Error, ErrorKind, Executed, Outcome, Receipt, Rejection, Result, WorkError,
    adapter::{rules::keys::Standing, settle_refusal},
};
use rusqlite::Connection;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    SqliteStore,
    error::{STORE, error, statement},
    guard::Scope,
    key_row::KeyDone,
    lane::ENDED,
    queue::{Bench, Undo},
    transaction::{end_work, enrich, mark_work},
};

const OPERATION: &str = "execute_once";

/// How an attempt ended that is to be committed.
enum Ended<T> {
    Fresh(T),
    /// The work's own rejection, or a refusal of the store: recorded, and reported as it is.
    Rejected(Error),
    Replayed(Outcome),
}

impl SqliteStore {
    /// As [`execute_once`](exactly_once_core::ExecuteOnce::execute_once), for work that needs
    /// nothing but the database: the closure runs on the writer's thread, and its effect is
    /// committed together with those of other callers, each still failing alone. In a database
    /// with a deferred foreign key it commits alone, because only the commit checks that.
    ///
    /// This is the fast way: an `async` closure must have the writer for itself from its first
    /// statement to its last. The closure must not wait for anything but SQLite: everybody waits
    /// for it.
    ///
    /// # Errors
    /// As [`execute_once`](exactly_once_core::ExecuteOnce::execute_once).
    pub async fn execute_once_blocking<T, F>(&self, claim: &Claim, work: F) -> Result<Executed<T>>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, WorkError> + Send + 'static,
    {
        // A replay need not wait for an interactive transaction.
        if self.writer.is_held()
            && let Standing::Completed(outcome) = self.standing(OPERATION, claim).await?
        {
            return executed(Ended::Replayed(outcome));
        }
        let (store, asked) = (self.clone(), claim.clone());
        let key = Some(self.key_in_use(claim));
        let ended = self
            .write_once(OPERATION, Undo::Savepoint, key, move |bench| {
                store.attempt(bench, &asked, work)
            })
            .await;
        match ended {
            Ok(ended) => executed(ended),
            // Refused at the commit: by a deferred constraint, say.
            Err(failure) => {
                let outcome = settle_refusal(self, OPERATION, claim, failure).await?;
                executed(Ended::Replayed(outcome))
            }
        }
    }

    fn attempt<T: Serialize + DeserializeOwned>(
        &self,
        bench: &Bench<'_>,
        claim: &Claim,
        work: impl FnOnce(&Connection) -> Result<T, WorkError>,
    ) -> Result<Ended<T>> {
        let standing = self.standing_in(bench, OPERATION, claim)?;
        if let Some(outcome) = standing.outcome(OPERATION, STORE)? {
            return Ok(Ended::Replayed(outcome));
        }
        bench.forget_row_id().map_err(statement(OPERATION))?;
        mark_work(bench, OPERATION)?;
        let worked = run(self, bench, work).and_then(|value| self.receipt(&value));
        if worked.is_ok() && bench.connection.is_autocommit() {
            // The work swallowed the reason, which may be a full disk.
            return Err(error(ErrorKind::Unavailable, OPERATION, ENDED));
        }
        let (ended, outcome) = match worked {
            Ok((receipt, value)) => (Ended::Fresh(value), Outcome::Applied(receipt)),
            Err(failure) => match Rejection::of_refusal(&failure) {
                Some(_) if bench.connection.is_autocommit() => return Err(failure),
                Some(refusal) => (Ended::Rejected(failure), Outcome::Rejected(refusal)),
                None => return undo(bench, failure),
            },
        };
        end_work(bench, OPERATION, matches!(outcome, Outcome::Applied(_)))?;
        let now = bench.settings.now();
        let done = KeyDone {
            namespace: &self.namespace,
            claim,
            token: None,
            outcome: &outcome,
            now,
        };
        done.write(bench.connection, OPERATION)?;
        Ok(ended)
    }

    /// The receipt, and the value as it reads back.
    fn receipt<T: Serialize + DeserializeOwned>(&self, value: &T) -> Result<(Receipt, T)> {
        let (receipt, value) =
            Receipt::of(value).map_err(|error| error.reported_by(OPERATION, STORE))?;
        receipt.check_size(self.settings.max_receipt_bytes, OPERATION, STORE)?;
        Ok((receipt, value))
    }
}

/// Runs the closure; a panic in it is a failure like others, so that its writes are undone here.
fn run<T>(
    store: &SqliteStore,
    bench: &Bench<'_>,
    work: impl FnOnce(&Connection) -> Result<T, WorkError>,
) -> Result<T> {
    let failure = match bench.closure(OPERATION, Scope::Shared, work)? {
        Ok(value) => return Ok(value),
        Err(failure) => failure.into_error(OPERATION, store),
    };
    Err(match failure.rejection() {
        Some(_) => failure,
        None => enrich(bench, failure),
    })
}

/// Undoes the work and gives its failure back. If SQLite has ended the transaction itself there is
/// nothing to undo, and the writer finds out.
fn undo<T>(bench: &Bench<'_>, failure: Error) -> Result<T> {
    if !bench.connection.is_autocommit() {
        end_work(bench, OPERATION, false)?;
    }
    Err(failure)
}

fn executed<T: DeserializeOwned>(ended: Ended<T>) -> Result<Executed<T>> {
    match ended {
        Ended::Fresh(value) => Ok(Executed {
            value,
            replayed: false,
        }),
        Ended::Rejected(failure) => Err(failure),
        Ended::Replayed(Outcome::Rejected(rejection)) => {
            Err(Error::rejected(rejection, OPERATION, STORE))
        }
        Ended::Replayed(Outcome::Applied(receipt)) => Ok(Executed {
            value: receipt
                .decode()
                .map_err(|error| error.reported_by(OPERATION, STORE))?,
            replayed: true,
        }),
    }
}
