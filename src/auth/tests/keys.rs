//! Keysets: what is refused at load, what is kept private, and who is believed.

use super::*;

#[test]
fn a_key_verifies_until_it_is_retired_and_keysets_are_swapped_in_place() {
    let verifier = verifier(keyset(&keys("next")).unwrap());
    let token = ed(&claims(json!({})));
    for state in ["active", "retiring", "next"] {
        verifier.follow(policy(keyset(&keys(state)).unwrap()));
        assert!(verifier.verify(&token, NOW).is_ok(), "{state}");
    }
    verifier.follow(policy(keyset(&keys("retired")).unwrap()));
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
fn es256_and_rs256_tokens_of_outside_issuers_verify() {
    // Made with another library than ours; nobody has the private keys any more.
    let outside: Vec<Value> =
        serde_json::from_str(include_str!("../../../fixtures/outside_tokens.json")).unwrap();
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
