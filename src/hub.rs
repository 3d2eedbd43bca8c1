//! Who is here: the doorbells of connected devices.
//!
//! Owns presence on this node, and nothing about mail: a ring says only "there is mail up to id N" or
//! "look at this". Many rings count as one, ringing never blocks, and a lost ring costs time, never mail.
//!
//! A device has at most one consumer, and the newest wins; observers watch without displacing anybody.

mod attendance;
mod canary;
mod wake;

use std::sync::Arc;

use chatctl_protocol::EnvelopeId;
use dashmap::DashMap;
use smallvec::SmallVec;

use crate::model::{MailboxId, NumberHasher};

pub use self::attendance::{Attendance, Attending};
use self::canary::CANARY;
pub use self::canary::Canary;
pub use self::wake::Wake;

/// Something that a session should look at, besides mail. A set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notices(u32);

impl Notices {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// A pool of the device runs low, or its fallback was handed out.
    pub const KEYS: Self = Self(1);
    /// The account's device list changed.
    pub const DEVICES: Self = Self(1 << 1);
    /// Mail of the device was dropped.
    pub const GAP: Self = Self(1 << 2);
    /// A newer session of the device signed on.
    pub const DISPLACED: Self = Self(1 << 3);
    /// The device was removed.
    pub const REMOVED: Self = Self(1 << 4);
    /// The device was registered again by another installation.
    pub const REREGISTERED: Self = Self(1 << 5);
    /// Mail may be in the store that the tail never had: it is worth a look.
    pub const LOOK: Self = Self(1 << 6);

    /// Whether all of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The sessions of one device.
#[derive(Debug, Default)]
struct Door {
    consumer: Option<Arc<Wake>>,
    /// The highest epoch under which this node has the device's session; 0 while it has none in the store.
    epoch: u64,
    observers: SmallVec<[Arc<Wake>; 1]>,
}

impl Door {
    fn bells(&self) -> impl Iterator<Item = &Arc<Wake>> {
        self.consumer.iter().chain(&self.observers)
    }

    fn is_empty(&self) -> bool {
        self.consumer.is_none() && self.observers.is_empty()
    }
}

/// The bells of everybody who is connected to this node.
#[derive(Debug, Default)]
pub struct Hub {
    doors: DashMap<MailboxId, Door, NumberHasher>,
    attendance: Arc<Attendance>,
}

/// What came since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// There may be mail up to here; zero when nobody rang for mail.
    pub mail: EnvelopeId,
    /// What else there is.
    pub notices: Notices,
}

impl Hub {
    /// An empty hub.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Signs a consumer on; a consumer that was there before gets [`Notices::DISPLACED`].
    ///
    /// Sign on before the first read of the mailbox: a ring between the two would otherwise be missed.
    #[must_use]
    pub fn sign_on(self: &Arc<Self>, mailbox: MailboxId) -> Presence {
        let bell = Arc::<Wake>::default();
        let old = {
            let mut door = self.doors.entry(mailbox).or_default();
            // The lease of the one before says nothing about this one.
            door.epoch = 0;
            door.consumer.replace(Arc::clone(&bell))
        };
        if let Some(old) = old {
            old.notify(Notices::DISPLACED);
        }
        Presence {
            hub: Arc::clone(self),
            mailbox,
            bell,
        }
    }

    /// Signs an observer on: it is rung like a consumer and displaces nobody.
    #[must_use]
    pub fn observe(self: &Arc<Self>, mailbox: MailboxId) -> Presence {
        let bell = Arc::<Wake>::default();
        self.doors
            .entry(mailbox)
            .or_default()
            .observers
            .push(Arc::clone(&bell));
        Presence {
            hub: Arc::clone(self),
            mailbox,
            bell,
        }
    }

    /// Rings for mail up to `up_to`. Never blocks.
    pub fn ring(&self, mailbox: MailboxId, up_to: EnvelopeId) {
        if let Some(door) = self.doors.get(&mailbox) {
            door.bells().for_each(|bell| bell.ring_for_mail(up_to));
        }
    }

    /// Asks the device's sessions to look at something. Never blocks.
    pub fn notify(&self, mailbox: MailboxId, notices: Notices) {
        if let Some(door) = self.doors.get(&mailbox) {
            door.bells().for_each(|bell| bell.notify(notices));
        }
    }

    /// The sessions that this node holds in the store, and their epochs.
    #[must_use]
    pub fn leases(&self) -> Vec<(MailboxId, u64)> {
        let held = self
            .doors
            .iter()
            .filter(|door| door.consumer.is_some() && door.epoch > 0);
        held.map(|door| (*door.key(), door.epoch)).collect()
    }

    /// Another node has the device's session: the consumer that held it until this epoch gets
    /// [`Notices::DISPLACED`]. Nobody does if a newer one has signed on here meanwhile.
    pub fn displace(&self, mailbox: MailboxId, epoch: u64) {
        if let Some(door) = self.doors.get(&mailbox)
            && door.epoch == epoch
            && let Some(consumer) = &door.consumer
        {
            consumer.notify(Notices::DISPLACED);
        }
    }

    /// Whether a consumer of the device is here.
    #[must_use]
    pub fn is_here(&self, mailbox: MailboxId) -> bool {
        self.doors
            .get(&mailbox)
            .is_some_and(|door| door.consumer.is_some())
    }

    /// Devices that are here, with a consumer or only observed.
    #[must_use]
    pub fn present(&self) -> Vec<MailboxId> {
        let doors = self.doors.iter().map(|door| *door.key());
        doors.filter(|mailbox| *mailbox != CANARY).collect()
    }

    /// With which tokens they are here.
    #[must_use]
    pub const fn attendance(&self) -> &Arc<Attendance> {
        &self.attendance
    }

    /// Whether nobody is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.doors.is_empty() && self.attendance.is_empty()
    }
}

/// A session's place in the hub. Dropping it signs off, and only this session.
#[derive(Debug)]
pub struct Presence {
    hub: Arc<Hub>,
    mailbox: MailboxId,
    bell: Arc<Wake>,
}

impl Presence {
    /// The session has this epoch in the store. Of two that sign on here at once the later one may get the
    /// lower epoch: the door keeps the highest.
    pub fn hold(&self, epoch: u64) {
        if let Some(mut door) = self.hub.doors.get_mut(&self.mailbox) {
            door.epoch = door.epoch.max(epoch);
        }
    }

    /// Waits for the bell. Cancel safe: what was rung is taken in the same poll that returns it.
    pub async fn rung(&self) -> Rung {
        loop {
            let rung = self.take();
            if rung.mail > EnvelopeId::ZERO || rung.notices != Notices::NONE {
                return rung;
            }
            self.bell.rung().await;
        }
    }

    /// What wakes this session. Others who answer it may ring it too, so that it waits for one thing only.
    #[must_use]
    pub fn wake(&self) -> Arc<Wake> {
        Arc::clone(&self.bell)
    }

    /// Takes what was rung, without waiting.
    #[must_use]
    pub fn take(&self) -> Rung {
        self.bell.take_rung()
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // By its own bell, never by the device alone: a late old session must not sign off the new one.
        let _ = self.hub.doors.remove_if_mut(&self.mailbox, |_, door| {
            if door
                .consumer
                .as_ref()
                .is_some_and(|bell| Arc::ptr_eq(bell, &self.bell))
            {
                door.consumer = None;
            }
            door.observers.retain(|bell| !Arc::ptr_eq(bell, &self.bell));
            door.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: MailboxId = MailboxId(1);

    #[tokio::test]
    async fn many_rings_count_as_one() {
        let hub = Hub::new();
        let bob = hub.sign_on(BOB);
        hub.ring(BOB, EnvelopeId::from_u64(7));
        hub.ring(BOB, EnvelopeId::from_u64(5));
        hub.notify(BOB, Notices::KEYS);
        hub.notify(BOB, Notices::GAP);
        let rung = bob.rung().await;
        assert_eq!(rung.mail, EnvelopeId::from_u64(7));
        assert_eq!(rung.notices, Notices::KEYS.and(Notices::GAP));
        assert_eq!(
            bob.take(),
            Rung {
                mail: EnvelopeId::ZERO,
                notices: Notices::NONE
            }
        );
    }

    #[tokio::test]
    async fn the_newest_consumer_wins_and_a_late_one_signs_off_only_itself() {
        let hub = Hub::new();
        let old = hub.sign_on(BOB);
        let new = hub.sign_on(BOB);
        assert!(old.rung().await.notices.contains(Notices::DISPLACED));
        drop(old);
        assert!(hub.is_here(BOB));
        drop(new);
        assert!(hub.is_empty());
    }

    #[tokio::test]
    async fn a_lease_that_is_over_displaces_only_the_session_that_held_it() {
        let hub = Hub::new();
        let old = hub.sign_on(BOB);
        old.hold(3);
        assert_eq!(hub.leases(), [(BOB, 3)]);
        let new = hub.sign_on(BOB);
        assert!(old.rung().await.notices.contains(Notices::DISPLACED));
        assert_eq!(hub.leases(), []);
        new.hold(5);
        hub.displace(BOB, 3);
        assert_eq!(new.take().notices, Notices::NONE);
        hub.displace(BOB, 5);
        assert_eq!(new.take().notices, Notices::DISPLACED);
    }

    #[tokio::test]
    async fn an_observer_displaces_nobody_and_hears_the_ring() {
        let hub = Hub::new();
        let bob = hub.sign_on(BOB);
        let watcher = hub.observe(BOB);
        hub.ring(BOB, EnvelopeId::from_u64(3));
        assert_eq!(watcher.rung().await.mail, EnvelopeId::from_u64(3));
        assert_eq!(
            bob.rung().await,
            Rung {
                mail: EnvelopeId::from_u64(3),
                notices: Notices::NONE
            }
        );
        drop(bob);
        assert!(!hub.is_here(BOB));
        drop(watcher);
        assert!(hub.is_empty());
    }
}
