//! A vault as bytes, as the app keeps it: in the clear, or encrypted with a key of the app's.
//!
//! Must not know where the app keeps it.

use std::fmt;

use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

/// A vault as bytes: private keys and all. Its Debug shows a length.
#[derive(Clone, PartialEq, Eq)]
pub struct Pickle(Vec<u8>);

/// Bytes that are not a vault's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// Another key, or bytes that were changed.
    #[error("the vault's key is another one, or its bytes were changed")]
    Locked,
    /// Not a vault, or one of a newer version.
    #[error("not a vault, or one of a newer version")]
    Unreadable,
}

impl Pickle {
    /// Bytes that the app has kept.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// In the clear: the app must keep them where nobody else reads (a file of mode 0600, a keychain).
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Encrypted with a key that the app keeps elsewhere (XChaCha20-Poly1305, a fresh nonce each time).
    #[must_use]
    pub fn locked(&self, key: &[u8; 32]) -> Vec<u8> {
        let nonce: [u8; NONCE] = rand::random();
        let cipher = XChaCha20Poly1305::new(&Key::from(*key));
        // It cannot fail below 256 GB; what is empty is refused when it is read.
        let sealed = cipher.encrypt(&XNonce::from(nonce), &*self.0).unwrap_or_default();
        [&nonce[..], &sealed].concat()
    }

    /// Decrypts what [`Pickle::locked`] gave.
    ///
    /// # Errors
    ///
    /// [`PickleError::Locked`].
    pub fn unlocked(bytes: &[u8], key: &[u8; 32]) -> Result<Self, PickleError> {
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>().ok_or(PickleError::Locked)?;
        let cipher = XChaCha20Poly1305::new(&Key::from(*key));
        let plain = cipher.decrypt(&XNonce::from(*nonce), sealed);
        plain.map(Self).map_err(|_| PickleError::Locked)
    }
}

impl fmt::Debug for Pickle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pickle({} bytes)", self.0.len())
    }
}

const NONCE: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_locked_opens_with_its_key_alone_and_never_prints() {
        let pickle = Pickle::new(b"private".to_vec());
        let locked = pickle.locked(&[7; 32]);
        assert_eq!(Pickle::unlocked(&locked, &[7; 32]), Ok(pickle.clone()));
        assert_eq!(Pickle::unlocked(&locked, &[8; 32]), Err(PickleError::Locked));
        assert_eq!(Pickle::unlocked(&locked[..9], &[7; 32]), Err(PickleError::Locked));
        let mut changed = locked.clone();
        changed[30] ^= 1;
        assert_eq!(Pickle::unlocked(&changed, &[7; 32]), Err(PickleError::Locked));
        assert_ne!(pickle.locked(&[7; 32]), locked, "a fresh nonce each time");
        assert_eq!(format!("{pickle:?}"), "Pickle(7 bytes)");
    }
}
