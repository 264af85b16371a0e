//! A handler that is deployed in place, in the middle of an invocation, with one more optional field.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Result, ensure};
use exactly_once::{
    Error, ErrorKind, Fingerprint, IdempotencyKey, Statement,
    engine::{Effect, Step},
    restate::ExactlyOnce,
    sqlite::{SqliteStore, SqliteTx},
};
use exactly_once_patterns::{
    control::{Faults, Point},
    crash_store::CrashStore,
};
use restate_sdk::prelude::*;
use serde::Serialize;
use serde_json::json;

use crate::bench::{Bench, effects, insert};

#[derive(Serialize)]
struct First<'a> {
    name: &'a str,
}

/// The same request, as the next version of the program has it.
#[derive(Serialize)]
struct Second<'a> {
    name: &'a str,
    note: Option<&'a str>,
}

/// The version of the program that runs an invocation. The first one commits; then the next one is
/// deployed, and the answer of the first is lost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deployed(Arc<AtomicU32>);

impl Faults for Deployed {
    fn pass(&self, point: Point) -> exactly_once::Result<()> {
        if matches!(point, Point::AfterCommit) && self.0.swap(1, Ordering::SeqCst) == 0 {
            return Err(Error::new(ErrorKind::Ambiguous, "commit", "test"));
        }
        Ok(())
    }
}

/// Each invocation by its name, with the version that runs it.
#[derive(Clone, Default)]
pub(crate) struct Versions(Arc<Mutex<HashMap<String, Deployed>>>);

impl Versions {
    fn of(&self, name: &str) -> Deployed {
        let mut versions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        versions.entry(name.to_owned()).or_default().clone()
    }
}

pub(crate) struct Redeployed(pub(crate) SqliteStore, pub(crate) Versions);

#[restate_sdk::service]
impl Redeployed {
    #[handler]
    async fn run(&self, ctx: Context<'_>, Json(name): Json<String>) -> HandlerResult<i64> {
        let version = self.1.of(&name);
        let store = CrashStore::new(self.0.clone(), version.clone());
        if version.0.load(Ordering::SeqCst) == 0 {
            return pay(&ctx, &store, &name, &First { name: &name }).await;
        }
        let request = Second {
            name: &name,
            note: None,
        };
        pay(&ctx, &store, &name, &request).await
    }
}

async fn pay<R: Serialize + Sync>(
    ctx: &Context<'_>,
    store: &CrashStore<SqliteStore, Deployed>,
    name: &str,
    request: &R,
) -> HandlerResult<i64> {
    let row = name.to_owned();
    let work = async move |tx: &mut SqliteTx| insert(tx, row).await;
    Ok(match name {
        "one shot" => {
            let insert = "INSERT INTO payments (name, cents) VALUES (?1, 1)";
            let effect = Effect::of_request(request)
                .statement(Statement::new(insert).bind(name).expecting_rows(1))
                .value(&1);
            ctx.one_shot(store, "pay", effect).await?
        }
        "own key" => {
            let key = IdempotencyKey::new(name).map_err(TerminalError::from)?;
            let step = Step::named("pay").with_key(key);
            ctx.execute_once(store, step, request, work).await?
        }
        _ => ctx.execute_once(store, "pay", request, work).await?,
    })
}

/// Goal: what an attempt has committed is no mismatch for an attempt by the next version. Method: the
/// answer after the commit is lost, and the handler that is asked again sends one optional field more.
pub(crate) async fn one_more_optional_field_is_no_mismatch(bench: &Bench) -> Result<()> {
    let (first, second) = (
        First { name: "x" },
        Second {
            name: "x",
            note: None,
        },
    );
    ensure!(
        Fingerprint::of("pay", &first)? != Fingerprint::of("pay", &second)?,
        "the versions send the same: nothing is tested"
    );
    for form in ["one shot", "own key", "execute once"] {
        let answer = bench.call("Redeployed/run", json!(form)).await?;
        ensure!(answer == (200, json!(1)), "{form}: {answer:?}");
        let version = bench.versions.of(form).0.load(Ordering::SeqCst);
        ensure!(version == 1, "{form}: the first version did it all");
        let effects = effects(&bench.deployed, form).await?;
        ensure!(effects == 1, "{form}: {effects} effects");
    }
    Ok(())
}
