//! Refused balance operations: kept by their keys, and reported again.

use exactly_once_core::{Error, Fingerprint, Result, adapter::Refused};
use rusqlite::{OptionalExtension as _, params};

use super::{
    error::STORE,
    history::unreadable,
    ledger::{Ended, Ledger},
};

impl Ledger<'_> {
    /// Fails with the refusal, if the operation was refused before.
    pub(super) fn replay_refusal(&self) -> Result<()> {
        let stored = self
            .bench
            .connection
            .prepare_cached(
                "SELECT fingerprint, refusal FROM exactly_once_refused WHERE namespace = ?1 AND \
                 key = ?2",
            )
            .and_then(|mut query| {
                query
                    .query_row(params![self.namespace.as_str(), self.key.as_str()], |row| {
                        Ok((Fingerprint::from_bytes(row.get(0)?), row.get(1)?))
                    })
                    .optional()
            })
            .map_err(|source| self.failed(source))?;
        let Some((fingerprint, text)) = stored else {
            return Ok(());
        };
        if fingerprint != self.fingerprint {
            return Err(self.mismatch());
        }
        let text: String = text;
        match Refused::parse(&text) {
            Some(refused) => refused.replay(self.operation, STORE),
            None => Err(unreadable(self.operation)),
        }
    }

    /// Keeps a refusal under the key, to be committed; gives back anything else.
    pub(super) fn refuse<T>(&self, refusal: Error) -> Result<Ended<T>> {
        let Some(refused) = Refused::of(&refusal) else {
            return Err(refusal);
        };
        self.meet_reservations()?;
        self.bench
            .connection
            .prepare_cached(
                "INSERT INTO exactly_once_refused (namespace, key, fingerprint, refusal) VALUES \
                 (?1, ?2, ?3, ?4)",
            )
            .and_then(|mut insert| {
                insert.execute(params![
                    self.namespace.as_str(),
                    self.key.as_str(),
                    self.fingerprint.as_bytes(),
                    refused.as_str()
                ])
            })
            .map_err(|source| self.failed(source))?;
        Ok(Err(refusal))
    }

    /// Fails where a prepared transaction holds the key: its commit would apply what is about to be
    /// refused. The reservations' own triggers are asked, with a row that cannot exist.
    fn meet_reservations(&self) -> Result<()> {
        const ADD: &str = "INSERT INTO exactly_once_change (namespace, account, version, key, leg, \
                           fingerprint, kind, delta, before, after) VALUES (?1, '', -1, ?2, 0, \
                           x'', '', 0, 0, 0)";
        const REMOVE: &str =
            "DELETE FROM exactly_once_change WHERE namespace = ?1 AND account = '' AND key = ?2";
        // Together, so that no failure can leave the row.
        self.bench.savepoint(self.operation, || {
            for sql in [ADD, REMOVE] {
                self.bench
                    .connection
                    .prepare_cached(sql)
                    .and_then(|mut statement| {
                        statement.execute(params![self.namespace.as_str(), self.key.as_str()])
                    })
                    .map_err(|source| self.failed(source))?;
            }
            Ok(())
        })
    }
}
