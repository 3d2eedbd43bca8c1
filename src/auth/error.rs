//! What can be wrong with a token, a keyset, or a wish for a token.
//!
//! No variant holds a secret or a token; texts taken from a token are quoted and cut short.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::key::{Algorithm, KeyState};

/// Why a token is refused: one variant for each check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`super::MAX_TOKEN_BYTES`].
    #[error(
        "the token is {bytes} bytes long; at most {} are looked at",
        super::MAX_TOKEN_BYTES
    )]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Not three base64url parts of which two are JSON objects.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// `alg` is `none`, absent, or one that is not spoken here.
    #[error("unsupported algorithm {0}")]
    UnsupportedAlgorithm(String),
    /// The header asks for something that is never done: `crit`, or a key of its own.
    #[error("the header member `{0}` is not accepted")]
    HeaderMember(&'static str),
    /// No `kid`.
    #[error("the header has no `kid`")]
    NoKeyId,
    /// The keyset has no such key.
    #[error("no key has the kid {0}")]
    UnknownKey(String),
    /// The key is not used any more.
    #[error("key {kid} is {}", state.as_str())]
    KeyState {
        /// Which key.
        kid: String,
        /// Its state.
        state: KeyState,
    },
    /// The header names another algorithm than the key's: algorithm confusion.
    #[error("header alg {header} does not match key {kid} ({}): refused", key.as_str())]
    AlgorithmMismatch {
        /// As the header says.
        header: String,
        /// Which key.
        kid: String,
        /// What the key is for.
        key: Algorithm,
    },
    /// The signature is not the key's.
    #[error("the signature does not verify")]
    Signature,
    /// A required claim is not there.
    #[error("claim `{0}` is missing")]
    Missing(&'static str),
    /// A claim is not what it has to be.
    #[error("claim `{claim}` must be {rule}")]
    Claim {
        /// Which.
        claim: &'static str,
        /// What it has to be.
        rule: &'static str,
    },
    /// Another issuer.
    #[error("issuer is {found}, wanted {wanted:?}")]
    Issuer {
        /// The token's, quoted.
        found: String,
        /// Ours.
        wanted: String,
    },
    /// Meant for somebody else.
    #[error("audience is {found}, wanted {wanted:?}")]
    Audience {
        /// The token's, quoted.
        found: String,
        /// Ours.
        wanted: String,
    },
    /// A time that only makes sense in milliseconds.
    #[error("claim `{0}` looks like milliseconds; times in tokens are seconds since 1970")]
    Milliseconds(&'static str),
    /// Over.
    #[error("the token expired {} ago (leeway {})", span(by), span(leeway))]
    Expired {
        /// How long ago.
        by: Duration,
        /// What the clocks may differ by.
        leeway: Duration,
    },
    /// `nbf` lies ahead.
    #[error(
        "the token is not valid before {} from now (leeway {})",
        span(by),
        span(leeway)
    )]
    NotYet {
        /// How far ahead.
        by: Duration,
        /// What the clocks may differ by.
        leeway: Duration,
    },
    /// `iat` lies ahead.
    #[error("the token was issued {} in the future (leeway {})", span(by), span(leeway))]
    IssuedAhead {
        /// How far ahead.
        by: Duration,
        /// What the clocks may differ by.
        leeway: Duration,
    },
    /// `exp − iat` is more than the relay allows.
    #[error("the token lives {}; at most {} are allowed", span(life), span(max))]
    TooLongLived {
        /// Its life.
        life: Duration,
        /// The longest life.
        max: Duration,
    },
    /// An operator has taken it back.
    #[error("the token was revoked")]
    Revoked,
    /// A good token, of another device than the one that it is used for.
    #[error("the token is another device's")]
    OtherDevice,
}

impl TokenError {
    /// The stable word for programs and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Malformed(_) => "malformed",
            Self::UnsupportedAlgorithm(_) => "unsupported_algorithm",
            Self::HeaderMember(_) => "header_member",
            Self::NoKeyId => "kid_missing",
            Self::UnknownKey(_) => "kid_unknown",
            Self::KeyState { .. } => "key_retired",
            Self::AlgorithmMismatch { .. } => "alg_mismatch",
            Self::Signature => "signature",
            Self::Missing(_) => "claim_missing",
            Self::Claim { .. } => "claim_invalid",
            Self::Issuer { .. } => "issuer",
            Self::Audience { .. } => "audience",
            Self::Milliseconds(_) => "milliseconds",
            Self::Expired { .. } => "expired",
            Self::NotYet { .. } => "not_yet",
            Self::IssuedAhead { .. } => "issued_ahead",
            Self::TooLongLived { .. } => "too_long_lived",
            Self::Revoked => "revoked",
            Self::OtherDevice => "other_device",
        }
    }
}

/// Why a keyset cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysetError {
    /// The file cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// `read`, `write`.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read the file.
    #[error("{} is readable by group or others ({mode:04o})", path.display())]
    TooOpen {
        /// Where.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a keyset. The parser's own words are left out, because they may quote a key.
    #[error("the keyset is not a JSON Web Key set (line {line}, column {column})")]
    Malformed {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
    },
    /// No key in it.
    #[error("the keyset has no keys")]
    Empty,
    /// Two keys of one name.
    #[error("two keys have the kid {0:?}")]
    DuplicateKid(String),
    /// A key that cannot be one.
    #[error("key {kid:?}: {reason}")]
    BadKey {
        /// Which.
        kid: String,
        /// Why.
        reason: &'static str,
    },
    /// An outside issuer that cannot be trusted as it stands.
    #[error("outside issuer {issuer:?}: {reason}")]
    Issuer {
        /// Which.
        issuer: String,
        /// Why.
        reason: &'static str,
    },
    /// Signing would have to choose.
    #[error("two keys are active and can sign: {0:?} and {1:?}")]
    TwoActive(String, String),
}

/// Why a key in PEM cannot be taken. Nothing of the text is ever repeated.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// No BEGIN and END with base64 between them.
    #[error("the input is not PEM")]
    NoPem,
    /// A certificate, or something else.
    #[error("the PEM holds something other than a key")]
    NotAKey,
    /// More than one section.
    #[error("the PEM holds more than one section; one key is imported at a time")]
    Several,
    /// A password would be needed.
    #[error("the key is encrypted, and no password is ever asked for here")]
    Encrypted,
    /// PKCS#1, SEC 1 or OpenSSH's own.
    #[error("the key is in an older form than PKCS#8")]
    OtherForm,
    /// Not Ed25519, P-256 or RSA, or damaged.
    #[error("the key is damaged, or of another kind than Ed25519, P-256 and RSA")]
    Kind,
    /// A key that is not good enough.
    #[error(transparent)]
    Key(#[from] KeysetError),
}

/// Why a token is not issued.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// No key is `active` and has a private part that signs here.
    #[error("the keyset has no active key that can sign (EdDSA, ES256 or HS256 with its private part)")]
    NoActiveKey,
    /// A claim that the signer sets itself.
    #[error("claim `{0}` is set by the signer and cannot be given")]
    Reserved(String),
    /// The library could not.
    #[error("cannot sign with the active key")]
    Failed,
}

/// A span of time as people say it, to the second.
fn span(time: &Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(time.as_secs()))
}

/// A text out of a token, for an error: quoted, control characters escaped, cut short.
pub(super) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(64).collect();
    if short.len() == text.len() {
        format!("{text:?}")
    } else {
        format!("{short:?}…")
    }
}
