//! What an SQLSTATE means: the one table for both drivers.

use exactly_once_core::ErrorKind;

use super::driver::Cause;

/// How much was at stake when the error came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing durable had been sent: whatever went wrong, nothing is stored.
    Before,
    /// As `Before`, and the statement was one of the store's own: whatever the server said of it, it
    /// said nothing about the user's work.
    Ours,
    /// A COMMIT, PREPARE TRANSACTION, COMMIT PREPARED or ROLLBACK PREPARED was in flight.
    Durable,
}

/// The server's routine that finds a prepared statement's result type changed: its message is
/// translated, and its code is that of any feature that is missing.
pub(super) const PLAN_CHANGED: &str = "RevalidateCachedQuery";

/// The statement ended the transaction that it was in, or the transaction is not ours.
pub(super) const DIVISION_BY_ZERO: &str = "22012";
pub(super) const ACTIVE_TRANSACTION: &str = "25001";
pub(super) const IN_FAILED_TRANSACTION: &str = "25P02";
pub(super) const LOCK_NOT_AVAILABLE: &str = "55P03";
pub(super) const UNIQUE_VIOLATION: &str = "23505";
pub(super) const UNDEFINED_OBJECT: &str = "42704";
pub(super) const DUPLICATE_OBJECT: &str = "42710";
pub(super) const NOT_IN_STATE: &str = "55000";
pub(super) const FEATURE: &str = "0A000";
pub(super) const PRIVILEGE: &str = "42501";
pub(super) const NO_SAVEPOINT: &str = "3B001";
pub(super) const NO_TRANSACTION: &str = "25P01";
pub(super) const READ_ONLY: &str = "25006";
pub(super) const ADMIN_SHUTDOWN: &str = "57P01";
pub(super) const CANCELED: &str = "57014";
pub(super) const SERIALIZATION: &str = "40001";
pub(super) const DEADLOCK: &str = "40P01";

/// Whether this answer says that nothing was committed, whatever was in flight.
pub(super) fn surely_nothing(code: &str) -> bool {
    of_code(code, Stage::Durable) != ErrorKind::Ambiguous
}

/// What a code counts as. A syntax error that has no place in a statement is one of a value: of a query
/// of the text search, say, or of a JSON path.
pub(super) fn counted(code: &str, placed: bool) -> &str {
    match code {
        "42601" if !placed => "22P02",
        code => code,
    }
}

/// What to do next.
pub(super) fn kind(cause: &Cause, stage: Stage) -> ErrorKind {
    match (cause, stage) {
        (Cause::Server(code), stage) => of_code(code, stage),
        (Cause::Lost | Cause::NoReply | Cause::Driver, Stage::Durable) => ErrorKind::Ambiguous,
        (Cause::Lost | Cause::NoReply | Cause::Unreachable | Cause::Closed | Cause::Standby, _)
        | (Cause::Driver, Stage::Ours) => ErrorKind::Unavailable,
        (Cause::Exhausted, _) => ErrorKind::Busy,
        (Cause::Settings | Cause::Tls, _) => ErrorKind::Configuration,
        // The client's side, or a plan: another attempt, or another build of the program, may well
        // succeed.
        (Cause::Driver | Cause::PlanChanged, _) => ErrorKind::WorkFailed,
    }
}

/// The whole table. Ordered from whole codes to classes; the first match counts.
fn of_code(code: &str, stage: Stage) -> ErrorKind {
    match code {
        // The server went away with the statement, or does not know how it ended.
        "57P01" | "57P02" | "40003" | "08006" | "08007" if stage == Stage::Durable => {
            ErrorKind::Ambiguous
        }
        "40001" | "40P01" | "55P03" | "25P03" | "25P04" | "57014" | "55006" | "55000" => {
            ErrorKind::Busy
        }
        // Not the work's last word: the statement that failed before it was swallowed.
        "25P02" => ErrorKind::WorkFailed,
        // A pooler's connection has a statement of another program by the driver's name for it.
        "42P05" if stage != Stage::Ours => ErrorKind::WorkFailed,
        // The connection leads to a standby now: the next one may lead to the primary.
        "25006" => ErrorKind::Unavailable,
        "22003" if stage != Stage::Ours => ErrorKind::Overflow,
        "0A000" if stage == Stage::Ours => ErrorKind::Unavailable,
        "0A000" => ErrorKind::Refused,
        _ if stage == Stage::Ours => match of_class(code.get(..2).unwrap_or(code)) {
            // A trigger or a constraint on the store's own tables.
            ErrorKind::Refused | ErrorKind::Invalid => ErrorKind::Configuration,
            kind => kind,
        },
        _ => of_class(code.get(..2).unwrap_or(code)),
    }
}

fn of_class(class: &str) -> ErrorKind {
    match class {
        "08" | "57" | "58" => ErrorKind::Unavailable,
        "40" | "53" | "55" => ErrorKind::Busy,
        "23" | "44" | "P0" | "27" => ErrorKind::Refused,
        "21" | "22" | "54" => ErrorKind::Invalid,
        "26" | "28" | "3D" | "3F" | "42" | "F0" | "XX" => ErrorKind::Configuration,
        _ => ErrorKind::WorkFailed,
    }
}

/// What is worth saying besides the server's own text.
pub(super) fn hint(cause: &Cause) -> Option<&'static str> {
    let Cause::Server(code) = cause else {
        return match cause {
            Cause::Standby => Some(
                "the server is a standby now and can't write; the connection was closed, and the \
                 next one may lead to the primary",
            ),
            Cause::PlanChanged => Some(
                "a table has changed since this statement was prepared; it is prepared anew by the \
                 next attempt",
            ),
            Cause::Exhausted => Some(
                "no connection of the pool became free in time: raise the pool's size or the \
                 acquire timeout, and don't begin a second transaction while one is held",
            ),
            Cause::Closed => Some("this store was closed"),
            Cause::Tls => Some(
                "the server has no TLS (ssl = on), or its certificate was refused: see sslmode \
                 and sslrootcert in the URL",
            ),
            _ => None,
        };
    };
    match code.as_str() {
        IN_FAILED_TRANSACTION => Some(
            "a statement of the work had failed and its error was swallowed; everything was \
             rolled back",
        ),
        "26000" => Some(
            "a prepared statement is unknown to the server: behind a transaction pooler, set the \
             driver's statement cache to zero",
        ),
        "42P01" | "3F000" | "42703" => {
            Some("a table is missing: run `migrate()` as a role that may create the schema")
        }
        PRIVILEGE => Some(
            "the role lacks a right. For the store's own tables: GRANT USAGE ON SCHEMA, GRANT \
             SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA and GRANT USAGE ON ALL \
             SEQUENCES IN SCHEMA; to create them: GRANT CREATE ON DATABASE",
        ),
        "25006" => Some("the server is read-only: a standby, or default_transaction_read_only"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str, stage: Stage) -> ErrorKind {
        kind(&Cause::Server(code.to_owned()), stage)
    }

    #[test]
    fn the_same_code_means_another_thing_once_a_commit_is_in_flight() {
        for code in ["57P01", "08006", "40003"] {
            assert_ne!(of(code, Stage::Before), ErrorKind::Ambiguous, "{code}");
            assert!(of(code, Stage::Before).is_retryable(), "{code}");
            assert_eq!(of(code, Stage::Durable), ErrorKind::Ambiguous, "{code}");
        }
        // A serialization failure at COMMIT is an answer, not a riddle.
        assert_eq!(of("40001", Stage::Durable), ErrorKind::Busy);
        // Nor is a statement timeout: a wait for standbys that is cancelled is a warning.
        assert_eq!(of("57014", Stage::Durable), ErrorKind::Busy);
        assert_eq!(of("23503", Stage::Durable), ErrorKind::Refused);
    }

    #[test]
    fn lost_connections_are_ambiguous_only_where_something_durable_was_sent() {
        for cause in [Cause::Lost, Cause::NoReply] {
            assert_eq!(kind(&cause, Stage::Before), ErrorKind::Unavailable);
            assert_eq!(kind(&cause, Stage::Durable), ErrorKind::Ambiguous);
        }
        assert_eq!(kind(&Cause::Exhausted, Stage::Durable), ErrorKind::Busy);
    }

    #[test]
    fn nothing_that_our_own_statement_meets_is_final() {
        for code in [
            "0A000", "25006", "23505", "22003", "P0001", "22023", "54000",
        ] {
            let kind = of(code, Stage::Ours);
            let rejection = exactly_once_core::Rejection::of_refusal(
                &exactly_once_core::Error::new(kind, "t", "t"),
            );
            assert_eq!(rejection, None, "{code}");
        }
    }

    #[test]
    fn the_table() {
        use ErrorKind::*;
        for (codes, expected) in [
            (
                &[
                    "40001", "40P01", "55P03", "25P03", "53200", "53300", "55000",
                ][..],
                Busy,
            ),
            (&["57P03", "08001", "25006", "58030"], Unavailable),
            (&["25P02"], WorkFailed),
            (&["22003"], Overflow),
            (&["23505", "23514", "23503", "P0001", "0A000"], Refused),
            (&["54000", "22021", "22023"], Invalid),
            (
                &[
                    "42501", "28P01", "28000", "3D000", "42P01", "42703", "XX001",
                ],
                Configuration,
            ),
        ] {
            for code in codes {
                assert_eq!(of(code, Stage::Before), expected, "{code}");
            }
        }
    }
}
