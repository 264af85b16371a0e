//! Redis beside a bare `SET` on a shared connection, synced before it is acknowledged:
//! `./dev bench redis`.

#[path = "redis/bare.rs"]
mod bare;
#[path = "redis/scale.rs"]
mod scale;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use bare::Bare;
use exactly_once::{
    Returning, Statement,
    redis::{RedisStore, RedisTx},
};
use exactly_once_bench::{
    Bench, Options, Turn,
    cases::{self, ACCOUNTS, TxWork},
    counts::{Counted, Meter, Reading, writes_of},
    relay::Relay,
    report,
    results::Report,
    rounds, two_phase,
};
use exactly_once_servers::Redis;
use futures_util::FutureExt as _;

const SET: &str = "bare SET";
const ONCE: [(usize, f64); 3] = [(1, 0.9), (8, 1.0), (128, 0.55)];
/// An effect that returns its reply, beside the same effect without.
const ROWS: [(usize, f64); 3] = [(1, 0.9), (8, 0.9), (128, 0.9)];
const PLAIN: &str = "one-shot without rows";
const BALANCE: [(usize, f64); 3] = [(1, 0.85), (8, 0.85), (128, 0.5)];

async fn bench(url: &str) -> Result<Bench> {
    let (bare, mut bench) = (Bare::connect(url).await?, Bench::default());
    let store = RedisStore::builder(url).connect().await?;
    cases::open_accounts(&store, ACCOUNTS).await?;
    bench.floor(SET, bare.set());
    bench.case("usual recipe", SET, bare.usual_recipe());
    bench.case("closure", SET, cases::closure(&store, pay()));
    bench
        .case("one-shot, grouped", SET, cases::one_shot(&store, statement))
        .quicker_than("usual recipe")
        .target(&ONCE);
    bench.floor(PLAIN, cases::one_shot(&store, statement));
    bench
        .case(
            "one-shot that returns its reply",
            PLAIN,
            cases::one_shot(&store, returning),
        )
        .target(&ROWS);
    let replay = cases::replay(&store, statement).await?;
    bench.case("replay of a completed key", SET, replay);
    bench.case(
        "usual: read, then WATCH and MULTI, one hot account",
        SET,
        bare.watch(url).await?,
    );
    bench
        .case(
            "adjust, 10,000 accounts",
            SET,
            cases::adjust(&store, ACCOUNTS),
        )
        .target(&BALANCE);
    bench
        .case("adjust, one hot account", SET, cases::adjust(&store, 1))
        .target(&BALANCE);
    bench.case("compare-and-set", SET, cases::compare_and_set(&store));
    bench.case("transfer", SET, cases::transfer(&store, ACCOUNTS));
    let alone = two_phase::prepare_and_commit(&store, pay());
    bench.case("two-phase commit, one participant", SET, alone);
    Ok(bench)
}

fn pay() -> TxWork<RedisStore> {
    Arc::new(|tx: &mut RedisTx, turn: Turn| {
        async move {
            tx.set(payment(turn), "500")?;
            Ok(())
        }
        .boxed()
    })
}

fn payment(turn: Turn) -> String {
    format!("payment:{}", turn.number)
}

fn statement(turn: Turn) -> Statement {
    Statement::new("SET").bind(payment(turn)).bind("500")
}

fn returning(turn: Turn) -> Statement {
    statement(turn).returning(Returning::rows(1))
}

/// Trips by a relay; syncs as the writes of the server that go to no client, since each flush of
/// its log is one write and one sync.
fn meter(server: &Redis, relay: Relay, bare: Bare) -> Result<Meter> {
    let process = server.server().id().context("the server does not run")?;
    let relay = Arc::new(relay);
    Ok(Arc::new(move || {
        let (relay, bare) = (relay.clone(), bare.clone());
        async move {
            let to_clients = bare.info("stats", "total_writes_processed").await?;
            let syncs = writes_of(process).map(|writes| writes.saturating_sub(to_clients));
            let trips = Some(relay.trips());
            Ok(Reading { trips, syncs })
        }
        .boxed()
    }))
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::from_command_line();
    let server = Redis::start().await?;
    let bare = Bare::connect(&server.url()).await?;
    let version = bare.version().await?;
    let settings = format!("Redis {version}, appendfsync always");
    let mut report = Report::new("redis", settings, &options);
    if options.scale {
        scale::measure(&server, &options, &mut report).await?;
        return report::publish(&report, &options.reports);
    }
    let relay = Relay::start(server.port()).await?;
    // Under a database of its own, so that the two don't share accounts.
    let counted = Counted {
        bench: bench(&format!("redis://{}/1", relay.address())).await?,
        meter: meter(&server, relay, bare)?,
    };
    rounds::measure(
        &bench(&server.url()).await?,
        Some(&counted),
        &options,
        &mut report,
    )
    .await?;
    report::publish(&report, &options.reports)
}
