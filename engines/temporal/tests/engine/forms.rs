//! One activity for each form of effect, and a workflow that calls them.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Result, anyhow};
use exactly_once::{
    AccountId, Amount, Expected, IdempotencyKey, Leg, Rejection, Retention, Statement, Store,
    Version, WorkError,
    sqlite::{SqliteStore, SqliteTx},
};
use exactly_once_temporal::{
    Effect, EffectKeys, Effects, Heartbeats, Step, TransactionIdentity, recorded_identity,
};
use serde::{Deserialize, Serialize};
use temporalio_client::RetryPolicy;
use temporalio_sdk::{
    ActivityOptions, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError, activities},
};
use temporalio_workflow::{workflow, workflow_methods};

use crate::{database::Database, worker::answer};

/// What to do, and how many calls of it fail afterwards.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub name: String,
    pub form: Form,
    pub fails: u32,
    pub attempts: u32,
    pub heartbeat: Option<Duration>,
}

impl Job {
    pub(crate) fn new(name: &str, form: Form) -> Self {
        Self {
            name: name.to_owned(),
            form,
            fails: 0,
            attempts: 0,
            heartbeat: None,
        }
    }

    pub(crate) fn failing(mut self, fails: u32) -> Self {
        self.fails = fails;
        self
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Form {
    Open(AccountId, i64),
    Adjust(AccountId, i64),
    CompareAndSet(AccountId, i64, i64),
    Transfer(AccountId, AccountId, i64),
    Close(AccountId),
    OneShot,
    /// Outside of the database: a line in a file.
    Lease(IdempotencyKey),
    Read,
    ReadRejects,
    WorkFails,
    /// A payment whose outcome is then looked up.
    Ask,
    /// In two databases; name and deadlines are what the workflow made.
    Order(Option<TransactionIdentity>),
    /// The same, recorded by the activity.
    RecordedOrder,
    /// The same, without either.
    BareOrder,
    /// Waits in its first call until it is cancelled; begins a step.
    AfterCancellation,
    /// Waits within steps, for longer than its heartbeat timeout.
    Beats,
    /// Waits within a step, and has no heartbeat timeout.
    NoBeats,
    /// Steps of one name, one of which has another one's key.
    Shared(Shared),
    /// Steps of one name that share no key, side by side.
    SideBySide,
}

/// Two steps of one activity that would have one key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Shared {
    FixedKeys,
    FixedKeyAndEffect,
    Identities,
    IdentityAndEffect,
    EffectAndIdentity,
}

#[workflow]
#[derive(Default)]
pub(crate) struct Desk;

#[workflow_methods]
impl Desk {
    #[run]
    pub(crate) async fn run(
        ctx: &mut WorkflowContext<Self>,
        jobs: Vec<Job>,
    ) -> WorkflowResult<Vec<String>> {
        let mut keys = EffectKeys::of(ctx);
        let mut answers = Vec::new();
        for mut job in jobs {
            if let Form::Order(identity) = &mut job.form {
                let (deadline, retention) = (Duration::from_secs(60), Retention::default());
                *identity = Some(keys.transaction(ctx, "order", deadline, retention)?);
            }
            let retries = RetryPolicy::builder()
                .initial_interval(Duration::from_millis(50))
                .backoff_coefficient(1.0)
                .maximum_attempts(job.attempts)
                .build();
            let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(30))
                .retry_policy(retries)
                .maybe_heartbeat_timeout(job.heartbeat)
                .cancellation_type(
                    temporalio_sdk::ActivityCancellationType::WaitCancellationCompleted,
                )
                .build();
            answers.push(answer(
                &ctx.execute_activity(Clerk::form, job, options).await,
            ));
        }
        Ok(answers)
    }
}

pub(crate) struct Clerk {
    pub(crate) store: SqliteStore,
    /// The second database.
    pub(crate) stock: SqliteStore,
    pub(crate) database: Database,
}

#[activities]
impl Clerk {
    #[activity(name = "form")]
    pub(crate) async fn form(
        self: Arc<Self>,
        ctx: ActivityContext,
        job: Job,
    ) -> Result<String, ActivityError> {
        let calls = self.database.called(&job.name)?;
        let answer = self.fill_in(ctx, &job.form, calls).await?;
        if calls <= job.fails {
            return Err(anyhow!("the worker lost its breath after the commit").into());
        }
        Ok(answer)
    }
}

impl Clerk {
    async fn fill_in(
        &self,
        ctx: ActivityContext,
        form: &Form,
        calls: u32,
    ) -> Result<String, ActivityError> {
        let store = &self.store;
        match form.clone() {
            Form::Open(account, amount) => {
                let done = ctx
                    .open_account(store, "open", &account, Amount::new(amount))
                    .await?;
                Ok(format!("version {}", done.change.version))
            }
            Form::Adjust(account, delta) => {
                let done = ctx
                    .adjust(store, "adjust", &account, Amount::new(delta))
                    .await?;
                Ok(format!("version {}", done.change.version))
            }
            Form::CompareAndSet(account, version, amount) => {
                let expected = Expected::Version(Version::new(version)?);
                let amount = Amount::new(amount);
                let done = ctx
                    .compare_and_set(store, "set", &account, expected, amount)
                    .await?;
                Ok(format!("version {}", done.change.version))
            }
            Form::Transfer(from, to, amount) => {
                let leg = |account, delta| Leg {
                    account,
                    delta: Amount::new(delta),
                };
                let legs = vec![leg(from, -amount), leg(to, amount)];
                let done = ctx.transfer(store, "transfer", legs).await?;
                Ok(format!("{} changes", done.changes.len()))
            }
            Form::Close(account) => {
                let done = ctx.close_account(store, "close", &account).await?;
                Ok(format!("version {}", done.change.version))
            }
            Form::OneShot => {
                let insert = "INSERT INTO payment (recipe, cents) VALUES ('OneShot', 1)";
                let effect = Effect::of_request(&1)
                    .statement(Statement::new(insert))
                    .value(&7);
                Ok(ctx.one_shot(store, "pay", effect).await?.to_string())
            }
            Form::Lease(key) => {
                let folder = self.database.folder().to_owned();
                let step = Step::named("mail").with_key(key);
                let ttl = Duration::from_secs(3);
                let mail = move |_| async move { send(&folder) };
                ctx.leased_effect(store, step, &1, ttl, mail).await
            }
            Form::Read => {
                ctx.durable_read("read", || async { Ok("read".to_owned()) })
                    .await
            }
            Form::ReadRejects => {
                let none = || async { Err(Rejection::new(404, "no such order").into()) };
                ctx.durable_read("read", none).await
            }
            Form::WorkFails => {
                let fails = async |_: &mut SqliteTx| -> Result<String, WorkError> {
                    Err(std::io::Error::other("the printer is on fire").into())
                };
                ctx.execute_once(store, "print", &1, fails).await
            }
            Form::Ask => {
                let step = ctx.fix_key("pay").await?;
                let before = ctx.outcome_of::<_, i64>(store, &step).await?;
                let seven = async |_: &mut SqliteTx| -> Result<i64, WorkError> { Ok(7) };
                ctx.execute_once(store, step.clone(), &1, seven).await?;
                let after = ctx.outcome_of::<_, i64>(store, &step).await?;
                Ok(format!("{before:?} {after:?}"))
            }
            Form::Order(identity) => {
                let identity = identity.ok_or_else(|| anyhow!("the workflow makes it"))?;
                self.order(&ctx, &identity).await
            }
            Form::RecordedOrder => {
                let identity = recorded_identity(&ctx, store, "order").await?;
                self.order(&ctx, &identity).await
            }
            Form::BareOrder => {
                ctx.two_phase(store, "order", &1, |commit| commit).await?;
                Ok("ordered".to_owned())
            }
            Form::AfterCancellation => {
                while calls == 1 && !ctx.is_cancelled() {
                    ctx.record_heartbeat(()).await?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                self.one_shot(&ctx).await
            }
            Form::Beats => self.beats(ctx, calls).await,
            Form::NoBeats => {
                let (ctx, go) = (Heartbeats::of(ctx), self.database.folder().join("go"));
                ctx.durable_read("slow-read", move || async move {
                    while !go.exists() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Ok("read".to_owned())
                })
                .await
            }
            Form::Shared(shared) => self.shared(&ctx, shared).await,
            Form::SideBySide => self.side_by_side(&ctx).await,
        }
    }

    async fn one_shot(&self, ctx: &ActivityContext) -> Result<String, ActivityError> {
        let insert = "INSERT INTO payment (recipe, cents) VALUES ('OneShot', 1)";
        let effect = Effect::of_request(&1)
            .statement(Statement::new(insert))
            .value(&7);
        Ok(ctx.one_shot(&self.store, "pay", effect).await?.to_string())
    }

    async fn order(
        &self,
        ctx: &ActivityContext,
        identity: &TransactionIdentity,
    ) -> Result<String, ActivityError> {
        let (orders, stock) = (self.store.clone(), self.stock.clone());
        let insert = "INSERT INTO payment (recipe, cents) VALUES ('Order', 1)";
        ctx.two_phase_as(&self.store, "order", identity, &1, move |commit| {
            commit
                .one_shot_participant("orders", &orders, vec![Statement::new(insert)])
                .one_shot_participant(
                    "stock",
                    &stock,
                    vec![Statement::new("UPDATE stock SET units = units - 1")],
                )
        })
        .await?;
        Ok("ordered".to_owned())
    }

    async fn shared(&self, ctx: &ActivityContext, shared: Shared) -> Result<String, ActivityError> {
        let store = &self.store;
        let effect = |step: Step| {
            let seven = async |_: &mut SqliteTx| -> Result<i64, WorkError> { Ok(7) };
            ctx.execute_once(store, step, &1, seven)
        };
        match shared {
            Shared::FixedKeys => {
                let first = ctx.fix_key("pay").await?;
                effect(first).await?;
                effect(ctx.fix_key("pay").await?).await?;
            }
            Shared::FixedKeyAndEffect => {
                effect(ctx.fix_key("pay").await?).await?;
                effect("pay".into()).await?;
            }
            Shared::Identities => {
                recorded_identity(ctx, store, "order").await?;
                recorded_identity(ctx, store, "order").await?;
            }
            Shared::IdentityAndEffect => {
                recorded_identity(ctx, store, "order").await?;
                effect("order/identity".into()).await?;
            }
            Shared::EffectAndIdentity => {
                effect("order/identity".into()).await?;
                recorded_identity(ctx, store, "order").await?;
            }
        }
        Ok("one for two".to_owned())
    }

    async fn side_by_side(&self, ctx: &ActivityContext) -> Result<String, ActivityError> {
        let store = &self.store;
        let read = || ctx.durable_read("read", || async { Ok(1) });
        futures::try_join!(read(), read())?;
        let step = Step::named("pay").with_key(IdempotencyKey::new("side-by-side")?);
        let ask = || ctx.outcome_of::<_, i64>(store, &step);
        futures::try_join!(ask(), ask())?;
        let now = store.now().await?;
        let identity = |name: &str| {
            let (deadline, kept) = (Duration::from_secs(60), Retention::default());
            TransactionIdentity::new(IdempotencyKey::new(name)?, now, deadline, kept)
        };
        let order = |identity: &TransactionIdentity, home: SqliteStore| {
            let nothing = Statement::new("DELETE FROM payment WHERE number < 0");
            ctx.two_phase_as(store, "order", identity, &1, move |commit| {
                commit.one_shot_participant("home", &home, vec![nothing])
            })
        };
        let (one, other) = (identity("one")?, identity("other")?);
        futures::try_join!(order(&one, store.clone()), order(&other, store.clone()))?;
        Ok("side by side".to_owned())
    }

    /// Records details in the first call only, and reports those that the last one finds.
    async fn beats(&self, ctx: ActivityContext, calls: u32) -> Result<String, ActivityError> {
        let ctx = Heartbeats::of(ctx);
        let found = ctx.heartbeat_details().deserialize::<String>()?;
        if calls == 1 {
            ctx.record_heartbeat("half way".to_owned()).await?;
        }
        let long = Duration::from_millis(2_500);
        let slow = async move |_: &mut SqliteTx| -> Result<(), WorkError> {
            tokio::time::sleep(long).await;
            Ok(())
        };
        ctx.execute_once(&self.store, "slow", &1, slow).await?;
        ctx.durable_read("slow-read", move || async move {
            tokio::time::sleep(long).await;
            Ok(())
        })
        .await?;
        Ok(format!("{found:?}"))
    }
}

fn send(folder: &Path) -> Result<String, WorkError> {
    use std::io::Write;
    let outbox = folder.join("outbox");
    let mut outbox = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(outbox)?;
    writeln!(outbox, "mail")?;
    Ok("sent".to_owned())
}
