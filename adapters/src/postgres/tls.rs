//! TLS as the connection URL asks for it, in libpq's words: `sslmode` and `sslrootcert`.
//!
//! | `sslmode` | |
//! |---|---|
//! | `disable` | never |
//! | `prefer` (the default) | where the server offers it; nothing is proven |
//! | `require` | always; nothing is proven: a machine between us and the server can read along |
//! | `verify-ca` | always, and the certificate comes from an authority that we trust |
//! | `verify-full` | the same, and it is the host's that we asked for. The one to use |
//!
//! Trusted are the authorities in the file `sslrootcert`, and without it the public ones (with sqlx
//! always those as well). Needs the feature `tokio-postgres-tls` or `sqlx-postgres-tls`; without it, a URL that asks for TLS is
//! refused.

use std::path::PathBuf;

use exactly_once_core::{Error, ErrorKind, Result};

use super::error::error;

/// How much a connection must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// As the driver does by itself: `disable` and `prefer` among them.
    Driver,
    Require,
    VerifyCa,
    VerifyFull,
}

/// What a URL asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) mode: Mode,
    /// The file of authorities.
    file: Option<PathBuf>,
    /// The URL without what tokio-postgres does not know.
    pub(super) url: String,
}

impl Asked {
    /// Reads it; refuses what is not compiled in.
    pub(super) fn of(url: &str, feature: &'static str, compiled_in: bool) -> Result<Self> {
        let (mode, file, url) = split(url);
        let asked = Self { mode, file, url };
        if !compiled_in && (asked.mode != Mode::Driver || asked.file.is_some()) {
            return Err(refuse(format!(
                "the URL's sslmode or sslrootcert asks for TLS, which is not compiled in: add the \
                 feature `{feature}`"
            )));
        }
        Ok(asked)
    }

    /// The authorities to trust, where the URL names their file.
    #[cfg(feature = "postgres-tls-shared")]
    pub(super) fn authorities(&self) -> Result<Option<Vec<u8>>> {
        let Some(file) = &self.file else {
            return Ok(None);
        };
        let read = std::fs::read(file).map_err(|failed| {
            refuse(format!(
                "the file of the URL's sslrootcert can't be read: {}",
                file.display()
            ))
            .with_source(failed)
        });
        read.map(Some)
    }
}

/// A setting of TLS that won't do.
pub(super) fn refuse(message: impl Into<String>) -> Error {
    error(ErrorKind::Configuration, "connect", message)
}

/// Whether rustls refused the other side, rather than lost it. It says so by an I/O error.
#[cfg(feature = "postgres-tls-shared")]
pub(super) fn refused(failed: &(dyn std::error::Error + 'static)) -> bool {
    let mut link = Some(failed);
    while let Some(at) = link {
        let inside = at.downcast_ref::<std::io::Error>();
        if inside
            .and_then(std::io::Error::get_ref)
            .is_some_and(|inner| inner.is::<rustls::Error>())
        {
            return true;
        }
        link = at.source();
    }
    false
}

/// Refuses nothing.
#[cfg(not(feature = "postgres-tls-shared"))]
pub(super) fn refused(_failed: &(dyn std::error::Error + 'static)) -> bool {
    false
}

/// Takes the two settings out of the URL. Both drivers read an unknown mode as an error, so what is
/// not known here is left to them.
fn split(url: &str) -> (Mode, Option<PathBuf>, String) {
    let Some((base, query)) = url.split_once('?') else {
        return (Mode::Driver, None, url.to_owned());
    };
    let (mut mode, mut file, mut kept) = (Mode::Driver, None, Vec::new());
    for setting in query.split('&') {
        match setting.split_once('=') {
            Some(("sslmode", "require")) => mode = Mode::Require,
            Some(("sslmode", "verify-ca")) => mode = Mode::VerifyCa,
            Some(("sslmode", "verify-full")) => mode = Mode::VerifyFull,
            Some(("sslrootcert", path)) => file = Some(PathBuf::from(decoded(path))),
            _ => kept.push(setting),
        }
    }
    if mode != Mode::Driver {
        kept.push("sslmode=require");
    }
    (mode, file, format!("{base}?{}", kept.join("&")))
}

/// Without its percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(hex.unwrap_or(*first));
        rest = after
            .get(if hex.is_some() { 2 } else { 0 }..)
            .unwrap_or_default();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_settings_are_taken_out_and_the_rest_stays() {
        let (mode, file, url) =
            split("postgres://u:p@h/d?a=b&sslmode=verify-full&sslrootcert=/x%20y");
        assert_eq!(mode, Mode::VerifyFull);
        assert_eq!(file, Some(PathBuf::from("/x y")));
        assert_eq!(url, "postgres://u:p@h/d?a=b&sslmode=require");
        for untouched in [
            "postgres://u:p@h/d",
            "postgres://u:p@h/d?sslmode=disable",
            "postgres://u:p@h/d?sslmode=prefer&x=y",
            "postgres://u:p@h/d?sslmode=nonsense",
        ] {
            let (mode, file, url) = split(untouched);
            assert_eq!((mode, file, &*url), (Mode::Driver, None, untouched));
        }
    }

    #[test]
    fn percent_signs_are_read_and_broken_ones_kept() {
        assert_eq!(decoded("%2Fa%20b"), "/a b");
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%2"), "%zz%2");
        assert_eq!(decoded("%C3%A9"), "é");
    }

    #[test]
    fn tls_that_is_not_compiled_in_is_refused_with_the_feature_to_add() {
        let refusal = Asked::of("postgres://h/d?sslmode=require", "some-tls", false).unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::Configuration);
        assert!(refusal.to_string().contains("some-tls"), "{refusal}");
        let url = "postgres://u:s3cret@h/d?sslrootcert=/no/such/file";
        let refusal = Asked::of(url, "some-tls", false).unwrap_err();
        assert!(!format!("{refusal} {refusal:?}").contains("s3cret"));
    }

    #[cfg(feature = "postgres-tls-shared")]
    #[test]
    fn a_missing_file_of_authorities_is_named() {
        let url = "postgres://u:s3cret@h/d?sslrootcert=/no/such/file";
        let refusal = Asked::of(url, "some-tls", true).unwrap().authorities();
        let refusal = refusal.unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::Configuration);
        let text = format!("{refusal} {refusal:?}");
        assert!(
            text.contains("/no/such/file") && !text.contains("s3cret"),
            "{text}"
        );
    }
}
