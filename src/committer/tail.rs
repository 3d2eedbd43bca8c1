//! The tail: envelopes accepted lately, by mailbox and in order, bounded in bytes.
//!
//! Holds what is not yet durable, and what live readers are about to read. Must not know the store:
//! the committer tells it up to which id everything is durable.
//!
//! # Why
//!
//! Ids are minted and pushed under one lock and committed in their order, so two watermarks say all
//! there is to say about an envelope's way to the disk, and `floor` says from where on the tail is
//! complete for *every* mailbox: a reader whose cursor is at or above it needs no store.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use chatctl_protocol::EnvelopeId;
use tokio::time::Instant;

use crate::committer::ledger::Ledger;
use crate::model::{Envelope, MailboxId, NumberHasher, UnixMs};
use crate::store::{Room, Usage};

/// The lately accepted envelopes of all mailboxes.
#[derive(Debug)]
pub(super) struct Tail {
    boxes: HashMap<MailboxId, Slots, NumberHasher>,
    order: VecDeque<(EnvelopeId, MailboxId)>,
    /// Everything accepted after this id, and not acked, is here.
    floor: EnvelopeId,
    /// Everything up to this id is durable, or will never be.
    durable: EnvelopeId,
    bytes: usize,
    max_bytes: usize,
}

/// One mailbox's part of the tail.
#[derive(Debug, Default)]
pub(super) struct Slots {
    envelopes: VecDeque<Arc<Envelope>>,
    /// As the tail's, for this mailbox alone: what is at or below is the store's to answer for.
    floor: EnvelopeId,
    /// Acked, but the store still has them: a read must not bring them back.
    gone: BTreeSet<EnvelopeId>,
    /// What it holds, once it was asked of the store.
    pub(super) ledger: Option<Ledger>,
    /// When that was.
    pub(super) counted_at: Option<Instant>,
    /// Deliveries of envelopes that were not acked by the session that got them.
    attempts: HashMap<EnvelopeId, u32, NumberHasher>,
}

/// What the tail has for a reader.
#[derive(Debug)]
pub(super) enum Page {
    /// All there is after the cursor, as far as there was room.
    Here(Vec<Arc<Envelope>>),
    /// What comes next is in the store, up to this id.
    Below(EnvelopeId),
}

/// Where an acked envelope was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acked {
    /// Only in memory: it never touches the disk.
    Elided,
    /// In the store, or on its way there.
    Stored,
    /// Nowhere: another session's ack came first.
    Before,
}

impl Tail {
    pub(super) fn new(floor: EnvelopeId, max_bytes: usize) -> Self {
        Self {
            boxes: HashMap::default(),
            order: VecDeque::new(),
            floor,
            durable: floor,
            bytes: 0,
            max_bytes,
        }
    }

    /// Everything up to here is durable, or will never be.
    pub(super) const fn durable(&self) -> EnvelopeId {
        self.durable
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn slots(&mut self, mailbox: MailboxId) -> &mut Slots {
        self.boxes.entry(mailbox).or_default()
    }

    pub(super) fn known(&self, mailbox: MailboxId) -> Option<&Slots> {
        self.boxes.get(&mailbox)
    }

    /// Appends an envelope, whose id is above all before it.
    pub(super) fn push(&mut self, envelope: Arc<Envelope>) {
        self.bytes += cost(&envelope);
        self.order.push_back((envelope.id, envelope.mailbox));
        self.slots(envelope.mailbox).envelopes.push_back(envelope);
    }

    /// Whether the envelope is still here and not acked. `None` when its mailbox is not known at all.
    pub(super) fn holds(&self, mailbox: MailboxId, id: EnvelopeId) -> Option<bool> {
        self.boxes.get(&mailbox).map(|slots| slots.position(id).is_some())
    }

    /// The mailbox's next envelopes of the stretch. Ephemeral ones leave the tail as they are read,
    /// stale ones (accepted before `ephemeral_before`) are dropped.
    pub(super) fn page(&mut self, mailbox: MailboxId, stretch: Stretch, room: Room, times: Times) -> Page {
        let Stretch { after, up_to } = stretch;
        let of_mailbox = self
            .boxes
            .get(&mailbox)
            .map_or(EnvelopeId::ZERO, |slots| slots.floor);
        let floor = self.floor.max(of_mailbox);
        if after < floor {
            return Page::Below(floor);
        }
        let Some(slots) = self.boxes.get_mut(&mailbox) else {
            return Page::Here(Vec::new());
        };
        let mut page = Vec::new();
        let mut bytes = 0;
        let mut next = slots.envelopes.partition_point(|envelope| envelope.id <= after);
        while page.len() < room.envelopes
            && let Some(envelope) = slots.envelopes.get(next)
            && envelope.id <= up_to
        {
            if times.is_over(envelope) {
                next += 1;
                continue;
            }
            bytes += envelope.payload.len();
            if bytes > room.bytes && !page.is_empty() {
                break;
            }
            if envelope.ephemeral {
                self.bytes -= cost(envelope);
                page.extend(slots.envelopes.remove(next));
            } else {
                page.push(Arc::clone(envelope));
                next += 1;
            }
        }
        Page::Here(page)
    }

    /// Forgets an acked envelope. Up to `committing`, the store has it or is about to.
    pub(super) fn ack(&mut self, mailbox: MailboxId, id: EnvelopeId, committing: EnvelopeId) -> Acked {
        let slots = self.boxes.entry(mailbox).or_default();
        slots.attempts.remove(&id);
        if let Some(position) = slots.position(id)
            && let Some(envelope) = slots.envelopes.remove(position)
        {
            self.bytes -= cost(&envelope);
            if id > committing {
                return Acked::Elided;
            }
        }
        match slots.gone.insert(id) {
            true => Acked::Stored,
            false => Acked::Before,
        }
    }

    /// Takes an envelope back that was refused. Returns it if it was still here.
    pub(super) fn take_back(&mut self, mailbox: MailboxId, id: EnvelopeId) -> Option<Arc<Envelope>> {
        let slots = self.boxes.get_mut(&mailbox)?;
        let envelope = slots.envelopes.remove(slots.position(id)?)?;
        self.bytes -= cost(&envelope);
        Some(envelope)
    }

    /// Everything up to `id` is durable. Makes room by dropping the oldest that are.
    pub(super) fn settle(&mut self, id: EnvelopeId) {
        self.durable = self.durable.max(id);
        while self.bytes > self.max_bytes || self.order.len() > self.max_bytes / OVERHEAD {
            match self.order.front() {
                Some(&(id, mailbox)) if id <= self.durable => {
                    self.order.pop_front();
                    self.floor = id;
                    self.take_back(mailbox, id);
                }
                Some(_) | None => return,
            }
        }
    }

    /// What is durable of this mailbox may have been acked on another relay: from here on only the store says
    /// what of it is left.
    pub(super) fn leave_to_store(&mut self, mailbox: MailboxId) {
        let durable = self.durable;
        let Some(slots) = self.boxes.get_mut(&mailbox) else {
            return;
        };
        slots.floor = durable;
        let stays = |envelope: &Arc<Envelope>| envelope.id > durable || envelope.ephemeral;
        let left = slots.envelopes.iter().filter(|envelope| !stays(envelope));
        self.bytes -= left.map(|envelope| cost(envelope)).sum::<usize>();
        slots.envelopes.retain(stays);
    }

    /// The store has forgotten this envelope.
    pub(super) fn deleted(&mut self, mailbox: MailboxId, id: EnvelopeId) {
        if let Some(slots) = self.boxes.get_mut(&mailbox) {
            slots.gone.remove(&id);
        }
    }

    /// Forgets a mailbox that is no more.
    pub(super) fn forget(&mut self, mailbox: MailboxId) {
        if let Some(slots) = self.boxes.remove(&mailbox) {
            self.bytes -= slots
                .envelopes
                .iter()
                .map(|envelope| cost(envelope))
                .sum::<usize>();
        }
    }
}

impl Slots {
    fn position(&self, id: EnvelopeId) -> Option<usize> {
        // Acks come in order: the front is the likely one.
        if self.envelopes.front().is_some_and(|envelope| envelope.id == id) {
            return Some(0);
        }
        self.envelopes
            .binary_search_by_key(&id, |envelope| envelope.id)
            .ok()
    }

    /// Ids after the cursor that the store may still return although they were acked, ascending. Seldom
    /// any: acks are for what a cursor has passed.
    pub(super) fn gone_after(&self, cursor: EnvelopeId) -> Vec<EnvelopeId> {
        let ahead = (Bound::Excluded(cursor), Bound::Unbounded);
        self.gone.range(ahead).copied().collect()
    }

    /// Whether the store's word on what the mailbox holds is the whole truth.
    pub(super) fn is_settled(&self, durable: EnvelopeId) -> bool {
        self.gone.is_empty()
            && self
                .envelopes
                .back()
                .is_none_or(|envelope| envelope.id <= durable)
    }

    /// Deliveries before this one.
    pub(super) fn attempts(&self, id: EnvelopeId) -> u32 {
        self.attempts.get(&id).copied().unwrap_or(0)
    }

    /// The envelope is no more, and nothing of it is delivered again.
    pub(super) fn expired(&mut self, id: EnvelopeId) {
        self.attempts.remove(&id);
    }

    /// What the store has counted, and what is not durable yet besides.
    pub(super) fn counted(&mut self, usage: Usage, durable: EnvelopeId, now: Instant) {
        let mut ledger = Ledger::from(usage);
        let rest = self.envelopes.iter().filter(|envelope| envelope.id > durable);
        for envelope in rest.filter(|envelope| !envelope.ephemeral) {
            ledger.add(envelope.sender, envelope.payload.len() as u64);
        }
        self.ledger = Some(ledger);
        self.counted_at = Some(now);
    }

    /// A session ended with these unacked.
    pub(super) fn unacked(&mut self, ids: impl Iterator<Item = EnvelopeId>) {
        // What another relay's session acks is never counted out here.
        if self.attempts.len() > MAX_ATTEMPTS {
            self.attempts.clear();
        }
        for id in ids {
            *self.attempts.entry(id).or_insert(0) += 1;
        }
    }
}

/// Ids with `after < id <= up_to`.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    /// The last id that is not meant.
    pub after: EnvelopeId,
    /// The last id that is.
    pub up_to: EnvelopeId,
}

/// The times that end an envelope's stay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) now: UnixMs,
    pub(super) ephemeral_before: UnixMs,
}

impl Times {
    fn is_over(self, envelope: &Envelope) -> bool {
        envelope.expires_at <= self.now
            || (envelope.ephemeral && envelope.accepted_at < self.ephemeral_before)
    }
}

/// What an envelope costs, bookkeeping included.
pub(super) fn cost(envelope: &Envelope) -> usize {
    envelope.payload.len() + OVERHEAD
}

/// Bytes of bookkeeping per envelope, about.
const OVERHEAD: usize = 256;

/// Most envelopes of a mailbox whose attempts are remembered, about: far more than windows hold.
const MAX_ATTEMPTS: usize = 4096;
