//! What can be chosen about a store, the same for both drivers.

use std::time::Duration;

use exactly_once_core::{ErrorKind, MAX_RECEIPT_BYTES, Namespace, Result};

use super::{error::error, identifier::check_schema};

/// How long things may take. The last four hold for each transaction of the store, the user's own
/// statements in it included, and are set for that transaction only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect to the server. Default 5 s.
    pub connect: Duration,
    /// To get a connection out of the pool. Default 5 s.
    pub acquire: Duration,
    /// To wait for a lock: for the attempt that holds the key, or for a row. Default 3 s.
    pub lock: Duration,
    /// For one statement. Default 30 s.
    pub statement: Duration,
    /// Between two statements: the server ends a transaction whose client is asleep, so that a
    /// zombie's locks go. Default 60 s.
    pub idle_in_transaction: Duration,
    /// For a reply of the server. After it the connection is closed, and what was in flight is
    /// *ambiguous*. Must be longer than `statement`; default 35 s.
    pub reply: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            acquire: Duration::from_secs(5),
            lock: Duration::from_secs(3),
            statement: Duration::from_secs(30),
            idle_in_transaction: Duration::from_secs(60),
            reply: Duration::from_secs(35),
        }
    }
}

/// All options.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) namespace: Option<Namespace>,
    pub(super) schema: String,
    pub(super) timeouts: Timeouts,
    pub(super) migrate: bool,
    pub(super) require_two_phase: bool,
    pub(super) accept_unsafe_durability: bool,
    pub(super) max_receipt_bytes: usize,
    pub(super) share_commits: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: None,
            schema: "exactly_once".to_owned(),
            timeouts: Timeouts::default(),
            migrate: true,
            require_two_phase: false,
            accept_unsafe_durability: false,
            max_receipt_bytes: MAX_RECEIPT_BYTES,
            share_commits: true,
        }
    }
}

impl Options {
    pub(super) fn namespace(&self) -> Result<Namespace> {
        match &self.namespace {
            Some(namespace) => Ok(namespace.clone()),
            None => Ok(Namespace::new("default")?),
        }
    }

    /// Before any I/O.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(error(ErrorKind::Configuration, "connect", message));
        if let Err(message) = check_schema(&self.schema) {
            return refuse(message);
        }
        let Timeouts {
            connect,
            acquire,
            lock,
            statement,
            idle_in_transaction,
            reply,
        } = self.timeouts;
        for (name, value) in [
            ("connect", connect),
            ("acquire", acquire),
            ("lock", lock),
            ("statement", statement),
            ("idle_in_transaction", idle_in_transaction),
            ("reply", reply),
        ] {
            // Zero would mean "no limit" to the server, and its limit is 2^31 milliseconds.
            if value < Duration::from_millis(1) || value > Duration::from_secs(24 * 60 * 60) {
                return refuse(format!(
                    "the timeout `{name}` is {value:?}; it must be 1 ms to 24 h"
                ));
            }
        }
        if reply <= statement || statement <= lock {
            return refuse(
                "the timeouts must grow from `lock` over `statement` to `reply`, so that the \
                 server gives up first and says why"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// The setters that both builders have.
macro_rules! options {
    () => {
        /// The namespace that the store is bound to; `default` if none is named.
        pub fn namespace(mut self, namespace: ::exactly_once_core::Namespace) -> Self {
            self.options.namespace = Some(namespace);
            self
        }

        /// The schema of the store's own tables; default `exactly_once`.
        pub fn schema(mut self, schema: impl Into<String>) -> Self {
            self.options.schema = schema.into();
            self
        }

        /// How long things may take.
        pub fn timeouts(mut self, timeouts: $crate::postgres::Timeouts) -> Self {
            self.options.timeouts = timeouts;
            self
        }

        /// Whether to create or upgrade the tables while connecting; default yes. Where the tables
        /// are there already this changes nothing and needs no right to create anything.
        pub fn migrate_at_connect(mut self, migrate: bool) -> Self {
            self.options.migrate = migrate;
            self
        }

        /// Refuses a server without prepared transactions; default no: then the store works, and
        /// two-phase operations answer *configuration*.
        pub fn require_two_phase(mut self, require: bool) -> Self {
            self.options.require_two_phase = require;
            self
        }

        /// Takes a server whose disk writes are not safe (`fsync` or `full_page_writes` off), for
        /// tests; the store then declares that it survives a process, and not a power cut.
        pub fn accept_unsafe_durability(mut self, accept: bool) -> Self {
            self.options.accept_unsafe_durability = accept;
            self
        }

        /// The largest receipt, in bytes; default 1 MiB.
        pub fn max_receipt_bytes(mut self, bytes: usize) -> Self {
            self.options.max_receipt_bytes = bytes;
            self
        }

        /// Whether callers that are there at the same time share a transaction; default yes. It is
        /// several times as fast, and each caller's failure stays its own; but triggers of yours see
        /// the rows of several callers in one transaction.
        pub fn share_commits(mut self, share: bool) -> Self {
            self.options.share_commits = share;
            self
        }
    };
}
pub(super) use options;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_options_are_refused_before_io() {
        let with = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            options.check().map_err(|error| error.kind())
        };
        assert_eq!(with(|_| ()), Ok(()));
        let refused = Err(ErrorKind::Configuration);
        assert_eq!(with(|o| o.schema = String::new()), refused);
        assert_eq!(with(|o| o.timeouts.lock = Duration::ZERO), refused);
        assert_eq!(with(|o| o.timeouts.statement = Duration::MAX), refused);
        assert_eq!(with(|o| o.timeouts.reply = o.timeouts.statement), refused);
    }
}
