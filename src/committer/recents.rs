//! Sends that are under way, and those that were settled lately: a retry finds its first try here.
//!
//! What is stored is found in the store too, later; what was elided is found only here. Bounded: the
//! oldest settled ones leave.

use std::collections::{HashMap, VecDeque};

use crate::committer::receipts::{EnvelopeIds, Outcome, Ticket};
use crate::store::SendKey;
use chatctl_protocol::Code;
use smallvec::SmallVec;

/// Sends by name.
#[derive(Debug, Default)]
pub(super) struct Recents {
    sends: HashMap<SendKey, Recent>,
    settled: VecDeque<SendKey>,
}

#[derive(Debug)]
struct Recent {
    digest: [u8; 8],
    ids: EnvelopeIds,
    /// Who waits for the outcome; `None` once it is safe.
    waiting: Option<SmallVec<[Ticket; 1]>>,
}

impl Recents {
    /// Whether a send of this name is here.
    pub(super) fn knows(&self, key: &SendKey) -> bool {
        self.sends.contains_key(key)
    }

    /// Answers a retry: now if the first try is safe, with it if it is under way.
    pub(super) fn retry(&mut self, key: &SendKey, digest: [u8; 8], ticket: Ticket) {
        let Some(recent) = self.sends.get_mut(key) else {
            return;
        };
        if recent.digest != digest {
            return ticket.settle(Outcome::Refused(Code::Conflict));
        }
        match &mut recent.waiting {
            Some(waiting) => waiting.push(ticket),
            None => ticket.settle(Outcome::Safe {
                ids: recent.ids.clone(),
                duplicate: true,
            }),
        }
    }

    /// A send is under way.
    pub(super) fn begin(&mut self, key: SendKey, digest: [u8; 8], ids: EnvelopeIds, ticket: Ticket) {
        let waiting = Some(SmallVec::from_buf([ticket]));
        self.sends.insert(key, Recent { digest, ids, waiting });
    }

    /// The send is safe: the first who waits made it, the others are retries.
    pub(super) fn safe(&mut self, key: &SendKey) {
        let Some(recent) = self.sends.get_mut(key) else {
            return;
        };
        let waiting = recent.waiting.take().unwrap_or_default();
        for (turn, ticket) in waiting.into_iter().enumerate() {
            ticket.settle(Outcome::Safe {
                ids: recent.ids.clone(),
                duplicate: turn > 0,
            });
        }
        self.settled.push_back(key.clone());
        if self.settled.len() > MAX_SETTLED
            && let Some(oldest) = self.settled.pop_front()
        {
            self.sends.remove(&oldest);
        }
    }

    /// The send failed: a retry is a new one.
    pub(super) fn refused(&mut self, key: &SendKey, code: Code) {
        if let Some(recent) = self.sends.remove(key) {
            for ticket in recent.waiting.into_iter().flatten() {
                ticket.settle(Outcome::Refused(code));
            }
        }
    }
}

/// Settled sends that are remembered.
const MAX_SETTLED: usize = 65_536;
