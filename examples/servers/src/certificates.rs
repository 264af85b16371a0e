//! Certificates for TLS: an authority of our own, made for each test.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;

use crate::identity::{give_away, temporary_folder};
use crate::launch::Launch;
use crate::tools;

/// An authority, whose files go with it.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
}

/// What an authority has issued: for a server to install.
#[derive(Clone, Debug)]
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    /// Makes one.
    ///
    /// # Errors
    /// When openssl is not installed.
    pub async fn new() -> Result<Self> {
        let authority = Self {
            folder: temporary_folder()?,
        };
        let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
                         -subj /CN=throwaway -keyout authority.key -out authority.crt";
        authority.openssl(arguments).await?;
        Ok(authority)
    }

    /// The file for `sslrootcert`.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("authority.crt")
    }

    /// A certificate for these names, in OpenSSL's words, as `IP:127.0.0.1`.
    ///
    /// # Errors
    /// When openssl refuses.
    pub async fn issue(&self, names: &str) -> Result<Certificate> {
        let request = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=server \
                       -keyout server.key -out server.csr";
        self.openssl(request).await?;
        let extensions = self.folder.path().join("extensions");
        fs::write(&extensions, format!("subjectAltName = {names}\n"))?;
        let sign = "x509 -req -in server.csr -CA authority.crt -CAkey authority.key -CAcreateserial \
                    -days 2 -extfile extensions -out server.crt";
        self.openssl(sign).await?;
        Ok(Certificate {
            certificate: self.folder.path().join("server.crt"),
            key: self.folder.path().join("server.key"),
        })
    }

    async fn openssl(&self, arguments: &str) -> Result<String> {
        let launch = Launch::new(tools::openssl()?, self.folder.path());
        let words = arguments.split_whitespace();
        words
            .fold(launch, |launch, word| launch.argument(word))
            .run()
            .await
    }
}

impl Certificate {
    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate
    }

    pub(crate) fn key(&self) -> &Path {
        &self.key
    }

    /// Puts it where a Postgres looks for it, readable by its user alone.
    pub(crate) fn install(&self, data: &Path) -> Result<()> {
        for (from, name) in [(&self.certificate, "server.crt"), (&self.key, "server.key")] {
            let to = data.join(name);
            fs::copy(from, &to)?;
            fs::set_permissions(&to, Permissions::from_mode(0o600))?;
            give_away(&to)?;
        }
        Ok(())
    }
}
