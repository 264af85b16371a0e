//! How a listener ends.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use exactly_once::{restate::Listener, sqlite::SqliteStore};
use restate_sdk::prelude::*;
use serde_json::json;
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle};

use crate::{
    bench::{Bench, Gate, LIMIT, effects, store, until},
    ends::held,
};

struct Ending(SqliteStore, Gate);

#[restate_sdk::service]
impl Ending {
    #[handler]
    async fn run(&self, ctx: Context<'_>, Json(name): Json<String>) -> HandlerResult<i64> {
        held(&ctx, &self.0, &self.1, name).await
    }
}

struct GivenBack(SqliteStore, Gate);

#[restate_sdk::service]
impl GivenBack {
    #[handler]
    async fn run(&self, ctx: Context<'_>, Json(name): Json<String>) -> HandlerResult<i64> {
        held(&ctx, &self.0, &self.1, name).await
    }
}

struct Serving {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

fn begin(address: SocketAddr, grace: Duration, endpoint: Endpoint) -> Result<Serving> {
    let listener = Listener::bind(address)?.with_grace(grace);
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(listener.serve(endpoint, async {
        let _ = stopped.await;
    }));
    Ok(Serving {
        address,
        stop,
        task,
    })
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Goal: an invocation in flight ends and is answered; meanwhile no new one gets in.
pub(crate) async fn what_is_in_flight_ends_and_the_port_is_closed_at_once(
    bench: &Bench,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (store, gate) = (store(&folder.path().join("ending")).await?, Gate::default());
    let endpoint = Endpoint::builder()
        .bind(Ending(store.clone(), gate.clone()))
        .build();
    let serving = begin(anywhere(), LIMIT, endpoint)?;
    bench
        .restate
        .register(&format!("http://{}", serving.address))
        .await?;
    let id = bench.send("Ending/run", json!("last")).await?;
    gate.attempts(1).await?;
    drop(serving.stop);
    until("the port is closed", async || {
        Ok(TcpStream::connect(serving.address).await.is_err())
    })
    .await?;
    ensure!(gate.inside() == 1, "the invocation was not let end");
    gate.open();
    let answer = bench.attach(&id).await?;
    ensure!(answer == (200, json!(1)), "{answer:?}");
    tokio::time::timeout(LIMIT, serving.task).await??;
    ensure!(effects(&store, "last").await? == 1);
    Ok(())
}

/// Goal: an invocation that does not end in the grace period is dropped, and ends at the next one
/// who serves, with one effect.
pub(crate) async fn what_does_not_end_is_given_back(bench: &Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (store, gate) = (store(&folder.path().join("back")).await?, Gate::default());
    let endpoint = || {
        Endpoint::builder()
            .bind(GivenBack(store.clone(), gate.clone()))
            .build()
    };
    let serving = begin(anywhere(), Duration::from_millis(100), endpoint())?;
    bench
        .restate
        .register(&format!("http://{}", serving.address))
        .await?;
    let id = bench.send("GivenBack/run", json!("back")).await?;
    gate.attempts(1).await?;
    drop(serving.stop);
    tokio::time::timeout(LIMIT, serving.task).await??;
    until("the handler is dropped", async || Ok(gate.inside() == 0)).await?;
    ensure!(
        effects(&store, "back").await? == 0,
        "the dropped attempt has committed"
    );

    let next = begin(serving.address, LIMIT, endpoint())?;
    gate.attempts(2).await?;
    gate.open();
    let answer = bench.attach(&id).await?;
    ensure!(answer == (200, json!(1)), "{answer:?}");
    ensure!(effects(&store, "back").await? == 1);
    drop(next.stop);
    tokio::time::timeout(LIMIT, next.task).await??;
    Ok(())
}
