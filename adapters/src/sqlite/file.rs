//! Which file the store is open on, by path, and whether the path and that of its log still lead there.

use std::path::{Path, PathBuf};

use exactly_once_core::{Error, ErrorKind, Place, Result};

use super::error::{Failure, STORE, error};

const OPERATION: &str = "open";

/// A file that is open, its log, and the log's index. While it is, each commit looks whether the paths
/// still lead to them: what is written into a file that was deleted or replaced is gone with the
/// process. And processes that do not share the index do not see each other's locks.
#[derive(Clone, Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    identity: String,
    log: PathBuf,
    /// `None` where there is no log (yet).
    log_identity: Option<String>,
    index: PathBuf,
    /// `None` where there is none (yet).
    index_identity: Option<String>,
}

impl OpenFile {
    /// The file behind the path. It exists by now.
    ///
    /// # Errors
    /// [Configuration](ErrorKind::Configuration) for a file with a second name: each name has a log
    /// of its own, and what one acknowledges the other destroys.
    pub(super) fn at(path: &Path) -> Result<Self> {
        let (identity, names) = identity(path).map_err(|source| {
            error(
                ErrorKind::Unavailable,
                OPERATION,
                "the file can't be looked at",
            )
            .with_source(source)
        })?;
        // A folder has a name in each of its own; opening it says what it is.
        if names > 1 && !path.is_dir() {
            return Err(error(ErrorKind::Configuration, OPERATION, LINKED));
        }
        // SQLite keeps the log beside the file itself, wherever a symbolic link to it is.
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let [log, index] = ["-wal", "-shm"].map(|end| {
            let mut name = real.clone().into_os_string();
            name.push(end);
            PathBuf::from(name)
        });
        Ok(Self {
            path: path.to_owned(),
            identity,
            log_identity: identity_of(&log),
            log,
            index_identity: identity_of(&index),
            index,
        })
    }

    pub(super) fn place(&self) -> Place {
        Place::new([STORE, &self.identity])
    }

    /// Fails where a path leads elsewhere by now.
    pub(super) fn check(&self) -> std::result::Result<(), Failure> {
        let found = match identity(&self.path) {
            Ok((_, names)) if names > 1 => LINKED,
            Ok((found, _)) if found == self.identity => {
                let stands = |path: &Path, known: &Option<String>| {
                    known.is_none() || identity_of(path) == *known
                };
                if !stands(&self.log, &self.log_identity) {
                    "the file's log (-wal) was deleted or replaced while it was open: nothing was \
                     stored; find the program that does so, and open the store again"
                } else if !stands(&self.index, &self.index_identity) {
                    "the index of the file's log (-shm) was deleted or replaced while it was open: \
                     nothing was stored; find the program that does so, and open the store again in \
                     every process"
                } else {
                    return Ok(());
                }
            }
            _ => {
                "the file was deleted, moved or replaced while it was open: nothing was stored; put \
                 it back, or open the store again"
            }
        };
        Err(Failure::new(ErrorKind::Configuration, found))
    }

    /// Whether only the log's index leads elsewhere: others may use the log, and their commits are in no
    /// index of ours. To move the log into the file by ours would lose them.
    pub(super) fn index_is_lost(&self) -> bool {
        let stands = |path: &Path, known: &Option<String>| identity_of(path) == *known;
        identity_of(&self.path).as_ref() == Some(&self.identity)
            && stands(&self.log, &self.log_identity)
            && !stands(&self.index, &self.index_identity)
    }

    /// How long the log is, in bytes.
    pub(super) fn log_bytes(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |log| log.len())
    }
}

fn identity_of(path: &Path) -> Option<String> {
    identity(path).ok().map(|(identity, _)| identity)
}

const LINKED: &str = "the file has a second name (a hard link), and each name has a log of its own: \
     remove the link, or make it a symbolic one";

/// Two paths may lead to one file, through links and mounts.
#[cfg(unix)]
fn identity(path: &Path) -> std::io::Result<(String, u64)> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata(path)?;
    Ok((format!("{}/{}", file.dev(), file.ino()), file.nlink()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> std::io::Result<(String, u64)> {
    Ok((path.canonicalize()?.to_string_lossy().into_owned(), 1))
}

/// The path that a name means: a plain path, or a URI as other SQLite libraries take it, without
/// its scheme `sqlite:` or with its scheme `file:`.
///
/// # Errors
/// [Configuration](ErrorKind::Configuration) for an option that the store can't have.
pub(crate) fn path_of(name: &Path) -> Result<PathBuf> {
    let Some(uri) = name.to_str().and_then(without_file_scheme) else {
        return Ok(name.to_owned());
    };
    path_of_uri(uri)
}

fn without_file_scheme(name: &str) -> Option<&str> {
    let (scheme, rest) = name.split_once(':')?;
    scheme.eq_ignore_ascii_case("file").then_some(rest)
}

/// The path of a URI whose scheme is taken off: `shop.db`, `//shop.db`, `///var/lib/shop.db`,
/// `file:shop.db`, each with `?mode=rwc` or without.
///
/// # Errors
/// As [`path_of`].
pub(crate) fn path_of_uri(uri: &str) -> Result<PathBuf> {
    let uri = without_file_scheme(uri).unwrap_or(uri);
    let (path, options) = uri.split_once('?').unwrap_or((uri, ""));
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let why = match (name, value) {
            ("mode", "rwc") | ("cache", "private") => continue,
            ("mode", "memory") => {
                "mode=memory: nothing in memory is durable; use `memory:` for tests"
            }
            ("mode", _) => {
                "mode=ro and mode=rw: the store writes, and creates its tables; leave the mode out, \
                 or say mode=rwc"
            }
            ("cache", _) => {
                "cache=shared: connections would share locks and transactions; leave it out"
            }
            _ => "an option of the path is not known: leave out what follows the question mark",
        };
        return Err(refuse(why));
    }
    let path = path.split_once('#').map_or(path, |(path, _)| path);
    let path = path.strip_prefix("//").unwrap_or(path);
    let path = path
        .strip_prefix("localhost/")
        .map_or_else(|| path.to_owned(), |absolute| format!("/{absolute}"));
    match path.as_str() {
        "" => Err(refuse("a sqlite URL needs a path, as in sqlite:shop.db")),
        ":memory:" => Err(refuse(
            "nothing in memory is durable: name a file, or use `memory:` for tests",
        )),
        path => decode(path)
            .map(PathBuf::from)
            .ok_or_else(|| refuse("the path has a % that no two hexadecimal digits follow")),
    }
}

fn refuse(why: &str) -> Error {
    error(ErrorKind::Configuration, OPERATION, why)
}

fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|path| !path.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_forms_of_other_libraries_name_the_same_file() {
        for (uri, path) in [
            ("shop.db", "shop.db"),
            ("//shop.db", "shop.db"),
            ("///var/lib/shop.db", "/var/lib/shop.db"),
            ("/var/lib/shop.db", "/var/lib/shop.db"),
            ("file:shop.db", "shop.db"),
            (
                "file:///var/my%20shop.db?mode=rwc&cache=private",
                "/var/my shop.db",
            ),
            ("//localhost/var/shop.db", "/var/shop.db"),
            ("FILE:shop.db?mode=rwc", "shop.db"),
        ] {
            assert_eq!(path_of_uri(uri).unwrap(), Path::new(path), "{uri}");
        }
        assert_eq!(path_of(Path::new("file:a.db")).unwrap(), Path::new("a.db"));
        assert_eq!(path_of(Path::new("a?b.db")).unwrap(), Path::new("a?b.db"));
    }

    #[test]
    fn an_option_that_the_store_cannot_have_is_refused_with_its_reason() {
        for (uri, says) in [
            ("shop.db?mode=ro", "mode=ro"),
            ("shop.db?mode=memory", "durable"),
            ("shop.db?cache=shared", "cache=shared"),
            ("shop.db?immutable=1", "not known"),
            ("", "needs a path"),
            (":memory:", "durable"),
            ("a%2", "hexadecimal"),
        ] {
            let refused = path_of_uri(uri).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Configuration);
            assert!(refused.to_string().contains(says), "{uri}: {refused}");
        }
    }
}
