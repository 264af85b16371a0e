//! The handlers under test, in each of the five contexts.

use std::{io, time::Duration};

use exactly_once::{
    AccountId, BalanceStore as _, CompareAndSet, Expected, IdempotencyKey, Rejection, Statement,
    Version, WorkError,
    engine::{Effect, Step},
    restate::ExactlyOnce,
    sqlite::{SqliteStore, SqliteTx},
};
use restate_sdk::prelude::*;

use crate::bench::{LostReplies, Store, amount};

/// Writes one row, and gives how many of the name there are.
async fn insert(tx: &mut SqliteTx, name: String) -> Result<i64, WorkError> {
    let rows = tx
        .run(move |db| {
            db.execute("INSERT INTO effects (name) VALUES (?1)", [&name])?;
            db.query_row(
                "SELECT count(*) FROM effects WHERE name = ?1",
                [&name],
                |row| row.get(0),
            )
        })
        .await?;
    Ok(rows)
}

/// One effect in the user's own table, then one on an account, then one under a key of its own.
async fn once<'ctx, C>(ctx: &C, store: &Store, name: String) -> Result<i64, TerminalError>
where
    C: ExactlyOnce<'ctx>,
{
    let (request, counter) = (name.clone(), AccountId::new("counter")?);
    let work = async move |tx: &mut SqliteTx| insert(tx, request).await;
    let rows = ctx.execute_once(store, "insert", &name, work).await?;
    ctx.adjust(store, "count", &counter, amount(1)).await?;
    Ok(rows)
}

pub(crate) struct TestService(pub(crate) Store, pub(crate) LostReplies);

/// The forms that the wrapped store does not have, on the store itself.
pub(crate) struct TestForms(pub(crate) SqliteStore, pub(crate) LostReplies);

/// One transaction over two files.
pub(crate) struct TestPair(pub(crate) SqliteStore, pub(crate) SqliteStore);

#[restate_sdk::service]
impl TestPair {
    #[handler]
    async fn both(&self, ctx: Context<'_>, Json(name): Json<String>) -> Result<i64, TerminalError> {
        let (one, two) = (self.0.clone(), self.1.clone());
        let (first, second) = (name.clone(), name.clone());
        ctx.two_phase(&self.0, "both", &name, move |transaction| {
            transaction
                .participant("one", &one, async move |tx: &mut SqliteTx| {
                    insert(tx, first).await.map(drop)
                })
                .participant("two", &two, async move |tx: &mut SqliteTx| {
                    insert(tx, second.clone()).await?;
                    if second == "refused" {
                        return Err(Rejection::new(418, "not in two").into());
                    }
                    Ok(())
                })
        })
        .await?;
        Ok(2)
    }
}

const TTL: Duration = Duration::from_millis(900);

#[restate_sdk::service]
impl TestForms {
    #[handler]
    async fn one_shot(
        &self,
        ctx: Context<'_>,
        Json(name): Json<String>,
    ) -> Result<i64, TerminalError> {
        let insert = Statement::new("INSERT INTO effects (name) VALUES (?1)")
            .bind(name.as_str())
            .expecting_rows(1);
        let effect = Effect::of_request(&name).statement(insert).value(&7);
        ctx.one_shot(&self.0, keyed("one shot")?, effect).await
    }

    /// The outside effect is a count in this process; the first attempt at it fails before it.
    #[handler]
    async fn outside(
        &self,
        ctx: Context<'_>,
        Json(name): Json<String>,
    ) -> Result<i64, TerminalError> {
        let faults = self.1.clone();
        ctx.leased_effect(&self.0, keyed("leased")?, &name, TTL, async move |permit| {
            // Longer than the lease: it has to be renewed.
            tokio::time::sleep(TTL * 2).await;
            if faults.attempt() == 1 {
                return Err(io::Error::other("the other side is down").into());
            }
            faults.went_out();
            Ok(permit.token.get())
        })
        .await
    }

    /// As `outside`, under the same key, but it never ends.
    #[handler]
    async fn hangs(
        &self,
        ctx: Context<'_>,
        Json(name): Json<String>,
    ) -> Result<i64, TerminalError> {
        let faults = self.1.clone();
        ctx.leased_effect(&self.0, keyed("leased")?, &name, TTL, async move |permit| {
            faults.attempt();
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            Ok(permit.token.get())
        })
        .await
    }

    /// The outside effect happens, and its value can't be stored.
    #[handler]
    async fn valueless(
        &self,
        ctx: Context<'_>,
        Json(name): Json<String>,
    ) -> Result<(), TerminalError> {
        let faults = self.1.clone();
        let step = keyed("valueless")?;
        ctx.leased_effect(&self.0, step, &name, TTL, async move |_permit| {
            faults.went_out();
            Ok(f64::NAN)
        })
        .await
        .map(drop)
    }

    #[handler]
    async fn declined(
        &self,
        ctx: Context<'_>,
        Json(name): Json<String>,
    ) -> Result<i64, TerminalError> {
        let faults = self.1.clone();
        ctx.leased_effect(
            &self.0,
            keyed("declined")?,
            &name,
            TTL,
            async move |_permit| {
                faults.went_out();
                Err(Rejection::new(402, "declined").into())
            },
        )
        .await
    }
}

#[restate_sdk::service]
impl TestService {
    #[handler]
    async fn once(&self, ctx: Context<'_>, name: Json<String>) -> Result<i64, TerminalError> {
        once(&ctx, &self.0, name.into_inner()).await
    }

    /// Each attempt builds another request; the first one fails after the commit.
    #[handler]
    async fn grown(&self, ctx: Context<'_>, Json(name): Json<String>) -> HandlerResult<i64> {
        let attempt = self.1.attempt();
        let request = name.clone();
        let work = async move |tx: &mut SqliteTx| insert(tx, request).await;
        let grown = (name.clone(), attempt);
        let rows = ctx
            .execute_once(&self.0, keyed(&name)?, &grown, work)
            .await?;
        let work = async move |tx: &mut SqliteTx| insert(tx, name).await;
        let more = ctx.execute_once(&self.0, "grown", &grown, work).await?;
        if attempt == 1 {
            return Err(io::Error::other("a deployment").into());
        }
        Ok(rows + more)
    }

    /// Two steps side by side.
    #[handler]
    async fn joined(&self, ctx: Context<'_>, Json(name): Json<String>) -> HandlerResult<i64> {
        let (one, two) = (name.clone(), name.clone());
        let first = ctx.execute_once(&self.0, "left", &name, async move |tx: &mut SqliteTx| {
            insert(tx, one).await
        });
        let second = ctx.execute_once(&self.0, "right", &name, async move |tx: &mut SqliteTx| {
            insert(tx, two).await
        });
        let (first, second) = tokio::join!(first, second);
        Ok(first? + second?)
    }

    /// A value that no journal can carry.
    #[handler]
    async fn nan(&self, ctx: Context<'_>, Json(name): Json<String>) -> Result<(), TerminalError> {
        let request = name.clone();
        let work = async move |tx: &mut SqliteTx| {
            insert(tx, request).await?;
            Ok(f64::NAN)
        };
        ctx.execute_once(&self.0, "nan", &name, work)
            .await
            .map(drop)
    }

    /// Waits in the middle of its effect's step, is cancelled, and asks what became of it.
    #[handler]
    async fn asks(
        &self,
        ctx: Context<'_>,
        Json(name): Json<String>,
    ) -> Result<Json<Vec<Option<i64>>>, TerminalError> {
        let before = ctx.fix_key("before").await?;
        let known = ctx.outcome_of::<_, i64>(&self.0, &before).await?;
        let request = name.clone();
        let work = async move |tx: &mut SqliteTx| insert(tx, request).await;
        ctx.execute_once(&self.0, before.clone(), &name, work)
            .await?;
        self.1.attempt();
        let cancelled = ctx.sleep(Duration::from_secs(3_600)).await;
        let after = ctx.outcome_of::<_, i64>(&self.0, &before).await?;
        let value = |outcome: Option<Result<i64, _>>| outcome.and_then(Result::ok);
        Ok(Json(vec![
            value(known),
            value(after),
            cancelled.err().map(|error| i64::from(error.code())),
        ]))
    }

    #[handler]
    async fn thrice(
        &self,
        ctx: Context<'_>,
        Json(name): Json<String>,
    ) -> Result<Json<Vec<i64>>, TerminalError> {
        let mut rows = Vec::new();
        for _ in 0..3 {
            let request = name.clone();
            let work = async move |tx: &mut SqliteTx| insert(tx, request).await;
            rows.push(ctx.execute_once(&self.0, "same", &name, work).await?);
        }
        Ok(Json(rows))
    }

    #[handler]
    async fn refused(&self, ctx: Context<'_>, Json(name): Json<String>) -> HandlerResult<i64> {
        let poor = AccountId::new(name)?;
        let debit = ctx.adjust(&self.0, "debit", &poor, amount(-10)).await;
        self.deposit_and_fail_once(poor).await?;
        Ok(debit?.change.after.get())
    }

    #[handler]
    async fn read(&self, ctx: Context<'_>, Json(name): Json<String>) -> HandlerResult<i64> {
        let (poor, store) = (AccountId::new(name)?, self.0.clone());
        let reader = poor.clone();
        let state = ctx
            .durable_read("read", async move || Ok(store.balance(&reader).await?))
            .await?;
        self.deposit_and_fail_once(poor).await?;
        Ok(state.map_or(-1, |state| state.amount.get()))
    }

    #[handler]
    async fn rejected(
        &self,
        ctx: Context<'_>,
        Json(name): Json<String>,
    ) -> Result<i64, TerminalError> {
        let (request, faults) = (name.clone(), self.1.clone());
        let work = async move |tx: &mut SqliteTx| {
            faults.attempt();
            insert(tx, request).await?;
            Err(Rejection::new(451, "not: here").into())
        };
        ctx.execute_once(&self.0, keyed("rejected")?, &name, work)
            .await
    }

    #[handler]
    async fn flaky(
        &self,
        ctx: Context<'_>,
        Json(name): Json<String>,
    ) -> Result<i64, TerminalError> {
        let (request, faults) = (name.clone(), self.1.clone());
        let work = async move |tx: &mut SqliteTx| {
            let rows = insert(tx, request).await?;
            if faults.attempt() < 3 {
                return Err(io::Error::other("not today").into());
            }
            Ok(rows)
        };
        ctx.execute_once(&self.0, "flaky", &name, work).await
    }

    #[handler]
    async fn conflict(
        &self,
        ctx: Context<'_>,
        Json(name): Json<String>,
    ) -> Result<i64, TerminalError> {
        let account = AccountId::new(name)?;
        ctx.adjust(&self.0, "credit", &account, amount(5)).await?;
        let stale = Expected::Version(Version::FIRST);
        let set = |key| CompareAndSet::new(key, account, stale, amount(7));
        let set = ctx.balance_operation(&self.0, "set", set).await?;
        Ok(set.change.after.get())
    }

    #[handler]
    async fn sleep(&self, ctx: Context<'_>, _name: Json<String>) -> Result<(), TerminalError> {
        ctx.sleep(Duration::from_secs(3_600)).await
    }

    #[handler]
    async fn keyed(
        &self,
        ctx: Context<'_>,
        Json(name): Json<String>,
    ) -> Result<i64, TerminalError> {
        let request = name.clone();
        let work = async move |tx: &mut SqliteTx| insert(tx, request).await;
        ctx.execute_once(&self.0, keyed("mine")?, &name, work).await
    }

    #[handler]
    async fn slow(&self, ctx: Context<'_>, Json(name): Json<String>) -> Result<i64, TerminalError> {
        let request = name.clone();
        let work = async move |tx: &mut SqliteTx| {
            tokio::time::sleep(Duration::from_millis(300)).await;
            insert(tx, request).await
        };
        ctx.execute_once(&self.0, "slow", &name, work).await
    }
}

fn keyed(key: &str) -> Result<Step, TerminalError> {
    let key = IdempotencyKey::new(key)?;
    Ok(Step::named("keyed").with_key(key))
}

impl TestService {
    /// On the first attempt: money comes in from elsewhere, and the handler fails.
    async fn deposit_and_fail_once(&self, account: AccountId) -> HandlerResult<()> {
        if self.1.attempt() > 1 {
            return Ok(());
        }
        let key = IdempotencyKey::new("from elsewhere")?;
        let deposit = exactly_once::Adjust::new(key, account, amount(1_000));
        self.0.adjust(&deposit).await?;
        Err(io::Error::other("the handler fails once").into())
    }
}

pub(crate) struct TestObject(pub(crate) Store);

#[restate_sdk::object]
impl TestObject {
    #[handler]
    async fn exclusive(
        &self,
        ctx: ObjectContext<'_>,
        name: Json<String>,
    ) -> Result<i64, TerminalError> {
        once(&ctx, &self.0, name.into_inner()).await
    }

    #[handler]
    async fn shared(
        &self,
        ctx: SharedObjectContext<'_>,
        name: Json<String>,
    ) -> Result<i64, TerminalError> {
        once(&ctx, &self.0, name.into_inner()).await
    }
}

pub(crate) struct TestWorkflow(pub(crate) Store);

#[restate_sdk::workflow]
impl TestWorkflow {
    #[handler]
    async fn run(
        &self,
        ctx: WorkflowContext<'_>,
        name: Json<String>,
    ) -> Result<i64, TerminalError> {
        once(&ctx, &self.0, name.into_inner()).await
    }

    #[handler]
    async fn look(
        &self,
        ctx: SharedWorkflowContext<'_>,
        name: Json<String>,
    ) -> Result<i64, TerminalError> {
        once(&ctx, &self.0, name.into_inner()).await
    }
}
