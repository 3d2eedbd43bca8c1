//! Every trap of tokens, as a table; and what the library would have let through.

use super::*;

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

/// A famous secret, an empty one and a typed one: the library signs with each, a keyset takes none.
#[test]
fn secrets_that_can_be_guessed_are_no_keys() {
    let s = Clock::system().now().0 / 1000;
    let secrets: [&[u8]; 4] = [
        b"",
        b"secretsecret!",
        b"your-super-secret-jwt-token-with-at-least-32-characters-long",
        b"a-string-secret-at-least-256-bits-long",
    ];
    for secret in secrets {
        let token = mac("mac", secret, &claims_at(s));
        let mut defaults = Validation::new(jsonwebtoken::Algorithm::HS256);
        defaults.set_audience(&["aud"]);
        let key = DecodingKey::from_secret(secret);
        assert!(jsonwebtoken::decode::<Value>(&token, &key, &defaults).is_ok());
        let refused = keyset(&json!({"keys": [{"kid": "mac", "kty": "oct", "k": b64(secret)}]}));
        assert!(matches!(refused, Err(KeysetError::BadKey { .. })), "{secret:?}");
    }
}

/// Without exactly one provider the library panics at its first use. The same way, inside the self-test, is an error.
#[test]
fn a_build_without_cryptography_is_told_at_the_start() {
    assert!(self_test(&mut rand::rng()).is_ok());
    let signing = || -> Result<(), SelfTestError> {
        panic!("Could not automatically determine the process-level CryptoProvider")
    };
    let told = super::super::self_test::guarded(Algorithm::EdDsa, signing);
    assert!(matches!(told, Err(SelfTestError::NoProvider(Algorithm::EdDsa))));
}

/// The library's way to read a token without checking it is used nowhere: not even to look into one.
#[test]
fn no_token_is_ever_decoded_without_its_signature() {
    fn walk(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.components().any(|part| part.as_os_str() == "tests");
            match path.is_dir() {
                true => walk(&path, found),
                false if path.extension().is_some_and(|end| end == "rs") && !is_test => found.push(path),
                false => {}
            }
        }
    }
    let mut files = Vec::new();
    for folder in ["src", "cli/src", "client/src", "protocol/src"] {
        walk(
            &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &mut files,
        );
    }
    assert!(files.len() > 50);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in [
            "insecure_decode",
            "jsonwebtoken::dangerous",
            "insecure_disable_signature_validation",
        ] {
            assert!(!text.contains(word), "{}: {word}", file.display());
        }
    }
}
