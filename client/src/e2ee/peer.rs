//! Another device: its pinned identity, and the sessions with it.
//!
//! # Why
//!
//! Two devices that write to each other at the same moment make two sessions, and one that was restored from an old
//! copy makes another. So there may be several, the one that worked last first: both sides then come to use the same one.

use std::fmt;

use serde::{Deserialize, Serialize};
use vodozemac::Curve25519PublicKey;
use vodozemac::olm::{OlmMessage, PreKeyMessage, Session, SessionPickle};

use crate::e2ee::Identity;

/// What is known about an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// It is the one that was seen first, and nobody has compared fingerprints.
    #[default]
    Unverified,
    /// There was another one before it, and the app has accepted the change; nobody has compared fingerprints.
    Changed,
    /// Somebody has compared fingerprints.
    Verified,
}

/// Another device.
#[derive(Default, Serialize, Deserialize)]
#[serde(from = "PeerPickle", into = "PeerPickle")]
pub(super) struct Peer {
    /// As the relay said last.
    pub(super) registration_id: Option<u32>,
    /// Pinned at first use.
    pub(super) identity: Option<Identity>,
    /// About the identity.
    pub(super) trust: Trust,
    /// The next message to it begins a session.
    pub(super) renew: bool,
    /// The one that worked last first.
    sessions: Vec<Session>,
}

/// The identity is another one than the pinned one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Other;

impl Peer {
    /// Takes the identity if it is the first one. Whether it was.
    ///
    /// # Errors
    ///
    /// [`Other`].
    pub(super) fn pin(&mut self, identity: Identity) -> Result<bool, Other> {
        match self.identity.replace(identity) {
            None => Ok(true),
            Some(pinned) if pinned == identity => Ok(false),
            Some(pinned) => {
                self.identity = Some(pinned);
                Err(Other)
            }
        }
    }

    /// Forgets the identity, and the sessions that belong to it.
    pub(super) fn unpin(&mut self) {
        *self = Self {
            registration_id: self.registration_id,
            trust: Trust::Changed,
            ..Self::default()
        };
    }

    /// Whether a session may be of another identity than the pinned one.
    pub(super) fn is_other(&self, key: Curve25519PublicKey) -> bool {
        self.identity.is_some_and(|pinned| pinned.agreement() != key)
    }

    /// Whether there is no session to write with.
    pub(super) fn needs_session(&self) -> bool {
        self.renew || self.sessions.is_empty()
    }

    /// The session to write with.
    pub(super) fn best(&mut self) -> Option<&mut Session> {
        self.sessions.first_mut()
    }

    /// A session that is used from now on. The one that was not used for the longest time is forgotten when there are
    /// too many.
    pub(super) fn begin(&mut self, session: Session) {
        self.sessions.insert(0, session);
        self.sessions.truncate(MAX_SESSIONS);
        self.renew = false;
    }

    /// The session that a first message belongs to, if it has begun.
    pub(super) fn begun(&self, first: &PreKeyMessage) -> Option<usize> {
        let id = first.session_id();
        self.sessions
            .iter()
            .position(|session| session.session_id() == id)
    }

    /// Opens a message with one session, or with the first of all that can.
    pub(super) fn open(&mut self, message: &OlmMessage, only: Option<usize>) -> Option<Vec<u8>> {
        let mut tried = self.sessions.iter_mut().enumerate();
        let (place, plaintext) = tried.find_map(|(place, session)| {
            let is_it = only.is_none_or(|only| only == place);
            let plaintext = is_it.then(|| session.decrypt(message).ok())??;
            Some((place, plaintext))
        })?;
        self.sessions[..=place].rotate_right(1);
        Some(plaintext)
    }

    #[cfg(test)]
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }
}

/// Without keys.
impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("trust", &self.trust)
            .field("sessions", &self.sessions.len())
            .finish_non_exhaustive()
    }
}

impl Clone for Peer {
    fn clone(&self) -> Self {
        // A session cannot be cloned, only pickled and read again.
        let sessions = self.sessions.iter();
        Self {
            sessions: sessions
                .map(|session| Session::from_pickle(session.pickle()))
                .collect(),
            ..*self
        }
    }
}

#[derive(Serialize, Deserialize)]
struct PeerPickle {
    registration_id: Option<u32>,
    identity: Option<Identity>,
    trust: Trust,
    renew: bool,
    sessions: Vec<SessionPickle>,
}

impl From<Peer> for PeerPickle {
    fn from(peer: Peer) -> Self {
        Self {
            registration_id: peer.registration_id,
            identity: peer.identity,
            trust: peer.trust,
            renew: peer.renew,
            sessions: peer.sessions.iter().map(Session::pickle).collect(),
        }
    }
}

impl From<PeerPickle> for Peer {
    fn from(pickle: PeerPickle) -> Self {
        Self {
            registration_id: pickle.registration_id,
            identity: pickle.identity,
            trust: pickle.trust,
            renew: pickle.renew,
            sessions: pickle.sessions.into_iter().map(Session::from_pickle).collect(),
        }
    }
}

/// Sessions of one device. More than one is rare, more than two an accident.
pub(super) const MAX_SESSIONS: usize = 5;
