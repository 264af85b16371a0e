//! A store's URL: its scheme, what the driver reads of it, and the options of ours in its query.

use std::time::Duration;

use exactly_once_core::{Error, ErrorKind, Namespace, Result};

pub(super) const OPERATION: &str = "connect";

/// A URL, taken apart. It may hold a password, so no error quotes it.
pub(crate) struct StoreUrl {
    /// As `postgres` or `sqlite`.
    pub(crate) scheme: String,
    /// The URL without the options of ours; of SQLite, what follows the scheme.
    #[cfg_attr(
        not(any(
            test,
            feature = "tokio-postgres",
            feature = "sqlx-postgres",
            feature = "rusqlite",
            feature = "redis"
        )),
        expect(dead_code, reason = "only a backend with a server or a file reads it")
    )]
    pub(crate) base: String,
    pub(crate) options: Options,
}

/// The options of ours in a URL's query, each once.
#[derive(Default)]
pub(crate) struct Options(Vec<(String, String)>);

pub(super) fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration, OPERATION, "any").with_message(message)
}

/// What every backend has.
const COMMON: &[&str] = &["namespace"];
const POSTGRES: &[&str] = &[
    "schema",
    "pool_size",
    "migrate",
    "require_two_phase",
    "accept_unsafe_durability",
    "max_receipt_bytes",
    "share_commits",
    "acquire_timeout",
    "lock_timeout",
    "statement_timeout",
    "idle_timeout",
    "reply_timeout",
];
const SQLITE: &[&str] = &[
    "busy_timeout",
    "lock_timeout",
    "idle_timeout",
    "group_limit",
    "queue_limit",
    "max_pages",
    "log_limit",
    "readers",
    "max_receipt_bytes",
];
/// What the path's own reader knows.
const SQLITE_URI: &[&str] = &["mode", "cache"];
const REDIS: &[&str] = &[
    "key_prefix",
    "cluster",
    "one_slot_per_namespace",
    "response_timeout",
    "require",
    "replicas",
    "replicas_within",
    "replicas_on_disk",
    "max_receipt_bytes",
    "group_from",
];
/// What the driver of Redis reads of a query.
const REDIS_DRIVER: &[&str] = &[
    "protocol",
    "sslrootcert",
    "db",
    "user",
    "pass",
    "sentinel_user",
    "sentinel_password",
];

impl StoreUrl {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// [Configuration](ErrorKind::Configuration): no scheme, or an unknown one; an option that the
    /// backend does not have, or that stands twice. The message names the option, never its value.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(refuse(
                "the URL has no scheme, such as postgres: or sqlite:",
            ));
        };
        let scheme = scheme.to_ascii_lowercase();
        let (ours, drivers): (&[&str], Option<&[&str]>) = match scheme.as_str() {
            // Its driver refuses what it does not know.
            "postgres" | "postgresql" => (POSTGRES, None),
            "sqlite" => (SQLITE, Some(SQLITE_URI)),
            "redis" | "rediss" | "unix" | "redis+unix" | "redis+sentinel" | "rediss+sentinel" => {
                (REDIS, Some(REDIS_DRIVER))
            }
            "memory" => (&[], Some(&[])),
            _ => {
                return Err(refuse(
                    "the URL's scheme is none of postgres, postgresql, sqlite, redis, rediss, unix, \
                     redis+sentinel, memory",
                ));
            }
        };
        let (rest, fragment) = match rest.split_once('#') {
            Some((rest, fragment)) if scheme != "sqlite" => (rest, Some(fragment)),
            _ => (rest, None),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut options = Options::default();
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if COMMON.contains(&name) || ours.contains(&name) {
                options.add(name, value)?;
            } else if drivers.is_none_or(|drivers| drivers.contains(&name)) {
                kept.push(pair);
            } else {
                let known = [COMMON, ours, drivers.unwrap_or_default()].concat();
                return Err(refuse(format!(
                    "the URL has the option {name:?}, which {scheme}: does not know. It knows: {}",
                    known.join(", ")
                )));
            }
        }
        let mut base = match scheme.as_str() {
            "sqlite" => path.to_owned(),
            _ => format!("{scheme}:{path}"),
        };
        if !kept.is_empty() {
            base = format!("{base}?{}", kept.join("&"));
        }
        if let Some(fragment) = fragment {
            base = format!("{base}#{fragment}");
        }
        Ok(Self {
            scheme,
            base,
            options,
        })
    }

    /// The namespace that the URL names.
    ///
    /// # Errors
    /// [Invalid](ErrorKind::Invalid) for one that is no name.
    pub(crate) fn namespace(&self) -> Result<Option<Namespace>> {
        let named = self.options.text("namespace");
        Ok(named.map(Namespace::new).transpose()?)
    }
}

impl Options {
    fn add(&mut self, name: &str, value: &str) -> Result<()> {
        if self.text(name).is_some() {
            return Err(refuse(format!("the URL has the option {name:?} twice")));
        }
        let value = decode(value).ok_or_else(|| bad(name, "readable: it has a broken %-escape"))?;
        self.0.push((name.to_owned(), value));
        Ok(())
    }

    /// Sets an option, in place of the URL's own.
    #[cfg(feature = "serve")]
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(option, _)| option != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let mut options = self.0.iter();
        let (_, value) = options.find(|(option, _)| option == name)?;
        Some(value)
    }

    #[cfg_attr(
        not(any(
            test,
            feature = "tokio-postgres",
            feature = "sqlx-postgres",
            feature = "rusqlite",
            feature = "redis"
        )),
        expect(dead_code, reason = "only a backend with a server or a file reads it")
    )]
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        let parse = |value: &str| {
            value
                .parse()
                .map_err(|_| bad(name, "a whole number in range"))
        };
        self.text(name).map(parse).transpose()
    }

    #[cfg_attr(
        not(any(
            test,
            feature = "tokio-postgres",
            feature = "sqlx-postgres",
            feature = "redis"
        )),
        expect(dead_code, reason = "only a backend with a server or a file reads it")
    )]
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>> {
        let parse = |value: &str| match value {
            "" | "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(bad(name, "true or false")),
        };
        self.text(name).map(parse).transpose()
    }

    #[cfg_attr(
        not(any(
            test,
            feature = "tokio-postgres",
            feature = "sqlx-postgres",
            feature = "rusqlite",
            feature = "redis"
        )),
        expect(dead_code, reason = "only a backend with a server or a file reads it")
    )]
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>> {
        let parse =
            |value: &str| duration(value).ok_or_else(|| bad(name, "a duration, as 5s or 250ms"));
        self.text(name).map(parse).transpose()
    }
}

pub(super) fn bad(name: &str, expected: &str) -> Error {
    refuse(format!("the URL's option {name:?} is not {expected}"))
}

/// `250ms`, `5s`, `2m`, or a number of seconds.
fn duration(text: &str) -> Option<Duration> {
    let digits = text
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" | "" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    }
}

/// Undoes the %-escapes of a value.
fn decode(value: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_taken_out_and_the_drivers_stay() {
        let url =
            "postgres://u:p@h/db?sslmode=require&schema=shop%5Feo&connect_timeout=3&namespace=a b";
        let parsed = StoreUrl::parse(url).unwrap();
        assert_eq!(
            parsed.base,
            "postgres://u:p@h/db?sslmode=require&connect_timeout=3"
        );
        assert_eq!(parsed.options.text("schema"), Some("shop_eo"));
        assert_eq!(parsed.namespace().unwrap().unwrap().as_str(), "a b");
        let parsed = StoreUrl::parse("sqlite:///var/shop.db?busy_timeout=250ms").unwrap();
        assert_eq!(parsed.base, "///var/shop.db");
        let quarter = Some(Duration::from_millis(250));
        assert_eq!(parsed.options.duration("busy_timeout").unwrap(), quarter);
        let parsed = StoreUrl::parse("rediss://h/0?key_prefix=x&protocol=resp3#insecure").unwrap();
        assert_eq!(parsed.base, "rediss://h/0?protocol=resp3#insecure");
    }

    #[test]
    fn what_is_unknown_or_twice_or_unreadable_is_refused_by_name() {
        for (url, name) in [
            ("sqlite:shop.db?shema=s3cret", "shema"),
            ("redis://h?keyprefix=s3cret", "keyprefix"),
            ("memory:?schema=s3cret", "schema"),
            ("postgres://h?schema=a&schema=s3cret", "schema"),
            ("sqlite:shop.db?namespace=%zzs3cret", "namespace"),
        ] {
            let error = StoreUrl::parse(url).err().unwrap();
            let text = error.to_string();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{url}");
            assert!(text.contains(name) && !text.contains("s3cret"), "{text}");
        }
        let parsed = StoreUrl::parse("postgres://h?pool_size=many&migrate=perhaps").unwrap();
        assert!(parsed.options.number::<u32>("pool_size").is_err());
        assert!(parsed.options.flag("migrate").is_err());
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(duration("7"), Some(Duration::from_secs(7)));
        for wrong in ["", "s", "5h", "-5s", "1.5s", "99999999999999999999s"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
