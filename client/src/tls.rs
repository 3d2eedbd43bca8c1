//! Whom a client trusts under `wss://` and `https://`: the one place where TLS is configured.
//!
//! # Why not a process-wide TLS provider
//!
//! An app may have picked another one, or have two compiled in, and then asking for "the" provider panics. So `ring` is
//! named here, and nothing is installed.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Whose certificates count. Cheap to clone; clones share what was learned of sessions to resume.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

/// Why nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The system has no root certificates, or they cannot be read.
    #[error("the system has no root certificates that can be read")]
    NoRoots(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// Not PEM with at least one certificate.
    #[error("not a certificate in PEM")]
    NotACertificate(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// The provider does not do what TLS needs.
    #[error("TLS cannot be set up")]
    Unusable(#[source] rustls::Error),
}

impl Tls {
    /// Trusts whom the system trusts (also `SSL_CERT_FILE` and `SSL_CERT_DIR`). Read once in a process: the first call
    /// reads files.
    ///
    /// # Errors
    ///
    /// [`TlsError::NoRoots`]; the next call reads them again.
    pub fn system() -> Result<Self, TlsError> {
        static SYSTEM: OnceLock<Tls> = OnceLock::new();
        if let Some(system) = SYSTEM.get() {
            return Ok(system.clone());
        }
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Systems carry certificates that webpki cannot read; the others are good.
        let (added, _unreadable) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let error = found.errors.into_iter().next();
            return Err(TlsError::NoRoots(error.map(Into::into)));
        }
        let system = Self::of_roots(roots)?;
        Ok(SYSTEM.get_or_init(|| system).clone())
    }

    /// Trusts these authorities and nobody else: one or more certificates in PEM, such as the CA file of a company.
    ///
    /// # Errors
    ///
    /// [`TlsError::NotACertificate`].
    pub fn of_authorities(pem: &[u8]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(not_a_certificate)?;
            roots.add(certificate).map_err(not_a_certificate)?;
        }
        if roots.is_empty() {
            return Err(TlsError::NotACertificate(None));
        }
        Self::of_roots(roots)
    }

    /// Does what the app has configured: pinned keys, client certificates, another provider. Only HTTP/1.1 is spoken,
    /// so protocols that the configuration offers (ALPN) are left out.
    #[must_use]
    pub fn custom(mut config: ClientConfig) -> Self {
        config.alpn_protocols.clear();
        Self(Arc::new(config))
    }

    /// Trusts nobody: for connections that never use TLS.
    pub(crate) fn nobody() -> Result<Self, TlsError> {
        Self::of_roots(RootCertStore::empty())
    }

    /// The configuration, for connections that are made without this library.
    #[must_use]
    pub const fn config(&self) -> &Arc<ClientConfig> {
        &self.0
    }

    fn of_roots(roots: RootCertStore) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

/// Without what it trusts: a configuration may hold a private key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

fn not_a_certificate(error: impl std::error::Error + Send + Sync + 'static) -> TlsError {
    TlsError::NotACertificate(Some(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_certificates() {
        for bad in [
            "",
            "text",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let refused = Tls::of_authorities(bad.as_bytes());
            assert!(matches!(refused, Err(TlsError::NotACertificate(_))), "{bad}");
        }
    }

    #[test]
    fn a_configuration_never_prints() {
        assert_eq!(format!("{:?}", Tls::nobody().unwrap()), "Tls { .. }");
    }
}
