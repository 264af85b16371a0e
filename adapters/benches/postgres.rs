//! Postgres beside a bare `INSERT` or `UPDATE` on pooled connections: `./dev bench postgres`.
//!
//! `EXACTLY_ONCE_POSTGRES` chooses the version (15).

#[path = "postgres/bare.rs"]
mod bare;
#[path = "postgres/peers.rs"]
mod peers;
#[path = "postgres/scale.rs"]
mod scale;
#[path = "postgres/world.rs"]
mod world;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use exactly_once::{
    AnyStore, Namespace, Statement, Store as _,
    postgres::{SqlxPostgresStore, SqlxPostgresTx, TokioPostgresStore, TokioPostgresTx},
};
use exactly_once_bench::{
    Bench, Options, Turn,
    cases::{self, ACCOUNTS, TxWork},
    counts::Counted,
    report,
    results::Report,
    rounds,
    two_phase::{self, KnownWork},
};
use exactly_once_servers::Postgres;
use futures_util::FutureExt as _;
use world::World;

const INSERT: &str = "bare INSERT";
const UPDATE: &str = "bare UPDATE, 10,000 rows";
const HOT: &str = "bare UPDATE, one hot row";
const TWO: &str = "two bare UPDATEs";
const PAY: &str = "INSERT INTO payment (id, cents) VALUES ($1, 500)";
const PAY_ALL: &str = "INSERT INTO payment (id, cents) SELECT id, 500 FROM unnest($1::int8[]) id";

async fn bench(world: &World) -> Result<Bench> {
    let mut bench = Bench::default();
    bench.floor(INSERT, world.bare.insert());
    bench.floor(UPDATE, world.bare.update(10_000));
    bench.floor(HOT, world.bare.update(1));
    bench.floor(TWO, world.bare.two_updates());
    bench.case("usual recipe", INSERT, world.bare.usual_recipe());
    bench.case(
        "usual recipe, a new connection each",
        INSERT,
        world.bare.usual_recipe_connecting(),
    );
    once(&mut bench, &world.store).await?;
    balances(&mut bench, world);
    two_phases(&mut bench, world);
    sqlx(&mut bench, world).await?;
    Ok(bench)
}

async fn once(bench: &mut Bench, store: &TokioPostgresStore) -> Result<()> {
    bench
        .case("closure, claim first", INSERT, cases::closure(store, pay()))
        .target(&[(1, 0.45), (8, 0.4), (32, 0.35), (128, 0.35)]);
    bench
        .case(
            "one-shot, grouped",
            INSERT,
            cases::one_shot(store, statement),
        )
        .quicker_than("usual recipe")
        .target(&[(1, 0.75), (8, 1.3), (32, 2.3), (128, 5.0)]);
    bench
        .case(
            "one-shot, grouped, as a set",
            INSERT,
            cases::one_shot(store, |turn| {
                Statement::set(PAY_ALL).bind(turn.number.cast_signed())
            }),
        )
        .quicker_than("usual recipe")
        .target(&[(1, 0.75), (8, 1.3), (32, 2.3), (128, 5.0)]);
    let replay = cases::replay(store, statement).await?;
    bench
        .case("replay of a completed key", INSERT, replay)
        .target(&[(1, 2.0), (8, 2.5), (32, 5.0), (128, 10.0)]);
    Ok(())
}

fn balances(bench: &mut Bench, world: &World) {
    let store = &world.store;
    let usual = "usual: read, compare by value";
    bench.case(
        format!("{usual}, 10,000 accounts"),
        UPDATE,
        world.bare.compare(10_000),
    );
    bench.case(
        format!("{usual}, one hot account"),
        HOT,
        world.bare.compare(1),
    );
    bench
        .case(
            "adjust, 10,000 accounts",
            UPDATE,
            cases::adjust(store, ACCOUNTS),
        )
        .target(&[(1, 0.75), (8, 1.3), (32, 2.5), (128, 4.8)]);
    bench
        .case("adjust, one hot account", HOT, cases::adjust(store, 1))
        .target(&[(1, 0.75), (8, 4.0), (32, 18.0), (128, 65.0)]);
    bench.case("compare-and-set", UPDATE, cases::compare_and_set(store));
    bench.case("transfer", UPDATE, cases::transfer(store, ACCOUNTS));
}

fn two_phases(bench: &mut Bench, world: &World) {
    let (store, other) = (&world.store, &world.other);
    let one = [(1, 0.9), (8, 0.9), (32, 0.85), (128, 0.8)];
    let two = [(1, 0.45), (8, 0.45), (32, 0.45), (128, 0.4)];
    let by = |which| (store.clone(), debit(which));
    let known = |store: &TokioPostgresStore, which| (store.clone(), known_debit(which));
    for (name, target, operation) in [
        (
            "one participant",
            one,
            two_phase::prepare_and_commit(store, debit(0)),
        ),
        (
            "one participant, one-shot",
            one,
            two_phase::prepare_and_commit_one_shot(store, known_debit(0)),
        ),
        (
            "two participants",
            two,
            two_phase::two_phase(store, vec![by(0), (other.clone(), debit(1))]),
        ),
        (
            "two participants, one-shot",
            two,
            two_phase::two_phase_one_shot(store, vec![known(store, 0), known(other, 1)]),
        ),
        (
            "two participants, one with the register",
            two,
            two_phase::two_phase_last((other.clone(), debit(1)), by(0)),
        ),
        (
            "two participants, one with the register, one-shot",
            two,
            two_phase::two_phase_last_one_shot(known(other, 1), known(store, 0)),
        ),
    ] {
        bench
            .case(format!("two-phase commit, {name}"), TWO, operation)
            .target(&target);
    }
}

/// The same through the other driver, with the adapter of tokio-postgres as its floor.
async fn sqlx(bench: &mut Bench, world: &World) -> Result<()> {
    const CLOSURE: &str = "closure by tokio-postgres";
    const ONE_SHOT: &str = "one-shot by tokio-postgres";
    const ADJUST: &str = "adjust by tokio-postgres";
    let (tokio, sqlx) = (&world.store, &world.sqlx);
    let equal = [(1, 0.8), (8, 0.8), (32, 0.8), (128, 0.8)];
    bench.floors.extend([
        (CLOSURE, cases::closure(tokio, pay())),
        (ONE_SHOT, cases::one_shot(tokio, statement)),
        (ADJUST, cases::adjust(tokio, ACCOUNTS)),
    ]);
    bench
        .case(
            "sqlx: closure",
            CLOSURE,
            cases::closure(sqlx, pay_by_sqlx()),
        )
        .target(&equal);
    bench
        .case("sqlx: one-shot", ONE_SHOT, cases::one_shot(sqlx, statement))
        .target(&equal);
    // Erasing the type must cost less than 3 %.
    let erased = AnyStore::new(tokio.clone());
    bench
        .case(
            "one-shot by AnyStore",
            ONE_SHOT,
            cases::one_shot(&erased, statement),
        )
        .target(&[(1, 0.97), (8, 0.97), (32, 0.97), (128, 0.97)]);
    let itself = cases::one_shot(tokio, statement);
    bench.case("one-shot beside itself (A/A)", ONE_SHOT, itself);
    // On accounts of its own: each store would find that the other had changed what it remembers.
    let sqlx = sqlx.with_namespace(Namespace::new("sqlx")?);
    cases::open_accounts(&sqlx, ACCOUNTS).await?;
    bench
        .case("sqlx: adjust", ADJUST, cases::adjust(&sqlx, ACCOUNTS))
        .target(&equal);
    bench.case(
        "sqlx by hand, usual recipe",
        INSERT,
        bare::usual_recipe_by_sqlx(&world.url).await?,
    );
    Ok(())
}

/// As a careful user writes it: prepared once for each connection, as the floors' statements are.
fn pay() -> TxWork<TokioPostgresStore> {
    Arc::new(|tx: &mut TokioPostgresTx, turn: Turn| {
        async move {
            let id = turn.number.cast_signed();
            let pay = tx.prepared(PAY).await?;
            tx.client()?.execute(&pay, &[&id]).await?;
            Ok(())
        }
        .boxed()
    })
}

fn pay_by_sqlx() -> TxWork<SqlxPostgresStore> {
    Arc::new(|tx: &mut SqlxPostgresTx, turn: Turn| {
        async move {
            let id = turn.number.cast_signed();
            ::sqlx::query(PAY)
                .bind(id)
                .execute(tx.connection()?)
                .await?;
            Ok(())
        }
        .boxed()
    })
}

/// Each caller has two rows of its own: what is prepared stays locked until the decision.
fn debit(which: i64) -> TxWork<TokioPostgresStore> {
    Arc::new(move |tx: &mut TokioPostgresTx, turn: Turn| {
        async move {
            let id = i64::try_from(turn.caller)? * 2 + which;
            let update = "UPDATE balance SET cents = cents - 1 WHERE id = $1";
            let update = tx.prepared(update).await?;
            tx.client()?.execute(&update, &[&id]).await?;
            Ok(())
        }
        .boxed()
    })
}

/// The same, known up front.
fn known_debit(which: i64) -> KnownWork {
    Arc::new(move |turn: Turn| {
        let id = (turn.caller as i64) * 2 + which;
        vec![Statement::new("UPDATE balance SET cents = cents - 1 WHERE id = $1").bind(id)]
    })
}

fn statement(turn: Turn) -> Statement {
    Statement::new(PAY).bind(turn.number.cast_signed())
}

fn major() -> Result<u32> {
    match std::env::var("EXACTLY_ONCE_POSTGRES") {
        Ok(major) => major
            .parse()
            .context("EXACTLY_ONCE_POSTGRES must be a major version, as 15 or 18"),
        Err(_) => Ok(15),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::from_command_line();
    let major = major()?;
    let server = Postgres::options(major)
        .setting("max_prepared_transactions", "400")
        // The pools of two worlds, and the callers that connect each time.
        .setting("max_connections", "600")
        .setting("shared_buffers", "256MB")
        .setting("max_wal_size", "4GB")
        .start()
        .await?;
    let settings = format!(
        "PostgreSQL {major}, fsync, pools of {} connections",
        world::POOL
    );
    let mut report = Report::new("postgres", settings, &options);
    if options.scale {
        scale::measure(&server, &options, &mut report).await?;
        return report::publish(&report, &options.reports);
    }
    let world = World::direct(&server).await?;
    let counting = World::counting(&server).await?;
    let counted = Counted {
        bench: bench(&counting).await?,
        meter: counting.meter(&server)?,
    };
    rounds::measure(&bench(&world).await?, Some(&counted), &options, &mut report).await?;
    if options.peers {
        peers::measure(&world, &options, &mut report).await?;
    }
    report::publish(&report, &options.reports)
}
