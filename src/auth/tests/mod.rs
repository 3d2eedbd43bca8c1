//! Stories about tokens; `traps` is the table of bad ones, `keys` is about keysets.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chatctl_protocol::{AccountId, Address, DeviceId};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value, json};

use super::private_file::Existing;
use super::*;
use crate::metrics::Metrics;
use crate::model::{Clock, Identity, Scopes, UnixMs};

mod keys;
mod lives;
mod outside;
mod properties;
mod traps;

/// 2026-11-22T12:00:00Z.
const NOW: UnixMs = UnixMs(1_795_348_800_000);
const S: u64 = NOW.0 / 1000;
const HMAC: &[u8] = b"0123456789abcdefghijklmnopqrstuv";

fn secret_key() -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[7; 32])
}

fn keys(state: &str) -> Value {
    let key = secret_key();
    let (x, d) = (key.verifying_key().to_bytes(), key.to_bytes());
    json!({"keys": [
        {"kid": "ed", "kty": "OKP", "crv": "Ed25519", "x": b64(x), "d": b64(d), "state": state},
        {"kid": "mac", "kty": "oct", "k": b64(HMAC), "state": "next"},
        {"kid": "old", "kty": "oct", "k": b64(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"), "state": "retired"},
    ]})
}

fn keyset(json: &Value) -> Result<Keyset, KeysetError> {
    Keyset::from_json(json.to_string().as_bytes())
}

fn verifier(keyset: Keyset) -> Verifier {
    Verifier::new(policy(keyset), Arc::new(Metrics::new()))
}

fn policy(keyset: Keyset) -> Policy {
    Policy::new(keyset, "iss", "aud", Duration::from_secs(30 * 24 * 3600))
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn alice() -> Address {
    Address {
        account: AccountId::parse("alice").unwrap(),
        device_id: DeviceId::parse("1").unwrap(),
    }
}

fn claims_at(s: u64) -> Value {
    json!({"iss": "iss", "aud": "aud", "sub": "alice", "dev": "1", "jti": "j", "iat": s, "exp": s + 3600})
}

/// The claims of a good token, with changes; a null removes.
fn claims(changes: Value) -> Value {
    changed(claims_at(S), changes)
}

fn changed(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

/// A token with any header, signed by the Ed25519 key.
fn signed(header: Value, claims: &Value) -> String {
    use ed25519_dalek::Signer as _;
    let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let signature = secret_key().sign(message.as_bytes()).to_bytes();
    format!("{message}.{}", b64(signature))
}

fn ed(claims: &Value) -> String {
    signed(json!({"alg": "EdDSA", "kid": "ed", "typ": "JWT"}), claims)
}

fn mac(kid: &str, secret: &[u8], claims: &Value) -> String {
    let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = Some(kid.to_owned());
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret)).unwrap()
}

#[test]
fn a_good_token_names_account_device_and_scopes() {
    let verifier = verifier(keyset(&keys("active")).unwrap());
    let identity = |admin, chat| Identity {
        address: alice(),
        scopes: Scopes { chat, admin },
        issued_at: UnixMs(S * 1000),
        expires_at: UnixMs((S + 3600) * 1000),
        jti: "j".into(),
    };
    let good = [
        (ed(&claims(json!({}))), identity(false, true)),
        (
            ed(&claims(json!({"scope": "admin other chat"}))),
            identity(true, true),
        ),
        (ed(&claims(json!({"scope": "admin"}))), identity(true, false)),
        (ed(&claims(json!({"scope": ""}))), identity(false, false)),
        (
            ed(&claims(json!({"aud": ["x", "aud"], "nbf": S + 5, "iat": S + 5}))),
            Identity {
                issued_at: UnixMs((S + 5) * 1000),
                ..identity(false, true)
            },
        ),
        (mac("mac", HMAC, &claims(json!({}))), identity(false, true)),
    ];
    for (token, identity) in good {
        assert_eq!(verifier.verify(&token, NOW), Ok(identity), "{token}");
    }
    let late = UnixMs((S + 3600) * 1000 + 4_999);
    assert!(verifier.verify(&ed(&claims(json!({}))), late).is_ok());
}

#[test]
fn a_token_of_another_device_is_refused() {
    let verifier = verifier(keyset(&keys("active")).unwrap());
    let token = ed(&claims(json!({"dev": "2"})));
    assert_eq!(
        verifier.verify_for(&alice(), &token, NOW),
        Err(TokenError::OtherDevice)
    );
    assert!(
        verifier
            .verify_for(&alice(), &ed(&claims(json!({}))), NOW)
            .is_ok()
    );
}

#[test]
fn inspection_warns_without_a_key() {
    let token = signed(
        json!({"alg": "none"}),
        &claims(json!({"exp": S * 1000, "aud": null})),
    );
    let life = Duration::from_secs(3600);
    let inspection = inspect(&token, life, NOW).unwrap();
    let warnings: Vec<_> = inspection.warnings.iter().map(TokenError::code).collect();
    assert_eq!(
        warnings,
        [
            "unsupported_algorithm",
            "kid_missing",
            "claim_missing",
            "milliseconds"
        ]
    );
    assert_eq!(inspection.claims["sub"], "alice");
    assert!(inspect("x", life, NOW).is_err());
}
