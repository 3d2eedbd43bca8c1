//! Coming in: is it a retry, is there room, may its recipients have it; then ids, tail and ledger at once.
//!
//! Must not commit anything but the id ceiling; what is accepted waits in the books for its batch.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chatctl_protocol::Code;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use crate::committer::entry::{Entry, Obstacle, Verdict};
use crate::committer::slots::Slots;
use crate::committer::{Calls, Committer, Digest, Mail, Outcome, Part, Rings, Ticket, code_of};
use crate::model::{MailboxId, UnixMs};
use crate::store::{self, Batch, SendKey};

impl Committer {
    /// Puts a send on the tail and promises its outcome to the ticket. Waits while too much is
    /// uncommitted. Returns whom to call: nobody when the send was refused or is a retry that the tail knows.
    ///
    /// Cancel safe: a send that was given up is either not accepted at all or accepted whole.
    pub async fn accept(&self, mail: Mail, ticket: Ticket) -> Calls {
        let (mail, ticket) = match self.try_accept(mail, ticket, self.clock.now()) {
            Ok(calls) => return calls,
            Err(untouched) => untouched,
        };
        match self.admit(mail, ticket).await {
            Ok(calls) => calls,
            Err((ticket, code)) => {
                ticket.settle(Outcome::Refused(code));
                Calls::Ring(Rings::new())
            }
        }
    }

    /// As [`Self::accept`], if that needs no waiting: gives mail and ticket back if the store has to be asked first, or
    /// too much is uncommitted.
    ///
    /// # Errors
    ///
    /// What was given, untouched.
    pub fn try_accept(&self, mail: Mail, ticket: Ticket, now: UnixMs) -> Result<Calls, (Mail, Ticket)> {
        // Before the store is asked: what it does not say of a send that was not settled by now, the recents do.
        let settled = self.settled_to.load(Ordering::Acquire);
        if self.is_shared || self.store.may_know(&mail.key) {
            return Err((mail, ticket));
        }
        let charge = self.charge(&mail);
        let Ok(room) = self.room.try_acquire_many(charge) else {
            return Err((mail, ticket));
        };
        let decided = self.decide(mail, ticket, (settled, now), room);
        decided.map_err(|(mail, ticket, _)| (mail, ticket))
    }

    /// Decides about a send under the one lock, and answers it unless it comes in. What is known of the store was asked
    /// when every send before the position `settled` was.
    ///
    /// # Errors
    ///
    /// What is in the way, with what was given, untouched.
    fn decide(
        &self,
        mail: Mail,
        ticket: Ticket,
        (settled, now): (u64, UnixMs),
        room: SemaphorePermit<'_>,
    ) -> Result<Calls, (Mail, Ticket, Obstacle)> {
        let entry = Entry {
            hash: self.names.hash(&mail.key),
            settled,
            now,
            since: Instant::now(),
            charge: u32::try_from(room.num_permits()).unwrap_or(u32::MAX),
            limits: &self.pace.limits,
        };
        let mut books = self.books.lock();
        match books.examine(&mail, &entry) {
            Verdict::Fits(numbers) => {
                let (rings, is_first) = books.enter(mail, ticket, &entry, &numbers);
                drop(books);
                // From here on the charge is the pending send's, and goes when that is settled.
                room.forget();
                // Behind others it is their alarm that the committer waits for.
                if is_first {
                    self.work.notify_one();
                }
                return Ok(Calls::Ring(rings));
            }
            Verdict::Retry(position) => {
                books.recents.retry(position, mail.digest.now, ticket);
                self.metrics.sends_duplicate.inc();
            }
            Verdict::Refused(code) => {
                drop(books);
                ticket.settle(Outcome::Refused(code));
            }
            Verdict::Waits(obstacle) => return Err((mail, ticket, obstacle)),
        }
        Ok(Calls::Ring(Rings::new()))
    }

    /// What a send takes of the room for what is uncommitted.
    fn charge(&self, mail: &Mail) -> u32 {
        let bytes = mail.parts.iter().map(|part| part.payload.len() + PART_COST);
        let charge = bytes.sum::<usize>().min(self.pace.tail_bytes / 2);
        u32::try_from(charge).unwrap_or(u32::MAX)
    }

    /// Answers a send that was accepted before, whatever has changed since. Gives the ticket back when
    /// it was not.
    pub async fn recall(&self, key: &SendKey, digest: Digest, ticket: Ticket) -> Option<Ticket> {
        match self.answer_retry(key, digest, ticket).await {
            Ok(Retry::New(ticket)) => Some(ticket),
            Ok(Retry::Recent | Retry::Stored) => None,
            Err((ticket, _)) => Some(ticket),
        }
    }

    /// As [`Self::accept`], asking the store first.
    pub(super) async fn admit(&self, mut mail: Mail, mut ticket: Ticket) -> Result<Calls, (Ticket, Code)> {
        let charge = self.charge(&mail);
        loop {
            let settled = self.settled_to.load(Ordering::Acquire);
            ticket = match self.answer_retry(&mail.key, mail.digest, ticket).await? {
                Retry::New(ticket) => ticket,
                Retry::Recent => return Ok(Calls::Ring(Rings::new())),
                Retry::Stored => {
                    return Ok(Calls::Look(mail.parts.iter().map(|part| part.mailbox).collect()));
                }
            };
            for part in &mail.parts {
                if let Err(error) = self.load(part, mail.key.sender).await {
                    return Err((ticket, code_of(&error)));
                }
            }
            let Ok(room) = self.room.acquire_many(charge).await else {
                return Err((ticket, Code::Unavailable));
            };
            let now = self.clock.now();
            let obstacle;
            (mail, ticket, obstacle) = match self.decide(mail, ticket, (settled, now), room) {
                Ok(calls) => return Ok(calls),
                Err(untouched) => untouched,
            };
            match obstacle {
                // What was counted just now and is not known any more was removed meanwhile.
                Obstacle::Uncounted => return Err((ticket, Code::DeviceMismatch)),
                // So much was settled since the store was asked that it has to be asked again.
                Obstacle::Stale => continue,
                Obstacle::Ceiling => {}
            }
            if let Err(error) = self.raise_ceiling(now).await {
                return Err((ticket, code_of(&error)));
            }
        }
    }

    /// Answers a retry.
    async fn answer_retry(
        &self,
        key: &SendKey,
        digest: Digest,
        ticket: Ticket,
    ) -> Result<Retry, (Ticket, Code)> {
        {
            let hash = self.names.hash(key);
            let mut books = self.books.lock();
            if let Some(position) = books.recents.find(hash, key) {
                books.recents.retry(position, digest.now, ticket);
                self.metrics.sends_duplicate.inc();
                return Ok(Retry::Recent);
            }
            if let Some(code) = books.refuses() {
                return Err((ticket, code));
            }
        }
        match self.ask(self.store.sent(key)).await {
            Ok(None) => Ok(Retry::New(ticket)),
            Ok(Some(record)) if digest.is(record.digest) => {
                self.metrics.sends_duplicate.inc();
                let ids = record.envelope_ids.into_iter().collect();
                ticket.settle(Outcome::Safe { ids, duplicate: true });
                Ok(Retry::Stored)
            }
            Ok(Some(_)) => Err((ticket, Code::Conflict)),
            Err(error) => Err((ticket, code_of(&error))),
        }
    }

    /// Makes sure that the mailbox's ledger is loaded, and good enough for this part.
    ///
    /// Other relays on the same store count for themselves, so a ledger is asked for again when it is old,
    /// and before it refuses anybody. In between, a mailbox may hold more than its quota: for each relay as
    /// much as comes in within [`LEDGER_AGE`].
    async fn load(&self, part: &Part, sender: MailboxId) -> Result<(), store::Error> {
        let durable = {
            let books = self.books.lock();
            let slots = books.tail.known(part.mailbox);
            let is_good = slots.is_some_and(|slots| self.is_good(slots, part, sender));
            if is_good {
                return Ok(());
            }
            books.tail.durable()
        };
        let usage = self.ask(self.store.usage(part.mailbox)).await?;
        let mut books = self.books.lock();
        let slots = books.tail.slots(part.mailbox);
        // Nobody else writes to a store that is not shared: whoever was quicker has counted as well.
        if slots.ledger.is_none() || self.is_shared {
            slots.counted(usage, durable, Instant::now());
        }
        Ok(())
    }

    fn is_good(&self, slots: &Slots, part: &Part, sender: MailboxId) -> bool {
        let (Some(ledger), true) = (&slots.ledger, self.is_shared) else {
            return slots.ledger.is_some();
        };
        let age = slots.counted_at.map_or(LEDGER_AGE, |at| at.elapsed());
        let has_room = || ledger.has_room(sender, part.payload.len() as u64, &self.pace.limits);
        age < FULL_LEDGER_AGE || (age < LEDGER_AGE && has_room())
    }

    /// Makes a higher ceiling durable, so that ids can be minted.
    pub(super) async fn raise_ceiling(&self, now: UnixMs) -> Result<(), store::Error> {
        let Some(ceiling) = self.books.lock().minter.wanted_ceiling(now) else {
            return Ok(());
        };
        let raise = self.store.commit(Batch {
            id_ceiling: Some(ceiling),
            ..Batch::default()
        });
        let raised = self.ask(raise).await;
        if let Err(error @ store::Error::Poisoned(_)) = &raised {
            // Nothing may be minted any more, so there may never be another commit that would say so.
            self.books.lock().over = Some(error.clone());
            self.work.notify_one();
        }
        raised?;
        self.books.lock().minter.raise(ceiling);
        Ok(())
    }
}

/// What became of a send that may be a retry.
enum Retry {
    /// It is a new one.
    New(Ticket),
    /// It is answered with its first try, or was just now.
    Recent,
    /// It was answered from the store's record.
    Stored,
}

/// Bookkeeping per part of a send, charged with its payload.
const PART_COST: usize = 256;

/// Age at which a ledger is counted anew, where others write to the same mailboxes.
const LEDGER_AGE: Duration = Duration::from_secs(30);

/// Age at which a ledger without room is.
const FULL_LEDGER_AGE: Duration = Duration::from_secs(1);
