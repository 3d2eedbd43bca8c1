//! The keys of an issuer: which one signs, which ones are still believed.
//!
//! Owns the keyset file (a JWK set with states, mode 0600) and the public set made from it. A key that
//! is `active` signs; `next`, `active` and `retiring` verify; `retired` does neither.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::KeysetError;
use super::key::{Algorithm, Entry, Key, KeyState, Secret};
use super::private_file::{self, Access, Existing};
use crate::model::UnixMs;

/// The keys of an issuer, checked.
pub struct Keyset {
    keys: Vec<Key>,
}

#[derive(Serialize, Deserialize)]
struct File {
    keys: Vec<Entry>,
}

impl Keyset {
    /// A keyset of one new Ed25519 key, active.
    ///
    /// # Errors
    ///
    /// None in practice: what was made here is good.
    pub fn generate(random: &mut impl CryptoRng, now: UnixMs) -> Result<Self, KeysetError> {
        let mut seed = [0; 32];
        random.fill_bytes(&mut seed);
        let mut suffix = [0; 3];
        random.fill_bytes(&mut suffix);
        let public = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key();
        let created_at = rfc3339(now);
        let day = created_at.get(..10).unwrap_or("key");
        let entry = Entry {
            kid: format!("{day}-{}", suffix.map(|byte| format!("{byte:02x}")).concat()),
            kty: "OKP".to_owned(),
            crv: Some("Ed25519".to_owned()),
            alg: Some(Algorithm::EdDsa.as_str().to_owned()),
            x: Some(URL_SAFE_NO_PAD.encode(public.as_bytes())),
            d: Some(Secret::new(&seed)),
            state: KeyState::Active,
            created_at: Some(created_at),
            ..Entry::default()
        };
        Self::of(vec![entry])
    }

    /// Reads a keyset out of a private file.
    ///
    /// # Errors
    ///
    /// As [`private_file::read`] and [`Keyset::from_json`].
    pub fn load(path: &Path) -> Result<Self, KeysetError> {
        Self::from_json(&private_file::read(path)?)
    }

    /// Writes the keyset with its private parts, as [`private_file::write`] does.
    ///
    /// # Errors
    ///
    /// [`KeysetError::Io`].
    pub fn save(&self, path: &Path, existing: Existing) -> Result<(), KeysetError> {
        let keys = self.keys.iter().map(|key| key.entry.clone()).collect();
        let mut text = serde_json::to_vec_pretty(&File { keys }).unwrap_or_default();
        text.push(b'\n');
        private_file::write(path, &text, Access::Owner, existing)
    }

    /// Parses a JWK set, with states or without.
    ///
    /// # Errors
    ///
    /// Every variant of [`KeysetError`] that is not about files.
    pub fn from_json(json: &[u8]) -> Result<Self, KeysetError> {
        let file: File = serde_json::from_slice(json).map_err(|error| KeysetError::Malformed {
            line: error.line(),
            column: error.column(),
        })?;
        Self::of(file.keys)
    }

    fn of(entries: Vec<Entry>) -> Result<Self, KeysetError> {
        let keys = entries
            .into_iter()
            .map(Key::parse)
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(KeysetError::Empty);
        }
        for (at, key) in keys.iter().enumerate() {
            let mut before = keys.iter().take(at);
            if before.clone().any(|other| other.entry.kid == key.entry.kid) {
                return Err(KeysetError::DuplicateKid(key.entry.kid.clone()));
            }
            if let Some(other) = before.find(|other| other.signs() && key.signs()) {
                let (first, second) = (other.entry.kid.clone(), key.entry.kid.clone());
                return Err(KeysetError::TwoActive(first, second));
            }
        }
        Ok(Self { keys })
    }

    /// The public set, for `/.well-known/jwks.json`: keys whose tokens are good, public parts only.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let keys: Vec<Value> = self
            .keys
            .iter()
            .filter(|key| key.entry.state.verifies())
            .filter_map(public)
            .collect();
        json!({ "keys": keys })
    }

    pub(super) fn key(&self, kid: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.entry.kid == kid)
    }

    pub(super) fn signing(&self) -> Option<&Key> {
        self.keys.iter().find(|key| key.signs())
    }

    /// The kid of the key that signs.
    #[must_use]
    pub fn signing_kid(&self) -> Option<&str> {
        self.signing().map(|key| key.entry.kid.as_str())
    }
}

/// Names and states only.
impl fmt::Debug for Keyset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.iter().map(|key| (&key.entry.kid, key.entry.state));
        f.debug_map().entries(keys).finish()
    }
}

/// The public part of a key, member by member: what is not named here cannot leak.
fn public(key: &Key) -> Option<Value> {
    let Entry { kid, x, y, n, e, .. } = &key.entry;
    let alg = key.algorithm.as_str();
    match key.algorithm {
        Algorithm::EdDsa => {
            Some(json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": alg, "kid": kid, "x": x}))
        }
        Algorithm::Es256 => {
            Some(json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": alg, "kid": kid, "x": x, "y": y}))
        }
        Algorithm::Rs256 => Some(json!({"kty": "RSA", "use": "sig", "alg": alg, "kid": kid, "n": n, "e": e})),
        Algorithm::Hs256 => None,
    }
}

/// A time as people and machines both read it.
pub(super) fn rfc3339(time: UnixMs) -> String {
    // Later than the year 9999 cannot be written; such a clock is wrong anyway.
    let seconds = (time.0 / 1000).min(253_402_300_799);
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}
