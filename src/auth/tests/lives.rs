//! The life of keys: made, brought, published, active, retiring, retired.

use std::process::Command;

use super::*;

const WAITS: Waits = Waits {
    verifier_cache: Duration::from_secs(600),
    token_life: Duration::from_secs(3600),
};

fn rotation(keyset: &Keyset, now: UnixMs) -> Rotation<'_> {
    Rotation {
        keyset,
        waits: WAITS,
        patience: Patience::Wait,
        now,
    }
}

fn states(keyset: &Keyset) -> Vec<(String, &'static str)> {
    keyset.facts().map(|key| (key.kid, key.state.as_str())).collect()
}

fn new(algorithm: Algorithm, kid: &str, now: UnixMs) -> NewKey {
    NewKey::generate(algorithm, Some(kid), &mut rand::rng(), now).unwrap()
}

fn until(refused: Result<(Keyset, Change), RotationError>) -> (Phase, Option<UnixMs>) {
    match refused {
        Err(RotationError::NotDue { phase, until, .. }) => (phase, until),
        other => panic!("{:?}", other.map(|(_, change)| change)),
    }
}

#[test]
fn a_rotation_waits_for_verifiers_and_then_for_tokens() {
    let first = Keyset::of_one(new(Algorithm::EdDsa, "a", NOW), KeyState::Active, NOW).unwrap();
    let now = NOW.plus_seconds(86_400);
    assert_eq!(rotation(&first, now).due().unwrap(), Phase::Publish);
    let (second, _) = rotation(&first, now)
        .publish(new(Algorithm::Es256, "b", now))
        .unwrap();
    assert_eq!(states(&second), [("a".into(), "active"), ("b".into(), "next")]);
    assert_eq!(second.signing_kid(), Some("a"));
    let again = rotation(&second, now).publish(new(Algorithm::EdDsa, "c", now));
    assert!(matches!(again, Err(RotationError::Published { kid }) if kid == "b"));

    let due = now.plus_seconds(660);
    let early = UnixMs(due.0 - 1);
    assert_eq!(
        until(rotation(&second, early).activate()),
        (Phase::Activate, Some(due))
    );
    assert!(matches!(
        rotation(&second, early).due(),
        Err(RotationError::NotDue { .. })
    ));
    assert_eq!(rotation(&second, due).due().unwrap(), Phase::Activate);
    let (third, change) = rotation(&second, due).activate().unwrap();
    assert_eq!(
        change.keys,
        [("a".into(), KeyState::Retiring), ("b".into(), KeyState::Active)]
    );
    assert_eq!(third.signing_kid(), Some("b"));
    assert!(matches!(
        rotation(&third, due).activate(),
        Err(RotationError::Nothing { .. })
    ));

    let over = due.plus_seconds(3600 + 65);
    assert_eq!(
        until(rotation(&third, UnixMs(over.0 - 1)).retire()),
        (Phase::Retire, Some(over))
    );
    assert_eq!(rotation(&third, over).due().unwrap(), Phase::Retire);
    let (last, _) = rotation(&third, over).retire().unwrap();
    assert_eq!(states(&last), [("a".into(), "retired"), ("b".into(), "active")]);
    assert!(matches!(
        rotation(&last, over).retire(),
        Err(RotationError::Nothing { .. })
    ));
}

#[test]
fn a_short_cache_is_never_shorter_than_the_relays_own_and_unknown_times_wait() {
    let waits = Waits {
        verifier_cache: Duration::ZERO,
        ..WAITS
    };
    assert_eq!(waits.before_activate(), Duration::from_secs(360));
    let published = json!({"keys": [
        {"kid": "a", "kty": "oct", "k": b64(HMAC), "state": "next", "created_at": "2020-01-01T00:00:00Z"},
    ]});
    let keyset = keyset(&published).unwrap();
    assert_eq!(until(rotation(&keyset, NOW).activate()), (Phase::Activate, None));
    let hasty = Rotation {
        patience: Patience::Override,
        ..rotation(&keyset, NOW)
    };
    assert_eq!(states(&hasty.activate().unwrap().0), [("a".into(), "active")]);
}

#[test]
fn a_rotation_keeps_what_it_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let mut file = keys("active");
    file["owner"] = "ops".into();
    file["keys"][1]["state"] = "retiring".into();
    file["keys"][0]["note"] = json!({"from": "2019"});
    let (rotated, _) = rotation(&keyset(&file).unwrap(), NOW)
        .publish(new(Algorithm::EdDsa, "n", NOW))
        .unwrap();
    rotated.save(&path, Existing::Keep).unwrap();
    let saved: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(saved["owner"], "ops");
    assert_eq!(saved["keys"][0]["note"], json!({"from": "2019"}));
    assert_eq!(saved["keys"][3]["next_since"], "2026-11-22T12:00:00Z");
}

#[test]
fn every_kind_of_key_that_is_made_signs_what_it_verifies() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Hs256] {
        let keyset = Keyset::of_one(new(algorithm, "k", NOW), KeyState::Active, NOW).unwrap();
        let grant = Grant {
            issuer: "iss".into(),
            audience: "aud".into(),
            address: alice(),
            scope: None,
            life: Duration::from_secs(60),
            extra: Map::new(),
        };
        let issued = Signer::new(&keyset)
            .unwrap()
            .issue(&grant, &mut rand::rng(), NOW)
            .unwrap();
        assert_eq!(issued.algorithm, algorithm);
        assert!(
            verifier(keyset).verify(&issued.token, NOW).is_ok(),
            "{algorithm:?}"
        );
    }
    assert!(NewKey::generate(Algorithm::Rs256, None, &mut rand::rng(), NOW).is_err());
    assert!(NewKey::generate(Algorithm::EdDsa, Some("a b"), &mut rand::rng(), NOW).is_err());
}

#[test]
fn a_p256_key_of_two_halves_is_refused() {
    let pair = |kid| {
        let keyset = Keyset::of_one(new(Algorithm::Es256, kid, NOW), KeyState::Active, NOW).unwrap();
        serde_json::to_value(&keyset.keys()[0].entry).unwrap()
    };
    let (mut one, other) = (pair("a"), pair("b"));
    one["d"] = other["d"].clone();
    assert!(matches!(
        keyset(&json!({"keys": [one]})),
        Err(KeysetError::BadKey { .. })
    ));
}

/// What a usual tool makes of keys is taken.
#[test]
fn keys_that_openssl_makes_are_taken_and_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |line: &str| {
        let output = Command::new("openssl")
            .args(line.split(' '))
            .current_dir(folder.path())
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for (kind, algorithm, signs) in [
        ("-algorithm ed25519", Algorithm::EdDsa, true),
        (
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
            Algorithm::Es256,
            true,
        ),
        (
            "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
            Algorithm::Rs256,
            false,
        ),
    ] {
        openssl(&format!("genpkey {kind} -out k.pem"));
        let (private, public) = (openssl("pkey -in k.pem"), openssl("pkey -in k.pem -pubout"));
        assert!(is_private_pem(private.as_bytes()) && !is_private_pem(public.as_bytes()));
        let key = |pem: &str| NewKey::from_pem(pem, "k", NOW).unwrap();
        assert_eq!(
            (key(&private).has_private_part(), key(&public).has_private_part()),
            (signs, false)
        );
        for pem in [&private, &public] {
            let keyset = Keyset::of_one(key(pem), KeyState::Active, NOW).unwrap();
            assert_eq!(keyset.facts().next().unwrap().algorithm, algorithm);
            assert_eq!(
                keyset.public_pems(),
                [("k".into(), public.clone())],
                "{algorithm:?}"
            );
        }
        let encrypted = openssl("pkcs8 -topk8 -in k.pem -passout pass:x");
        assert!(matches!(
            NewKey::from_pem(&encrypted, "k", NOW),
            Err(PemError::Encrypted)
        ));
    }
}

#[test]
fn what_is_no_key_is_refused() {
    for bad in [
        "",
        "hello",
        "-----BEGIN PRIVATE KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert!(NewKey::from_pem(bad, "k", NOW).is_err(), "{bad}");
    }
}

#[test]
fn a_review_names_everything_at_once() {
    let file = json!({"keys": [
        {"kid": "a", "kty": "oct", "k": b64("short")},
        {"kid": "b", "kty": "oct", "alg": "EdDSA", "k": b64(HMAC)},
        {"kid": "c", "kty": "oct", "k": b64(HMAC), "active_since": "2020-01-01T00:00:00Z"},
        {"kid": "c", "kty": "oct", "k": b64(HMAC)},
        {"kid": "d", "kty": "oct", "k": b64(HMAC), "state": "retiring", "retiring_since": "2026-01-01T00:00:00Z"},
        {"kid": "e", "kty": "oct", "k": b64(HMAC), "state": "next"},
    ]});
    let found = review(file.to_string().as_bytes(), &WAITS, NOW);
    let kids = |severity| {
        let found = found.iter().filter(|finding| finding.severity == severity);
        found
            .map(|finding| finding.kid.as_deref().unwrap_or("-"))
            .collect::<Vec<_>>()
    };
    assert_eq!(kids(Severity::Error), ["a", "b", "c", "-"], "{found:#?}");
    assert_eq!(kids(Severity::Warning), ["c", "d", "e"], "{found:#?}");
    assert!(!format!("{found:?}").contains(&b64(HMAC)));

    let good = Keyset::of_one(new(Algorithm::EdDsa, "a", NOW), KeyState::Active, NOW).unwrap();
    let json = json!({"keys": [good.keys()[0].entry]}).to_string();
    assert_eq!(review(json.as_bytes(), &WAITS, NOW), []);
    assert_eq!(review(b"{", &WAITS, NOW)[0].severity, Severity::Error);
}
