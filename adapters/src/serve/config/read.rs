//! From the file to the configuration. Every problem is reported, not only the first one.

use std::{collections::HashMap, net::SocketAddr, path::Path, time::Duration};

use toml::Spanned;

use super::{
    Config, Lines, Problem, Schedules, StoreConfig,
    file::{File, Store, Text},
    handlers,
};
use crate::Namespace;

/// What a request may have, if not said.
const MAX_BODY_BYTES: u64 = 1024 * 1024;
/// The most that may be said: Restate's own limit of a message.
const MOST_BODY_BYTES: u64 = 32 * 1024 * 1024;
/// How long calls in flight may take to end, if not said.
const GRACE: Duration = Duration::from_secs(10);
/// Names that Restate keeps for itself, or that another service here has.
const TAKEN: [&str; 4] = ["Account", "InDoubtSweep", "KeyExpiry", "openapi"];

/// Collects problems while it reads.
pub(super) struct Reader {
    lines: Lines,
    problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn line<T>(&self, at: &Spanned<T>) -> usize {
        self.lines.at(&at.span())
    }

    pub(super) fn problem<T>(&mut self, at: &Spanned<T>, text: impl Into<String>) {
        let problem = Problem {
            line: self.line(at),
            text: text.into(),
        };
        self.problems.push(problem);
    }

    /// A name of the service, of a handler, a parameter or a column: an identifier in every language.
    pub(super) fn identifier(&mut self, what: &str, name: &Text) {
        let text = name.get_ref();
        let mut chars = text.chars();
        let begins = chars.next().is_some_and(|char| char.is_ascii_alphabetic());
        let plain = chars.all(|char| char.is_ascii_alphanumeric() || char == '_');
        if !begins || !plain || text.len() > 64 {
            let text = format!(
                "the {what} `{text}` can't be one: begin with a letter, go on with letters, digits and \
                 `_`, up to 64 characters"
            );
            self.problem(name, text);
        }
    }

    pub(super) fn duration(&mut self, what: &str, text: &Option<Text>) -> Option<Duration> {
        let text = text.as_ref()?;
        let duration = duration(text.get_ref()).filter(|duration| !duration.is_zero());
        if duration.is_none() {
            let message = format!(
                "{what} is `{}`; write a duration as 250ms, 10s, 5m, 12h or 30d",
                text.get_ref()
            );
            self.problem(text, message);
        }
        duration
    }

    fn address(&mut self, what: &str, text: &Option<Text>) -> Option<SocketAddr> {
        let text = text.as_ref()?;
        let address = text.get_ref().parse().ok();
        if address.is_none() {
            let message = format!(
                "{what} is `{}`; write an address as 0.0.0.0:9080",
                text.get_ref()
            );
            self.problem(text, message);
        }
        address
    }

    /// The store of this name.
    pub(super) fn store(&mut self, stores: &[StoreConfig], name: &Text) -> String {
        if !stores.iter().any(|store| store.name == *name.get_ref()) {
            let known: Vec<_> = stores.iter().map(|store| store.name.as_str()).collect();
            let known = match known.is_empty() {
                true => "there is none: add [stores.NAME]".to_owned(),
                false => format!("there are: {}", known.join(", ")),
            };
            self.problem(name, format!("unknown store `{}`; {known}", name.get_ref()));
        }
        name.get_ref().clone()
    }

    fn one_store(&mut self, name: &Text, store: Store) -> StoreConfig {
        self.identifier("store name", name);
        let namespace = store.namespace.as_ref().and_then(|namespace| {
            Namespace::new(namespace.get_ref().as_str())
                .map_err(|error| self.problem(namespace, error.to_string()))
                .ok()
        });
        if store.url_env.get_ref().contains(':') {
            let text = "url_env names an environment variable; it is not the URL itself";
            self.problem(&store.url_env, text);
        }
        if let Some(size) = store.pool_size.as_ref().filter(|size| *size.get_ref() == 0) {
            self.problem(size, "pool_size is 0; it must be at least 1");
        }
        StoreConfig {
            name: name.get_ref().clone(),
            line: self.line(&store.url_env),
            url_env: store.url_env.into_inner(),
            namespace,
            pool_size: store.pool_size.map(Spanned::into_inner),
        }
    }
}

pub(super) fn read(file: &Path, text: &str) -> Result<Config, Vec<Problem>> {
    let lines = Lines::of(text);
    let written: File = toml::from_str(text).map_err(|error| {
        vec![Problem {
            line: lines.at(&error.span().unwrap_or_default()),
            text: error.message().to_owned(),
        }]
    })?;
    let mut reader = Reader {
        lines,
        problems: Vec::new(),
    };
    let config = check(&mut reader, file, written);
    match reader.problems.is_empty() {
        true => Ok(config),
        false => Err(reader.problems),
    }
}

fn check(reader: &mut Reader, file: &Path, written: File) -> Config {
    reader.identifier("service name", &written.service);
    if TAKEN.contains(&written.service.get_ref().as_str()) {
        let text = format!("the service name `{}` is taken", written.service.get_ref());
        reader.problem(&written.service, text);
    }
    let stores: Vec<_> = written
        .stores
        .into_iter()
        .map(|(name, store)| reader.one_store(&name, store))
        .collect();
    let register = written
        .register
        .as_ref()
        .map(|name| reader.store(&stores, name));
    let accounts = written
        .accounts
        .as_ref()
        .map(|accounts| reader.store(&stores, &accounts.store));
    let schedules = Schedules {
        key_expiry: reader.duration("key_expiry", &written.schedules.key_expiry),
        sweep: reader.duration("sweep", &written.schedules.sweep),
    };
    if let (Some(sweep), None) = (&written.schedules.sweep, &register) {
        reader.problem(
            sweep,
            "a sweep needs `register = \"…\"`: the store that decides",
        );
    }
    let ingress = written.ingress.as_ref().map(|url| {
        if !url.get_ref().starts_with("http://") {
            let text = "ingress must be a http:// URL; without it, start the schedules by hand";
            reader.problem(url, text);
        }
        url.get_ref().trim_end_matches('/').to_owned()
    });
    let max_body_bytes = body_limit(reader, &written.max_body_bytes);
    let listen = reader.address("listen", &written.listen);
    let admin = reader.address("admin", &written.admin);
    let grace = reader.duration("grace", &written.grace);
    let handlers = handlers::read(
        reader,
        &stores,
        register.as_deref(),
        written.effects,
        written.queries,
        written.transactions,
    );
    let mut lines = HashMap::new();
    for handler in &handlers {
        if let Some(other) = lines.insert(handler.name.clone(), handler.line) {
            let text = format!(
                "the {} `{}` has the name of another handler, in line {}: each needs its own",
                handler.kind(),
                handler.name,
                other.min(handler.line)
            );
            reader.problems.push(Problem {
                line: other.max(handler.line),
                text,
            });
        }
    }
    if handlers.is_empty() && accounts.is_none() {
        let text = "nothing is served: add [effects.NAME], [queries.NAME], [transactions.NAME] or \
                    [accounts]";
        reader.problem(&written.service, text);
    }
    Config {
        file: file.to_owned(),
        service: written.service.into_inner(),
        docs: written.docs,
        listen,
        admin,
        ingress,
        identity_keys: written
            .identity_keys
            .into_iter()
            .map(Spanned::into_inner)
            .collect(),
        max_body_bytes,
        grace: grace.unwrap_or(GRACE),
        stores,
        register,
        handlers,
        accounts,
        schedules,
    }
}

fn body_limit(reader: &mut Reader, said: &Option<Spanned<u64>>) -> usize {
    let limit = said.as_ref().map_or(MAX_BODY_BYTES, |said| *said.get_ref());
    if let Some(said) = said
        && !(1..=MOST_BODY_BYTES).contains(&limit)
    {
        let text = format!("max_body_bytes is {limit}; it must be 1 to {MOST_BODY_BYTES}");
        reader.problem(said, text);
    }
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// `250ms`, `10s`, `5m`, `12h`, `30d`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|char: char| !char.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(60 * 60),
        "d" => seconds(24 * 60 * 60),
        _ => None,
    }
}
