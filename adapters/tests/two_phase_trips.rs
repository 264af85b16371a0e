//! Goal: the short ways spare what they promise. Method: the round trips of one transaction, counted
//! by proxies in front of two databases of one server; they are free of noise.
//!
//! With `EXACTLY_ONCE_MEASURE=1` the times are printed too, as ratios to two updates that commit by
//! themselves, in interleaved slices.

#![cfg(feature = "tokio-postgres")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{
    env,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use exactly_once::{
    Fingerprint, Participation, Statement, Store, TransactionId, Transactional,
    postgres::TokioPostgresStore,
    two_phase::{TwoPhaseCommit, TwoPhaseOutcome},
};
use exactly_once_conformance::faults::proxy::Proxy;
use exactly_once_servers::Postgres;

const HOUR: Duration = Duration::from_secs(3_600);

/// How a transaction is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Two updates that commit by themselves.
    Floor,
    Alone,
    Both,
    Last,
    AloneKnown,
    BothKnown,
    LastKnown,
}

struct Bench {
    _postgres: Postgres,
    proxies: [Proxy; 2],
    stores: [TokioPostgresStore; 2],
    number: u64,
}

macro_rules! work {
    () => {
        async |tx| {
            let update = "UPDATE seat SET taken = taken + 1";
            tx.client()?.batch_execute(update).await?;
            Ok(())
        }
    };
}

fn known() -> Vec<Statement> {
    vec![
        Statement::new("UPDATE seat SET taken = taken + $1")
            .bind(1)
            .expecting_rows(1),
    ]
}

impl Bench {
    async fn start() -> Self {
        let postgres = Postgres::start(18).await.unwrap();
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, postgres.port()));
        let (mut proxies, mut stores) = (Vec::new(), Vec::new());
        for database in ["first", "second"] {
            let create = format!("CREATE DATABASE {database}");
            postgres.sql("postgres", &create).await.unwrap();
            let seat = "CREATE TABLE seat (taken int8); INSERT INTO seat VALUES (0)";
            postgres.sql(database, seat).await.unwrap();
            let proxy = Proxy::start(server).await.unwrap();
            let direct = format!(":{}/", postgres.port());
            let url = postgres.database_url(database);
            let url = url.replace(&direct, &format!(":{}/", proxy.addr().port()));
            stores.push(TokioPostgresStore::builder(url).connect().await.unwrap());
            proxies.push(proxy);
        }
        Self {
            _postgres: postgres,
            proxies: proxies.try_into().unwrap_or_else(|_| panic!("two proxies")),
            stores: stores.try_into().unwrap_or_else(|_| panic!("two stores")),
            number: 0,
        }
    }

    async fn run(&mut self, way: Way) {
        self.number += 1;
        let name = self.number.to_string();
        let [first, second] = &self.stores;
        if way == Way::Floor {
            for _ in 0..2 {
                let tx = first.begin().await.unwrap();
                let update = "UPDATE seat SET taken = taken + 1";
                tx.client().unwrap().batch_execute(update).await.unwrap();
                first.commit(tx).await.unwrap();
            }
            return;
        }
        let not_after = first.now().await.unwrap().checked_add(HOUR).unwrap();
        let participation = Participation::new(
            &TransactionId::new(&*name).unwrap(),
            Fingerprint::of("trips", &name).unwrap(),
            not_after,
            not_after.checked_add(HOUR).unwrap(),
        );
        let transaction = TwoPhaseCommit::new(first, participation.unwrap());
        let transaction = match way {
            Way::Last => transaction
                .last_participant("first", first, work!())
                .participant("second", second, work!()),
            Way::Both => transaction
                .participant("first", first, work!())
                .participant("second", second, work!()),
            Way::AloneKnown => transaction.one_shot_participant("second", second, known()),
            Way::LastKnown => transaction
                .last_one_shot_participant("first", first, known())
                .one_shot_participant("second", second, known()),
            Way::BothKnown => transaction
                .one_shot_participant("first", first, known())
                .one_shot_participant("second", second, known()),
            _ => transaction.participant("second", second, work!()),
        };
        let outcome = transaction.run().await.unwrap();
        assert!(matches!(outcome, TwoPhaseOutcome::Committed), "{outcome:?}");
    }

    fn trips(&self) -> u64 {
        self.proxies
            .iter()
            .map(|proxy| proxy.stats().requests)
            .sum()
    }

    /// Of one transaction, when everything is warm: the fewest of several, as a busy machine may make
    /// one open a connection.
    async fn trips_of(&mut self, way: Way) -> u64 {
        let mut fewest = u64::MAX;
        for _ in 0..8 {
            let before = self.trips();
            self.run(way).await;
            // One was the look at the clock.
            fewest = fewest.min(self.trips() - before - 1);
        }
        fewest
    }

    async fn slice(&mut self, way: Way) -> Duration {
        let started = Instant::now();
        for _ in 0..50 {
            self.run(way).await;
        }
        started.elapsed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_short_ways_spare_trips() {
    let mut bench = Bench::start().await;
    // Begin, work, commit.
    let alone = bench.trips_of(Way::Alone).await;
    // Each: begin, work, prepare, commit; and the register: decide, finish.
    let both = bench.trips_of(Way::Both).await;
    // The last one's prepare, commit and decision are one.
    let last = bench.trips_of(Way::Last).await;
    println!("round trips: alone {alone}, two {both}, two with the register's own {last}");
    assert_eq!((alone, both, last), (3, 10, 8));
    // Whatever comes before the commit is one message.
    let alone = bench.trips_of(Way::AloneKnown).await;
    let both = bench.trips_of(Way::BothKnown).await;
    let last = bench.trips_of(Way::LastKnown).await;
    println!("known up front: alone {alone}, two {both}, two with the register's own {last}");
    assert_eq!((alone, both, last), (1, 6, 4));
    if env::var_os("EXACTLY_ONCE_MEASURE").is_none() {
        return;
    }
    let ways = [
        Way::Alone,
        Way::Both,
        Way::Last,
        Way::AloneKnown,
        Way::BothKnown,
        Way::LastKnown,
    ];
    let mut ratios = ways.map(|way| (way, Vec::new()));
    for _ in 0..9 {
        for (way, ratios) in &mut ratios {
            let floor = bench.slice(Way::Floor).await;
            let taken = bench.slice(*way).await;
            ratios.push(floor.as_secs_f64() / taken.as_secs_f64());
        }
    }
    for (way, mut ratios) in ratios {
        ratios.sort_by(f64::total_cmp);
        println!("{way:?}: {:.2} of the floor", ratios[ratios.len() / 2]);
    }
}
