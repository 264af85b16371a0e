//! A participant whose work is known up front, by the steps of any other.

use exactly_once_core::{OneShotParticipant, Result, Statement};

use super::{SqliteStore, one_shot::apply_statement, transaction::SqliteTx};

const OPERATION: &str = "apply";

impl OneShotParticipant for SqliteStore {
    async fn apply(&self, tx: &mut SqliteTx, statements: &[Statement]) -> Result<()> {
        self.check_home(tx, OPERATION)?;
        let (statements, staged) = (statements.to_vec(), tx.is_staged());
        tx.step(OPERATION, move |bench| {
            bench.savepoint(OPERATION, || {
                statements
                    .iter()
                    .try_for_each(|one| apply_statement(bench, OPERATION, staged, one))
            })
        })
        .await
    }
}
