//! Every trap of tokens and keysets, as a table; and what the library would have let through.

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
    let life = Duration::from_secs(30 * 24 * 3600);
    Verifier::new(keyset, "iss".into(), "aud".into(), life, Arc::new(Metrics::new()))
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
        expires_at: UnixMs((S + 3600) * 1000),
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
            identity(false, true),
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
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_trap_is_refused_by_its_name() {
    let public = secret_key().verifying_key().to_bytes();
    let none = json!({"alg": "none", "kid": "ed"});
    let header = |header: Value| signed(header, &claims(json!({})));
    let claim = |changes| ed(&claims(changes));
    let good = claim(json!({}));
    let unsigned = format!(
        "{}.{}.",
        b64(none.to_string()),
        b64(claims(json!({})).to_string())
    );
    let (signed_part, _) = good.rsplit_once('.').unwrap();
    let twice = format!(r#"{{"sub":"eve",{}"#, &claims(json!({})).to_string()[1..]);
    let twice = format!(
        "{}.{}.{}",
        b64(r#"{"alg":"EdDSA","kid":"ed"}"#),
        b64(twice),
        b64("s")
    );
    let traps: Vec<(&str, String, &[&str])> = vec![
        ("alg none", header(none), &["unsupported_algorithm"]),
        ("alg none, no signature", unsigned, &["unsupported_algorithm"]),
        ("no alg", header(json!({"kid": "ed"})), &["unsupported_algorithm"]),
        (
            "public key as HMAC secret",
            mac("ed", &public, &claims(json!({}))),
            &["alg_mismatch"],
        ),
        ("missing kid", header(json!({"alg": "EdDSA"})), &["kid_missing"]),
        (
            "unknown kid",
            header(json!({"alg": "EdDSA", "kid": "no"})),
            &["kid_unknown"],
        ),
        (
            "retired key",
            mac("old", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", &claims(json!({}))),
            &["key_retired"],
        ),
        (
            "crit",
            header(json!({"alg": "EdDSA", "kid": "ed", "crit": ["x"]})),
            &["header_member"],
        ),
        (
            "own key",
            header(json!({"alg": "EdDSA", "kid": "ed", "jwk": {}})),
            &["header_member"],
        ),
        (
            "wrong secret",
            mac("mac", b"another secret of 32 bytes, or so", &claims(json!({}))),
            &["signature"],
        ),
        ("no signature", format!("{signed_part}."), &["signature"]),
        ("padded signature", format!("{good}="), &["signature"]),
        ("missing iss", claim(json!({"iss": null})), &["claim_missing"]),
        ("missing aud", claim(json!({"aud": null})), &["claim_missing"]),
        ("missing sub", claim(json!({"sub": null})), &["claim_missing"]),
        ("missing dev", claim(json!({"dev": null})), &["claim_missing"]),
        ("missing jti", claim(json!({"jti": null})), &["claim_missing"]),
        ("missing exp", claim(json!({"exp": null})), &["claim_missing"]),
        ("missing iat", claim(json!({"iat": null})), &["claim_missing"]),
        ("other iss", claim(json!({"iss": "eve"})), &["issuer"]),
        ("other aud", claim(json!({"aud": ["x"]})), &["audience"]),
        ("odd aud", claim(json!({"aud": [1]})), &["claim_invalid"]),
        ("odd sub", claim(json!({"sub": "a/b"})), &["claim_invalid"]),
        ("odd dev", claim(json!({"dev": "a.b"})), &["claim_invalid"]),
        ("odd scope", claim(json!({"scope": ["chat"]})), &["claim_invalid"]),
        (
            "exp as text",
            claim(json!({"exp": "tomorrow"})),
            &["claim_invalid"],
        ),
        ("negative exp", claim(json!({"exp": -1})), &["claim_invalid"]),
        ("huge exp", claim(json!({"exp": 1e300})), &["milliseconds"]),
        (
            "exp in milliseconds",
            claim(json!({"exp": (S + 3600) * 1000})),
            &["milliseconds"],
        ),
        (
            "expired",
            claim(json!({"iat": S - 60, "exp": S - 5})),
            &["expired"],
        ),
        (
            "expired long ago",
            claim(json!({"iat": S - 60, "exp": S - 30})),
            &["expired"],
        ),
        ("future nbf", claim(json!({"nbf": S + 3600})), &["not_yet"]),
        ("future iat", claim(json!({"iat": S + 6})), &["issued_ahead"]),
        (
            "exp before iat",
            claim(json!({"exp": S, "iat": S + 5})),
            &["claim_invalid"],
        ),
        (
            "too long",
            claim(json!({"exp": S + 30 * 24 * 3600 + 1})),
            &["too_long_lived"],
        ),
        (
            "oversize",
            claim(json!({"x": "x".repeat(MAX_TOKEN_BYTES)})),
            &["too_large"],
        ),
        ("garbage", "garbage".to_owned(), &["malformed"]),
        ("empty", String::new(), &["malformed"]),
        ("five parts", format!("{good}.a.b"), &["malformed"]),
        ("a claim twice", twice, &["signature", "malformed"]),
        (
            "a list of claims",
            signed(json!({"alg": "EdDSA", "kid": "ed"}), &json!(["iss"])),
            &["malformed"],
        ),
        (
            "all at once",
            mac(
                "mac",
                b"another secret of 32 bytes, or so",
                &json!({"exp": S - 30, "iat": S + 60}),
            ),
            &[
                "signature",
                "claim_missing",
                "claim_missing",
                "claim_missing",
                "claim_missing",
                "claim_missing",
                "expired",
                "issued_ahead",
                "claim_invalid",
            ],
        ),
    ];
    let verifier = verifier(keyset(&keys("active")).unwrap());
    for (name, token, codes) in traps {
        let Examination { identity, failures } = verifier.examine(&token, NOW);
        let found: Vec<_> = failures.iter().map(TokenError::code).collect();
        assert_eq!(found, codes, "{name}: {failures:?}");
        assert_eq!(identity, None, "{name}");
        assert_eq!(
            verifier.verify(&token, NOW).map_err(|error| error.code()),
            Err(codes[0]),
            "{name}"
        );
    }
}

/// What this module refuses and the library's defaults accept. A line that fails here may go.
#[test]
fn library_defaults_accept_these() {
    let now = Clock::system().now();
    let s = now.0 / 1000;
    let verifier = verifier(keyset(&keys("active")).unwrap());
    let key = DecodingKey::from_ed_der(secret_key().verifying_key().as_bytes());
    // As the library's own example has it, with issuer and audience set as one would.
    let mut defaults = Validation::new(jsonwebtoken::Algorithm::EdDSA);
    defaults.set_issuer(&["iss"]);
    defaults.set_audience(&["aud"]);
    let traps = [
        ("future nbf", json!({"nbf": s + 3600})),
        ("exp in milliseconds", json!({"exp": s * 1000})),
        ("expired 30 s ago", json!({"iat": s - 60, "exp": s - 30})),
        ("future iat", json!({"iat": s + 600})),
        ("missing iss", json!({"iss": null})),
        ("missing aud", json!({"aud": null})),
        ("missing sub", json!({"sub": null})),
        ("missing jti", json!({"jti": null})),
        ("too long", json!({"exp": s + 10 * 365 * 24 * 3600})),
    ];
    for (name, changes) in traps {
        let token = ed(&changed(claims_at(s), changes));
        let lax = jsonwebtoken::decode::<Map<String, Value>>(&token, &key, &defaults);
        assert!(lax.is_ok(), "{name}: {lax:?}");
        assert!(verifier.verify(&token, now).is_err(), "{name}");
    }
    let no_kid = signed(json!({"alg": "EdDSA"}), &claims_at(s));
    assert!(jsonwebtoken::decode::<Value>(&no_kid, &key, &defaults).is_ok());

    // With a key set that holds an Ed25519 public key and a validator that allows what the header says.
    let public = secret_key().verifying_key().to_bytes();
    let confused = mac("ed", &public, &claims_at(s));
    let said = jsonwebtoken::decode_header(&confused).unwrap().alg;
    let mut validation = Validation::new(said);
    validation.set_audience(&["aud"]);
    let as_secret = DecodingKey::from_secret(&public);
    assert!(jsonwebtoken::decode::<Value>(&confused, &as_secret, &validation).is_ok());

    // An empty secret signs and verifies.
    let empty = mac("mac", b"", &claims_at(s));
    assert!(jsonwebtoken::decode::<Value>(&empty, &DecodingKey::from_secret(b""), &validation).is_ok());
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
fn a_key_verifies_until_it_is_retired_and_keysets_are_swapped_in_place() {
    let verifier = verifier(keyset(&keys("next")).unwrap());
    let token = ed(&claims(json!({})));
    for state in ["active", "retiring", "next"] {
        verifier.replace_keys(keyset(&keys(state)).unwrap());
        assert!(verifier.verify(&token, NOW).is_ok(), "{state}");
    }
    verifier.replace_keys(keyset(&keys("retired")).unwrap());
    let refused = TokenError::KeyState {
        kid: "\"ed\"".into(),
        state: KeyState::Retired,
    };
    assert_eq!(verifier.verify(&token, NOW), Err(refused));
}

#[test]
fn bad_keysets_are_refused_at_load() {
    let x = b64(secret_key().verifying_key().to_bytes());
    let okp = |d: &str| json!({"kid": "a", "kty": "OKP", "crv": "Ed25519", "x": x, "d": d});
    let oct = |k: &[u8]| json!({"kid": "a", "kty": "oct", "k": b64(k)});
    let good = okp(&b64([7; 32]));
    let mut other = good.clone();
    other["kid"] = "b".into();
    let bad = [
        ("empty secret", json!([oct(b"")])),
        ("short secret", json!([oct(b"secret")])),
        ("typed secret", json!([oct(b"passwordpasswordpasswordpassword")])),
        ("private part of another key", json!([okp(&b64([8; 32]))])),
        (
            "small RSA",
            json!([{"kid": "a", "kty": "RSA", "n": b64([9; 128]), "e": "AQAB"}]),
        ),
        (
            "unknown curve",
            json!([{"kid": "a", "kty": "EC", "crv": "P-521", "x": x, "y": x}]),
        ),
        (
            "another alg",
            json!([changed(oct(HMAC), json!({"alg": "EdDSA"}))]),
        ),
        (
            "unknown state",
            json!([changed(oct(HMAC), json!({"state": "maybe"}))]),
        ),
        ("same kid twice", json!([good.clone(), good.clone()])),
        ("two that sign", json!([good, other])),
        ("no keys", json!([])),
    ];
    for (name, keys) in bad {
        let error = keyset(&json!({ "keys": keys })).expect_err(name);
        assert!(
            !format!("{error} {error:?}").contains("password"),
            "{name}: {error}"
        );
    }
    let leak = Keyset::from_json(br#"{"keys":"my secret"}"#)
        .unwrap_err()
        .to_string();
    assert_eq!(leak, "the keyset is not a JSON Web Key set (line 1, column 19)");
}

#[test]
fn the_public_set_holds_public_parts_of_keys_that_are_believed() {
    let mut keys = keys("active");
    keys["keys"][0]["p"] = "private".into();
    let public = keyset(&keys).unwrap().jwks();
    let x = b64(secret_key().verifying_key().to_bytes());
    let entry = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "ed", "x": x});
    assert_eq!(public, json!({"keys": [entry]}));
    // What an outsider makes of it verifies our tokens.
    let outside = verifier(keyset(&public).unwrap());
    assert!(outside.verify(&ed(&claims(json!({}))), NOW).is_ok());
}

#[test]
fn a_generated_keyset_is_private_comes_back_and_signs_what_the_verifier_believes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let keyset = Keyset::generate(&mut rand::rng(), NOW).unwrap();
    assert!(
        keyset.signing_kid().unwrap().starts_with("2026-11-22-"),
        "{keyset:?}"
    );
    keyset.save(&path, Existing::Keep).unwrap();
    let again = keyset.save(&path, Existing::Keep).unwrap_err();
    let KeysetError::Io { source, .. } = again else {
        panic!("{again:?}")
    };
    assert_eq!(source.kind(), std::io::ErrorKind::AlreadyExists);
    keyset.save(&path, Existing::Replace).unwrap();

    let loaded = Keyset::load(&path).unwrap();
    let grant = Grant {
        issuer: "iss".into(),
        audience: "aud".into(),
        address: alice(),
        scope: None,
        life: Duration::from_secs(60),
        extra: Map::from_iter([("x".to_owned(), json!(1))]),
    };
    let signer = Signer::new(&loaded).unwrap();
    let issued = signer.issue(&grant, &mut rand::rng(), NOW).unwrap();
    let identity = verifier(loaded).verify(&issued.token, NOW).unwrap();
    assert_eq!(
        (identity.address, identity.expires_at),
        (alice(), issued.expires_at)
    );
    assert!(!format!("{issued:?}{signer:?}").contains(&issued.token));
    let mut taken = grant;
    taken.extra.insert("sub".into(), json!("bob"));
    assert!(matches!(
        signer.issue(&taken, &mut rand::rng(), NOW),
        Err(SignError::Reserved(_))
    ));
    // No key was left behind under another name.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_keyset_that_others_may_read_is_not_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    Keyset::generate(&mut rand::rng(), NOW)
        .unwrap()
        .save(&path, Existing::Keep)
        .unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for mode in [0o640, 0o604] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = Keyset::load(&path).unwrap_err();
        assert!(
            matches!(error, KeysetError::TooOpen { mode: found, .. } if found == mode),
            "{error}"
        );
    }
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

#[test]
fn es256_and_rs256_tokens_of_outside_issuers_verify() {
    // Made with another library than ours; nobody has the private keys any more.
    let outside: Vec<Value> =
        serde_json::from_str(include_str!("../../fixtures/outside_tokens.json")).unwrap();
    assert_eq!(outside.len(), 2);
    for issuer in outside {
        let token = issuer["token"].as_str().unwrap();
        let verifier = verifier(keyset(&issuer["keys"]).unwrap());
        assert!(verifier.verify(token, NOW).is_ok(), "{issuer}");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[10] ^= 1;
        let forged = format!("{signed}.{}", b64(bytes));
        assert_eq!(verifier.verify(&forged, NOW), Err(TokenError::Signature));
    }
}
