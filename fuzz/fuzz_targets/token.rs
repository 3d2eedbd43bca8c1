//! Any text as a token, and any header and claims under a good signature: never a panic, nothing is
//! believed that was not signed, and nothing that is not for here.
//!
//! A line break separates header from claims; the secret signs both.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chatctl_relay::auth::{Keyset, Policy, Verifier, inspect};
use chatctl_relay::metrics::Metrics;
use chatctl_relay::model::UnixMs;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// 2026-11-22T12:00:00Z.
const NOW: UnixMs = UnixMs(1_795_348_800_000);
const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
const SECRET: &[u8] = b"0123456789abcdefghijklmnopqrstuv";

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let secret = URL_SAFE_NO_PAD.encode(SECRET);
    let keys = serde_json::json!({"keys": [{"kid": "k", "kty": "oct", "k": secret}]});
    let keyset = Keyset::from_json(keys.to_string().as_bytes()).expect("a keyset");
    Verifier::new(Policy::new(keyset, "iss", "aud", LIFE), Arc::new(Metrics::new()))
});

fuzz_target!(|text: &str| {
    assert!(VERIFIER.verify(text, NOW).is_err(), "nobody signed it");
    let _ = inspect(text, LIFE, NOW);

    let Some((header, claims)) = text.split_once('\n') else {
        return;
    };
    let said = [header, claims]
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .join(".");
    let key = EncodingKey::from_secret(SECRET);
    let signature = crypto::sign(said.as_bytes(), &key, Algorithm::HS256).expect("a signature");
    let token = format!("{said}.{signature}");
    let examined = VERIFIER.examine(&token, NOW);
    assert_eq!(examined.identity.is_some(), examined.failures.is_empty());
    let _ = inspect(&token, LIFE, NOW);
    let Ok(identity) = VERIFIER.verify(&token, NOW) else {
        return;
    };
    let claims: Value = serde_json::from_str(claims).expect("claims that were believed are JSON");
    assert_eq!(claims["iss"], "iss");
    assert_eq!(claims["sub"], identity.address.account.as_str());
    assert_eq!(claims["dev"], identity.address.device_id.as_str());
    assert!(claims["exp"].as_f64() > Some(NOW.0 as f64 / 1000.0 - 6.0));
});
