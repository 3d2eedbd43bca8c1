//! What the world outside the relay knows: who was answered what, and what may therefore be gone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use chatctl_protocol::{Address, EnvelopeId};
use parking_lot::Mutex;

use super::house::WEEK;
use crate::jobs::Audience;
use crate::model::{Clock, MailboxId, UnixMs};
use crate::store::{Error, ExpiredEnvelope, LowPool};

/// One installation's life at one mailbox.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// The registration id, and what it uploads is marked with.
    pub(super) installation: u32,
    pub(super) generation: u64,
    /// When it was last answered, on the latest clock.
    pub(super) seen_at: UnixMs,
    pub(super) is_here: bool,
    /// What this session has brought.
    pub(super) shown: BTreeSet<EnvelopeId>,
    pub(super) acked: BTreeSet<EnvelopeId>,
    pub(super) delivered: BTreeSet<EnvelopeId>,
    /// Losses that it was told of, and those that there were.
    pub(super) told: u64,
    pub(super) dropped: u64,
}

/// An envelope that its sender was told to be safe.
#[derive(Debug, Clone, Copy)]
pub(super) struct Letter {
    pub(super) installation: u32,
    pub(super) expires_at: UnixMs,
    pub(super) is_dropped: bool,
}

/// A send by name: from which mailbox, to which installation, and what it was answered last.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) from: MailboxId,
    pub(super) to: usize,
    pub(super) installation: u32,
    pub(super) ttl: u32,
    /// The latest that an envelope of this name may live.
    pub(super) until: UnixMs,
    pub(super) answered: Option<(EnvelopeId, UnixMs)>,
}

#[derive(Debug, Default)]
pub(super) struct Outside {
    pub(super) lives: BTreeMap<MailboxId, Life>,
    /// What each person takes for its mailbox.
    pub(super) mailboxes: [Option<MailboxId>; 3],
    pub(super) installations: u32,
    pub(super) generations: u64,
    /// Gone, or about to be by somebody's wish.
    pub(super) gone: HashSet<MailboxId>,
    /// Said to be gone by the relay, to be held against what is known when everything is quiet.
    pub(super) said_gone: Vec<MailboxId>,
    /// Installations that were registered again after their removal: what was sent to them before may be lost.
    pub(super) returned: HashSet<u32>,
    pub(super) letters: BTreeMap<EnvelopeId, Letter>,
    pub(super) routes: BTreeMap<u64, Route>,
    /// When an item was handed out.
    pub(super) handed_out: HashMap<Arc<str>, UnixMs>,
    /// Things that happened, so that a test may say that it was no empty one.
    pub(super) removals: u64,
}

impl Outside {
    pub(super) fn see(&mut self, mailbox: MailboxId, now: UnixMs) {
        if let Some(life) = self.lives.get_mut(&mailbox) {
            life.seen_at = life.seen_at.max(now);
        }
    }

    /// A device was delivered an envelope.
    pub(super) fn deliver(&mut self, mailbox: MailboxId, id: EnvelopeId, name: u64, now: UnixMs) {
        let route = &self.routes[&name];
        let life = self.lives.get_mut(&mailbox).unwrap();
        assert_eq!(
            route.installation, life.installation,
            "{name} is another installation's"
        );
        let until = self
            .letters
            .get(&id)
            .map_or(route.until, |letter| letter.expires_at);
        assert!(until > now, "{name} was over and came");
        if let Some(letter) = self.letters.get(&id) {
            assert!(!letter.is_dropped, "{name} was dropped and came");
        }
        assert!(!life.acked.contains(&id), "{name} was acked and came again");
        assert!(life.shown.insert(id), "{name} came twice in one session");
        life.delivered.insert(id);
    }

    /// The store has dropped envelopes whose time was over.
    fn expired(&mut self, removed: &[ExpiredEnvelope], now: UnixMs) {
        for ExpiredEnvelope { mailbox, id, .. } in removed {
            let letter = self
                .letters
                .get_mut(id)
                .expect("what is over was answered before");
            assert!(letter.expires_at <= now, "{id:?} was not over and was dropped");
            assert!(!letter.is_dropped, "{id:?} was dropped twice");
            letter.is_dropped = true;
            if let Some(life) = self.lives.get_mut(mailbox) {
                assert_eq!(life.installation, letter.installation);
                life.dropped += 1;
            }
        }
    }

    /// The store has removed an idle device.
    fn removed(&mut self, mailbox: MailboxId, now: UnixMs) {
        let life = self.lives.get(&mailbox).expect("who is new is not idle");
        assert!(!life.is_here, "{mailbox:?} has a session and was removed");
        let idle = now.0 - life.seen_at.0;
        assert!(
            idle > WEEK.as_millis() as u64,
            "{mailbox:?} was seen {idle} ms ago and was removed"
        );
        self.gone.insert(mailbox);
        self.removals += 1;
    }

    /// When nothing is under way: whoever was told to be gone is.
    pub(super) fn settle(&mut self) {
        for mailbox in std::mem::take(&mut self.said_gone) {
            assert!(self.gone.contains(&mailbox), "{mailbox:?} is not gone");
        }
    }
}

/// An audience that checks what it hears.
#[derive(Debug)]
pub(super) struct Witness {
    pub(super) residents: Arc<dyn Audience>,
    pub(super) outside: Arc<Mutex<Outside>>,
    pub(super) clock: Clock,
}

#[async_trait]
impl Audience for Witness {
    async fn before_expiry(&self) -> Result<(), Error> {
        self.residents.before_expiry().await
    }

    fn expired(&self, removed: &[ExpiredEnvelope]) {
        self.outside.lock().expired(removed, self.clock.now());
        self.residents.expired(removed);
    }

    async fn removed(&self, address: &Address, mailbox: MailboxId) {
        self.outside.lock().removed(mailbox, self.clock.now());
        self.residents.removed(address, mailbox).await;
    }

    fn keys_low(&self, pool: &LowPool) {
        self.residents.keys_low(pool);
    }

    fn present(&self) -> Vec<MailboxId> {
        self.residents.present()
    }
}
