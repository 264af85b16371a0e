//! The share of `serve` in the time of a call, beside handlers that do less.
//!
//! Four handlers are called in turn, by the same number of callers, on one Restate server and one
//! Postgres: one that does nothing; one with two empty steps; one whose second step is a plain `INSERT`,
//! which is what a handler does without this library; and the effect `charge` of `serve`, which is
//! those two steps with the key and the receipt in the `INSERT`'s transaction. What `charge` takes
//! longer than the plain `INSERT` is our share: by the clock, and in processor time of all processes.

// The SDK generates clients without documentation.
#![allow(missing_docs)]

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use exactly_once_servers::{Port, Postgres, Restate, Service, launch::Launch, service};
use restate_sdk::prelude::*;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{evidence, load::ITEMS, processor};

/// The arguments of the measurement.
#[derive(Args, Clone, Debug)]
pub struct MeasureOptions {
    /// How many callers at once
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32])]
    pub callers: Vec<usize>,
    /// How long each handler is called, in each round
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// How often all of them are called in turn
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// The program that has the subcommand `serve`; this one by default
    #[arg(long, hide = true)]
    pub program: Option<std::path::PathBuf>,
}

/// What is called.
const PATHS: [&str; 4] = [
    "Beside/empty",
    "Beside/steps",
    "Beside/insert",
    "ShopDb/charge",
];
const INSERT: usize = 2;
const CHARGE: usize = 3;

/// What a call takes, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// By the clock.
    pub time: f64,
    /// Of a processor, in all processes.
    pub processor: f64,
}

/// The median of the rounds' means: of each number of callers, of each handler.
#[derive(Clone, Debug)]
pub struct Figures(Vec<(usize, [Cost; PATHS.len()])>);

impl Figures {
    /// Our share of a call, in per cent, of each number of callers.
    #[must_use]
    pub fn shares(&self) -> Vec<(usize, Cost)> {
        let share = |insert: f64, charge: f64| (1.0 - insert / charge) * 100.0;
        self.0
            .iter()
            .map(|(callers, costs)| {
                let (insert, charge) = (costs[INSERT], costs[CHARGE]);
                let time = share(insert.time, charge.time);
                let processor = share(insert.processor, charge.processor);
                (*callers, Cost { time, processor })
            })
            .collect()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header([
            "callers",
            "of a call, ms",
            "empty handler",
            "two empty steps",
            "plain INSERT in a step",
            "charge through serve",
            "our share",
        ]);
        for ((callers, costs), (_, share)) in self.0.iter().zip(self.shares()) {
            let mut row = |what: &str, of: fn(&Cost) -> f64| {
                let mut row = vec![callers.to_string(), what.to_owned()];
                row.extend(costs.iter().map(|cost| format!("{:.2}", of(cost))));
                row.push(format!("{:.1} %", of(&share)));
                table.add_row(row);
            };
            row("time", |cost| cost.time);
            row("processor", |cost| cost.processor);
        }
        write!(f, "{table}")
    }
}

/// The handlers beside `serve`.
struct Beside(Arc<tokio_postgres::Client>);

#[restate_sdk::service(name = "Beside")]
impl Beside {
    #[handler]
    async fn empty(&self, _ctx: Context<'_>, _request: Json<Value>) -> Result<(), TerminalError> {
        Ok(())
    }

    #[handler]
    async fn steps(&self, ctx: Context<'_>, _request: Json<Value>) -> Result<(), TerminalError> {
        ctx.run(async || Ok(())).name("key").await?;
        ctx.run(async || Ok(())).name("charge").await
    }

    #[handler]
    async fn insert(&self, ctx: Context<'_>, request: Json<Value>) -> Result<(), TerminalError> {
        ctx.run(async || Ok(())).name("key").await?;
        let (client, request) = (self.0.clone(), request.into_inner());
        ctx.run(move || async move {
            let order = request["order"].as_str().unwrap_or_default();
            let cents = request["cents"].as_i64().unwrap_or_default();
            let insert = "INSERT INTO payment (order_name, cents, language) VALUES ($1, $2, 'rs')";
            client.execute(insert, &[&order, &cents]).await?;
            Ok(())
        })
        .name("charge")
        .await
    }
}

/// Starts all of it, and measures.
///
/// # Errors
/// Where something does not start, or a call fails.
pub async fn run(options: &MeasureOptions) -> Result<Figures> {
    let program = service::program(options.program.as_deref())?;
    let folder = tempfile::tempdir()?;
    let (restate, postgres) = tokio::try_join!(Restate::start(), Postgres::start(18))?;
    let (ledger, stock) = (postgres.url(), folder.path().join("stock.sqlite"));
    evidence::create(&ledger, &stock, &ITEMS, 1).await?;
    let config = folder.path().join("effects.toml");
    std::fs::write(&config, include_str!("../effects.toml"))?;
    let launch = Launch::new(program, folder.path())
        .variable("LEDGER_URL", &ledger)
        .variable("STOCK_URL", format!("sqlite:{}", stock.display()))
        .variable("RUST_LOG", "warn")
        .arguments(["serve", "--config", "effects.toml"]);
    let serve = Service::start_with(launch, "--listen").await?;
    let (client, connection) = tokio_postgres::connect(&ledger, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let port = Port::reserve()?;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port.number()));
    let endpoint = Endpoint::builder().bind(Beside(Arc::new(client))).build();
    tokio::spawn(exactly_once::restate::serve(
        endpoint,
        address,
        std::future::pending(),
    ));
    restate.register(&format!("http://{address}")).await?;
    restate.register(&serve.url()).await?;

    let http = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("{}/restate/call", restate.ingress_url());
    let mut figures = Vec::new();
    for callers in &options.callers {
        let mut means = [const { Vec::new() }; PATHS.len()];
        for path in PATHS {
            // The first calls connect and prepare.
            mean(&http, &format!("{url}/{path}"), *callers, 0.5).await?;
        }
        for _ in 0..options.rounds.max(1) {
            for (path, means) in PATHS.iter().zip(&mut means) {
                let url = format!("{url}/{path}");
                means.push(mean(&http, &url, *callers, options.seconds).await?);
            }
        }
        figures.push((
            *callers,
            means.map(|costs: Vec<Cost>| Cost {
                time: median(costs.iter().map(|cost| cost.time).collect()),
                processor: median(costs.iter().map(|cost| cost.processor).collect()),
            }),
        ));
    }
    serve.stop().await?;
    Ok(Figures(figures))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The mean of a call.
async fn mean(http: &reqwest::Client, url: &str, callers: usize, seconds: f64) -> Result<Cost> {
    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU64::new(0));
    let (started, used) = (Instant::now(), processor::used_ms());
    let mut running = JoinSet::new();
    for caller in 0..callers {
        let (http, url) = (http.clone(), url.to_owned());
        let (stop, calls) = (stop.clone(), calls.clone());
        running.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let order = format!("{caller}-{}", calls.fetch_add(1, Ordering::Relaxed));
                let body = json!({ "order": order, "cents": 5, "language": "rs" });
                let answer = http.post(&url).json(&body).send().await?;
                let status = answer.status();
                let text = answer.text().await?;
                ensure!(status.is_success(), "{url}: {status} {text}");
            }
            Ok(())
        });
    }
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = running.join_next().await {
        ended.context("a caller panicked")??;
    }
    let calls = calls.load(Ordering::Relaxed) as f64;
    Ok(Cost {
        time: started.elapsed().as_secs_f64() * 1_000.0 * callers as f64 / calls,
        processor: (processor::used_ms() - used) / calls,
    })
}
