//! Checks signatures of uploaded items, as lint.
//!
//! Must not know where items are kept. See the directory for what this proves and what it does not.

use bytes::Bytes;
use chatctl_protocol::{PoolName, Suite};
use curve25519_dalek::montgomery::MontgomeryPoint;
use ed25519_dalek::{Signature, Verifier, VerifyingKey};

use crate::store::{Item, PoolUpload};

/// What is wrong with an upload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LintError {
    /// The identity is not one of its suite.
    #[error("the identity of suite {suite} must be {rule}")]
    Identity {
        /// Which family.
        suite: Suite,
        /// The rule in words.
        rule: &'static str,
    },
    /// An item that must be signed has no signature.
    #[error("item {item} of pool {pool} has no signature of 64 bytes")]
    Unsigned {
        /// Where.
        pool: PoolName,
        /// Which.
        item: String,
    },
    /// The identity did not sign the item.
    #[error("the signature of item {item} of pool {pool} is not one of the identity")]
    Signature {
        /// Where.
        pool: PoolName,
        /// Which.
        item: String,
    },
}

/// Checks every item that its suite wants signed. Costs about 50 µs a signature.
///
/// # Errors
///
/// [`LintError`] names the first item that is wrong.
pub fn check(suite: &Suite, identity: &Bytes, items: &[(PoolName, Item)]) -> Result<(), LintError> {
    let wrong = |rule| LintError::Identity {
        suite: suite.clone(),
        rule,
    };
    let verify: &dyn Fn(&[u8], &[u8; 64]) -> bool = match suite {
        Suite::Signal => {
            let point = signal_identity(identity).ok_or_else(|| wrong("33 bytes: 5 and a Curve25519 key"))?;
            &move |message, signature| xeddsa(point, message, *signature)
        }
        Suite::Olm => {
            let key = olm_identity(identity)
                .ok_or_else(|| wrong("64 bytes: a Curve25519 key and an Ed25519 key"))?;
            &move |message, signature| key.verify(message, &Signature::from_bytes(signature)).is_ok()
        }
        Suite::Mls | Suite::Other(_) => return Ok(()),
    };
    for (pool, item) in items.iter().filter(|(pool, _)| is_signed(suite, pool)) {
        let signature = item.signature.as_deref().and_then(|bytes| bytes.try_into().ok());
        let signature = signature.ok_or_else(|| LintError::Unsigned {
            pool: pool.clone(),
            item: item.id.to_string(),
        })?;
        if !verify(&item.data, signature) {
            return Err(LintError::Signature {
                pool: pool.clone(),
                item: item.id.to_string(),
            });
        }
    }
    Ok(())
}

/// The items of an upload that have to be signed.
pub(super) fn signed_items(suite: &Suite, pools: &[(PoolName, PoolUpload)]) -> Vec<(PoolName, Item)> {
    let signed = pools.iter().filter(|(name, _)| is_signed(suite, name));
    let items = signed.flat_map(|(name, pool)| {
        let queue = pool.add.iter().chain(pool.replace.iter().flatten());
        queue
            .chain(&pool.fallback)
            .map(|item| (name.clone(), item.clone()))
    });
    items.collect()
}

/// Whether the items of a pool carry signatures of the identity.
fn is_signed(suite: &Suite, pool: &PoolName) -> bool {
    match suite {
        // `ec` has none by design; a pool that we do not know is not ours to judge.
        Suite::Signal => matches!(pool.as_str(), "spk" | "kem"),
        Suite::Olm => true,
        Suite::Mls | Suite::Other(_) => false,
    }
}

fn signal_identity(identity: &[u8]) -> Option<MontgomeryPoint> {
    let (5, key) = identity.split_first().map(|(tag, key)| (*tag, key))? else {
        return None;
    };
    Some(MontgomeryPoint(key.try_into().ok()?))
}

fn olm_identity(identity: &[u8]) -> Option<VerifyingKey> {
    let identity: &[u8; 64] = identity.try_into().ok()?;
    let (_, key) = identity.split_last_chunk::<32>()?;
    VerifyingKey::from_bytes(key).ok()
}

/// Signal's XEdDSA: an Ed25519 signature under the Edwards form of a Montgomery key, whose sign rides
/// in the signature's top bit.
fn xeddsa(identity: MontgomeryPoint, message: &[u8], mut signature: [u8; 64]) -> bool {
    let sign = signature[63] >> 7;
    signature[63] &= 0x7f;
    identity
        .to_edwards(sign)
        .and_then(|point| VerifyingKey::from_bytes(&point.compress().to_bytes()).ok())
        .is_some_and(|key| key.verify(message, &Signature::from_bytes(&signature)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine, engine::general_purpose::STANDARD};
    use ed25519_dalek::{Signer, SigningKey};
    use serde_json::Value;

    /// A bundle and signatures made by Signal's own client library.
    fn fixture() -> Value {
        serde_json::from_str(include_str!("../../fixtures/signal_bundle.json")).unwrap()
    }

    fn bytes(value: &Value) -> Bytes {
        STANDARD.decode(value.as_str().unwrap()).unwrap().into()
    }

    fn item(value: &Value) -> Item {
        Item {
            id: value["id"].as_str().unwrap_or("1").into(),
            data: bytes(&value["data"]),
            signature: value.get("sig").map(bytes),
        }
    }

    fn pool(name: &str) -> PoolName {
        PoolName::parse(name).unwrap()
    }

    fn bundle() -> (Bytes, Vec<(PoolName, Item)>) {
        let keys = &fixture()["keys"];
        let pools = &keys["pools"];
        let many = |name: &str, key: &str| {
            let items = pools[name][key].as_array().unwrap().iter();
            items.map(|value| (pool(name), item(value))).collect::<Vec<_>>()
        };
        let mut items = many("ec", "add");
        items.extend(many("kem", "add"));
        items.push((pool("kem"), item(&pools["kem"]["fallback"])));
        items.push((pool("spk"), item(&pools["spk"]["fallback"])));
        (bytes(&keys["identity"]), items)
    }

    #[test]
    fn a_bundle_of_signals_own_client_passes() {
        let (identity, items) = bundle();
        assert_eq!(items.len(), 8);
        assert_eq!(check(&Suite::Signal, &identity, &items), Ok(()));
    }

    #[test]
    fn both_signs_of_an_xeddsa_key_pass() {
        let fixture = fixture();
        let signatures = fixture["signatures"].as_array().unwrap();
        let mut signs = [0, 0];
        for signature in signatures {
            signs[usize::from(bytes(&signature["sig"])[63] >> 7)] += 1;
            let items = [(pool("spk"), item(signature))];
            assert_eq!(
                check(&Suite::Signal, &bytes(&signature["identity"]), &items),
                Ok(())
            );
        }
        assert_eq!(signs, [2, 2]);
    }

    #[test]
    fn a_changed_byte_anywhere_is_refused() {
        let (identity, items) = bundle();
        let (name, whole) = items.last().unwrap().clone();
        let wrong = Err(LintError::Signature {
            pool: name.clone(),
            item: "7".into(),
        });
        let changed = |bytes: &Bytes, at: usize| -> Bytes {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= 1;
            bytes.into()
        };
        for at in [0, 1, 32] {
            let data = changed(&whole.data, at);
            let items = [(
                name.clone(),
                Item {
                    data,
                    ..whole.clone()
                },
            )];
            assert_eq!(check(&Suite::Signal, &identity, &items), wrong);
        }
        for at in [0, 31, 32, 62] {
            let signature = Some(changed(whole.signature.as_ref().unwrap(), at));
            let items = [(
                name.clone(),
                Item {
                    signature,
                    ..whole.clone()
                },
            )];
            assert_eq!(check(&Suite::Signal, &identity, &items), wrong);
        }
        let other = bytes(&fixture()["signatures"][0]["identity"]);
        assert_eq!(check(&Suite::Signal, &other, &[(name, whole)]), wrong);
    }

    #[test]
    fn a_missing_signature_and_a_strange_identity_are_refused() {
        let (identity, items) = bundle();
        let (name, mut unsigned) = items.last().unwrap().clone();
        unsigned.signature = None;
        assert_eq!(
            check(&Suite::Signal, &identity, &[(name.clone(), unsigned)]),
            Err(LintError::Unsigned {
                pool: name,
                item: "7".into()
            })
        );
        let refused = check(&Suite::Signal, &identity.slice(1..), &[]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the identity of suite signal must be 33 bytes: 5 and a Curve25519 key"
        );
        assert!(check(&Suite::Olm, &identity, &[]).is_err());
    }

    #[test]
    fn olm_items_are_signed_by_the_second_half_of_the_identity() {
        let key = SigningKey::from_bytes(&[9; 32]);
        let identity: Bytes = [[1; 32], key.verifying_key().to_bytes()].concat().into();
        let item = |data: &'static [u8], signed: &[u8]| Item {
            id: "AAAAHg".into(),
            data: Bytes::from_static(data),
            signature: Some(Bytes::copy_from_slice(&key.sign(signed).to_bytes())),
        };
        let fits = [(pool("otk"), item(b"key", b"key"))];
        assert_eq!(check(&Suite::Olm, &identity, &fits), Ok(()));
        let fits_not = [(pool("otk"), item(b"key", b"another"))];
        assert!(check(&Suite::Olm, &identity, &fits_not).is_err());
    }

    #[test]
    fn what_is_opaque_is_not_judged() {
        let unsigned = Item {
            id: "1".into(),
            data: Bytes::from_static(b"package"),
            signature: None,
        };
        let items = [(pool("kp:0001"), unsigned)];
        assert_eq!(check(&Suite::Mls, &Bytes::new(), &items), Ok(()));
        assert_eq!(
            check(&Suite::parse("x-mine").unwrap(), &Bytes::new(), &items),
            Ok(())
        );
    }
}
