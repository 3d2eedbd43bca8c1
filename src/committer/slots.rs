//! One mailbox's part of the tail: its envelopes, what of them was acked, and what the mailbox holds.
//!
//! Must not know other mailboxes, nor where the tail begins.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use chatctl_protocol::EnvelopeId;
use tokio::time::Instant;

use crate::committer::ledger::Ledger;
use crate::model::{Envelope, NumberHasher};
use crate::store::Usage;

/// One mailbox's part of the tail.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// In the order of their ids.
    pub(super) envelopes: VecDeque<Kept>,
    /// As the tail's, for this mailbox alone: what is at or below is the store's to answer for.
    pub(super) floor: EnvelopeId,
    /// Acked, but the store still has them: a read must not bring them back.
    pub(super) gone: BTreeSet<EnvelopeId>,
    /// What it holds, once it was asked of the store.
    pub(super) ledger: Option<Ledger>,
    /// When that was.
    pub(super) counted_at: Option<Instant>,
    /// Deliveries of envelopes that were not acked by the session that got them.
    attempts: HashMap<EnvelopeId, u32, NumberHasher>,
}

/// An envelope on the tail.
#[derive(Debug)]
pub(super) struct Kept {
    /// Its id, so that a search need not look at each envelope.
    pub(super) id: EnvelopeId,
    /// The number of its place among all.
    pub(super) place: u64,
    pub(super) envelope: Arc<Envelope>,
}

impl Slots {
    /// The envelope of an id, if it is here.
    pub(super) fn find(&self, id: EnvelopeId) -> Option<&Arc<Envelope>> {
        self.envelopes.get(self.position(id)?).map(|kept| &kept.envelope)
    }

    /// Takes an envelope out.
    pub(super) fn take(&mut self, id: EnvelopeId) -> Option<Kept> {
        self.envelopes.remove(self.position(id)?)
    }

    /// Where the first envelope above an id is.
    pub(super) fn after(&self, id: EnvelopeId) -> usize {
        // Who acks as he reads has only what is new before him.
        match self.envelopes.front() {
            Some(first) if first.id <= id => self.envelopes.partition_point(|kept| kept.id <= id),
            Some(_) | None => 0,
        }
    }

    fn position(&self, id: EnvelopeId) -> Option<usize> {
        // Acks come in order: the front is the likely one.
        if self.envelopes.front().is_some_and(|kept| kept.id == id) {
            return Some(0);
        }
        self.envelopes.binary_search_by_key(&id, |kept| kept.id).ok()
    }

    /// Ids after the cursor that the store may still return although they were acked, ascending. Seldom
    /// any: acks are for what a cursor has passed.
    pub(super) fn gone_after(&self, cursor: EnvelopeId) -> Vec<EnvelopeId> {
        let ahead = (Bound::Excluded(cursor), Bound::Unbounded);
        self.gone.range(ahead).copied().collect()
    }

    /// Whether the store's word on what the mailbox holds is the whole truth.
    pub(super) fn is_settled(&self, durable: EnvelopeId) -> bool {
        self.gone.is_empty() && self.envelopes.back().is_none_or(|kept| kept.id <= durable)
    }

    /// Deliveries before this one.
    pub(super) fn attempts(&self, id: EnvelopeId) -> u32 {
        // Nearly always there are none, and nothing is to be hashed.
        match self.attempts.is_empty() {
            true => 0,
            false => self.attempts.get(&id).copied().unwrap_or(0),
        }
    }

    /// The envelope is no more, and nothing of it is delivered again.
    pub(super) fn expired(&mut self, id: EnvelopeId) {
        if !self.attempts.is_empty() {
            self.attempts.remove(&id);
        }
    }

    /// What the store has counted, and what is not durable yet besides.
    pub(super) fn counted(&mut self, usage: Usage, durable: EnvelopeId, now: Instant) {
        let mut ledger = Ledger::from(usage);
        let rest = self.envelopes.iter().filter(|kept| kept.id > durable);
        for Kept { envelope, .. } in rest.filter(|kept| !kept.envelope.ephemeral) {
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

/// Most envelopes of a mailbox whose attempts are remembered, about: far more than windows hold.
const MAX_ATTEMPTS: usize = 4096;
