//! TLS by rustls, with ring.

use std::sync::Arc;

use exactly_once_core::Result;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::postgres::tls::{Asked, Mode, refuse};

/// What makes the connections secret, as far as was asked for.
pub(super) fn connector(asked: &Asked) -> Result<MakeRustlsConnect> {
    // Named here, so that a program with two of them in it need not choose for the whole process.
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|failed| refuse("TLS can't be set up").with_source(failed))?;
    let config = match asked.mode {
        Mode::VerifyFull => builder.with_root_certificates(roots(asked)?),
        Mode::VerifyCa => {
            let chain = WebPkiServerVerifier::builder_with_provider(
                Arc::new(roots(asked)?),
                Arc::clone(&provider),
            )
            .build()
            .map_err(|failed| refuse("sslrootcert holds no authority").with_source(failed))?;
            let lenient = Lenient {
                chain: Some(chain),
                provider,
            };
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(lenient))
        }
        Mode::Driver | Mode::Require => {
            let lenient = Lenient {
                chain: None,
                provider,
            };
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(lenient))
        }
    };
    Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
}

/// Which authorities to trust.
fn roots(asked: &Asked) -> Result<RootCertStore> {
    let Some(pem) = asked.authorities()? else {
        return Ok(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect());
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let broken = "the file of sslrootcert holds no certificate in PEM";
        let certificate = certificate.map_err(|failed| refuse(broken).with_source(failed))?;
        let added = roots.add(certificate);
        added.map_err(|failed| refuse(broken).with_source(failed))?;
    }
    if roots.is_empty() {
        return Err(refuse(
            "the file of sslrootcert holds no certificate in PEM",
        ));
    }
    Ok(roots)
}

/// Asks for less than `verify-full` does: for no name, or for nothing at all.
#[derive(Debug)]
struct Lenient {
    /// None where nothing is proven.
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        match chain.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // The name is looked at last: all else is proven.
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
