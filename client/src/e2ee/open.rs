//! From mail to words: whether it is new, which session opens it, and whether it says what its envelope says.

use std::fmt;

use chatctl_protocol::{Address, ClientMsgId};
use vodozemac::olm::{OlmMessage, PreKeyMessage, SessionConfig};

use crate::Mail;
use crate::e2ee::peer::{Peer, Trust};
use crate::e2ee::{Letter, Vault};

/// A message that was opened. Its Debug shows no words.
#[derive(Clone, PartialEq, Eq)]
pub struct Decrypted {
    /// The device that wrote it.
    pub from: Address,
    /// The words.
    pub words: Vec<u8>,
    /// The message's name.
    pub message_id: ClientMsgId,
    /// About the writer's identity.
    pub trust: Trust,
    /// The writer's identity was seen for the first time.
    pub is_new_identity: bool,
    /// It began a session.
    pub is_new_session: bool,
}

/// Why mail was not opened. What cannot be opened now can never be, but after [`OpenError::IdentityChanged`]: ack it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The writer has another identity than the one that was pinned. After [`Vault::accept_change`] the same mail can be opened.
    #[error("the sender has another identity than before")]
    IdentityChanged(Address),
    /// The envelope does not say who wrote it.
    #[error("mail without a sender")]
    NoSender,
    /// Not an Olm message, or not a letter inside.
    #[error("not a message")]
    Malformed,
    /// No session opens it: a message that was opened before, keys that are gone, or damage. The next message to the
    /// sender begins a new session.
    #[error("no session opens this message")]
    NoSession,
    /// It was written by, or for, another device, or under another name than its envelope says: somebody has tampered.
    #[error("the message inside is another one than its envelope says")]
    Misdirected,
}

impl Vault {
    /// Opens mail, or finds that it was opened before (`None`). In both cases: store the words, keep the vault, then ack.
    /// When only the vault was kept before a crash the words are lost: keep both together, or the words first.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn decrypt(&mut self, mail: &Mail) -> Result<Option<Decrypted>, OpenError> {
        let from = mail.from.as_ref().ok_or(OpenError::NoSender)?;
        if self.seen.has(from, &mail.message_id) {
            return Ok(None);
        }
        let message = OlmMessage::from_parts(mail.kind as usize, &mail.payload);
        let message = message.map_err(|_| OpenError::Malformed)?;
        let opened = match &message {
            OlmMessage::PreKey(first) => self.open_first((from, mail), first, &message),
            OlmMessage::Normal(_) => {
                let peer = self.peers.get_mut(from);
                let opened = peer.and_then(|peer| peer.open(&message, None));
                opened.map(|words| (words, false)).ok_or(OpenError::NoSession)
            }
        };
        let (plaintext, is_new_session) = opened.inspect_err(|error| self.despair(from, error))?;
        let letter = Letter::parse(&plaintext).ok_or(OpenError::Malformed)?;
        if !letter.is(from, &self.address, &mail.message_id) {
            return Err(OpenError::Misdirected);
        }
        self.accept(letter, mail, is_new_session).map(Some)
    }

    /// Opens a message of a session that has not been answered.
    fn open_first(
        &mut self,
        (from, mail): (&Address, &Mail),
        first: &PreKeyMessage,
        message: &OlmMessage,
    ) -> Result<(Vec<u8>, bool), OpenError> {
        let peer = self.peers.get_mut(from);
        if peer
            .as_ref()
            .is_some_and(|peer| peer.is_other(first.identity_key()))
        {
            return Err(OpenError::IdentityChanged(from.clone()));
        }
        if let Some(peer) = peer
            && let Some(place) = peer.begun(first)
        {
            let opened = peer.open(message, Some(place));
            return opened.map(|words| (words, false)).ok_or(OpenError::NoSession);
        }
        let config = SessionConfig::version_1();
        let begun = self
            .account
            .create_inbound_session(config, first.identity_key(), first);
        let begun = begun.map_err(|_| OpenError::NoSession)?;
        // Nobody begins a session in another's name: who it is must stand inside.
        let letter = Letter::parse(&begun.plaintext).ok_or(OpenError::Malformed)?;
        let identity = letter.identity.ok_or(OpenError::Malformed)?;
        let is_theirs = identity.agreement() == first.identity_key();
        if !is_theirs || !letter.is(from, &self.address, &mail.message_id) {
            return Err(OpenError::Misdirected);
        }
        let peer = self.peers.entry(from.clone()).or_default();
        if peer.identity.is_some_and(|pinned| pinned != identity) {
            return Err(OpenError::IdentityChanged(from.clone()));
        }
        peer.begin(begun.session);
        Ok((begun.plaintext, true))
    }

    fn accept(&mut self, letter: Letter, mail: &Mail, is_new_session: bool) -> Result<Decrypted, OpenError> {
        let (from, identity) = (letter.from.clone(), letter.identity);
        let words = letter.into_words().ok_or(OpenError::Malformed)?;
        let peer = self.peers.entry(from.clone()).or_default();
        let pinned = identity.map(|identity| peer.pin(identity)).transpose();
        let is_new_identity = pinned.map_err(|_| OpenError::IdentityChanged(from.clone()))?;
        self.seen.insert(&from, &mail.message_id);
        Ok(Decrypted {
            trust: peer.trust,
            from,
            words,
            message_id: mail.message_id,
            is_new_identity: is_new_identity.unwrap_or(false),
            is_new_session,
        })
    }

    /// What cannot be opened for want of a session gets a new one with the next message.
    fn despair(&mut self, from: &Address, error: &OpenError) {
        match error {
            OpenError::NoSession => {
                let peer: Option<&mut Peer> = self.peers.get_mut(from);
                if let Some(peer) = peer {
                    peer.renew = true;
                }
            }
            OpenError::IdentityChanged(_)
            | OpenError::NoSender
            | OpenError::Malformed
            | OpenError::Misdirected => {}
        }
    }
}

impl fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decrypted")
            .field("words", &format_args!("{} bytes", self.words.len()))
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}
