//! What can be chosen about a store, the same for both drivers.

use std::time::Duration;

use exactly_once_core::{ErrorKind, MAX_RECEIPT_BYTES, Namespace, Result};

use super::{error::error, identifier::check_schema};

/// How long things may take. The last four hold for each transaction of the store, the user's own
/// statements in it included, and are set for that transaction only. A call that waits for several
/// things one after the other (its turn, a lock, a batch) ends within `acquire` and `reply` together,
/// counted from its start.
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
    pub(super) keep_pool_settings: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: None,
            schema: super::schema::DEFAULT_SCHEMA.to_owned(),
            timeouts: Timeouts::default(),
            migrate: true,
            require_two_phase: false,
            accept_unsafe_durability: false,
            max_receipt_bytes: MAX_RECEIPT_BYTES,
            share_commits: true,
            keep_pool_settings: false,
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
