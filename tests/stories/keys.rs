//! Tokens for stories: good ones, and forged ones that a relay must refuse.
//!
//! Signs by itself and not with the relay's own code, so that a mistake there cannot hide here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use chatctl_relay::model::Clock;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

use crate::relay::Person;

/// The issuer's keys. Every story has the same: nothing hangs on their being secret.
#[derive(Debug)]
pub(crate) struct TestKeys {
    signing: SigningKey,
}

impl TestKeys {
    pub(crate) fn new() -> Self {
        Self {
            signing: SigningKey::from_bytes(&[7; 32]),
        }
    }

    /// The keyset file, as `chatctl serve --keys` reads it.
    pub(crate) fn file(&self) -> Value {
        json!({"keys": [{
            "kid": KID,
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "x": BASE64URL.encode(self.public()),
            "d": BASE64URL.encode(self.signing.as_bytes()),
            "state": "active",
        }]})
    }

    /// The public key, which everybody can read at `/.well-known/jwks.json`.
    pub(crate) fn public(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }

    /// A token that is good for an hour.
    pub(crate) fn token(&self, person: Person) -> String {
        self.signed(&header("EdDSA"), &claims(person))
    }

    /// Any header and any claims under a good signature.
    pub(crate) fn signed(&self, header: &Value, claims: &Value) -> String {
        let text = unsigned(header, claims);
        let signature = self.signing.sign(text.as_bytes()).to_bytes();
        format!("{text}.{}", BASE64URL.encode(signature))
    }

    /// The key confusion: HMAC with the public key as its secret.
    pub(crate) fn confused(&self, claims: &Value) -> String {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        header.kid = Some(KID.to_owned());
        let secret = jsonwebtoken::EncodingKey::from_secret(&self.public());
        jsonwebtoken::encode(&header, claims, &secret).unwrap()
    }
}

/// The header of an honest token, but for its algorithm.
pub(crate) fn header(algorithm: &str) -> Value {
    json!({"alg": algorithm, "kid": KID, "typ": "JWT"})
}

/// What an honest token says; to be spoiled.
pub(crate) fn claims(person: Person) -> Value {
    json!({
        "iss": "chatctl",
        "aud": "chatctl",
        "sub": person.account,
        "dev": person.device_id,
        "iat": now(),
        "exp": now() + 3600,
        "jti": format!("{}-{}", person.account, person.device_id),
    })
}

/// Header and claims, and no signature.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64URL.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    Clock::system().now().0 / 1000
}

const KID: &str = "stories";
