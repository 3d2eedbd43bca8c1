//! What is wrong with the certificate that settings name, and what an operator does about it.
//!
//! Must not know how connections are made with it.

use chatctl_relay::auth::KeysetError;
use chatctl_relay::config::ServerConfig;
use chatctl_relay::model::{Clock, UnixMs};
use chatctl_relay::tls::{Certificate, CertificateError, Facts, Source};

use crate::config::problem::Problem;
use crate::when::rfc3339;

/// Everything that is wrong with it. Reads files.
pub(crate) fn problems(settings: &ServerConfig) -> Vec<Problem> {
    match Certificate::of(settings) {
        Ok(None) => Vec::new(),
        Ok(Some(certificate)) => untimely(certificate.facts(), Clock::system().now())
            .into_iter()
            .collect(),
        Err(error) => vec![problem(&error)],
    }
}

/// As [`summary`] of another one: what a reload answers.
pub(crate) fn summary(facts: &Facts) -> String {
    let fingerprint = facts.fingerprint.get(..16).unwrap_or_default();
    format!("until {}, SHA-256 {fingerprint}…", rfc3339(facts.not_after))
}

fn problem(error: &CertificateError) -> Problem {
    let key = error.key();
    let cause = std::error::Error::source(error);
    let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
    Problem::error("file", key, format!("{key}: {error}{cause}")).hint(hint(error))
}

fn hint(error: &CertificateError) -> String {
    match error {
        CertificateError::Alone { missing, .. } => {
            format!("TLS needs both: set {missing}, too, or neither for plain connections")
        }
        CertificateError::File(KeysetError::TooOpen { path, .. }) => {
            let path = path.display();
            format!("`chmod 0640 {path}` with a group of the relay's own, or 0600 where the relay owns it; and a new key if others had the time")
        }
        CertificateError::File(_) => {
            "the user that the relay runs as must be able to read it: `ls -l` it and the folders above".to_owned()
        }
        CertificateError::NoCertificate { .. } | CertificateError::Malformed { .. } => {
            "the file holds the chain in PEM, such as certbot's fullchain.pem".to_owned()
        }
        CertificateError::NoKey { .. } => {
            "a key in PEM (PKCS#8, SEC1 or PKCS#1), without a passphrase, such as certbot's privkey.pem".to_owned()
        }
        CertificateError::Mismatch { .. } => {
            "the relay's own certificate stands first, before those of authorities; certificate and key change together"
                .to_owned()
        }
    }
}

/// A certificate that clients refuse today. A relay starts with it all the same: its clock may be the one that is wrong,
/// and a renewal is a reload away.
fn untimely(facts: &Facts, now: UnixMs) -> Option<Problem> {
    let said = if now < facts.not_before {
        format!("is not good before {}", rfc3339(facts.not_before))
    } else if now > facts.not_after {
        format!("has ended at {}", rfc3339(facts.not_after))
    } else {
        return None;
    };
    let after = match facts.source {
        Source::File => "renew it, then `chatctl reload`",
        Source::Credential => "renew it, then restart the service: systemd reads credentials only then",
    };
    let problem = Problem::warning(
        "file",
        CERTIFICATE,
        format!("{CERTIFICATE}: the certificate {said}, and clients refuse it"),
    );
    Some(problem.hint(after))
}

const CERTIFICATE: &str = "server.tls_certificate";
