//! What is served: a configuration and its open stores. A reload makes another one; a call keeps the one
//! that it began with.

use std::collections::BTreeMap;

use super::config::Config;
use crate::{AnyStore, Error, ErrorKind, Store, observe::Observed};

/// A store, with each of its calls counted.
pub(super) type Served = Observed<AnyStore>;

/// A configuration and its stores.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) config: Config,
    stores: BTreeMap<String, Served>,
}

impl Catalog {
    pub(super) fn new(config: Config, stores: BTreeMap<String, Served>) -> Self {
        Self { config, stores }
    }

    /// The store of this name.
    ///
    /// # Errors
    /// [Configuration](ErrorKind::Configuration): none, which a checked configuration excludes.
    pub(super) fn store(&self, name: &str) -> Result<&Served, Error> {
        self.stores.get(name).ok_or_else(|| {
            Error::new(ErrorKind::Configuration, "serve", "config")
                .with_message(format!("there is no store `{name}`"))
        })
    }

    /// The store that decides transactions.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub(super) fn register(&self) -> Result<&Served, Error> {
        self.store(self.config.register.as_deref().unwrap_or_default())
    }

    pub(super) fn stores(&self) -> impl Iterator<Item = (&str, &Served)> {
        self.stores
            .iter()
            .map(|(name, store)| (name.as_str(), store))
    }

    /// The open stores that another configuration wants the same way.
    pub(super) fn kept_by(&self, other: &Config) -> BTreeMap<String, Served> {
        let same = |name: &str| {
            let find = |config: &Config| {
                let mut store = config
                    .stores
                    .iter()
                    .find(|store| store.name == name)?
                    .clone();
                store.line = 0;
                Some(store)
            };
            find(&self.config) == find(other)
        };
        self.stores()
            .filter(|(name, _)| same(name))
            .map(|(name, store)| (name.to_owned(), store.clone()))
            .collect()
    }

    /// Closes the stores, in order. What is in flight there ends first.
    pub(super) async fn close(&self) {
        for (name, store) in self.stores() {
            if let Err(error) = store.close().await {
                tracing::warn!(store = name, %error, "the store could not be closed in order");
            }
        }
    }
}
