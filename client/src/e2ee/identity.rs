//! Who a device is, cryptographically: its two public keys, what they have signed, and how people compare them.
//!
//! Must not know names of devices, nor where identities come from.

use chatctl_protocol::AccountId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha512};
use vodozemac::olm::Account;
use vodozemac::{Curve25519PublicKey, Ed25519PublicKey, Ed25519Signature, base64_decode, base64_encode};

/// The public identity of an installation: a Curve25519 key that sessions are made with, and the Ed25519 key that signs
/// what it publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identity {
    agreement: Curve25519PublicKey,
    signing: [u8; 32],
}

/// Bytes that are not an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an identity of 64 bytes")]
pub struct IdentityError;

impl Identity {
    /// How long it is, in bytes.
    pub const BYTES: usize = 64;

    /// The identity of an Olm account.
    #[must_use]
    pub fn of(account: &Account) -> Self {
        Self {
            agreement: account.curve25519_key(),
            signing: *account.ed25519_key().as_bytes(),
        }
    }

    /// Parses what a directory has: 32 bytes of Curve25519, then 32 bytes of Ed25519.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] when it is not that long, or not two keys.
    pub fn parse(bytes: &[u8]) -> Result<Self, IdentityError> {
        let (agreement, signing) = bytes.split_first_chunk::<32>().ok_or(IdentityError)?;
        let signing: &[u8; 32] = signing.try_into().map_err(|_| IdentityError)?;
        Ed25519PublicKey::from_slice(signing).map_err(|_| IdentityError)?;
        Ok(Self {
            agreement: Curve25519PublicKey::from_bytes(*agreement),
            signing: *signing,
        })
    }

    /// As a directory has it.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..32].copy_from_slice(self.agreement.as_bytes());
        bytes[32..].copy_from_slice(&self.signing);
        bytes
    }

    /// The half that sessions are made with.
    #[must_use]
    pub const fn agreement(&self) -> Curve25519PublicKey {
        self.agreement
    }

    /// Whether it has signed these bytes.
    #[must_use]
    pub fn has_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let key = Ed25519PublicKey::from_slice(&self.signing);
        let signature = Ed25519Signature::from_slice(signature);
        match (key, signature) {
            (Ok(key), Ok(signature)) => key.verify(bytes, &signature).is_ok(),
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    /// Thirty digits that tell this identity from any other of the account, in groups of five.
    #[must_use]
    pub fn fingerprint(&self, account: &AccountId) -> String {
        let mut hash = Sha512::new();
        hash.update(b"chatctl fingerprint v1\0");
        hash.update(account.as_str());
        hash.update(b"\0");
        hash.update(self.to_bytes());
        let groups = hash
            .finalize()
            .chunks_exact(5)
            .take(6)
            .map(digits)
            .collect::<Vec<_>>();
        groups.join(" ")
    }
}

/// Sixty digits that two people compare, by voice or side by side. They are the same for both; when they match, nobody
/// stands between the two devices.
#[must_use]
pub fn safety_number(ours: (&AccountId, &Identity), theirs: (&AccountId, &Identity)) -> String {
    let mut halves = [ours, theirs].map(|(account, identity)| identity.fingerprint(account));
    halves.sort_unstable();
    halves.join(" ")
}

/// Five digits of five bytes.
fn digits(bytes: &[u8]) -> String {
    let number = bytes
        .iter()
        .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    format!("{:05}", number % 100_000)
}

impl TryFrom<String> for Identity {
    type Error = IdentityError;

    fn try_from(text: String) -> Result<Self, IdentityError> {
        Self::parse(&base64_decode(text).map_err(|_| IdentityError)?)
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> Self {
        base64_encode(identity.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_comes_back_from_its_bytes_and_knows_what_it_has_signed() {
        let account = Account::new();
        let identity = Identity::of(&account);
        assert_eq!(Identity::parse(&identity.to_bytes()), Ok(identity));
        let signature = account.sign("bytes").to_bytes();
        assert!(identity.has_signed(b"bytes", &signature));
        assert!(!identity.has_signed(b"other", &signature));
        assert!(!Identity::of(&Account::new()).has_signed(b"bytes", &signature));
        assert_eq!(Identity::parse(&identity.to_bytes()[1..]), Err(IdentityError));
        assert_eq!(Identity::parse(b""), Err(IdentityError));
    }

    #[test]
    fn two_people_read_the_same_safety_number_and_others_another_one() {
        let [ada, bob] = ["ada", "bob"].map(|name| AccountId::parse(name).unwrap());
        let [one, two, three] = [(); 3].map(|()| Identity::of(&Account::new()));
        let number = safety_number((&ada, &one), (&bob, &two));
        assert_eq!(number, safety_number((&bob, &two), (&ada, &one)));
        assert_ne!(number, safety_number((&ada, &one), (&bob, &three)));
        assert_ne!(one.fingerprint(&ada), one.fingerprint(&bob));
        assert_eq!(number.len(), 12 * 5 + 11);
        assert!(number.split(' ').all(|group| group.len() == 5));
    }

    #[test]
    fn a_fingerprint_never_changes_between_versions() {
        let identity = Identity::parse(&[&[9; 32][..], &STANDARD_POINT[..]].concat()).unwrap();
        let account = AccountId::parse("ada").unwrap();
        assert_eq!(identity.fingerprint(&account), FINGERPRINT);
    }

    /// Ed25519's base point.
    const STANDARD_POINT: [u8; 32] = {
        let mut point = [0x66; 32];
        point[0] = 0x58;
        point
    };

    const FINGERPRINT: &str = "89833 80414 87579 63345 93783 98768";
}
