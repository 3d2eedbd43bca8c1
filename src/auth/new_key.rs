//! Keys that are not in a keyset yet: made here, or brought in a PEM file.
//!
//! Must not know states, files or other keys.

use std::fmt;

use aws_lc_rs::agreement::{self, ECDH_P256};
use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::CryptoRng;

use super::error::{KeysetError, PemError};
use super::key::{Algorithm, Entry, Key, KeyState, Secret};
use super::pem::{self, Section};
use crate::model::UnixMs;

/// A key that is not in a keyset yet.
pub struct NewKey(Entry);

impl NewKey {
    /// A new key. Without a name it is called after its day and chance.
    ///
    /// # Errors
    ///
    /// [`KeysetError::BadKey`] for a name that cannot be one, and for RS256, whose keys are only brought along.
    pub fn generate(
        algorithm: Algorithm,
        kid: Option<&str>,
        random: &mut impl CryptoRng,
        now: UnixMs,
    ) -> Result<Self, KeysetError> {
        let created_at = now.rfc3339();
        let kid = kid.map_or_else(|| auto_kid(&created_at, random), str::to_owned);
        let mut secret = [0; 32];
        random.fill_bytes(&mut secret);
        let parts = match algorithm {
            Algorithm::EdDsa => {
                let public = ed25519_dalek::SigningKey::from_bytes(&secret).verifying_key();
                ed25519(public.as_bytes(), Some(&secret))
            }
            Algorithm::Es256 => {
                let point = loop {
                    // One in four billion is not below the order of the curve.
                    match p256_point(&secret) {
                        Some(point) => break point,
                        None => random.fill_bytes(&mut secret),
                    }
                };
                p256(&point, Some(&secret))
            }
            Algorithm::Hs256 => Some(Entry {
                kty: "oct".to_owned(),
                k: Some(Secret::new(&secret)),
                ..Entry::default()
            }),
            Algorithm::Rs256 => None,
        };
        let reason = "RS256 keys are not made here; EdDSA is smaller, faster and as good";
        let bad = KeysetError::BadKey {
            kid: kid.clone(),
            reason,
        };
        Self::of(parts.ok_or(bad)?, algorithm, kid, now)
    }

    /// A key out of a PEM text: PKCS#8 with its private part, or SPKI without. Of an RSA key only the public
    /// part is taken: it verifies here and does not sign.
    ///
    /// # Errors
    ///
    /// [`PemError`].
    pub fn from_pem(text: &str, kid: &str, now: UnixMs) -> Result<Self, PemError> {
        let (algorithm, parts) = match pem::parse(text)? {
            Section::Private(der) => private(&der).ok_or(PemError::Kind)?,
            Section::Public(der) => public(&der).ok_or(PemError::Kind)?,
        };
        Ok(Self::of(parts, algorithm, kid.to_owned(), now)?)
    }

    fn of(parts: Entry, algorithm: Algorithm, kid: String, now: UnixMs) -> Result<Self, KeysetError> {
        if !kid.bytes().all(|byte| byte.is_ascii_graphic()) {
            let reason = "kid must be printable ASCII without spaces";
            return Err(KeysetError::BadKey { kid, reason });
        }
        let entry = Entry {
            kid,
            alg: Some(algorithm.as_str().to_owned()),
            created_at: Some(now.rfc3339()),
            ..parts
        };
        Key::parse(entry.clone()).map(|_| Self(entry))
    }

    /// Its name.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.0.kid
    }

    /// Whether it can sign.
    #[must_use]
    pub const fn has_private_part(&self) -> bool {
        self.0.d.is_some() || self.0.k.is_some()
    }

    pub(super) fn entry(self, state: KeyState, now: UnixMs) -> Entry {
        let mut entry = self.0;
        entry.enter(state, now);
        entry
    }
}

/// Its name only.
impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NewKey").field(&self.0.kid).finish()
    }
}

fn auto_kid(created_at: &str, random: &mut impl CryptoRng) -> String {
    let mut suffix = [0; 3];
    random.fill_bytes(&mut suffix);
    let day = created_at.get(..10).unwrap_or("key");
    format!("{day}-{}", suffix.map(|byte| format!("{byte:02x}")).concat())
}

fn private(der: &[u8]) -> Option<(Algorithm, Entry)> {
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        let seed = pair.seed().ok()?.as_be_bytes().ok()?;
        let entry = ed25519(pair.public_key().as_ref(), Some(seed.as_ref()))?;
        return Some((Algorithm::EdDsa, entry));
    }
    if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
        let d = pair.private_key().as_be_bytes().ok()?;
        let entry = p256(pair.public_key().as_ref(), Some(d.as_ref()))?;
        return Some((Algorithm::Es256, entry));
    }
    let pair = RsaKeyPair::from_pkcs8(der).ok()?;
    let public = pair.public_key();
    let (n, e) = (public.modulus(), public.exponent());
    let entry = rsa(
        n.big_endian_without_leading_zero(),
        e.big_endian_without_leading_zero(),
    );
    Some((Algorithm::Rs256, entry))
}

fn public(der: &[u8]) -> Option<(Algorithm, Entry)> {
    match pem::public_key(der)? {
        pem::PublicKey::Ed25519(x) => Some((Algorithm::EdDsa, ed25519(x, None)?)),
        pem::PublicKey::P256(point) => Some((Algorithm::Es256, p256(point, None)?)),
        pem::PublicKey::Rsa { n, e } => Some((Algorithm::Rs256, rsa(n, e))),
    }
}

fn ed25519(x: &[u8], d: Option<&[u8]>) -> Option<Entry> {
    (x.len() == 32).then(|| Entry {
        kty: "OKP".to_owned(),
        crv: Some("Ed25519".to_owned()),
        x: Some(URL_SAFE_NO_PAD.encode(x)),
        d: d.map(Secret::new),
        ..Entry::default()
    })
}

fn p256(point: &[u8], d: Option<&[u8]>) -> Option<Entry> {
    let (4, xy) = point.split_first()? else {
        return None;
    };
    let (x, y) = xy.split_at_checked(32)?;
    Some(Entry {
        kty: "EC".to_owned(),
        crv: Some("P-256".to_owned()),
        x: Some(URL_SAFE_NO_PAD.encode(x)),
        y: Some(URL_SAFE_NO_PAD.encode(y)),
        d: d.map(Secret::new),
        ..Entry::default()
    })
}

fn rsa(n: &[u8], e: &[u8]) -> Entry {
    Entry {
        kty: "RSA".to_owned(),
        n: Some(URL_SAFE_NO_PAD.encode(n)),
        e: Some(URL_SAFE_NO_PAD.encode(e)),
        ..Entry::default()
    }
}

fn p256_point(secret: &[u8; 32]) -> Option<Vec<u8>> {
    let key = agreement::PrivateKey::from_private_key(&ECDH_P256, secret).ok()?;
    Some(key.compute_public_key().ok()?.as_ref().to_vec())
}
