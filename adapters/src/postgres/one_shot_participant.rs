//! A participant whose work is known up front: marker, statements and PREPARE in one message, as long
//! as all is as usual. Whatever else is met is found out by the steps, one after the other.

use exactly_once_core::{
    Decision, LastOneShotParticipant, OneShotParticipant, Participation, PreparedOneShot, Result,
    Statement,
    adapter::{by_steps, check_statements_without_rows},
};

use super::{
    STORE,
    driver::Driver,
    error::convert,
    group::Ending,
    sqlstate::{Stage, surely_nothing},
    store::PostgresStore,
};

impl<D: Driver> PostgresStore<D> {
    /// Whether it was done in one message; if not, nothing was.
    async fn at_once(
        &self,
        operation: &'static str,
        participation: &Participation,
        statements: &[Statement],
        ending: Ending,
    ) -> Result<bool> {
        check_statements_without_rows(statements, operation, STORE)?;
        self.check_statements(statements, operation)?;
        if matches!(ending, Ending::Prepare) {
            self.check_two_phase(operation).await?;
        }
        match self.participate(participation, statements, ending).await {
            None => Ok(false),
            Some(Ok(())) => Ok(true),
            Some(Err(failed)) if failed.code().is_some_and(surely_nothing) => {
                tracing::debug!(?failed, operation, "not in one message");
                Ok(false)
            }
            Some(Err(failed)) => Err(convert(failed, operation, Stage::Durable)),
        }
    }
}

impl<D: Driver> OneShotParticipant for PostgresStore<D> {
    async fn apply(&self, tx: &mut Self::Tx, statements: &[Statement]) -> Result<()> {
        const OPERATION: &str = "apply";
        self.check_home(tx, OPERATION)?;
        check_statements_without_rows(statements, OPERATION, STORE)?;
        self.check_statements(statements, OPERATION)?;
        self.apply_in(tx, statements, OPERATION).await.map(drop)
    }

    async fn prepare_one_shot(
        &self,
        participation: &Participation,
        statements: &[Statement],
    ) -> Result<PreparedOneShot> {
        const OPERATION: &str = "prepare_one_shot";
        if self
            .at_once(OPERATION, participation, statements, Ending::Prepare)
            .await?
        {
            return Ok(PreparedOneShot::Done);
        }
        by_steps::prepare(self, participation, statements).await
    }

    async fn commit_alone_one_shot(
        &self,
        participation: &Participation,
        statements: &[Statement],
    ) -> Result<PreparedOneShot> {
        const OPERATION: &str = "commit_alone_one_shot";
        if self
            .at_once(OPERATION, participation, statements, Ending::Commit)
            .await?
        {
            return Ok(PreparedOneShot::Done);
        }
        by_steps::commit_alone(self, participation, statements).await
    }
}

impl<D: Driver> LastOneShotParticipant for PostgresStore<D> {
    async fn commit_deciding_one_shot(
        &self,
        participation: &Participation,
        statements: &[Statement],
    ) -> Result<Option<Decision>> {
        const OPERATION: &str = "commit_deciding_one_shot";
        if self
            .at_once(OPERATION, participation, statements, Ending::CommitDeciding)
            .await?
        {
            return Ok(Some(Decision::Commit));
        }
        by_steps::commit_deciding(self, participation, statements).await
    }
}
