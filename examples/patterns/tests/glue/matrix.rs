//! Every method on each of the five contexts.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore as _, Error, ErrorKind, Expected, Leg,
    PreparedTransactions as _, Statement,
    engine::Effect,
    restate::ExactlyOnce,
    sqlite::{SqliteStore, SqliteTx},
};
use exactly_once_patterns::{
    control::{Faults, Point},
    crash_store::CrashStore,
};
use futures_util::future::try_join_all;
use restate_sdk::prelude::*;
use serde_json::json;

use crate::bench::{Bench, effects, insert};

/// Throws one reply away, after its commit, for each method.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lost(Arc<Mutex<LostInner>>);

#[derive(Debug, Default)]
struct LostInner {
    asked: HashSet<&'static str>,
    armed: bool,
    lost: usize,
}

impl Lost {
    /// The next reply is lost, if this has not been asked for before.
    fn once(&self, method: &'static str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.asked.insert(method) {
            inner.armed = true;
        }
    }
}

impl Faults for Lost {
    fn pass(&self, point: Point) -> exactly_once::Result<()> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let after = matches!(point, Point::AfterCommit | Point::AfterPrepare);
        if !after || !std::mem::take(&mut inner.armed) {
            return Ok(());
        }
        inner.lost += 1;
        Err(Error::new(ErrorKind::Ambiguous, "commit", "test"))
    }
}

/// The stores of one context.
#[derive(Clone)]
pub(crate) struct Stores {
    one: SqliteStore,
    two: SqliteStore,
    lost: Lost,
    outside: Arc<AtomicU32>,
}

impl Stores {
    pub(crate) fn new(one: SqliteStore, two: SqliteStore) -> Self {
        Self {
            one,
            two,
            lost: Lost::default(),
            outside: Arc::default(),
        }
    }
}

/// The methods with an effect, each of which loses a reply.
const METHODS: usize = 10;

/// All that a handler may do.
async fn everything<'ctx, C>(ctx: &C, stores: &Stores, name: String) -> Result<i64, TerminalError>
where
    C: ExactlyOnce<'ctx>,
{
    let (store, lost) = (
        &CrashStore::new(stores.one.clone(), stores.lost.clone()),
        &stores.lost,
    );
    let row = name.clone();
    lost.once("execute_once");
    let work = async move |tx: &mut SqliteTx| insert(tx, row).await;
    ctx.execute_once(store, "execute", &name, work).await?;

    lost.once("one_shot");
    let statement = Statement::new("INSERT INTO payments (name, cents) VALUES (?1, 1)");
    let statements = vec![statement.bind(name.as_str()).expecting_rows(1)];
    let effect = Effect::of_request(&name).statements(statements).value(&7);
    ctx.one_shot(store, "one shot", effect).await?;

    lost.once("leased_effect");
    let outside = stores.outside.clone();
    ctx.leased_effect(
        store,
        "outside",
        &name,
        Duration::from_secs(30),
        async move |_| Ok(outside.fetch_add(1, Ordering::SeqCst)),
    )
    .await?;

    lost.once("two_phase");
    let (one, two, first, second) = (
        store.clone(),
        stores.two.clone(),
        name.clone(),
        name.clone(),
    );
    ctx.two_phase(&stores.one, "both", &name, move |transaction| {
        let transaction = transaction.participant("one", &one, async move |tx: &mut SqliteTx| {
            insert(tx, first).await.map(drop)
        });
        transaction.participant("two", &two, async move |tx: &mut SqliteTx| {
            insert(tx, second).await.map(drop)
        })
    })
    .await?;
    balances(ctx, store, lost, &stores.one, &name).await
}

async fn balances<'ctx, C>(
    ctx: &C,
    store: &CrashStore<SqliteStore, Lost>,
    lost: &Lost,
    plain: &SqliteStore,
    name: &str,
) -> Result<i64, TerminalError>
where
    C: ExactlyOnce<'ctx>,
{
    let account = AccountId::new(name)?;
    let other = AccountId::new(format!("{name}/other"))?;
    ctx.open_account(plain, "open the other", &other, Amount::ZERO)
        .await?;
    lost.once("open_account");
    let opened = ctx
        .open_account(store, "open", &account, Amount::new(100))
        .await?;
    lost.once("adjust");
    ctx.adjust(store, "adjust", &account, Amount::new(-30))
        .await?;
    lost.once("balance_operation");
    let expected = opened.change.version;
    let adjust = |key| Adjust::new(key, account.clone(), Amount::new(5));
    let adjusted = ctx.balance_operation(store, "operation", adjust).await?;
    assert!(adjusted.change.version > expected);
    lost.once("compare_and_set");
    let seen = Expected::Version(adjusted.change.version);
    ctx.compare_and_set(store, "set", &account, seen, Amount::new(40))
        .await?;
    lost.once("transfer");
    let leg = |account: &AccountId, delta| Leg {
        account: account.clone(),
        delta: Amount::new(delta),
    };
    let legs = vec![leg(&account, -40), leg(&other, 40)];
    ctx.transfer(store, "transfer", legs).await?;
    lost.once("close_account");
    ctx.close_account(store, "close", &account).await?;
    let reader = plain.clone();
    let state = ctx
        .durable_read("read", async move || Ok(reader.balance(&other).await?))
        .await?;
    Ok(state.map_or(-1, |state| state.amount.get()))
}

pub(crate) struct Everything(pub(crate) Stores);

#[restate_sdk::service]
impl Everything {
    #[handler]
    async fn run(&self, ctx: Context<'_>, Json(name): Json<String>) -> HandlerResult<i64> {
        Ok(everything(&ctx, &self.0, name).await?)
    }
}

pub(crate) struct EverythingObject {
    pub(crate) exclusive: Stores,
    pub(crate) shared: Stores,
}

#[restate_sdk::object]
impl EverythingObject {
    #[handler]
    async fn exclusive(
        &self,
        ctx: ObjectContext<'_>,
        Json(name): Json<String>,
    ) -> HandlerResult<i64> {
        Ok(everything(&ctx, &self.exclusive, name).await?)
    }

    #[handler]
    async fn shared(
        &self,
        ctx: SharedObjectContext<'_>,
        Json(name): Json<String>,
    ) -> HandlerResult<i64> {
        Ok(everything(&ctx, &self.shared, name).await?)
    }
}

pub(crate) struct EverythingWorkflow {
    pub(crate) run: Stores,
    pub(crate) look: Stores,
}

#[restate_sdk::workflow]
impl EverythingWorkflow {
    #[handler]
    async fn run(&self, ctx: WorkflowContext<'_>, Json(name): Json<String>) -> HandlerResult<i64> {
        Ok(everything(&ctx, &self.run, name).await?)
    }

    #[handler]
    async fn look(
        &self,
        ctx: SharedWorkflowContext<'_>,
        Json(name): Json<String>,
    ) -> HandlerResult<i64> {
        Ok(everything(&ctx, &self.look, name).await?)
    }
}

/// Goal: each method, on each context, has one effect and the right answer, though its first reply
/// is lost after the commit. Method: a handler that calls all of them, in five contexts at once.
pub(crate) async fn every_method_on_every_context_survives_a_lost_reply(
    bench: &Bench,
) -> Result<()> {
    let paths = [
        "Everything/run",
        "EverythingObject/key/exclusive",
        "EverythingObject/key/shared",
        "EverythingWorkflow/id/run",
        "EverythingWorkflow/id/look",
    ];
    let one = async |(path, stores): (&str, &Stores)| {
        let name = path.replace('/', ".");
        let answer = bench.call(path, json!(name)).await?;
        ensure!(answer == (200, json!(40)), "{path}: {answer:?}");
        let (lost, outside) = (
            stores.lost.0.lock().map(|inner| inner.lost),
            &stores.outside,
        );
        let lost = lost.unwrap_or_default();
        ensure!(
            lost == METHODS,
            "{path}: {lost} replies were lost, not {METHODS}"
        );
        ensure!(outside.load(Ordering::SeqCst) == 1, "{path}: outside");
        // Execute once, one-shot, and a participant; the other participant.
        let there = (
            effects(&stores.one, &name).await?,
            effects(&stores.two, &name).await?,
        );
        ensure!(there == (3, 1), "{path}: {there:?}");
        let history = stores
            .one
            .history(&AccountId::new(name)?, None, 100)
            .await?;
        let versions: Vec<i64> = history.changes.iter().map(|it| it.version.get()).collect();
        ensure!(versions == [1, 2, 3, 4, 5, 6], "{path}: {history:?}");
        let doubts = stores.one.in_doubt(None, 10).await?.entries.len();
        ensure!(doubts == 0, "{path}: {doubts} in doubt");
        Ok(())
    };
    try_join_all(paths.into_iter().zip(&bench.stores).map(one)).await?;
    Ok(())
}
