//! Redis Sentinel: the master's address is asked for before each connection.
//!
//! `redis+sentinel://user:password@host:26379,host:26379/master-name/database`. User and password
//! are the master's; those of the sentinels follow as `?sentinel_user=…&sentinel_password=…`.

use std::time::Duration;

use exactly_once_core::{Error, ErrorKind, Result};
use redis::Client;

use super::{
    connection::{client, patient},
    error::{Effect, error, from_driver},
    tls::Asked,
};

const PORT: &str = "26379";

/// Where the sentinels are, and the name of the master.
pub(super) struct Sentinels {
    /// URLs of the sentinels.
    sentinels: Vec<String>,
    name: String,
    /// What stands before and behind the master's address in its URL.
    before: String,
    database: String,
    asked: Asked,
}

fn refuse(message: &str) -> Error {
    error(ErrorKind::Configuration, "connect").with_message(message)
}

impl Sentinels {
    /// `None` for any other URL. No part of the URL is in an error: it may hold a password.
    pub(super) fn of(url: &str) -> Result<Option<Self>> {
        let (scheme, rest) = match url.split_once("+sentinel://") {
            Some((scheme @ ("redis" | "rediss"), rest)) => (scheme, rest),
            _ => return Ok(None),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (name, database) = path.split_once('/').unwrap_or((path, "0"));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (format!("{login}@"), hosts),
            None => (String::new(), authority),
        };
        if name.is_empty() || hosts.split(',').any(str::is_empty) {
            return Err(refuse(
                "a URL of sentinels names them and their master: \
                 `redis+sentinel://host:26379,host:26379/master-name`",
            ));
        }
        let (mut user, mut password) = ("", "");
        for setting in query.split('&').filter(|setting| !setting.is_empty()) {
            match setting.split_once('=') {
                Some(("sentinel_user", value)) => user = value,
                Some(("sentinel_password", value)) => password = value,
                _ => {
                    return Err(refuse(
                        "a URL of sentinels takes `sentinel_user`, `sentinel_password` and \
                         `sslrootcert`, and no other setting",
                    ));
                }
            }
        }
        let own_login = match (user, password) {
            ("", "") => String::new(),
            (user, password) => format!("{user}:{password}@"),
        };
        let sentinels = hosts.split(',').map(|host| {
            let host = match host.rsplit_once(':') {
                Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
                _ => format!("{host}:{PORT}"),
            };
            format!("{scheme}://{own_login}{host}")
        });
        Ok(Some(Self {
            sentinels: sentinels.collect(),
            name: name.to_owned(),
            before: format!("{scheme}://{login}"),
            database: database.to_owned(),
            asked: Asked::default(),
        }))
    }

    /// With the authorities that the URLs name.
    pub(super) fn trusting(self, asked: Asked) -> Self {
        Self { asked, ..self }
    }

    pub(super) fn database(&self) -> &str {
        &self.database
    }

    /// The master that the first sentinel which answers names. It may be out of date: the role is
    /// checked on the connection.
    pub(super) async fn master(
        &self,
        operation: &'static str,
        timeout: Duration,
    ) -> Result<Client> {
        // One that hangs must leave time for the others.
        let each = timeout / u32::try_from(self.sentinels.len() + 1).unwrap_or(u32::MAX);
        let mut last = None;
        for sentinel in &self.sentinels {
            match tokio::time::timeout(each, self.ask(operation, sentinel, each)).await {
                Ok(Ok(Some(address))) => {
                    let url = format!("{}{address}/{}", self.before, self.database);
                    return client(&url, &self.asked);
                }
                Ok(Ok(None)) | Err(_) => {}
                Ok(Err(failed)) => last = Some(failed),
            }
        }
        let none = error(ErrorKind::Unavailable, operation)
            .with_message("no sentinel names a master of this name; retry");
        Err(match last {
            Some(last) => none.with_source(last),
            None => none,
        })
    }

    async fn ask(
        &self,
        operation: &'static str,
        sentinel: &str,
        timeout: Duration,
    ) -> Result<Option<String>> {
        let failed = |source| from_driver(operation, source, Effect::Read);
        let client = client(sentinel, &self.asked)?;
        let config = patient(timeout);
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = connection.await.map_err(failed)?;
        let answer: Option<(String, u16)> = redis::cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.name)
            .query_async(&mut connection)
            .await
            .map_err(failed)?;
        Ok(answer.map(|(host, port)| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_sentinels_is_read_and_another_is_left_alone() {
        let url = "redis+sentinel://u:p%40@a:1,b/shop/3?sentinel_password=q";
        let read = Sentinels::of(url).unwrap().unwrap();
        assert_eq!(read.sentinels, ["redis://:q@a:1", "redis://:q@b:26379"]);
        assert_eq!((&*read.name, &*read.before), ("shop", "redis://u:p%40@"));
        assert_eq!(read.database(), "3");
        assert!(Sentinels::of("redis://a/shop").unwrap().is_none());
        for wrong in [
            "redis+sentinel://s3cret@a:1",
            "redis+sentinel://a:1,/shop",
            "redis+sentinel://a/shop?x=s3cret",
        ] {
            let refusal = Sentinels::of(wrong).err().unwrap();
            assert_eq!(refusal.kind(), ErrorKind::Configuration);
            assert!(!format!("{refusal:?}").contains("s3cret"));
        }
    }
}
