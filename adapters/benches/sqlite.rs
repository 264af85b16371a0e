//! SQLite beside a bare `UPDATE` by a writer thread: `./dev bench sqlite`.

#[path = "sqlite/bare.rs"]
mod bare;
#[path = "sqlite/scale.rs"]
mod scale;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use bare::{Bare, usual_recipe};
use exactly_once::{
    AnyStore, Returning, Statement,
    sqlite::{SqliteStore, SqliteTx},
};
use exactly_once_bench::{
    Bench, Operation, Options, Turn,
    cases::{self, ACCOUNTS, TxWork},
    counts::{Counted, Meter, Reading},
    operation, report,
    results::Report,
    rounds,
    two_phase::{self, KnownWork},
};
use futures_util::FutureExt as _;

const FLOOR: &str = "bare UPDATE";
const TYPED: &str = "one-shot by the typed store";
const INSERT: &str = "INSERT INTO payment (id, cents) VALUES (?1, 500)";
const ONCE: [(usize, f64); 4] = [(1, 0.95), (8, 2.7), (32, 7.0), (128, 8.0)];
const BALANCE: [(usize, f64); 4] = [(1, 0.85), (8, 3.5), (32, 8.0), (128, 9.0)];
/// An effect that returns a row, beside the same effect without.
const ROWS: [(usize, f64); 4] = [(1, 0.9), (8, 0.9), (32, 0.9), (128, 0.9)];
/// Erasing the type must cost less than 3 %: boxed futures, nothing that a call notices.
const ERASED: [(usize, f64); 4] = [(1, 0.97), (8, 0.97), (32, 0.97), (128, 0.97)];

/// The floor, the usual recipe and the store, on a file each.
struct World {
    bare: Bare,
    usual: Operation,
    store: SqliteStore,
}

impl World {
    async fn new(folder: &Path, commits: Option<&Arc<AtomicU64>>) -> Result<Self> {
        let builder = SqliteStore::builder(folder.join("store.db"));
        let builder = match commits {
            None => builder,
            Some(commits) => {
                let commits = commits.clone();
                builder.with_statement_hook(move |sql| {
                    // The store marks its own statements with a comment in front.
                    commits.fetch_add(u64::from(sql.ends_with("COMMIT")), Ordering::Relaxed);
                })
            }
        };
        bare::create(&folder.join("store.db"))?;
        let store = builder.open().await?;
        cases::open_accounts(&store, ACCOUNTS).await?;
        Ok(Self {
            bare: Bare::start(&folder.join("bare.db"), commits)?,
            usual: usual_recipe(&folder.join("usual.db"), commits)?,
            store,
        })
    }

    async fn bench(&self) -> Result<Bench> {
        let (store, mut bench) = (&self.store, Bench::default());
        bench.floor(FLOOR, self.bare.update());
        bench.case("usual recipe", FLOOR, self.usual.clone());
        bench.case("closure", FLOOR, cases::closure(store, insert()));
        bench
            .case("closure, blocking, grouped", FLOOR, blocking(store))
            .target(&ONCE);
        bench
            .case(
                "one-shot, grouped",
                FLOOR,
                cases::one_shot(store, statement),
            )
            .quicker_than("usual recipe")
            .target(&ONCE);
        bench.floor(TYPED, cases::one_shot(store, statement));
        let erased = AnyStore::new(store.clone());
        bench
            .case(
                "one-shot by AnyStore",
                TYPED,
                cases::one_shot(&erased, statement),
            )
            .target(&ERASED);
        bench
            .case(
                "one-shot that returns its row",
                TYPED,
                cases::one_shot(store, returning),
            )
            .target(&ROWS);
        let replay = cases::replay(store, statement).await?;
        bench.case("replay of a completed key", FLOOR, replay);
        bench
            .case(
                "adjust, 10,000 accounts",
                FLOOR,
                cases::adjust(store, ACCOUNTS),
            )
            .target(&BALANCE);
        bench
            .case("adjust, one hot account", FLOOR, cases::adjust(store, 1))
            .target(&BALANCE);
        bench
            .case("compare-and-set", FLOOR, cases::compare_and_set(store))
            .target(&BALANCE);
        bench.case("transfer", FLOOR, cases::transfer(store, ACCOUNTS));
        let alone = two_phase::prepare_and_commit(store, insert());
        bench.case("two-phase commit, one participant", FLOOR, alone);
        let known: KnownWork = Arc::new(|turn| vec![statement(turn)]);
        let known = two_phase::prepare_and_commit_one_shot(store, known);
        bench.case("two-phase commit, one participant, one-shot", FLOOR, known);
        Ok(bench)
    }
}

fn insert() -> TxWork<SqliteStore> {
    Arc::new(|tx: &mut SqliteTx, turn: Turn| {
        async move {
            let id = i64::try_from(turn.number)?;
            tx.run(move |db| db.prepare_cached(INSERT)?.execute([id]))
                .await?;
            Ok(())
        }
        .boxed()
    })
}

fn statement(turn: Turn) -> Statement {
    Statement::new(INSERT).bind(i64::try_from(turn.number).unwrap_or_default())
}

fn returning(turn: Turn) -> Statement {
    Statement::new(format!("{INSERT} RETURNING id, cents"))
        .bind(i64::try_from(turn.number).unwrap_or_default())
        .returning(Returning::rows(1))
}

fn blocking(store: &SqliteStore) -> Operation {
    let store = store.clone();
    operation(move |turn| {
        let store = store.clone();
        async move {
            let id = i64::try_from(turn.number)?;
            let claim = cases::claim(turn)?;
            let insert = move |db: &rusqlite::Connection| {
                db.prepare_cached(INSERT)?.execute([id])?;
                Ok(id)
            };
            store.execute_once_blocking(&claim, insert).await?;
            Ok(())
        }
    })
}

fn meter(commits: Arc<AtomicU64>) -> Meter {
    Arc::new(move || {
        // In WAL mode with synchronous=FULL a commit syncs the log once.
        let syncs = Some(commits.load(Ordering::Relaxed));
        async move { Ok(Reading { trips: None, syncs }) }.boxed()
    })
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::from_command_line();
    let folder = tempfile::tempdir()?;
    let settings = format!("SQLite {}, WAL, synchronous=FULL", rusqlite::version());
    let mut report = Report::new("sqlite", settings, &options);
    if options.scale {
        scale::measure(folder.path(), &options, &mut report).await?;
        return report::publish(&report, &options.reports);
    }
    let (timed, counting) = (folder.path().join("timed"), folder.path().join("counting"));
    std::fs::create_dir(&timed)?;
    std::fs::create_dir(&counting)?;
    let commits = Arc::new(AtomicU64::new(0));
    let counted = World::new(&counting, Some(&commits)).await?;
    let counted = Counted {
        bench: counted.bench().await?,
        meter: meter(commits),
    };
    let world = World::new(&timed, None).await?;
    rounds::measure(&world.bench().await?, Some(&counted), &options, &mut report).await?;
    report::publish(&report, &options.reports)
}
