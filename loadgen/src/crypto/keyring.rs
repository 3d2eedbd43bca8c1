//! The sessions of one simulated device, and what its messages say.

use std::fmt;

use vodozemac::olm::{OlmMessage, Session};

/// What a simulated device can encrypt for and decrypt from: about 4 KB for each peer.
#[derive(Default)]
pub struct Keyring {
    /// By the peer's place in the plan.
    sessions: Vec<(u32, Session)>,
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

impl Keyring {
    /// Of these sessions, each with its peer's place in the plan.
    pub(super) fn new(mut sessions: Vec<(u32, Session)>) -> Self {
        sessions.sort_unstable_by_key(|(peer, _)| *peer);
        sessions.shrink_to_fit();
        Self { sessions }
    }

    /// How many peers there are sessions with.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.sessions.len()
    }

    /// A body for a peer (a place in the plan's clients) whose ciphertext has about so many bytes (see [`body_bytes`]),
    /// saying which message it is. Olm's type of message, and the ciphertext.
    ///
    /// # Errors
    ///
    /// [`CryptoError::NoSession`], and in practice nothing else.
    pub fn encrypt(
        &mut self,
        peer: u32,
        stream: u32,
        seq: u64,
        bytes: usize,
    ) -> Result<(u32, Vec<u8>), CryptoError> {
        let mut plaintext = vec![0; plaintext_bytes(bytes)];
        plaintext[..4].copy_from_slice(&stream.to_le_bytes());
        plaintext[4..NAME_BYTES].copy_from_slice(&seq.to_le_bytes());
        let sealed = self.session(peer)?.encrypt(plaintext);
        let (kind, body) = sealed.map_err(|_| CryptoError::Refused)?.to_parts();
        Ok((u32::try_from(kind).unwrap_or(0), body))
    }

    /// Opens a body, and checks that it is the message that its label says. A body opens once.
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
        let session = self.session(peer)?;
        let message = OlmMessage::from_parts(kind as usize, body).map_err(|_| CryptoError::Refused)?;
        let plaintext = session.decrypt(&message).map_err(|_| CryptoError::Refused)?;
        let name = plaintext
            .first_chunk::<NAME_BYTES>()
            .ok_or(CryptoError::WrongMessage)?;
        let (said_stream, said_seq) = name.split_at(4);
        match said_stream == stream.to_le_bytes() && said_seq == seq.to_le_bytes() {
            true => Ok(()),
            false => Err(CryptoError::WrongMessage),
        }
    }

    fn session(&mut self, peer: u32) -> Result<&mut Session, CryptoError> {
        let place = self.sessions.binary_search_by_key(&peer, |(peer, _)| *peer);
        let place = place.map_err(|_| CryptoError::NoSession)?;
        Ok(&mut self.sessions[place].1)
    }
}

/// Without keys.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} sessions)", self.sessions.len())
    }
}

/// How many bytes the ciphertext has when so many were wanted: the largest size of Olm's below it, which come in steps of
/// 16 from 63, give or take 3 for long numbers.
#[must_use]
pub const fn body_bytes(wanted: usize) -> usize {
    OLM_BYTES + plaintext_bytes(wanted) / OLM_BLOCK * OLM_BLOCK
}

/// The plaintext for a ciphertext of about so many bytes. It has room for the message's name.
const fn plaintext_bytes(wanted: usize) -> usize {
    let blocks = wanted.saturating_sub(OLM_BYTES) / OLM_BLOCK;
    match blocks {
        0 => NAME_BYTES,
        blocks => blocks * OLM_BLOCK,
    }
}

/// Stream and number.
const NAME_BYTES: usize = 12;

/// What Olm puts around (version 1, MAC of 8 bytes): ratchet key, counters, padding of a last block, MAC.
const OLM_BYTES: usize = 63;

/// AES's block.
const OLM_BLOCK: usize = 16;
