//! From the start to the end: ports, stores, signals, reloads.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::net::TcpListener;

use super::{
    Arguments, Refused, admin,
    catalog::Catalog,
    config::{Config, Handler},
    current::Current,
    open,
    restate::{self, Listener},
    said, schedules,
};
use crate::{Error, ErrorKind, restate::shutdown_signal};

/// Where the service is, if neither the file nor the command says.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9080);

/// How often the samples of histograms are drained.
const UPKEEP: Duration = Duration::from_secs(5);

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Log {
    /// One JSON object a line
    #[default]
    Json,
    /// For people
    Text,
}

/// Serves until the process is asked to end.
pub(super) async fn serve(arguments: Arguments, config: Config) -> Result<(), Error> {
    log(arguments.log);
    let metrics = metrics()?;
    let hangups = Hangups::new();
    // The ports first: a process that can't have them does nothing to a database.
    let address = arguments.listen.or(config.listen).unwrap_or(LISTEN);
    let listener = Listener::bind(address)
        .map_err(|error| unbound("listen", address, &error))?
        .with_grace(config.grace);
    let admin_address = arguments.admin.or(config.admin);
    let admin_listener = match admin_address {
        None => None,
        Some(address) => Some(
            TcpListener::bind(address)
                .await
                .map_err(|error| unbound("admin", address, &error))?,
        ),
    };
    tokio::spawn(upkeep(metrics.clone()));
    let catalog = open(config, Default::default()).await.map_err(said)?;
    let endpoint = restate::endpoint(&catalog)?;
    let current = Arc::new(Current::new(catalog.clone(), endpoint));
    announce(&catalog, &listener, admin_address);
    let starting = schedules::start(&catalog.config);
    drop(catalog);
    let admin = admin_listener.map(|listener| {
        let admin = admin::Admin {
            current: current.clone(),
            metrics,
        };
        tokio::spawn(async move { axum::serve(listener, admin::router(admin)).await })
    });
    let reloads = reload_on_hangup(hangups, arguments.config, current.clone(), starting);
    let reloads = tokio::spawn(reloads);
    let served = current.clone();
    let ending = current.clone();
    let shutdown = async move {
        shutdown_signal().await;
        tracing::info!("asked to end: no new connection, calls in flight may end");
        ending.end();
    };
    listener
        .serve_current(move || served.endpoint(), shutdown)
        .await;
    reloads.abort();
    if let Some(admin) = admin {
        admin.abort();
    }
    current.catalog().close().await;
    Ok(())
}

fn unbound(what: &str, address: SocketAddr, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Configuration, "serve", "config").with_message(format!(
        "can't listen at {address} ({error}): choose another address with --{what}; nothing was started"
    ))
}

/// A subscriber of the program that embeds this stays.
fn log(how: Log) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let _ = match how {
        Log::Json => lines.json().flatten_event(true).try_init(),
        Log::Text => lines.with_ansi(false).try_init(),
    };
}

/// Installs the recorder that `/metrics` renders.
fn metrics() -> Result<metrics_exporter_prometheus::PrometheusHandle, Error> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Configuration, "serve", "metrics").with_message(error.to_string())
    };
    let buckets = [
        0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
    ];
    metrics_exporter_prometheus::PrometheusBuilder::new()
        .set_buckets(&buckets)
        .map_err(|error| failed(&error))?
        .install_recorder()
        .map_err(|error| failed(&error))
}

/// Samples are kept until they are drained, which otherwise only a scrape does.
async fn upkeep(metrics: metrics_exporter_prometheus::PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        metrics.run_upkeep();
    }
}

fn announce(catalog: &Catalog, listener: &Listener, admin: Option<SocketAddr>) {
    let config = &catalog.config;
    let listen = listener.local_addr().map(|address| address.to_string());
    tracing::info!(
        service = config.service,
        handlers = config.handlers.len(),
        stores = config.stores.len(),
        listen = listen.unwrap_or_default(),
        admin = admin.map(|address| address.to_string()),
        "serving; make it known with: restate deployments register http://THIS-HOST:PORT"
    );
    if config.identity_keys.is_empty() {
        tracing::warn!(
            "identity_keys is empty: any process that reaches the port can call the effects"
        );
    }
}

/// Reads the file again at each SIGHUP.
async fn reload_on_hangup(
    mut hangups: Hangups,
    file: PathBuf,
    current: Arc<Current>,
    mut starting: schedules::Starting,
) {
    loop {
        hangups.next().await;
        if reload(&file, &current).await {
            // Those of the file before are given up.
            starting = schedules::start(&current.catalog().config);
        }
        tracing::debug!(schedules = starting.len(), "schedules to start");
    }
}

/// SIGHUPs, none of them missed from here on.
#[cfg(unix)]
struct Hangups(Option<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Hangups {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self(signal(SignalKind::hangup()).ok())
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    }
}

#[cfg(not(unix))]
struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}

/// Serves the new file if nothing is wrong with it. Calls in flight end as they began; a store that both
/// files have stays open.
///
/// Returns whether it is served.
async fn reload(file: &Path, current: &Current) -> bool {
    let before = current.catalog();
    let made = async {
        let config = Config::load(file)?;
        let kept = before.kept_by(&config);
        let catalog = open(config, kept).await?;
        let endpoint = restate::endpoint(&catalog).map_err(Refused::Error)?;
        Ok::<_, Refused>((catalog, endpoint))
    };
    let (catalog, endpoint) = match made.await {
        Ok(made) => made,
        Err(refused) => {
            let why = match refused {
                Refused::Problems(problems) => problems.to_string(),
                Refused::Error(error) => error.to_string(),
            };
            metrics::counter!("exactly_once_serve_reloads_total", "outcome" => "refused")
                .increment(1);
            tracing::error!(
                problems = why,
                "reload refused; the configuration before it is served"
            );
            current.refuse(why);
            return false;
        }
    };
    current.replace(catalog.clone(), endpoint);
    metrics::counter!("exactly_once_serve_reloads_total", "outcome" => "ok").increment(1);
    report_reload(&before.config, &catalog.config);
    true
}

/// What a reload can't do by itself.
fn report_reload(before: &Config, now: &Config) {
    let gone: Vec<_> = before
        .handlers
        .iter()
        .filter(|handler| now.handler(&handler.name).is_none())
        .map(|handler| handler.name.as_str())
        .collect();
    let new: Vec<_> = now
        .handlers
        .iter()
        .filter(|handler| before.handler(&handler.name).is_none())
        .map(|handler| handler.name.as_str())
        .collect();
    tracing::info!(handlers = now.handlers.len(), "reloaded");
    if !gone.is_empty() || !new.is_empty() || before.service != now.service {
        tracing::warn!(
            new = new.join(", "),
            gone = gone.join(", "),
            "Restate knows the handlers as they were: register the deployment again with --force. Calls \
             of a handler that is gone are retried until it is back"
        );
    }
    let home = |config: &Config, name: &str| {
        let store = config.stores.iter().find(|store| store.name == name);
        store.map(|store| (store.url_env.clone(), store.namespace.clone()))
    };
    for handler in &now.handlers {
        let was = before
            .handler(&handler.name)
            .and_then(Handler::effect_store);
        if let (Some(was), Some(is)) = (was, handler.effect_store())
            && (was != is || home(before, was) != home(now, is))
        {
            tracing::warn!(
                handler = handler.name,
                was,
                is,
                "the effect has moved to another store, or its store to another place, which knows no key that was \
                 used before: a caller that repeats one has the effect applied there again"
            );
        }
    }
    if (before.listen, before.admin) != (now.listen, now.admin) {
        tracing::warn!("`listen` and `admin` are read at the start only");
    }
}
