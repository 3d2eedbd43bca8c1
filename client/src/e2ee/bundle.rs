//! What a device publishes, and what is believed of what others have published.
//!
//! Must not know where keys are kept, nor how they travel.

use std::collections::BTreeMap;

use bytes::Bytes;
use chatctl_protocol::{NameError, PoolName};
use vodozemac::olm::Account;
use vodozemac::{Curve25519PublicKey, KeyId};

use crate::e2ee::Identity;
use crate::{Item, KeyUpload, PoolUpload};

/// The pool of Olm's one-time keys, and of the fallback.
pub const POOL: &str = "otk";

/// The name of [`POOL`].
///
/// # Errors
///
/// None in practice.
pub fn pool() -> Result<PoolName, NameError> {
    PoolName::parse(POOL)
}

/// Public halves that an Olm account has drawn and not yet marked as published, each signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Who signs.
    pub identity: Identity,
    /// Oldest first, as they are to be handed out.
    pub one_time_keys: Vec<Item>,
    /// For when there is no other.
    pub fallback: Option<Item>,
}

impl Bundle {
    /// What an account has not yet published. The same until it draws more, or marks it as published.
    #[must_use]
    pub fn unpublished(account: &Account) -> Self {
        let mut drawn: Vec<_> = account.one_time_keys().into_iter().collect();
        // Their text does not sort as their numbers do.
        drawn.sort_unstable_by_key(|(id, _)| *id);
        Self {
            identity: Identity::of(account),
            one_time_keys: drawn.into_iter().map(|key| signed(account, key)).collect(),
            fallback: account.fallback_key().into_iter().next().map(|key| Item {
                // An account counts its fallbacks apart, and a pool has its ids together.
                id: format!("fallback-{}", key.0.to_base64()),
                ..signed(account, key)
            }),
        }
    }

    /// Whether there is nothing but the identity.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.one_time_keys.is_empty() && self.fallback.is_none()
    }

    /// As an upload. The same one twice changes nothing.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn into_upload(self) -> Result<KeyUpload, NameError> {
        let changes = PoolUpload {
            add: self.one_time_keys,
            replace: None,
            fallback: self.fallback,
        };
        Ok(KeyUpload {
            identity: Some(Bytes::copy_from_slice(&self.identity.to_bytes())),
            statement: None,
            pools: BTreeMap::from([(pool()?, changes)]),
        })
    }
}

/// An identity and a key of it that came from elsewhere, when the identity has signed the key.
#[must_use]
pub fn checked(
    identity: &[u8],
    key: &[u8],
    signature: Option<&[u8]>,
) -> Option<(Identity, Curve25519PublicKey)> {
    let identity = Identity::parse(identity).ok()?;
    let is_signed = identity.has_signed(key, signature?);
    is_signed.then_some(())?;
    Some((identity, Curve25519PublicKey::from_slice(key).ok()?))
}

fn signed(account: &Account, (id, key): (KeyId, Curve25519PublicKey)) -> Item {
    Item {
        id: id.to_base64(),
        data: Bytes::copy_from_slice(key.as_bytes()),
        signature: Some(Bytes::copy_from_slice(&account.sign(key.as_bytes()).to_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(account: &mut Account) -> Bundle {
        account.generate_one_time_keys(20);
        account.generate_fallback_key();
        Bundle::unpublished(account)
    }

    #[test]
    fn every_key_of_a_bundle_passes_the_check_of_those_who_claim_it() {
        let bundle = drawn(&mut Account::new());
        let identity = bundle.identity.to_bytes();
        let items = bundle.one_time_keys.iter().chain(&bundle.fallback);
        let mut seen = 0;
        for item in items {
            let (whose, key) = checked(&identity, &item.data, item.signature.as_deref()).unwrap();
            assert_eq!((whose, key.as_bytes().as_slice()), (bundle.identity, &*item.data));
            seen += 1;
        }
        assert_eq!(seen, 21);
    }

    #[test]
    fn keys_are_oldest_first_and_the_same_until_they_are_published() {
        let mut account = Account::new();
        let bundle = drawn(&mut account);
        let ids = bundle
            .one_time_keys
            .iter()
            .map(|item| vodozemac::base64_decode(&item.id).unwrap());
        assert!(ids.is_sorted());
        assert_eq!(Bundle::unpublished(&account), bundle);
        account.mark_keys_as_published();
        assert!(Bundle::unpublished(&account).is_empty());
    }

    #[test]
    fn a_key_that_another_has_signed_or_nobody_is_not_believed() {
        let (ours, theirs) = (drawn(&mut Account::new()), drawn(&mut Account::new()));
        let (item, other) = (&ours.one_time_keys[0], &ours.one_time_keys[1]);
        let ours = ours.identity.to_bytes();
        assert!(checked(&ours, &item.data, item.signature.as_deref()).is_some());
        assert!(checked(&ours, &item.data, other.signature.as_deref()).is_none());
        assert!(checked(&ours, &item.data, None).is_none());
        assert!(checked(&theirs.identity.to_bytes(), &item.data, item.signature.as_deref()).is_none());
        assert!(checked(&ours[..63], &item.data, item.signature.as_deref()).is_none());
    }
}
