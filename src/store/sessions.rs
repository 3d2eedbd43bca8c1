//! What a store promises to relays that share it: a device's session is with one of them, the newest.
//!
//! A store that one process has for itself says so and keeps nothing of this: its relay knows by itself.

use async_trait::async_trait;
use chatctl_protocol::EnvelopeId;

use crate::model::{MailboxId, UnixMs};
use crate::store::Error;

/// A device's session, as a relay holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lease {
    /// Higher than every one before it of this mailbox. Whoever holds a lower one is displaced.
    pub epoch: u64,
    /// The highest id that any relay has stored, about: what the device sent before is at or below.
    pub newest: EnvelopeId,
    /// Whether the device's session before this one was with another relay.
    pub moved: bool,
}

/// Sessions across relays.
#[async_trait]
pub trait SessionStore {
    /// Whether other relays may use the store at the same moment: mail comes from elsewhere, sessions go
    /// elsewhere.
    fn is_shared(&self) -> bool {
        false
    }

    /// Takes the mailbox's session for this relay; the newest wins. Trivial where nothing is shared.
    async fn sign_on(&self, _mailbox: MailboxId, _now: UnixMs) -> Result<Lease, Error> {
        Ok(Lease::default())
    }

    /// Which of these leases are over, since a newer session has signed on or the mailbox is gone.
    async fn displaced(&self, _held: &[(MailboxId, u64)]) -> Result<Vec<MailboxId>, Error> {
        Ok(Vec::new())
    }
}
