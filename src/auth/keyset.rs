//! The keys of an issuer: which one signs, which ones are still believed.
//!
//! Owns the keyset file (a JWK set with states, mode 0600) and the public set made from it. A key that
//! is `active` signs; `next`, `active` and `retiring` verify; `retired` does neither.

use std::fmt;
use std::path::Path;

use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::KeysetError;
use super::key::{Algorithm, Entry, Key, KeyFacts, KeyState};
use super::new_key::NewKey;
use super::parts;
use super::private_file::{self, Access, Existing};
use crate::model::UnixMs;

/// The keys of an issuer, checked.
pub struct Keyset {
    keys: Vec<Key>,
    others: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct File {
    keys: Vec<Entry>,
    /// Members that mean nothing here, kept so that saving loses nothing.
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Keyset {
    /// A keyset of one new Ed25519 key, active.
    ///
    /// # Errors
    ///
    /// None in practice: what was made here is good.
    pub fn generate(random: &mut impl CryptoRng, now: UnixMs) -> Result<Self, KeysetError> {
        Self::of_one(
            NewKey::generate(Algorithm::EdDsa, None, random, now)?,
            KeyState::Active,
            now,
        )
    }

    /// A keyset of one key.
    ///
    /// # Errors
    ///
    /// [`KeysetError::BadKey`].
    pub fn of_one(key: NewKey, state: KeyState, now: UnixMs) -> Result<Self, KeysetError> {
        Self::of(File {
            keys: vec![key.entry(state, now)],
            others: Map::new(),
        })
    }

    /// The same keyset with one more key.
    ///
    /// # Errors
    ///
    /// [`KeysetError`] when the two do not go together.
    pub fn with(&self, key: NewKey, state: KeyState, now: UnixMs) -> Result<Self, KeysetError> {
        self.changed(|keys| keys.push(key.entry(state, now)))
    }

    pub(super) fn changed(&self, change: impl FnOnce(&mut Vec<Entry>)) -> Result<Self, KeysetError> {
        let mut keys = self.keys.iter().map(|key| key.entry.clone()).collect();
        change(&mut keys);
        let others = self.others.clone();
        Self::of(File { keys, others })
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
        let mut text = serde_json::to_vec_pretty(&File {
            keys,
            others: self.others.clone(),
        })
        .unwrap_or_default();
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
        Self::of(file)
    }

    fn of(file: File) -> Result<Self, KeysetError> {
        let keys = file
            .keys
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
        let others = file.others;
        Ok(Self { keys, others })
    }

    /// What may be told about each key, in the order of the file.
    pub fn facts(&self) -> impl Iterator<Item = KeyFacts> {
        self.keys.iter().map(Key::facts)
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
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

    /// The public keys whose tokens are good, as PEM, each under its name.
    #[must_use]
    pub fn public_pems(&self) -> Vec<(String, String)> {
        let keys = self.keys.iter().filter(|key| key.entry.state.verifies());
        keys.filter_map(|key| Some((key.entry.kid.clone(), parts::pem(key)?)))
            .collect()
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
