//! One key of a keyset: what it is for, whether it is still used, and its parts.
//!
//! Owns what makes a key good. Must not know where it is kept.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};

use super::error::KeysetError;
use super::parts;
use crate::model::UnixMs;

/// What a key signs with. A token's algorithm is its key's, whatever its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256.
    Es256,
    /// RSA PKCS#1 v1.5 with SHA-256.
    Rs256,
    /// HMAC with SHA-256.
    Hs256,
}

impl Algorithm {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::EdDsa, Self::Es256, Self::Rs256, Self::Hs256];

    /// The name in headers and keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::Hs256 => "HS256",
        }
    }

    pub(super) const fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
        }
    }
}

/// Where a key stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published, so that everybody knows it before it signs.
    Next,
    /// Signs. Also the state of a key that says none, as in an outside issuer's key set.
    #[default]
    Active,
    /// Signs no more; its tokens are still good.
    Retiring,
    /// Its tokens are refused.
    Retired,
}

impl KeyState {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
        }
    }

    /// Whether tokens of the key are good.
    #[must_use]
    pub const fn verifies(self) -> bool {
        match self {
            Self::Next | Self::Active | Self::Retiring => true,
            Self::Retired => false,
        }
    }
}

/// A private part as base64url text. Never printed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        URL_SAFE_NO_PAD.decode(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A key as it stands in the file: a JWK (RFC 7517) with a state.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) kid: String,
    pub(super) kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) alg: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) e: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) d: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) k: Option<Secret>,
    #[serde(default)]
    pub(super) state: KeyState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) active_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retiring_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retired_since: Option<String>,
    /// Members that mean nothing here, kept so that saving loses nothing. Some may be private.
    #[serde(flatten)]
    pub(super) others: serde_json::Map<String, serde_json::Value>,
}

impl Entry {
    /// Puts the key into a state.
    pub(super) fn enter(&mut self, state: KeyState, now: UnixMs) {
        self.state = state;
        let since = match state {
            KeyState::Next => &mut self.next_since,
            KeyState::Active => &mut self.active_since,
            KeyState::Retiring => &mut self.retiring_since,
            KeyState::Retired => &mut self.retired_since,
        };
        *since = Some(now.rfc3339());
    }

    fn since(&self) -> Option<UnixMs> {
        let since = match self.state {
            KeyState::Next => &self.next_since,
            KeyState::Active => &self.active_since,
            KeyState::Retiring => &self.retiring_since,
            KeyState::Retired => &self.retired_since,
        };
        since.as_deref().and_then(parse_rfc3339)
    }

    /// What is known about the key's life.
    pub(super) fn facts(&self, algorithm: Algorithm, signs: bool) -> KeyFacts {
        let created_at = self.created_at.as_deref().and_then(parse_rfc3339);
        KeyFacts {
            kid: self.kid.clone(),
            algorithm,
            state: self.state,
            has_private_part: signs,
            created_at,
            // A key that was made active when it was made. What is published or retiring has to say since when.
            since: self
                .since()
                .or(created_at.filter(|_| self.state == KeyState::Active)),
        }
    }
}

/// What may be told about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// Its name.
    pub kid: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// Where it stands in its life.
    pub state: KeyState,
    /// Whether it can sign.
    pub has_private_part: bool,
    /// When it was made, if the file says it.
    pub created_at: Option<UnixMs>,
    /// Since when it is in this state, if the file says it.
    pub since: Option<UnixMs>,
}

fn parse_rfc3339(text: &str) -> Option<UnixMs> {
    humantime::parse_rfc3339_weak(text).ok().and_then(UnixMs::of)
}

/// A key whose parts were looked at.
pub(super) struct Key {
    pub(super) entry: Entry,
    pub(super) algorithm: Algorithm,
    pub(super) verifying: DecodingKey,
    /// Only where the private part is there and of a kind that signs here.
    pub(super) signing: Option<EncodingKey>,
}

impl Key {
    pub(super) fn parse(entry: Entry) -> Result<Self, KeysetError> {
        let parts = match entry.kty.as_str() {
            "OKP" => parts::ed25519(&entry),
            "EC" => parts::p256(&entry),
            "RSA" => parts::rsa(&entry),
            "oct" => parts::hmac(&entry),
            _ => Err("kty must be OKP, EC, RSA or oct"),
        };
        let bad = |reason| KeysetError::BadKey {
            kid: entry.kid.clone(),
            reason,
        };
        let (algorithm, verifying, signing) = parts.map_err(bad)?;
        if entry.alg.as_deref().is_some_and(|alg| alg != algorithm.as_str()) {
            return Err(bad(
                "its alg is not the one of its kind (EdDSA, ES256, RS256, HS256)",
            ));
        }
        if entry.kid.is_empty() || entry.kid.len() > 128 {
            return Err(bad("kid must be 1 to 128 bytes"));
        }
        Ok(Self {
            entry,
            algorithm,
            verifying,
            signing,
        })
    }

    pub(super) fn facts(&self) -> KeyFacts {
        self.entry.facts(self.algorithm, self.signing.is_some())
    }

    pub(super) fn signs(&self) -> bool {
        self.entry.state == KeyState::Active && self.signing.is_some()
    }
}
