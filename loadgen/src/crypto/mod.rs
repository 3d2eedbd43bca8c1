//! Sessions of simulated devices: real Double Ratchets (Olm), by each client with each of its peers.
//!
//! Must not know how messages travel.

use crate::plan::Plan;
use crate::scenario::Crypto;

/// What a simulated device can encrypt for and decrypt from.
#[derive(Default)]
pub struct Keyring {
    // Filled by the module's own work.
}

/// A body that cannot be made or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// There is no session with this peer.
    #[error("no session with this peer")]
    NoSession,
    /// The ratchet refused it.
    #[error("the ratchet refused it")]
    Refused,
    /// It says something else than its label.
    #[error("it says something else than its label")]
    WrongMessage,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring")
    }
}

impl Keyring {
    /// A body for a peer (a place in [`Plan::clients`]) whose ciphertext has about so many bytes, saying which message it is.
    ///
    /// # Errors
    ///
    /// [`CryptoError`].
    pub fn encrypt(
        &mut self,
        peer: u32,
        stream: u32,
        seq: u64,
        bytes: usize,
    ) -> Result<(u32, Vec<u8>), CryptoError> {
        let _ = (peer, stream, seq, bytes);
        Err(CryptoError::NoSession)
    }

    /// Opens a body, and checks that it is the message that its label says.
    ///
    /// # Errors
    ///
    /// [`CryptoError`].
    pub fn decrypt(
        &mut self,
        peer: u32,
        (stream, seq): (u32, u64),
        kind: u32,
        body: &[u8],
    ) -> Result<(), CryptoError> {
        let _ = (peer, stream, seq, kind, body);
        Err(CryptoError::NoSession)
    }
}

/// Keyrings of all clients with sessions between all who write to each other, made without a directory
/// ([`Crypto::Staged`]). [`Crypto::None`] gives empty ones.
#[must_use]
pub fn staged(plan: &Plan, crypto: Crypto) -> Vec<Keyring> {
    let _ = crypto;
    plan.clients.iter().map(|_| Keyring::default()).collect()
}
