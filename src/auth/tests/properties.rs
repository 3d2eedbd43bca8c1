//! What holds for every token and every accident.

use proptest::prelude::*;

use super::*;

fn all_keys() -> Keyset {
    let mut keyset = keyset(&keys("active")).unwrap();
    let new = NewKey::generate(Algorithm::Es256, Some("ec"), &mut rand::rng(), NOW).unwrap();
    keyset = keyset.with(new, KeyState::Next, NOW).unwrap();
    keyset
}

fn ec_token(keyset: &Keyset) -> String {
    let mut header = Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = Some("ec".to_owned());
    let key = keyset.key("ec").unwrap().signing.clone().unwrap();
    jsonwebtoken::encode(&header, &claims(json!({})), &key).unwrap()
}

#[test]
fn a_flipped_bit_never_verifies() {
    let keyset = all_keys();
    let tokens = [
        ed(&claims(json!({}))),
        mac("mac", HMAC, &claims(json!({}))),
        ec_token(&keyset),
    ];
    let verifier = verifier(keyset);
    for token in &tokens {
        assert!(verifier.verify(token, NOW).is_ok());
    }
    proptest!(ProptestConfig::with_cases(512), |(which in 0_usize..3, part in 0_usize..3, at: prop::sample::Index, bit in 0_u8..8)| {
        // In the bytes, not in their text: the last character of base64url has bits that mean nothing.
        let mut parts: Vec<String> = tokens[which].split('.').map(str::to_owned).collect();
        let mut bytes = URL_SAFE_NO_PAD.decode(&parts[part]).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        parts[part] = b64(bytes);
        let forged = parts.join(".");
        prop_assert!(verifier.verify(&forged, NOW).is_err(), "{}", forged);
    });
}

#[test]
fn a_public_key_is_never_a_secret() {
    let keyset = all_keys();
    let jwks = keyset.jwks();
    let pems = keyset.public_pems();
    let verifier = verifier(keyset);
    let mut secrets: Vec<(String, Vec<u8>)> = Vec::new();
    for key in jwks["keys"].as_array().unwrap() {
        let kid = key["kid"].as_str().unwrap();
        for part in ["x", "y"] {
            if let Some(text) = key[part].as_str() {
                secrets.push((kid.into(), text.into()));
                secrets.push((kid.into(), URL_SAFE_NO_PAD.decode(text).unwrap()));
            }
        }
        secrets.push((kid.into(), key.to_string().into_bytes()));
    }
    secrets.extend(pems.into_iter().map(|(kid, pem)| (kid, pem.into_bytes())));
    assert_eq!(secrets.len(), 10);
    for (kid, secret) in secrets {
        let refused = verifier
            .verify(&mac(&kid, &secret, &claims(json!({}))), NOW)
            .unwrap_err();
        assert_eq!(refused.code(), "alg_mismatch");
    }
}
