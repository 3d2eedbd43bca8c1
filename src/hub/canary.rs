//! A bell of nobody's, to see whether the hub still rings.
//!
//! Owns its number, which no device ever has. It takes the way of every other bell, and is counted nowhere.

use std::sync::Arc;

use chatctl_protocol::EnvelopeId;

use super::{Hub, Presence};
use crate::model::MailboxId;

/// Signed on until it is heard or dropped. One at a time: a second displaces the first.
#[derive(Debug)]
pub struct Canary(Presence);

impl Hub {
    /// Signs a canary on.
    #[must_use]
    pub fn canary(self: &Arc<Self>) -> Canary {
        Canary(self.sign_on(CANARY))
    }
}

impl Canary {
    /// Rings its bell, through the hub; for another task than the one that listens.
    pub fn ringer(&self) -> impl FnOnce() + Send + 'static {
        let hub = Arc::clone(&self.0.hub);
        move || hub.ring(CANARY, RING)
    }

    /// Waits for the ring. Cancel safe.
    pub async fn heard(&self) {
        while self.0.rung().await.mail != RING {}
    }
}

/// Numbers of mailboxes count up from 1.
pub(super) const CANARY: MailboxId = MailboxId(u64::MAX);

/// What it is rung with.
const RING: EnvelopeId = EnvelopeId::from_u64(1);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_canary_is_heard_and_is_nobody() {
        let hub = Hub::new();
        let canary = hub.canary();
        assert_eq!((hub.present(), hub.leases()), (vec![], vec![]));
        let ring = canary.ringer();
        std::thread::spawn(ring).join().unwrap();
        canary.heard().await;
        drop(canary);
        assert!(hub.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_hub_that_does_not_ring_is_not_heard() {
        let hub = Hub::new();
        let canary = hub.canary();
        let heard = timeout(Duration::from_secs(3_600), canary.heard());
        assert!(heard.await.is_err());
        drop(canary);
        assert!(hub.is_empty());
    }
}
