//! A certificate with its key, as two files of PEM that were read and fit together.
//!
//! Owns which files are good: the key's mode, the forms that are read, that the key is the certificate's. Never shows a
//! key.
//!
//! # Why a group may read the key
//!
//! Keysets are their owner's alone. The key of a certificate often belongs to root and is handed to those who serve with
//! it by a group: Debian's `ssl-cert` makes it so, and so do the hooks that people write for certbot. To refuse 0640 would
//! make them copy the key, which is worse. What everybody may read, or others may write, is refused.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use spki::der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use spki::der::{Decode as _, SliceReader, Tag, TagNumber};

use crate::auth::KeysetError;
use crate::auth::private_file;
use crate::config::ServerConfig as Settings;
use crate::model::UnixMs;

/// A certificate that connections can be given. Cheap to clone.
#[derive(Clone)]
pub struct Certificate {
    config: Arc<ServerConfig>,
    facts: Facts,
}

/// What everybody may know of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// SHA-256 of the leaf, in hex.
    pub fingerprint: String,
    /// SHA-256 of all that is sent, in hex.
    pub chain: String,
    /// From when it is good.
    pub not_before: UnixMs,
    /// Until when it is good.
    pub not_after: UnixMs,
    /// Whether a reload can bring another one.
    pub source: Source,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Files, which a reload reads again.
    File,
    /// systemd, which reads them when it starts the relay, and not again.
    Credential,
}

/// Why there is no certificate to give.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// One of the two files alone.
    #[error("{present} is set, and {missing} is not")]
    Alone {
        /// What is there.
        present: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// A file cannot be used at all: it is not there, or a key that others may read.
    #[error(transparent)]
    File(KeysetError),
    /// No certificate in the file.
    #[error("{} holds no certificate", path.display())]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// Something that calls itself a certificate.
    #[error("what {} holds is not a certificate", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// No key in the file that could be used.
    #[error("{} holds no private key that can be used", path.display())]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// The key of another certificate.
    #[error("the key in {} is not that of the first certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// Which certificate.
        certificate: PathBuf,
        /// Which key.
        key: PathBuf,
    },
}

impl CertificateError {
    /// The setting that it is about.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Alone { present, .. } => present,
            Self::File(_) | Self::NoKey { .. } | Self::Mismatch { .. } => KEY,
            Self::NoCertificate { .. } | Self::Malformed { .. } => CERTIFICATE,
        }
    }
}

impl Certificate {
    /// The certificate that the settings name, if they name one. Reads files.
    ///
    /// # Errors
    ///
    /// [`CertificateError`]. That its time has not come or is over is none: it is told by [`Self::facts`].
    pub fn of(settings: &Settings) -> Result<Option<Self>, CertificateError> {
        let alone = |present, missing| Err(CertificateError::Alone { present, missing });
        match (&settings.tls_certificate, &settings.tls_key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Self::load(certificate, key).map(Some),
            (Some(_), None) => alone(CERTIFICATE, KEY),
            (None, Some(_)) => alone(KEY, CERTIFICATE),
        }
    }

    fn load(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        let malformed = || CertificateError::Malformed {
            path: certificate.to_owned(),
        };
        let pem = private_file::read_public(certificate).map_err(CertificateError::File)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.map_err(|_| malformed())?;
        let leaf = chain.first().ok_or_else(|| CertificateError::NoCertificate {
            path: certificate.to_owned(),
        })?;
        let [not_before, not_after] = validity(leaf).ok_or_else(malformed)?;
        let facts = Facts {
            fingerprint: hex(&Sha256::digest(leaf)),
            chain: hex(&chain.iter().fold(Sha256::new(), Sha256::chain_update).finalize()),
            not_before,
            not_after,
            source: match private_file::is_credential(certificate) {
                true => Source::Credential,
                false => Source::File,
            },
        };
        let no_key = || CertificateError::NoKey { path: key.to_owned() };
        let pem = private_file::read_with_group(key).map_err(CertificateError::File)?;
        let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| no_key())?;
        let config = config(chain, private).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertificateError::Mismatch {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            },
            rustls::Error::InvalidCertificate(_) => malformed(),
            _ => no_key(),
        })?;
        Ok(Self {
            config: Arc::new(config),
            facts,
        })
    }

    /// What everybody may know of it.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(super) const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
}

/// Without the key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificate").field(&self.facts).finish()
    }
}

/// How connections are made with a certificate. Sessions are resumed by tickets, so that a crowd that comes back costs
/// few signatures; a ticket's key is this configuration's own and in memory alone.
fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

/// From when and until when a certificate is good (RFC 5280 section 4.1): all of X.509 that is looked at here.
fn validity(leaf: &[u8]) -> Option<[UnixMs; 2]> {
    let mut certificate = inside(AnyRef::from_der(leaf).ok()?)?;
    let mut tbs = inside(AnyRef::decode(&mut certificate).ok()?)?;
    let version = Tag::ContextSpecific {
        constructed: true,
        number: TagNumber(0),
    };
    if Tag::peek(&tbs).ok()? == version {
        AnyRef::decode(&mut tbs).ok()?;
    }
    for _before_it in ["serial number", "algorithm", "issuer"] {
        AnyRef::decode(&mut tbs).ok()?;
    }
    let mut times = inside(AnyRef::decode(&mut tbs).ok()?)?;
    Some([time(&mut times)?, time(&mut times)?])
}

fn inside(value: AnyRef<'_>) -> Option<SliceReader<'_>> {
    SliceReader::new(value.value()).ok()
}

fn time(reader: &mut SliceReader<'_>) -> Option<UnixMs> {
    let time = match Tag::peek(reader).ok()? {
        Tag::UtcTime => UtcTime::decode(reader).ok()?.to_date_time(),
        _ => GeneralizedTime::decode(reader).ok()?.to_date_time(),
    };
    u64::try_from(time.unix_duration().as_millis()).ok().map(UnixMs)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const CERTIFICATE: &str = "server.tls_certificate";
const KEY: &str = "server.tls_key";
