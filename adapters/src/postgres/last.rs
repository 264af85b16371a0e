//! The participant that holds the register: its work, its marker and the decision in one commit.

use exactly_once_core::{
    Decision, DecisionRegister, LastResource, Participation, Result, adapter::refusals,
};

use super::{STORE, driver::Driver, sqlstate::DIVISION_BY_ZERO, store::PostgresStore};

const OPERATION: &str = "commit_deciding";

impl<D: Driver> LastResource for PostgresStore<D> {
    async fn commit_deciding(
        &self,
        tx: Self::Tx,
        participation: &Participation,
    ) -> Result<Decision> {
        let tx = self.at_home(tx, OPERATION).await?;
        self.check_register(participation, OPERATION).await?;
        // The first writer wins here too: where a decision stands, or is just being written, the
        // guard finds that ours was not inserted, and everything is rolled back.
        let decide = self.decide_within(participation);
        let guard = self.guard(tx.identity(), participation);
        let sql = format!("{decide}{guard}COMMIT");
        match tx.end(&sql).await {
            Ok(()) => Ok(Decision::Commit),
            Err(failed) => {
                if failed.code() == Some(DIVISION_BY_ZERO)
                    && let Some(stands) = self.decision(participation).await?
                {
                    return match stands.in_force() {
                        Decision::Rollback => Ok(Decision::Rollback),
                        // It holds no marker of ours, so the next attempt finds out what it did.
                        Decision::Commit => Err(refusals::overtaken(OPERATION, STORE)),
                    };
                }
                let failed = self.prepare_failed(failed, participation, OPERATION).await;
                failed.map(|()| Decision::Rollback)
            }
        }
    }
}
