//! What a key is made of: from the members of a JWK to what the token library signs and verifies with.
//!
//! Owns what makes a key good. Must not know states or files.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use jsonwebtoken::{DecodingKey, EncodingKey};

use super::key::{Algorithm, Entry, Key, Secret};
use super::pem::{PublicKey, public_pem};

/// What it is for, and what it verifies and perhaps signs with.
pub(super) type Parts = (Algorithm, DecodingKey, Option<EncodingKey>);

pub(super) fn ed25519(entry: &Entry) -> Result<Parts, &'static str> {
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

pub(super) fn p256(entry: &Entry) -> Result<Parts, &'static str> {
    if entry.crv.as_deref() != Some("P-256") {
        return Err("crv of an EC key must be P-256");
    }
    let x: [u8; 32] = public_part(entry.x.as_deref(), "x must be 32 bytes of base64url")?;
    let y: [u8; 32] = public_part(entry.y.as_deref(), "y must be 32 bytes of base64url")?;
    let point = [&[4][..], &x, &y].concat();
    let signing = match &entry.d {
        None => None,
        Some(secret) => {
            const WRONG: &str = "d must be the 32 bytes of base64url that belong to x and y";
            let d: [u8; 32] = secret.bytes().and_then(|d| d.try_into().ok()).ok_or(WRONG)?;
            let der = [&PKCS8_P256[..], &d, &PKCS8_P256_POINT, &point].concat();
            let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
            EcdsaKeyPair::from_private_key_and_public_key(alg, &d, &point).map_err(|_| WRONG)?;
            Some(EncodingKey::from_ec_der(&der))
        }
    };
    Ok((Algorithm::Es256, DecodingKey::from_ec_der(&point), signing))
}

pub(super) fn rsa(entry: &Entry) -> Result<Parts, &'static str> {
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

pub(super) fn hmac(entry: &Entry) -> Result<Parts, &'static str> {
    let Some(secret) = entry.k.as_ref().and_then(Secret::bytes) else {
        return Err("k must be base64url");
    };
    if secret.len() < 32 {
        return Err("an HMAC secret must have 32 random bytes or more");
    }
    if FAMOUS_SECRETS
        .iter()
        .any(|famous| secret.starts_with(famous.as_bytes()))
    {
        return Err("this HMAC secret stands in a manual: everybody knows it");
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

/// The public part as PEM; `None` for a secret, which has none.
pub(super) fn pem(key: &Key) -> Option<String> {
    let part = |text: &Option<String>| text.as_deref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let Entry { x, y, n, e, .. } = &key.entry;
    match key.algorithm {
        Algorithm::EdDsa => Some(public_pem(&PublicKey::Ed25519(&part(x)?))),
        Algorithm::Es256 => {
            let point = [vec![4], part(x)?, part(y)?].concat();
            Some(public_pem(&PublicKey::P256(&point)))
        }
        Algorithm::Rs256 => {
            let (n, e) = (part(n)?, part(e)?);
            Some(public_pem(&PublicKey::Rsa { n: &n, e: &e }))
        }
        Algorithm::Hs256 => None,
    }
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

/// What stands before the 32 bytes of a P-256 private key in PKCS#8 (RFC 5915, RFC 5958).
const PKCS8_P256: [u8; 36] = [
    0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01,
    0x04, 0x20,
];

/// What stands between its private part and its point.
const PKCS8_P256_POINT: [u8; 5] = [0xa1, 0x44, 0x03, 0x42, 0x00];

/// Secrets that are long enough, look random enough, and are printed in manuals and examples.
const FAMOUS_SECRETS: [&str; 6] = [
    "your-super-secret-jwt-token-with-at-least-32-characters",
    "a-string-secret-at-least-256-bits-long",
    "a-valid-string-secret-that-is-at-least-512-bits-long",
    "your-256-bit-secret",
    "super-secret-jwt-token-with-at-least-32-characters-long",
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
];
