//! pgbouncer in transaction mode, in front of a Postgres.

use std::fs;

use anyhow::{Context, Result};
use tokio::net::TcpStream;

use crate::identity::{Identity, give_away, temporary_folder};
use crate::launch::Launch;
use crate::ports::Port;
use crate::postgres::{PASSWORD, Postgres, USER};
use crate::process::Signal;
use crate::server::Server;
use crate::tools;

/// The first version that keeps track of prepared statements in transaction mode.
const WITH_PREPARED_STATEMENTS: (u32, u32) = (1, 21);

/// A pgbouncer that gives each transaction any of a few server connections.
#[derive(Debug)]
pub struct Pgbouncer {
    server: Server,
    port: Port,
    prepared_statements: bool,
}

impl Pgbouncer {
    /// Starts one in front of this server, for all of its databases.
    ///
    /// # Errors
    /// When it is not installed or does not get ready.
    pub async fn start(postgres: &Postgres) -> Result<Self> {
        let (program, folder, port) = (tools::pgbouncer()?, temporary_folder()?, Port::reserve()?);
        let version = Launch::new(&program, folder.path())
            .argument("--version")
            .run()
            .await?;
        let prepared_statements = version_of(&version)? >= WITH_PREPARED_STATEMENTS;
        let (configuration, users) = (
            folder.path().join("pgbouncer.ini"),
            folder.path().join("users.txt"),
        );
        fs::write(&users, format!("\"{USER}\" \"{PASSWORD}\"\n"))?;
        let mut lines = vec![
            "[databases]".to_owned(),
            format!("* = host=127.0.0.1 port={}", postgres.port()),
            "[pgbouncer]".to_owned(),
            "listen_addr = 127.0.0.1".to_owned(),
            format!("listen_port = {}", port.number()),
            "unix_socket_dir =".to_owned(),
            // As the server does.
            format!(
                "auth_type = {}",
                if postgres.trusting() {
                    "trust"
                } else {
                    "scram-sha-256"
                }
            ),
            format!("auth_file = {}", users.display()),
            "pool_mode = transaction".to_owned(),
            "default_pool_size = 100".to_owned(),
            "max_client_conn = 1000".to_owned(),
            format!("admin_users = {USER}"),
            // A test that kills Postgres wants the next connection soon.
            "server_login_retry = 1".to_owned(),
            "ignore_startup_parameters = extra_float_digits".to_owned(),
        ];
        if prepared_statements {
            lines.push("max_prepared_statements = 200".to_owned());
        }
        fs::write(&configuration, lines.join("\n") + "\n")?;
        for path in [folder.path(), &configuration, &users] {
            give_away(path)?;
        }
        let launch = Launch::new(program, folder.path())
            .identity(Identity::Unprivileged)
            .argument(configuration);
        let pgbouncer = Self {
            server: Server::new(folder, launch),
            port,
            prepared_statements,
        };
        pgbouncer.restart().await?;
        Ok(pgbouncer)
    }

    /// The URL of a database through pgbouncer, password included.
    pub fn database_url(&self, database: &str) -> String {
        format!(
            "postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}",
            self.port.number()
        )
    }

    /// Whether this version tracks prepared statements, so that drivers may cache them.
    pub fn prepared_statements(&self) -> bool {
        self.prepared_statements
    }

    /// The process: its id, its log, signals, freezing.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// SIGKILL, at once.
    pub fn kill(&self) {
        self.server.kill();
    }

    /// Stops it at once, cutting its clients' connections (SIGTERM).
    ///
    /// # Errors
    /// When it does not stop in time.
    pub async fn stop(&self) -> Result<()> {
        self.server.stop(Signal::TERM).await
    }

    /// Starts it again, after a kill or stop, on its port.
    ///
    /// # Errors
    /// When it runs still, or does not get ready.
    pub async fn restart(&self) -> Result<()> {
        let port = self.port.number();
        self.server
            .start(async || TcpStream::connect(("127.0.0.1", port)).await.is_ok())
            .await
    }
}

/// Major and minor of `PgBouncer 1.18.0 …`.
fn version_of(text: &str) -> Result<(u32, u32)> {
    let parse = || {
        let mut parts = text.split_whitespace().nth(1)?.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    parse().with_context(|| format!("pgbouncer's version is not understood: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(
            version_of("PgBouncer 1.18.0\nlibevent 2.1").unwrap(),
            (1, 18)
        );
        assert!(version_of("PgBouncer 1.9.0").unwrap() < WITH_PREPARED_STATEMENTS);
        assert!(version_of("PgBouncer 1.23.1").unwrap() >= WITH_PREPARED_STATEMENTS);
        assert!(version_of("nonsense").is_err());
    }
}
