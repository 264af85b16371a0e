//! Libraries that a user would take instead, on the same Postgres, for the same work: insert one
//! payment once. They also record the state of a workflow, so they do more than a floor asks for.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use exactly_once_bench::{
    Options,
    results::{Report, Row},
    slice,
    statistics::{Spread, quantile},
};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::{INSERT, world::World};

const NAME: &str = "DBOS Transact for Python, transactional step";

/// What the peer says of a slice.
#[derive(Deserialize)]
struct Done {
    done: f64,
    seconds: f64,
    latencies: Vec<f64>,
}

/// A peer in a process of its own: a line says how many callers and how long, a line answers.
struct Peer {
    _process: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

impl Peer {
    fn start(url: &str) -> Result<Self> {
        let python = root().join(".tools/peers/bin/python");
        if !python.exists() {
            bail!("the peers are not installed; install them with: ./dev setup peers");
        }
        let mut process = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/postgres/dbos_once.py"))
            .arg(url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let ask = process.stdin.take().context("the peer can't be asked")?;
        let answers = process.stdout.take().context("the peer can't answer")?;
        Ok(Self {
            _process: process,
            ask,
            answers: BufReader::new(answers).lines(),
        })
    }

    async fn slice(&mut self, callers: usize, time: Duration) -> Result<Done> {
        let line = format!("{callers} {}\n", time.as_secs_f64());
        self.ask.write_all(line.as_bytes()).await?;
        let answer = self.answers.next_line().await?;
        Ok(serde_json::from_str(
            &answer.context("the peer has ended")?,
        )?)
    }
}

pub(crate) async fn measure(world: &World, options: &Options, report: &mut Report) -> Result<()> {
    let mut peer = Peer::start(&world.url)?;
    let floor = world.bare.insert();
    // It is slow, so that a short slice would see too few calls.
    let time = options.slice().max(Duration::from_secs(1));
    for &callers in options.callers.iter().filter(|callers| **callers <= 32) {
        let (mut rounds, mut latencies) = (Vec::new(), Vec::new());
        peer.slice(callers, time / 2).await?;
        for _ in 0..options.rounds.min(3) {
            let before = slice::run(&floor, callers, options.slice()).await?.rate();
            let done = peer.slice(callers, time).await?;
            let after = slice::run(&floor, callers, options.slice()).await?.rate();
            rounds.push(done.done / done.seconds / ((before + after) / 2.0));
            latencies.extend(done.latencies);
        }
        latencies.sort_by(f64::total_cmp);
        report.rows.push(Row {
            case: NAME.to_owned(),
            floor: INSERT.to_owned(),
            callers,
            ratio: Spread::of(&rounds),
            rounds,
            p50: quantile(&latencies, 0.5),
            p99: quantile(&latencies, 0.99),
            ..Row::default()
        });
    }
    Ok(())
}
