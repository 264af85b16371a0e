//! TLS as the connection URL asks for it: `rediss://`, and `sslrootcert` as in the URLs of Postgres.
//!
//! | URL | |
//! |---|---|
//! | `redis://…` | no TLS |
//! | `rediss://…` | always: the certificate comes from an authority that we trust, and is the host's |
//!
//! Trusted are the authorities in the file `sslrootcert`, and without it those of this machine. On a
//! cluster, all URLs ask for the same. Needs the feature `redis-tls`; without it, such a URL is
//! refused.

use exactly_once_core::{Error, ErrorKind, Result};
use redis::RedisError;

use super::error::{Effect, error, from_driver};

const OPERATION: &str = "connect";

/// What the URLs ask for.
#[derive(Default)]
pub(super) struct Asked {
    /// Without what the driver does not know.
    pub(super) urls: Vec<String>,
    /// The authorities to trust, in PEM, where they were named.
    pub(super) authorities: Option<Vec<u8>>,
}

impl Asked {
    /// Reads them; refuses what is not compiled in.
    pub(super) fn of(urls: Vec<String>) -> Result<Self> {
        let mut asked = Self {
            urls: Vec::with_capacity(urls.len()),
            authorities: None,
        };
        for url in urls {
            if is_tls(&url) && !cfg!(feature = "redis-tls") {
                return Err(refuse(
                    "the URL's scheme rediss asks for TLS, which is not compiled in: add the \
                     feature `redis-tls`",
                ));
            }
            let (url, file) = split(&url);
            if let Some(file) = file {
                asked.authorities = Some(read(&file)?);
            }
            asked.urls.push(url);
        }
        if asked.urls.iter().any(|url| is_tls(url)) {
            choose_cryptography();
        }
        Ok(asked)
    }
}

fn is_tls(url: &str) -> bool {
    url.starts_with("rediss:") || url.starts_with("rediss+")
}

fn refuse(message: impl Into<String>) -> Error {
    error(ErrorKind::Configuration, OPERATION).with_message(message)
}

fn read(file: &str) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|failed| {
        refuse(format!(
            "the file of the URL's sslrootcert can't be read: {file}"
        ))
        .with_source(failed)
    })
}

/// Takes the one setting out of the URL.
fn split(url: &str) -> (String, Option<String>) {
    let Some((base, query)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let (mut file, mut kept) = (None, Vec::new());
    for setting in query.split('&') {
        match setting.strip_prefix("sslrootcert=") {
            Some(path) => file = Some(path.to_owned()),
            None => kept.push(setting),
        }
    }
    if kept.is_empty() {
        return (base.to_owned(), file);
    }
    (format!("{base}?{}", kept.join("&")), file)
}

/// The driver takes rustls' choice for the whole process, and panics where several kinds of
/// cryptography are compiled in and none was chosen. So ring is, unless the program has.
#[cfg(feature = "redis-tls")]
fn choose_cryptography() {
    use rustls::crypto::{CryptoProvider, ring};
    if CryptoProvider::get_default().is_none() {
        // Another may have been faster: fine.
        let _ = ring::default_provider().install_default();
    }
}

#[cfg(not(feature = "redis-tls"))]
fn choose_cryptography() {}

/// The settings of the driver; a file without a certificate is refused here, since the driver would
/// say so at each attempt to connect.
#[cfg(feature = "redis-tls")]
pub(super) fn certificates(asked: &Asked) -> Result<Option<redis::TlsCertificates>> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let Some(pem) = &asked.authorities else {
        return Ok(None);
    };
    let broken = || refuse("the file of the URL's sslrootcert holds no certificate in PEM");
    let mut count = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        certificate.map_err(|failed| broken().with_source(failed))?;
        count += 1;
    }
    if count == 0 {
        return Err(broken());
    }
    Ok(Some(redis::TlsCertificates {
        client_tls: None,
        root_cert: Some(pem.clone()),
    }))
}

/// An error of a connection that could not be opened.
pub(super) fn connecting_failed(operation: &'static str, source: RedisError) -> Error {
    if !refused_certificate(&source) {
        return from_driver(operation, source, Effect::Read);
    }
    error(ErrorKind::Configuration, operation)
        .with_message(
            "the server's certificate was refused: name its authority by sslrootcert in the URL, \
             and the host as the certificate does",
        )
        .with_source(source)
}

/// Whether the other side's certificate was refused, rather than the connection lost. The driver
/// says so only in the error's text.
fn refused_certificate(failed: &RedisError) -> bool {
    let text = failed.to_string();
    text.contains("invalid peer certificate") || text.contains("InvalidCertificate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_taken_out_and_the_rest_stays() {
        let (url, file) = split("rediss://u:p@h:1/0?protocol=resp3&sslrootcert=/a.pem");
        assert_eq!(url, "rediss://u:p@h:1/0?protocol=resp3");
        assert_eq!(file.as_deref(), Some("/a.pem"));
        let (url, file) = split("rediss://h?sslrootcert=/a.pem");
        assert_eq!(
            (url.as_str(), file.as_deref()),
            ("rediss://h", Some("/a.pem"))
        );
        for untouched in ["redis://h", "redis://h?protocol=resp3"] {
            assert_eq!(split(untouched), (untouched.to_owned(), None));
        }
    }

    #[test]
    fn a_missing_file_of_authorities_is_named_and_no_password_is() {
        let url = "redis://u:s3cret@h?sslrootcert=/no/such/file".to_owned();
        let refusal = Asked::of(vec![url]).err().unwrap();
        assert_eq!(refusal.kind(), ErrorKind::Configuration);
        let text = format!("{refusal} {refusal:?}");
        assert!(
            text.contains("/no/such/file") && !text.contains("s3cret"),
            "{text}"
        );
    }

    #[cfg(not(feature = "redis-tls"))]
    #[test]
    fn tls_that_is_not_compiled_in_is_refused_with_the_feature_to_add() {
        let refusal = Asked::of(vec!["rediss://u:s3cret@h".to_owned()])
            .err()
            .unwrap();
        assert!(refusal.to_string().contains("redis-tls"), "{refusal}");
    }
}
