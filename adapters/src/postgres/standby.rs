//! A call that reports success is also durable on the standbys that a commit waits for.
//!
//! A COMMIT waits for them, and no timeout cancels that. COMMIT PREPARED is cancelled by the server's
//! own statement timeout, commits all the same, and says nothing of it; and what is prepared can be
//! seen by others before it is there. A crash of the server ends the wait of a COMMIT as well: once it is
//! up again, what no standby has can be seen.

use std::time::Duration;

use exactly_once_core::Result;

use super::{driver::Driver, error::convert, sqlstate::Stage, store::PostgresStore};

/// A COMMIT PREPARED that took less was not cancelled: no statement timeout is that short.
pub(super) const SLOW: Duration = Duration::from_millis(100);

/// Something in the log that a commit has to wait for. Nothing, where it waits for no standby.
const RECORD: &str = "SELECT pg_catalog.pg_logical_emit_message(true, 'exactly-once', ''::text) \
     WHERE pg_catalog.current_setting('synchronous_standby_names') <> ''";

impl<D: Driver> PostgresStore<D> {
    /// As [`Self::await_standbys`], for a replay: the answer is an earlier call's, which it vouches for.
    /// Costs nothing where no commit waited for standbys when the handle was opened.
    pub(super) async fn vouch(&self, operation: &'static str) -> Result<()> {
        if self.server().has_standbys {
            // Rare: kept out of the caller's future.
            Box::pin(self.await_standbys(operation)).await
        } else {
            Ok(())
        }
    }

    /// Returns when all that can be seen by now has arrived.
    pub(super) async fn await_standbys(&self, operation: &'static str) -> Result<()> {
        match self.try_transact(RECORD).await {
            Ok(_) => Ok(()),
            Err(failed) => Err(convert(failed, operation, Stage::Durable)),
        }
    }
}
