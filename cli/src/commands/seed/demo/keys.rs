//! A demo device's keys: an Olm account as clients have one, and what it publishes.
//!
//! Must not know where either is kept. The randomness is the operating system's, whatever the seed.

use std::collections::BTreeMap;

use bytes::Bytes;
use chatctl_client::{Item, e2ee};
use chatctl_protocol::{PoolName, Suite};
use chatctl_relay::directory::{KeyUpload, NewItem, NewPool};
use chatctl_relay::model::{MailboxId, UnixMs};
use chatctl_relay::store::Upload;
use serde::{Deserialize, Serialize};
use vodozemac::olm::Account;
use vodozemac::{Base64DecodeError, base64_decode, base64_encode};

use crate::exit::Exit;
use crate::failure::Failure;

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

impl Key {
    fn of(item: &Item) -> Self {
        Self {
            id: item.id.clone(),
            data: base64_encode(&item.data),
            sig: base64_encode(item.signature.as_deref().unwrap_or_default()),
        }
    }
}

impl Bundle {
    /// Draws new one-time keys and a new fallback for an account, and signs them.
    pub(super) fn draw(account: &mut Account, one_time_keys: u32) -> Self {
        account.generate_one_time_keys(one_time_keys as usize);
        account.generate_fallback_key();
        let drawn = e2ee::Bundle::unpublished(account);
        account.mark_keys_as_published();
        Self {
            identity: base64_encode(drawn.identity.to_bytes()),
            one_time_keys: drawn.one_time_keys.iter().map(Key::of).collect(),
            fallback: drawn.fallback.as_ref().map(Key::of),
        }
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

/// The pool of Olm's one-time keys.
///
/// # Errors
///
/// None in practice.
pub(super) fn pool_name() -> Result<PoolName, Failure> {
    e2ee::pool().map_err(|error| Failure::from_error(Exit::Failure, &error))
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
