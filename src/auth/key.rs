//! One key of a keyset: what it is for, whether it is still used, and its parts.
//!
//! Owns what makes a key good. Must not know where it is kept.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};

use super::error::KeysetError;

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

    fn bytes(&self) -> Option<Vec<u8>> {
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
    /// Members that mean nothing here, kept so that saving loses nothing. Some may be private.
    #[serde(flatten)]
    pub(super) others: serde_json::Map<String, serde_json::Value>,
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
            "OKP" => ed25519(&entry),
            "EC" => p256(&entry),
            "RSA" => rsa(&entry),
            "oct" => hmac(&entry),
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

    pub(super) fn signs(&self) -> bool {
        self.entry.state == KeyState::Active && self.signing.is_some()
    }
}

type Parts = (Algorithm, DecodingKey, Option<EncodingKey>);

fn ed25519(entry: &Entry) -> Result<Parts, &'static str> {
    if entry.crv.as_deref() != Some("Ed25519") {
        return Err("crv of an OKP key must be Ed25519");
    }
    let public: [u8; 32] = public_part(entry.x.as_deref(), "x must be 32 bytes of base64url")?;
    let signing = match &entry.d {
        None => None,
        Some(secret) => {
            const WRONG: &str = "d must be the 32 bytes of base64url that belong to x";
            let seed: [u8; 32] = secret.bytes().and_then(|d| d.try_into().ok()).ok_or(WRONG)?;
            if SigningKey::from_bytes(&seed).verifying_key().to_bytes() != public {
                return Err(WRONG);
            }
            Some(EncodingKey::from_ed_der(&[&PKCS8_ED25519[..], &seed].concat()))
        }
    };
    Ok((Algorithm::EdDsa, DecodingKey::from_ed_der(&public), signing))
}

fn p256(entry: &Entry) -> Result<Parts, &'static str> {
    if entry.crv.as_deref() != Some("P-256") {
        return Err("crv of an EC key must be P-256");
    }
    let x: [u8; 32] = public_part(entry.x.as_deref(), "x must be 32 bytes of base64url")?;
    let y: [u8; 32] = public_part(entry.y.as_deref(), "y must be 32 bytes of base64url")?;
    let point = [&[4][..], &x, &y].concat();
    Ok((Algorithm::Es256, DecodingKey::from_ec_der(&point), None))
}

fn rsa(entry: &Entry) -> Result<Parts, &'static str> {
    let part = |text: &Option<String>| text.as_deref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let (Some(n), Some(e)) = (part(&entry.n), part(&entry.e)) else {
        return Err("n and e must be base64url");
    };
    if n.iter().skip_while(|byte| **byte == 0).count() < 256 {
        return Err("an RSA key must have 2048 bits or more");
    }
    let verifying = DecodingKey::from_rsa_raw_components(&n, &e);
    Ok((Algorithm::Rs256, verifying, None))
}

fn hmac(entry: &Entry) -> Result<Parts, &'static str> {
    let Some(secret) = entry.k.as_ref().and_then(Secret::bytes) else {
        return Err("k must be base64url");
    };
    if secret.len() < 32 {
        return Err("an HMAC secret must have 32 random bytes or more");
    }
    // 32 random bytes have fewer than 16 different ones about never; typed secrets often do.
    let mut different = secret.clone();
    different.sort_unstable();
    different.dedup();
    if different.len() < 16 {
        return Err("an HMAC secret must be random bytes");
    }
    let verifying = DecodingKey::from_secret(&secret);
    Ok((
        Algorithm::Hs256,
        verifying,
        Some(EncodingKey::from_secret(&secret)),
    ))
}

fn public_part(text: Option<&str>, rule: &'static str) -> Result<[u8; 32], &'static str> {
    text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(rule)
}

/// What stands before the 32 bytes of an Ed25519 private key in PKCS#8 (RFC 8410, section 7).
const PKCS8_ED25519: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
