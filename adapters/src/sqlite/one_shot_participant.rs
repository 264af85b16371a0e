//! A participant whose work is known up front: begun, done and staged in one job of the writer's,
//! and so in one commit with those of others.

use std::sync::Arc;

use exactly_once_core::{
    OneShotParticipant, Participation, PreparedOneShot, Result, Statement,
    adapter::check_statements_without_rows,
};

use super::{
    SqliteStore,
    connection::Purpose,
    error::{STORE, statement},
    queue::{Ticket, Undo},
    statements::{apply_all, reads_row_id},
    transaction::{SqliteTx, mark_work},
};

impl OneShotParticipant for SqliteStore {
    async fn apply(&self, tx: &mut SqliteTx, statements: &[Statement]) -> Result<()> {
        const OPERATION: &str = "apply";
        check_statements_without_rows(statements, OPERATION, STORE)?;
        self.check_home(tx, OPERATION)?;
        let (statements, staged) = (statements.to_vec(), tx.is_staged());
        tx.step(OPERATION, move |bench| {
            bench.savepoint(OPERATION, || {
                apply_all(bench, OPERATION, staged, &statements).map(drop)
            })
        })
        .await
    }

    /// A commit alone goes by the steps: its deferred constraints are checked at the end of its
    /// transaction, and must not fail others.
    async fn prepare_one_shot(
        &self,
        participation: &Participation,
        statements: &[Statement],
    ) -> Result<PreparedOneShot> {
        const OPERATION: &str = "prepare_one_shot";
        check_statements_without_rows(statements, OPERATION, STORE)?;
        // What is prepared already is found without waiting for another's transaction.
        if self.writer.is_held() {
            let (store, asked) = (self.clone(), participation.clone());
            let known = self
                .readers
                .read(OPERATION, move |connection| {
                    store.look(connection, OPERATION, &asked)
                })
                .await?;
            if let Some(answer) = known.known_one_shot() {
                return Ok(answer);
            }
        }
        let statements: Arc<[Statement]> = statements.into();
        let ticket = Ticket {
            statements: Some(statements.clone()),
            ..self.ticket(OPERATION, Purpose::Stage, Undo::Savepoint)
        };
        let (store, asked) = (self.clone(), participation.clone());
        self.submit(ticket, move |bench| {
            let known = store.look(bench.connection, OPERATION, &asked)?;
            if let Some(answer) = known.known_one_shot() {
                return Ok(answer);
            }
            // What the job before this one was refused is not this one's.
            bench.guard.take_refused();
            if statements.iter().any(|one| reads_row_id(one.text())) {
                bench.forget_row_id().map_err(statement(OPERATION))?;
            }
            mark_work(bench, OPERATION)?;
            apply_all(bench, OPERATION, true, &statements)?;
            store.stage(bench, &asked)?;
            Ok(PreparedOneShot::Done)
        })
        .await
    }
}
