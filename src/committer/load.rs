//! What goes into a batch: the sends whose time has come, without what was acked meanwhile.
//!
//! Must not write; it takes what the books hold, in the order of the ids.

use std::sync::Arc;

use chatctl_protocol::{Code, EnvelopeId};
use tokio::time::Instant;

use crate::committer::batch::ACK_DELAY;
use crate::committer::tail::Fate;
use crate::committer::{Books, Pending, code_of};
use crate::store::{self, Batch, Committed, Posting};

/// One batch and what hangs on it.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) batch: Batch,
    pub(super) sends: Vec<(Pending, Way)>,
    /// Payload bytes to be stored.
    pub(super) bytes: usize,
    pub(super) up_to: EnvelopeId,
}

/// What a batch does for a send.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// Nothing: all of it was acked.
    Elided,
    /// It is the posting of this index.
    Stored(usize),
    /// Nothing: a mailbox of it was removed.
    Refused,
}

impl Way {
    /// Why the send failed, if it did.
    pub(super) fn refusal(self, result: &Result<Committed, store::Error>) -> Option<Code> {
        match (self, result) {
            (Self::Elided, _) => None,
            (Self::Refused, _) => Some(Code::DeviceMismatch),
            (Self::Stored(_), Err(error)) => Some(code_of(error)),
            (Self::Stored(index), Ok(committed)) => {
                let is_refused = committed.refused.binary_search(&index).is_ok();
                is_refused.then_some(Code::DeviceMismatch)
            }
        }
    }
}

impl Books {
    /// When the next commit is due; `None` while there is nothing to commit.
    pub(super) fn due(&self) -> Option<Instant> {
        let wait = self.leeway.wait();
        // Every send waits as long, so that every recipient has the same time to ack; and commits
        // keep half of it between them, so that senders who come one by one still share them.
        let spaced = self.committed_at + wait / 2;
        let sends = self.pending.front().map(|send| (send.since + wait).max(spaced));
        let acks = self.deletions_since.map(|since| since + ACK_DELAY);
        sends.into_iter().chain(acks).min()
    }

    /// Takes some of the sends that came up to `until`, oldest first. Envelopes that were acked
    /// meanwhile are left out. Returns whether there may be more.
    pub(super) fn load(&mut self, load: &mut Load, until: Instant) -> bool {
        for _ in 0..AT_ONCE {
            if load.sends.len() >= MAX_SENDS || load.bytes >= MAX_BYTES {
                return false;
            }
            let Some(send) = self.pending.pop_front_if(|send| send.since <= until) else {
                return false;
            };
            // From here on an ack of it has to be written.
            self.committing = self.committing.max(send.last);
            load.up_to = self.committing;
            let way = self.way(&send, load);
            load.sends.push((send, way));
        }
        true
    }

    /// What becomes of a send in this batch.
    fn way(&self, send: &Pending, load: &mut Load) -> Way {
        let mut envelopes = Vec::new();
        for place in send.places.clone() {
            match self.tail.fate(place) {
                Fate::Done => {}
                Fate::Waits(envelope) => envelopes.push(Arc::clone(envelope)),
                Fate::Removed => return Way::Refused,
            }
        }
        let Some(first) = envelopes.first() else {
            return Way::Elided;
        };
        let Some(record) = self.recents.record(send.position, first.accepted_at) else {
            return Way::Refused;
        };
        load.bytes += envelopes
            .iter()
            .map(|envelope| envelope.payload.len())
            .sum::<usize>();
        load.batch.postings.push(Posting { record, envelopes });
        Way::Stored(load.batch.postings.len() - 1)
    }

    /// A send failed: its envelopes leave the tail and the ledgers.
    pub(super) fn take_back(&mut self, send: &Pending) {
        for place in send.places.clone() {
            if let Some(envelope) = self.tail.take_back(place)
                && !envelope.ephemeral
                && let Some(ledger) = &mut self.tail.slots(envelope.mailbox).ledger
            {
                ledger.remove(envelope.sender, envelope.payload.len() as u64);
            }
        }
    }
}

/// Sends that are looked at before others have a turn at the books.
pub(super) const AT_ONCE: usize = 128;

/// Most sends in one batch.
pub(super) const MAX_SENDS: usize = 2048;

/// Most payload bytes in one batch, about.
const MAX_BYTES: usize = 4 * 1024 * 1024;
