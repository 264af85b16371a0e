//! The stores that a command is given, and which of them holds a register.

use std::{ffi::OsString, path::Path};

use clap::Args;
use futures_util::future::join_all;

use super::output::{Cell, refuse};
use crate::{
    AnyStore, Error, ErrorKind, Namespace, NamespaceIdentity, Result, Store,
    connect::{self, Access, StoreUrl},
    identity_of,
};

const OPERATION: &str = "open";

/// What `--url` names, beside stores that have names of their own.
const ONE: &str = "store";

/// Which stores a command is about.
#[derive(Debug, Args)]
pub(super) struct Where {
    /// The store: postgres://…, sqlite:file, redis://…; better given by the environment, since
    /// arguments can be seen by others
    #[arg(
        long,
        global = true,
        env = "EXACTLY_ONCE_URL",
        hide_env_values = true,
        default_value = ""
    )]
    url: String,

    /// Another store, for `in-doubt`, as NAME=URL; may be repeated. Its namespace is an option of the
    /// URL: `?namespace=shop`
    #[arg(long = "store", global = true, value_name = "NAME=URL")]
    named: Vec<String>,

    /// A file with one NAME=URL a line; a line that begins with # is a comment. Empty is as left out
    #[arg(
        long = "stores",
        global = true,
        value_name = "FILE",
        env = "EXACTLY_ONCE_STORES",
        value_parser = clap::builder::OsStringValueParser::new()
    )]
    file: Option<OsString>,

    /// The namespace of stores whose URL names none; `default` if left out or empty
    #[arg(long, global = true, env = "EXACTLY_ONCE_NAMESPACE")]
    namespace: Option<String>,
}

/// A store that was opened.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) name: String,
    /// Its URL without secrets, and its namespace.
    pub(super) shown: String,
    pub(super) store: AnyStore,
    /// By what transactions name it.
    pub(super) identity: NamespaceIdentity,
}

/// The stores of a command over several.
#[derive(Debug, Default)]
pub(super) struct Stores {
    pub(super) given: Vec<Given>,
    /// Those that can't be reached now.
    pub(super) away: Vec<(String, Error)>,
}

impl Where {
    /// The URL of the one store that a command is about, and its name.
    ///
    /// # Errors
    /// [Invalid](ErrorKind::Invalid) where there is none, or a choice: the environment may name the
    /// service's store, and an argument the copy that is meant.
    pub(super) fn url(&self) -> Result<(String, String)> {
        if !self.url.is_empty() && !self.named.is_empty() {
            return Err(refuse(
                ErrorKind::Invalid,
                OPERATION,
                "this command is about one store, and both --store and --url (or EXACTLY_ONCE_URL) name \
                 one: leave --store out, and give the store that is meant by --url",
            ));
        }
        if !self.url.is_empty() {
            return Ok((ONE.to_owned(), self.url.clone()));
        }
        let mut named = self.named()?;
        match (named.pop(), named.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => Err(refuse(
                ErrorKind::Invalid,
                OPERATION,
                "no store is named, or several: set EXACTLY_ONCE_URL, or say --url",
            )),
        }
    }

    /// Opens the one store that a command is about.
    pub(super) async fn one(&self, access: Access) -> Result<Given> {
        let (name, url) = self.url()?;
        self.open(name, &url, access).await
    }

    /// Opens all stores. One that is away is put aside; one that is named wrongly ends the command.
    pub(super) async fn all(&self, access: Access) -> Result<Stores> {
        let mut urls = self.named()?;
        if !self.url.is_empty() {
            urls.push((ONE.to_owned(), self.url.clone()));
        }
        if urls.is_empty() {
            self.url()?;
        }
        let opened = join_all(urls.iter().map(async |(name, url)| {
            let opened = Box::pin(self.open(name.clone(), url, access)).await;
            opened.map_err(|error| (name.clone(), error))
        }));
        let mut stores = Stores::default();
        for opened in opened.await {
            match opened {
                Ok(given) => stores.add(given)?,
                Err((name, error)) if error.is_retryable() => stores.away.push((name, error)),
                Err((name, error)) => return Err(about(&name, error)),
            }
        }
        match (stores.given.is_empty(), stores.away.pop()) {
            (true, Some((name, error))) => Err(about(&name, error)),
            (_, last) => {
                stores.away.extend(last);
                Ok(stores)
            }
        }
    }

    async fn open(&self, name: String, url: &str, access: Access) -> Result<Given> {
        let parsed = StoreUrl::parse(url)?;
        let asked = self.namespace.as_ref().filter(|name| !name.is_empty());
        let asked = asked.map(Namespace::new).transpose()?;
        let named = parsed.namespace()?;
        if let (Some(asked), Some(named)) = (&asked, &named)
            && name == ONE
            && asked != named
        {
            return Err(refuse(
                ErrorKind::Invalid,
                OPERATION,
                format!(
                    "--namespace is {:?}, and the URL names {:?}: leave one of them out",
                    asked.as_str(),
                    named.as_str()
                ),
            ));
        }
        let mut store = connect::open(&parsed, access).await?;
        if let (Some(asked), None) = (asked, named) {
            store = store.with_namespace(asked);
        }
        Ok(Given {
            shown: format!("{} (namespace {})", shown(url), store.namespace()),
            identity: identity_of(&store).await?,
            name,
            store,
        })
    }

    fn named(&self) -> Result<Vec<(String, String)>> {
        let mut stores: Vec<(String, String)> = Vec::new();
        let file = self.file.as_ref().filter(|path| !path.is_empty());
        let lines = match file.map(Path::new) {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path).map_err(|source| {
                let why = format!("the file of stores {} can't be read", path.display());
                refuse(ErrorKind::Configuration, OPERATION, why).with_source(source)
            })?,
        };
        // As some editors write it.
        let lines = lines.strip_prefix('\u{feff}').unwrap_or(&lines);
        let lines = lines.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines.chain(self.named.iter().map(String::as_str)) {
            // No more of it in an error: the URL may hold a password.
            let (name, url) = line.split_once('=').ok_or_else(|| {
                let why = "a store is given as NAME=URL, and one of them has no =";
                refuse(ErrorKind::Invalid, OPERATION, why)
            })?;
            let (name, url) = (name.trim(), url.trim());
            if name.is_empty() || name.contains(':') {
                let why = "a store is given as NAME=URL, and one of them has no name";
                return Err(refuse(ErrorKind::Invalid, OPERATION, why));
            }
            if name == ONE || stores.iter().any(|(other, _)| other == name) {
                let why = format!("two stores have the name {name:?}: give one another name");
                return Err(refuse(ErrorKind::Invalid, OPERATION, why));
            }
            stores.push((name.to_owned(), url.to_owned()));
        }
        Ok(stores)
    }
}

impl Stores {
    /// One store may be given twice, as `--url` and in the file of all: the first name counts.
    fn add(&mut self, given: Given) -> Result<()> {
        for earlier in &self.given {
            if earlier.identity != given.identity {
                continue;
            }
            if earlier.store.place() == given.store.place() {
                return Ok(());
            }
            return Err(refuse(
                ErrorKind::Invalid,
                OPERATION,
                format!(
                    "{:?} and {:?} have the same identity at two places: one is a restored copy of the \
                     other. Give the copy an identity of its own: `exactly-once adopt`, with the copy's \
                     URL",
                    earlier.name, given.name
                ),
            ));
        }
        self.given.push(given);
        Ok(())
    }

    /// The store that holds the register.
    pub(super) fn holding(&self, register: &NamespaceIdentity) -> Option<&Given> {
        let mut given = self.given.iter();
        given.find(|given| given.identity == *register)
    }

    /// The register by its store's name, or what is known of it.
    pub(super) fn register(&self, register: &NamespaceIdentity) -> Cell {
        match self.holding(register) {
            Some(given) => given.name.as_str().into(),
            None => format!("not given: {register}").into(),
        }
    }

    /// The register that a transaction names.
    ///
    /// # Errors
    /// [Configuration](ErrorKind::Configuration): it is none of the stores.
    pub(super) fn prove(&self, register: &NamespaceIdentity) -> Result<&Given> {
        self.holding(register).ok_or_else(|| {
            let away = self.away.iter().map(|(name, _)| format!(", {name} is away"));
            let why = format!(
                "the transaction names the register {register}, which is none of the stores given \
                 ({}{}). Nothing was done. Give the store that holds it, with its namespace: --store \
                 NAME=URL?namespace=…",
                self.named(),
                away.collect::<String>()
            );
            refuse(ErrorKind::Configuration, "in-doubt", why)
        })
    }

    /// The stores, each with what it is.
    pub(super) fn named(&self) -> String {
        let given = self.given.iter();
        let named: Vec<_> = given
            .map(|given| format!("{} = {}", given.name, given.shown))
            .collect();
        named.join(", ")
    }

    /// A line for each store that is away.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        let away = self.away.iter();
        away.map(|(name, error)| format!("the store {name:?} can't be asked now: {error}"))
    }

    pub(super) async fn close(&self) {
        // What the command has done stands, also where the connections can't be closed in order.
        join_all(self.given.iter().map(|given| given.store.close())).await;
    }
}

/// An error of one of several stores.
pub(super) fn about(name: &str, error: Error) -> Error {
    Error::new(error.kind(), error.operation(), "cli")
        .with_message(format!("the store {name:?}"))
        .with_source(error)
}

/// A URL without what may be secret: user, password, query. A `@` behind a `?` or `#` may stand in the
/// query or in a password, and either may be what follows it: then only the scheme is shown.
pub(super) fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    let scheme = scheme.to_ascii_lowercase();
    let rest = match scheme.as_str() {
        "sqlite" => rest,
        _ if rest
            .find(['?', '#'])
            .is_some_and(|query| rest[query..].contains('@')) =>
        {
            return format!("{scheme}:…");
        }
        // The last one: a password may hold one as well.
        _ => match rest.rsplit_once('@') {
            Some((_, rest)) => rest,
            None => rest.trim_start_matches('/'),
        },
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    format!("{scheme}:{}", &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (url, says) in [
            (
                "postgres://me:s3cret@h:5/db?password=s3cret",
                "postgres:h:5/db",
            ),
            ("postgres://me:s3/cr@et:x@h/db", "postgres:h/db"),
            ("postgres://me:s3/cr@e?t#x@h/db", "postgres:…"),
            ("redis://h:6379/2?pass=pw@s3cret", "redis:…"),
            ("redis://:s3cret@h?pass=pw@s3cret", "redis:…"),
            ("redis://:s3cret@h", "redis:h"),
            ("redis://h:6379/2?pass=s3cret", "redis:h:6379/2"),
            ("sqlite:/var/a@b.db?namespace=x", "sqlite:/var/a@b.db"),
            ("SQLITE:shop.db", "sqlite:shop.db"),
        ] {
            assert_eq!(shown(url), says, "{url}");
        }
    }
}
