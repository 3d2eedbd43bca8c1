//! What is decided about a send under the one lock, and how it comes in: ids, tail, ledger and recents at once.
//!
//! Must not ask the store or wait: it says what would have to be asked.

use std::sync::Arc;

use chatctl_protocol::{Code, Limits};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::committer::{Books, EnvelopeIds, Mail, Pending, Rings, Ticket};
use crate::model::{Envelope, UnixMs};

/// When, at what charge and under which bounds a send comes in.
pub(super) struct Entry<'a> {
    /// Of its name.
    pub(super) hash: u64,
    /// Every send before this position was settled when the store was asked for this one.
    pub(super) settled: u64,
    pub(super) now: UnixMs,
    pub(super) since: Instant,
    pub(super) charge: u32,
    pub(super) limits: &'a Limits,
}

/// What is to become of a send.
pub(super) enum Verdict {
    /// It comes in. The numbers of its mailboxes.
    Fits(Numbers),
    /// It came before: the first try's position.
    Retry(u64),
    Refused(Code),
    /// The store has to be asked before that can be said.
    Waits(Obstacle),
}

/// What the store has to be asked.
pub(super) enum Obstacle {
    /// A mailbox of it has not been counted.
    Uncounted,
    /// What the store said of its name is too old.
    Stale,
    /// The ceiling of the ids is in the way.
    Ceiling,
}

/// Numbers of mailboxes on the tail, in the order of a send's parts.
pub(super) type Numbers = SmallVec<[u32; 4]>;

impl Books {
    /// Why nothing can be accepted now, if so.
    pub(super) fn refuses(&self) -> Option<Code> {
        if self.stopped || self.away {
            return Some(Code::Unavailable);
        }
        self.full_until
            .is_some_and(|until| Instant::now() < until)
            .then_some(Code::StorageFull)
    }

    /// Whether a send may come in. Changes nothing.
    pub(super) fn examine(&self, mail: &Mail, entry: &Entry<'_>) -> Verdict {
        if let Some(position) = self.recents.find(entry.hash, &mail.key) {
            return Verdict::Retry(position);
        }
        if let Some(code) = self.refuses() {
            return Verdict::Refused(code);
        }
        // An earlier try may have been settled and have left the recents since the store was asked.
        if self.recents.first() > entry.settled {
            return Verdict::Waits(Obstacle::Stale);
        }
        if !self.minter.can_mint(entry.now, mail.parts.len()) {
            return Verdict::Waits(Obstacle::Ceiling);
        }
        let mut numbers = Numbers::new();
        let mut has_room = true;
        for part in &mail.parts {
            let Some(number) = self.tail.number(part.mailbox) else {
                return Verdict::Waits(Obstacle::Uncounted);
            };
            if !mail.ephemeral {
                let Some(ledger) = &self.tail.at(number).ledger else {
                    return Verdict::Waits(Obstacle::Uncounted);
                };
                let bytes = part.payload.len() as u64;
                has_room &= ledger.has_room(mail.key.sender, bytes, entry.limits);
            }
            numbers.push(number);
        }
        match has_room {
            true => Verdict::Fits(numbers),
            false => Verdict::Refused(Code::MailboxFull),
        }
    }

    /// Mints, counts and pushes what was found to fit under this lock. Returns whom to ring, and whether nothing else
    /// waits for a commit.
    pub(super) fn enter(
        &mut self,
        mail: Mail,
        ticket: Ticket,
        entry: &Entry<'_>,
        numbers: &Numbers,
    ) -> (Rings, bool) {
        let first = self.tail.next_place();
        let (mut ids, mut rings) = (EnvelopeIds::new(), Rings::new());
        let sender = mail.key.sender;
        let mut from = Some(mail.from);
        let mut left = mail.parts.len();
        for (part, &number) in mail.parts.into_iter().zip(numbers) {
            left -= 1;
            let address = match left {
                0 => from.take(),
                _ => from.clone(),
            };
            let (Some(id), Some(from)) = (self.minter.mint(entry.now), address) else {
                continue;
            };
            ids.push(id);
            rings.push((part.mailbox, id));
            // Ephemeral mail for a device that is away goes nowhere.
            if mail.ephemeral && !part.is_here {
                continue;
            }
            if !mail.ephemeral
                && let Some(ledger) = &mut self.tail.at_mut(number).ledger
            {
                ledger.add(sender, part.payload.len() as u64);
            }
            let envelope = Arc::new(Envelope {
                id,
                mailbox: part.mailbox,
                sender,
                from,
                client_msg_id: mail.key.client_msg_id,
                kind: part.kind,
                sent_at: mail.sent_at,
                accepted_at: entry.now,
                expires_at: mail.expires_at,
                urgent: mail.urgent,
                ephemeral: mail.ephemeral,
                payload: part.payload,
            });
            self.tail.push(number, envelope);
        }
        self.accepted += ids.len() as u64;
        if !mail.ephemeral {
            self.leeway.accepted(ids.len() as u64);
        }
        let is_first = self.pending.is_empty();
        let last = ids.last().copied().unwrap_or_default();
        self.pending.push_back(Pending {
            since: entry.since,
            position: self.recents.begin(entry.hash, mail.key, mail.digest.now, ids),
            places: first..self.tail.next_place(),
            last,
            charge: entry.charge,
            ticket,
        });
        (rings, is_first)
    }
}
