//! What an error of the driver or the server means.

use exactly_once_core::{BoxError, Error, ErrorKind, adapter::chain};
use redis::{ErrorKind as DriverKind, RedisError, ServerErrorKind};

/// The backend's name, in errors and spans.
pub(super) const BACKEND: &str = "redis";

/// Whether a command can change anything: a lost reply to one that can't is no ambiguity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Read,
    Write,
}

pub(super) fn error(kind: ErrorKind, operation: &'static str) -> Error {
    Error::new(kind, operation, BACKEND)
}

/// The error that a script has caught, as the server would have reported it.
pub(super) fn from_script(failure: &str) -> RedisError {
    let (code, detail) = failure.split_once(' ').unwrap_or((failure, ""));
    redis::make_extension_error(code.to_owned(), Some(format!("{detail} ({IN_SCRIPT})")))
}

/// What the server says of every error that a script ended by.
const IN_SCRIPT: &str = "@user_script";

/// Whether the user may not run a command, or the server does not have it.
fn lacks_command(detail: &str) -> bool {
    detail.contains("user executing the script")
        || detail.contains("ACL failure in script")
        || detail.contains("command called from script")
}

/// Whether the server takes no more writes on this connection, or has other settings: the next call
/// looks again.
pub(super) fn ends_connection(source: &RedisError) -> bool {
    let detail = source.detail().unwrap_or_default();
    let says = |word: &str| source.code() == Some(word) || detail.contains(word);
    [
        "READONLY",
        "NOREPLICAS",
        "NOPERM",
        "MASTERDOWN",
        "UNBLOCKED",
    ]
    .into_iter()
    .any(says)
        || lacks_command(detail)
}

/// A command that is refused for good.
pub(super) fn refused(operation: &'static str, message: String) -> Error {
    error(ErrorKind::Refused, operation).with_message(message)
}

/// The kind of a lost reply.
pub(super) fn lost_reply(effect: Effect) -> ErrorKind {
    match effect {
        Effect::Read => ErrorKind::Unavailable,
        Effect::Write => ErrorKind::Ambiguous,
    }
}

/// An answer that no script of ours gives.
pub(super) fn unexpected(operation: &'static str, answer: &str) -> Error {
    error(ErrorKind::Configuration, operation).with_message(format!(
        "the server answered {answer:?}, which no version of this crate's scripts does"
    ))
}

/// An error of a command that was sent, or could not be sent.
pub(super) fn from_driver(operation: &'static str, source: RedisError, effect: Effect) -> Error {
    let (kind, message) = kind_of(&source, effect);
    let said = said(&source);
    let text = match message {
        Some(message) => format!("{said}: {message}"),
        None => said,
    };
    error(kind, operation)
        .with_message(text)
        .with_hidden_source(source)
}

/// What an error means that the user's own work met: nothing of it is stored.
pub(super) fn classify(operation: &'static str, source: BoxError) -> Error {
    chain::classify(operation, BACKEND, source, |link, _| {
        let source = link.downcast_ref::<RedisError>()?;
        Some(from_driver(operation, source.clone(), Effect::Read))
    })
}

/// What may be shown of it: of a server's answer its code and text, without the arguments that it
/// quotes.
fn said(source: &RedisError) -> String {
    let text = match (source.code(), source.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => source.to_string(),
    };
    match text.find(", with args beginning with") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

fn kind_of(source: &RedisError, effect: Effect) -> (ErrorKind, Option<&'static str>) {
    if source.is_connection_refusal() {
        return (ErrorKind::Unavailable, None);
    }
    match source.kind() {
        DriverKind::Server(ServerErrorKind::CrossSlot) => (
            ErrorKind::Configuration,
            Some("the keys lie in different slots of the cluster"),
        ),
        DriverKind::Server(ServerErrorKind::NoPerm) => (
            ErrorKind::Configuration,
            Some("the user lacks a permission: see `ACL SETUSER` and the message"),
        ),
        DriverKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::NoScript,
        ) => (ErrorKind::Unavailable, None),
        DriverKind::Server(_) | DriverKind::Extension => by_text(source, effect),
        DriverKind::AuthenticationFailed | DriverKind::InvalidClientConfig => {
            (ErrorKind::Configuration, None)
        }
        _ => (lost_reply(effect), None),
    }
}

/// By the words of the server: a script's error carries the command's own code in its text, and
/// not each version puts it first.
fn by_text(source: &RedisError, effect: Effect) -> (ErrorKind, Option<&'static str>) {
    let code = source.code().unwrap_or_default();
    let detail = source.detail().unwrap_or_default();
    let says =
        |word: &str| code == word || detail.split([' ', ':', '-', '\'']).any(|part| part == word);
    if says("EOCORRUPT") || says("WRONGTYPE") {
        return (
            ErrorKind::Configuration,
            Some("a key of ours holds what this crate did not write; nothing was changed"),
        );
    }
    if says("OOM") {
        return (
            ErrorKind::Unavailable,
            Some("the server's memory limit is reached: raise `maxmemory`; nothing was changed"),
        );
    }
    if says("MISCONF") {
        return (
            ErrorKind::Unavailable,
            Some("the server can't persist and refuses writes: see its log; nothing was changed"),
        );
    }
    if says("NOREPLICAS") || says("READONLY") || detail.contains("max number of clients") {
        return (ErrorKind::Unavailable, None);
    }
    if detail.contains("Script killed by user") {
        // The server kills none that has written.
        return (
            ErrorKind::Unavailable,
            Some("the script was ended by SCRIPT KILL; nothing was changed"),
        );
    }
    if says("BUSY") {
        return (
            ErrorKind::Busy,
            Some("another script is running on the server"),
        );
    }
    // What a script meets after a write does not undo the write.
    let half_way = effect == Effect::Write && (detail.contains(IN_SCRIPT) || code == IN_SCRIPT);
    if lacks_command(detail) {
        let kind = if half_way {
            ErrorKind::Ambiguous
        } else {
            ErrorKind::Configuration
        };
        return (
            kind,
            Some(
                "a script was ended by a command that the server's user may not run: connect again \
                 for the `ACL SETUSER` line that allows it",
            ),
        );
    }
    if half_way {
        return (
            ErrorKind::Ambiguous,
            Some("the script was ended by an error, and may have written before"),
        );
    }
    if says("NOAUTH") || says("WRONGPASS") || says("NOPERM") {
        return (
            ErrorKind::Configuration,
            Some("the server refuses this user or password"),
        );
    }
    (ErrorKind::Configuration, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: &str, detail: &str) -> ErrorKind {
        let source = redis::make_extension_error(code.to_owned(), Some(detail.to_owned()));
        from_driver("test", source, Effect::Write).kind()
    }

    #[test]
    fn the_servers_words_say_what_to_do() {
        assert_eq!(kind("OOM", "command not allowed"), ErrorKind::Unavailable);
        assert_eq!(
            kind(
                "ERR",
                "Error running script: @user_script:1: -OOM command not allowed"
            ),
            ErrorKind::Unavailable
        );
        assert_eq!(
            kind("BUSY", "Redis is busy running a script"),
            ErrorKind::Busy
        );
        assert_eq!(
            kind("NOREPLICAS", "Not enough good replicas"),
            ErrorKind::Unavailable
        );
        assert_eq!(
            kind("MISCONF", "Errors writing to the AOF file"),
            ErrorKind::Unavailable
        );
        assert_eq!(
            kind("NOAUTH", "Authentication required."),
            ErrorKind::Configuration
        );
        assert_eq!(
            kind("WRONGTYPE", "Operation against a key"),
            ErrorKind::Configuration
        );
        assert_eq!(
            kind("ERR", "user_script:3: EOCORRUPT no account"),
            ErrorKind::Configuration
        );
        assert_eq!(
            kind("ERR", "max number of clients reached"),
            ErrorKind::Unavailable
        );
    }

    #[test]
    fn a_lost_reply_is_ambiguous_only_where_something_was_written() {
        let cut = || RedisError::from(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
        assert_eq!(
            from_driver("test", cut(), Effect::Write).kind(),
            ErrorKind::Ambiguous
        );
        assert_eq!(
            from_driver("test", cut(), Effect::Read).kind(),
            ErrorKind::Unavailable
        );
    }
}
