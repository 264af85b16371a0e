//! Versioned balances: lock and read in one round trip, decide by the rules of `core`, write and
//! commit in another.

use std::time::Duration;

use exactly_once_core::{
    AccountId, AccountState, Adjust, Applied, BalanceStore, BalanceTransaction, Change,
    CloseAccount, CompareAndSet, Error, ErrorKind, Fingerprint, HistoryPage, OpenAccount, Result,
    Transfer, Transferred, Version,
    adapter::{
        Refused, check_page, refusals,
        rules::balances::{self, Step},
    },
};
use tokio::time::sleep;

use super::{
    PostgresTx, STORE,
    balance_row::{Asked, Ended, Known, account, known, line, states},
    driver::{Driver, DriverError, Reply},
    error::{convert, error, garbled},
    group::{self, Booked, Operation},
    literal,
    sqlstate::{DEADLOCK, LOCK_NOT_AVAILABLE, SERIALIZATION, Stage, UNIQUE_VIOLATION},
    statements,
    store::PostgresStore,
    transaction::end_error,
};

/// How often an operation starts again after a rival was faster. Each round means that one did get
/// through.
const ROUNDS: u32 = 64;

/// A rival was faster; nothing of ours is stored.
fn lost_race(failed: &DriverError) -> bool {
    matches!(
        failed.code(),
        Some(UNIQUE_VIOLATION | SERIALIZATION | DEADLOCK)
    )
}

fn changes_of(steps: Vec<Step>) -> Vec<Change> {
    steps.into_iter().map(|(change, _)| change).collect()
}

/// What an operation comes to.
enum Plan {
    /// It was applied before; nothing is written.
    Replay(Vec<Change>),
    /// This is written, and then this is the answer: steps, or a refusal that the key now keeps.
    Write(String, Result<Vec<Step>>),
}

/// The original answer, if the operation is the same.
fn replay(known: Known, fingerprint: Fingerprint, operation: &'static str) -> Result<Vec<Change>> {
    if known.fingerprint != fingerprint {
        return Err(refusals::mismatch(operation, STORE));
    }
    match known.ended {
        Ended::Applied(changes) => Ok(changes),
        Ended::Refused(refused) => refused.replay(operation, STORE),
    }
}

fn single(
    (mut changes, replayed): (Vec<Change>, bool),
    operation: &'static str,
) -> Result<Applied> {
    match changes.pop() {
        Some(change) if changes.is_empty() => Ok(Applied { change, replayed }),
        _ => Err(garbled(operation)),
    }
}

impl<D: Driver> PostgresStore<D> {
    /// Does an operation once: `decide` says what it does to the accounts' states.
    async fn change(
        &self,
        asked: &Asked<'_>,
        decide: impl Fn(&[Option<AccountState>]) -> Result<Vec<Step>> + Send + Sync,
    ) -> Result<(Vec<Change>, bool)> {
        self.within(asked.operation, ErrorKind::Ambiguous, async {
            // The slow path is rare and large: kept out of every caller's future.
            Box::pin(self.change_in_rounds(asked, decide)).await
        })
        .await
    }

    async fn change_in_rounds(
        &self,
        asked: &Asked<'_>,
        decide: impl Fn(&[Option<AccountState>]) -> Result<Vec<Step>> + Send + Sync,
    ) -> Result<(Vec<Change>, bool)> {
        for round in 0..ROUNDS {
            match self.change_round(asked, &decide).await? {
                Some(answer) => return Ok(answer),
                None => sleep(Duration::from_millis(u64::from(round.min(20)))).await,
            }
        }
        self.check_accounts(asked).await?;
        Err(error(
            ErrorKind::Busy,
            asked.operation,
            format!("rivals were faster {ROUNDS} times in a row"),
        ))
    }

    /// An account that has a history has a row, unless it was removed past the store: then none of
    /// its operations can ever be written.
    async fn check_accounts(&self, asked: &Asked<'_>) -> Result<()> {
        for account in &asked.accounts {
            let account = literal::bytes(account.as_str().as_bytes());
            let here = format!(
                "namespace = {} AND account = {account}",
                self.namespace_sql()
            );
            let sql = format!(
                "SELECT EXISTS (SELECT FROM {} WHERE {here}) \
                 AND NOT EXISTS (SELECT FROM {} WHERE {here})",
                self.tables().changes,
                self.tables().accounts,
            );
            let replies = self.read(asked.operation, &sql).await?;
            if statements::cell(replies.first(), 0) == Some("t") {
                return Err(error(
                    ErrorKind::Configuration,
                    asked.operation,
                    format!(
                        "an account has a history and no row in {}: it was deleted past the store; \
                         restore it from its last line in {}",
                        self.tables().accounts,
                        self.tables().changes,
                    ),
                ));
            }
        }
        Ok(())
    }

    /// With others who come now; `None` where the careful path must be taken.
    async fn change_together(
        &self,
        name: &'static str,
        operation: Operation,
        fingerprint: impl Fn() -> Result<Fingerprint> + Send,
    ) -> Result<Option<Applied>> {
        if !self.shares_commits() {
            return Ok(None);
        }
        let print = fingerprint()?;
        let booked = async { Ok(self.book_together(operation, print).await) };
        match self.within(name, ErrorKind::Ambiguous, booked).await? {
            Booked::Applied(change) => Ok(Some(group::applied(change))),
            Booked::Known(known) => {
                self.vouch(name).await?;
                let changes = replay(known, print, name)?;
                single((changes, true), name).map(Some)
            }
            Booked::Refused(refusal) => Err(refusal),
            Booked::Failed(failed) => Err(convert(failed, name, Stage::Durable)),
            Booked::Alone => Ok(None),
        }
    }

    async fn change_round(
        &self,
        asked: &Asked<'_>,
        decide: &(impl Fn(&[Option<AccountState>]) -> Result<Vec<Step>> + Send + Sync),
    ) -> Result<Option<(Vec<Change>, bool)>> {
        let begun = match self
            .try_open(self.preamble(), &self.lock_accounts(asked))
            .await
        {
            Ok(begun) => begun,
            Err(failed) if lost_race(&failed) => return Ok(None),
            Err(failed) if failed.code() == Some(LOCK_NOT_AVAILABLE) => {
                return Err(self.lock_timed_out(asked, failed).await);
            }
            Err(failed) => return Err(convert(failed, asked.operation, Stage::Ours)),
        };
        let tx = PostgresTx::<D::Connection>::new(begun.session, begun.identity);
        let (write, answer) = match self.plan(asked, &begun.replies, decide) {
            Ok(Plan::Write(write, answer)) => (write, answer),
            Ok(Plan::Replay(changes)) => {
                tx.abandon().await;
                self.vouch(asked.operation).await?;
                return Ok(Some((changes, true)));
            }
            Err(error) => {
                tx.abandon().await;
                // It may be a recorded refusal.
                if !error.is_retryable() {
                    self.vouch(asked.operation).await?;
                }
                return Err(error);
            }
        };
        let sql = format!("{write}; {}; COMMIT", statements::probe(tx.identity()));
        match tx.end(&sql).await {
            Ok(()) => {
                let steps = answer?;
                self.remember(asked, &steps);
                Ok(Some((changes_of(steps), false)))
            }
            Err(failed) if lost_race(&failed) => Ok(None),
            Err(failed) => Err(end_error(failed, asked.operation)),
        }
    }

    /// The account's lock was not to be had: *reserved*, where a prepared transaction has it.
    async fn lock_timed_out(&self, asked: &Asked<'_>, failed: DriverError) -> Error {
        let found = self
            .read(asked.operation, &self.select_holder(asked))
            .await
            .ok();
        let holder = found
            .as_ref()
            .and_then(|replies| replies.first()?.rows.first()?.first()?.as_deref())
            .and_then(|gid| self.prefix().parse(gid));
        match holder {
            Some(holder) => {
                let holder = holder.transaction().to_string();
                balances::reserved(&holder, asked.operation, STORE)
            }
            None => convert(failed, asked.operation, Stage::Ours),
        }
    }

    /// The next group guesses right of accounts that were opened or changed by the careful path.
    fn remember(&self, asked: &Asked<'_>, steps: &[Step]) {
        let accounts = asked.accounts.iter().copied();
        self.guess(accounts.zip(steps.iter().map(|(_, state)| *state)));
    }

    /// What is to be done, by what was read under the locks.
    fn plan(
        &self,
        asked: &Asked<'_>,
        replies: &[Reply],
        decide: &(impl Fn(&[Option<AccountState>]) -> Result<Vec<Step>> + Send + Sync),
    ) -> Result<Plan> {
        if let Some(known) = known(replies.get(1), asked)? {
            return replay(known, asked.fingerprint, asked.operation).map(Plan::Replay);
        }
        let states = states(replies.first(), asked)?;
        match decide(&states) {
            Ok(steps) => {
                let is_new = states.iter().any(Option::is_none);
                let write = self.write_steps(asked, &steps, is_new);
                Ok(Plan::Write(write, Ok(steps)))
            }
            Err(refusal) => match Refused::of(&refusal) {
                Some(refused) => {
                    let write = self.insert_refusal(asked, &refused);
                    Ok(Plan::Write(write, Err(refusal)))
                }
                None => Err(refusal),
            },
        }
    }
}

/// An operation on one account.
macro_rules! on_one {
    ($store:ident, $name:literal, $operation:ident, $rule:path) => {{
        let asked = Asked {
            operation: $name,
            key: &$operation.key,
            fingerprint: $operation.fingerprint()?,
            accounts: vec![&$operation.account],
        };
        let decide = |states: &[Option<AccountState>]| {
            $rule($operation, states.first().and_then(Option::as_ref), STORE).map(|step| vec![step])
        };
        single($store.change(&asked, decide).await?, $name)
    }};
}

impl<D: Driver> BalanceStore for PostgresStore<D> {
    async fn open_account(&self, operation: &OpenAccount) -> Result<Applied> {
        on_one!(self, "open_account", operation, balances::open)
    }

    async fn close_account(&self, operation: &CloseAccount) -> Result<Applied> {
        on_one!(self, "close_account", operation, balances::close)
    }

    async fn balance(&self, id: &AccountId) -> Result<Option<AccountState>> {
        let replies = self.read("balance", &self.select_account(id)).await?;
        account(replies.first(), "balance")
    }

    async fn adjust(&self, operation: &Adjust) -> Result<Applied> {
        if let Some(applied) = self
            .change_together("adjust", Operation::Adjust(operation.clone()), || {
                operation.fingerprint()
            })
            .await?
        {
            return Ok(applied);
        }
        on_one!(self, "adjust", operation, balances::adjust)
    }

    async fn compare_and_set(&self, operation: &CompareAndSet) -> Result<Applied> {
        if let Some(applied) = self
            .change_together(
                "compare_and_set",
                Operation::CompareAndSet(operation.clone()),
                || operation.fingerprint(),
            )
            .await?
        {
            return Ok(applied);
        }
        on_one!(
            self,
            "compare_and_set",
            operation,
            balances::compare_and_set
        )
    }

    async fn transfer(&self, operation: &Transfer) -> Result<Transferred> {
        let asked = Asked {
            operation: "transfer",
            key: operation.key(),
            fingerprint: operation.fingerprint()?,
            accounts: operation.legs().iter().map(|leg| &leg.account).collect(),
        };
        // Decided in the order given, so that the first leg that is refused is reported.
        let decide = |states: &[Option<AccountState>]| {
            operation
                .legs()
                .iter()
                .zip(states)
                .map(|(leg, state)| balances::leg(operation, leg, state.as_ref(), STORE))
                .collect()
        };
        let (changes, replayed) = self.change(&asked, decide).await?;
        Ok(Transferred { changes, replayed })
    }

    async fn history(
        &self,
        id: &AccountId,
        after: Option<Version>,
        limit: u32,
    ) -> Result<HistoryPage> {
        let limit = check_page(limit, STORE)?;
        let sql = format!(
            "SELECT pg_catalog.encode(key, 'hex'), version, kind, delta, after FROM {} \
             WHERE namespace = {} AND account = {} AND version > {} ORDER BY version LIMIT {}; {}",
            self.tables().changes,
            self.namespace_sql(),
            literal::bytes(id.as_str().as_bytes()),
            literal::int(after.map_or(0, Version::get)),
            u64::from(limit) + 1,
            self.select_account(id),
        );
        let replies = self.read("history", &sql).await?;
        if account(replies.get(1), "history")?.is_none() {
            return Err(balances::unknown_account("history", STORE));
        }
        let rows = replies.first().map_or(&[][..], |reply| &reply.rows);
        let mut changes = rows
            .iter()
            .map(|row| line(row, id))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| garbled("history"))?;
        let more = changes.len() > limit as usize;
        changes.truncate(limit as usize);
        let next = changes.last().filter(|_| more).map(|change| change.version);
        Ok(HistoryPage { changes, next })
    }
}

impl<D: Driver> BalanceTransaction for PostgresStore<D> {
    async fn adjust_in(&self, tx: &mut Self::Tx, operation: &Adjust) -> Result<Applied> {
        const ADJUST_IN: &str = "adjust_in";
        self.check_home(tx, ADJUST_IN)?;
        let asked = Asked {
            operation: ADJUST_IN,
            key: &operation.key,
            fingerprint: operation.fingerprint()?,
            accounts: vec![&operation.account],
        };
        // The probe keeps it from writing outside of the transaction, if the work ended it.
        let read = format!(
            "{}; {}",
            statements::probe(tx.identity()),
            self.lock_accounts(&asked)
        );
        // A second round only where a rival with the same key was faster on another account.
        for _ in 0..2 {
            let replies = tx
                .session()
                .batch(&read)
                .await
                .map_err(|failed| convert(failed, ADJUST_IN, Stage::Before))?;
            if let Some(known) = known(replies.get(2), &asked)? {
                let changes = replay(known, asked.fingerprint, ADJUST_IN)?;
                return single((changes, true), ADJUST_IN);
            }
            let states = states(replies.get(1), &asked)?;
            let step = balances::adjust(operation, states.first().and_then(Option::as_ref), STORE)?;
            let write = self.write_step_quietly(&asked, &step);
            let replies = tx
                .session()
                .batch(&write)
                .await
                .map_err(|failed| convert(failed, ADJUST_IN, Stage::Before))?;
            if replies.first().is_some_and(|reply| reply.affected == 1) {
                return single((changes_of(vec![step]), false), ADJUST_IN);
            }
        }
        Err(error(
            ErrorKind::Busy,
            ADJUST_IN,
            "a rival with the same key was faster, and is gone",
        ))
    }
}
