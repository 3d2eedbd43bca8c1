//! A demo device's keys: an Olm account as clients have one, and what it publishes.
//!
//! Must not know where either is kept. The randomness is the operating system's, whatever the seed.

use std::collections::BTreeMap;

use bytes::Bytes;
use chatctl_protocol::{PoolName, Suite};
use chatctl_relay::directory::{KeyUpload, NewItem, NewPool};
use chatctl_relay::model::{MailboxId, UnixMs};
use chatctl_relay::store::Upload;
use serde::{Deserialize, Serialize};
use vodozemac::olm::Account;
use vodozemac::{Base64DecodeError, Curve25519PublicKey, KeyId, base64_decode, base64_encode};

use crate::exit::Exit;
use crate::failure::Failure;

/// The pool of Olm's one-time keys.
pub(super) const POOL: &str = "otk";

/// What a device publishes: public halves alone, in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bundle {
    /// The Curve25519 key and the Ed25519 key.
    identity: String,
    one_time_keys: Vec<Key>,
    fallback: Option<Key>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    id: String,
    data: String,
    sig: String,
}

impl Bundle {
    /// Draws new one-time keys and a new fallback for an account, and signs them.
    pub(super) fn draw(account: &mut Account, one_time_keys: u32) -> Self {
        account.generate_one_time_keys(one_time_keys as usize);
        account.generate_fallback_key();
        let mut drawn: Vec<_> = account.one_time_keys().into_iter().collect();
        // Oldest first, as they are to be handed out.
        drawn.sort_unstable_by_key(|(id, _)| *id);
        let bundle = Self {
            identity: base64_encode(identity(account)),
            one_time_keys: drawn.into_iter().map(|key| signed(account, key)).collect(),
            fallback: account.fallback_key().into_iter().next().map(|key| Key {
                // The account counts its fallbacks apart, and a pool has its ids together.
                id: format!("fallback-{}", key.0.to_base64()),
                ..signed(account, key)
            }),
        };
        account.mark_keys_as_published();
        bundle
    }

    /// The identity's bytes.
    ///
    /// # Errors
    ///
    /// When it is not base64.
    pub(super) fn identity(&self) -> Result<Bytes, Failure> {
        bytes(&self.identity)
    }

    /// The bundle as an upload, after the checks that a client's upload passes.
    ///
    /// # Errors
    ///
    /// When the relay would refuse it.
    pub(super) fn upload(&self, mailbox: MailboxId, max_items: u32, now: UnixMs) -> Result<Upload, Failure> {
        let add = self.one_time_keys.iter().map(item);
        let pool = NewPool {
            add: add.collect::<Result<_, _>>()?,
            replace: None,
            fallback: self.fallback.as_ref().map(item).transpose()?,
        };
        let offer = KeyUpload {
            identity: Some(self.identity()?),
            statement: None,
            pools: BTreeMap::from([(pool_name()?, pool)]),
        };
        let pools = offer
            .check(&Suite::Olm)
            .map_err(|error| Failure::from_error(Exit::DataErr, &error))?;
        Ok(Upload {
            mailbox,
            suite: Suite::Olm,
            identity: offer.identity,
            statement: None,
            pools,
            max_items,
            now,
        })
    }
}

/// The name of [`POOL`].
///
/// # Errors
///
/// None in practice.
pub(super) fn pool_name() -> Result<PoolName, Failure> {
    PoolName::parse(POOL).map_err(|error| Failure::from_error(Exit::Failure, &error))
}

/// An identity as Olm's suite wants it.
fn identity(account: &Account) -> [u8; 64] {
    let mut identity = [0; 64];
    identity[..32].copy_from_slice(account.curve25519_key().as_bytes());
    identity[32..].copy_from_slice(account.ed25519_key().as_bytes());
    identity
}

fn signed(account: &Account, (id, key): (KeyId, Curve25519PublicKey)) -> Key {
    Key {
        id: id.to_base64(),
        data: key.to_base64(),
        sig: account.sign(key.as_bytes()).to_base64(),
    }
}

fn item(key: &Key) -> Result<NewItem, Failure> {
    Ok(NewItem {
        id: Some(key.id.as_str().into()),
        data: bytes(&key.data)?,
        signature: Some(bytes(&key.sig)?),
    })
}

fn bytes(text: &str) -> Result<Bytes, Failure> {
    let decoded: Result<_, Base64DecodeError> = base64_decode(text);
    decoded
        .map(Bytes::from)
        .map_err(|_| Failure::new(Exit::DataErr, "a key in a state file is not base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_what_the_relay_takes_and_is_drawn_anew_each_time() {
        let mut account = Account::new();
        let first = Bundle::draw(&mut account, 20);
        let upload = first.upload(MailboxId(1), 200, UnixMs(1)).unwrap();
        assert_eq!(upload.pools[0].1.add.len(), 20);
        assert!(upload.pools[0].1.fallback.is_some());
        // Their text does not sort as their numbers do.
        let ids = upload.pools[0]
            .1
            .add
            .iter()
            .map(|item| base64_decode(&*item.id).unwrap());
        assert!(ids.is_sorted());
        let second = Bundle::draw(&mut account, 20);
        assert_eq!(second.identity, first.identity);
        assert!(
            second
                .one_time_keys
                .iter()
                .all(|key| !first.one_time_keys.contains(key))
        );
        assert_ne!(Bundle::draw(&mut Account::new(), 0).identity, first.identity);
    }

    #[test]
    fn a_spoilt_signature_does_not_pass() {
        let mut bundle = Bundle::draw(&mut Account::new(), 2);
        bundle.one_time_keys.swap(0, 1);
        let sig = bundle.one_time_keys[0].sig.clone();
        bundle.one_time_keys[1].sig = sig;
        assert_eq!(
            bundle.upload(MailboxId(1), 200, UnixMs(1)).unwrap_err().exit,
            Exit::DataErr
        );
    }
}
