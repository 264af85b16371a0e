//! Opens the stores of a configuration.

use std::{collections::BTreeMap, ffi::OsString};

use super::{
    catalog::Served,
    config::{Config, Problem, StoreConfig},
};
use crate::{
    AnyStore, Error, ErrorKind, Namespace, Store,
    connect::{self, Access, StoreUrl},
    observe::Observed,
};

/// Where URLs come from: the environment of this process, but for tests.
pub(super) type Environment<'a> = &'a (dyn Fn(&str) -> Option<OsString> + Sync);

/// Opens all of them but those that are open `already`; what can't be opened is a problem at the line of
/// the store.
pub(super) async fn open(
    config: &Config,
    environment: Environment<'_>,
    mut already: BTreeMap<String, Served>,
) -> Result<BTreeMap<String, Served>, Vec<Problem>> {
    let mut opened = BTreeMap::new();
    let mut problems = Vec::new();
    for store in &config.stores {
        if let Some(handle) = already.remove(&store.name) {
            opened.insert(store.name.clone(), handle);
            continue;
        }
        match one(store, environment).await {
            Ok(handle) => {
                opened.insert(store.name.clone(), Observed::new(handle));
            }
            Err(error) => problems.push(Problem {
                line: store.line,
                text: format!("store `{}`: {error}", store.name),
            }),
        }
    }
    problems.extend(twice(config, &opened));
    // What was opened in vain closes as it is dropped: another handle on the same file may be in use.
    match problems.is_empty() {
        true => Ok(opened),
        false => Err(problems),
    }
}

async fn one(store: &StoreConfig, environment: Environment<'_>) -> Result<AnyStore, Error> {
    let refuse = |message: String| {
        Error::new(ErrorKind::Configuration, "serve", "config").with_message(message)
    };
    let variable = &store.url_env;
    let url = environment(variable).filter(|url| !url.is_empty());
    let url = url.ok_or_else(|| {
        refuse(format!(
            "the environment variable {variable} is not set; it must hold the store's URL, such as \
             postgres://…, sqlite:… or redis://…"
        ))
    })?;
    let url = url
        .into_string()
        .map_err(|_| refuse(format!("the environment variable {variable} is no text")))?;
    let mut url = StoreUrl::parse(&url)?;
    if let Some(size) = store.pool_size {
        if !url.scheme.starts_with("postgres") {
            return Err(refuse(format!(
                "pool_size is of Postgres, and {variable} holds a URL of {}",
                url.scheme
            )));
        }
        url.options.set("pool_size", &size.to_string());
    }
    let named = store.namespace.clone();
    let namespace: Option<Namespace> = named.or(url.namespace()?);
    let handle = connect::open(&url, Access::Create).await?;
    Ok(match namespace {
        Some(namespace) => handle.with_namespace(namespace),
        None => handle,
    })
}

/// Two names for one store would be two participants of one transaction.
fn twice(config: &Config, opened: &BTreeMap<String, Served>) -> Vec<Problem> {
    let home = |name: &str| {
        let store = opened.get(name)?;
        Some((store.place(), store.namespace().clone()))
    };
    let mut problems = Vec::new();
    for (number, store) in config.stores.iter().enumerate() {
        let same = config.stores[..number]
            .iter()
            .find(|other| home(&other.name).is_some() && home(&other.name) == home(&store.name));
        if let Some(other) = same {
            problems.push(Problem {
                line: store.line,
                text: format!(
                    "stores `{}` and `{}` are one: the same database and namespace",
                    other.name, store.name
                ),
            });
        }
    }
    problems
}
