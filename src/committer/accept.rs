//! Coming in: is it a retry, is there room, may its recipients have it; then ids, tail and ledger at once.
//!
//! Must not commit anything but the id ceiling; what is accepted waits in the books for its batch.

use std::sync::Arc;
use std::time::Duration;

use chatctl_protocol::{Code, Limits};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::committer::tail::Slots;
use crate::committer::{
    Books, Calls, Committer, Digest, EnvelopeIds, Mail, Outcome, Part, Pending, Rings, Ticket, code_of,
};
use crate::model::{Envelope, MailboxId, UnixMs};
use crate::store::{self, Batch, SendKey, SendRecord};

impl Committer {
    /// Puts a send on the tail and promises its outcome to the ticket. Waits while too much is
    /// uncommitted. Returns whom to call: nobody when the send was refused or is a retry that the tail knows.
    ///
    /// Cancel safe: a send that was given up is either not accepted at all or accepted whole.
    pub async fn accept(&self, mail: Mail, ticket: Ticket) -> Calls {
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
    pub fn try_accept(&self, mail: Mail, ticket: Ticket, _now: UnixMs) -> Result<Calls, (Mail, Ticket)> {
        Err((mail, ticket))
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

    async fn admit(&self, mail: Mail, ticket: Ticket) -> Result<Calls, (Ticket, Code)> {
        let ticket = match self.answer_retry(&mail.key, mail.digest, ticket).await? {
            Retry::New(ticket) => ticket,
            Retry::Recent => return Ok(Calls::Ring(Rings::new())),
            Retry::Stored => return Ok(Calls::Look(mail.parts.iter().map(|part| part.mailbox).collect())),
        };
        for part in &mail.parts {
            if let Err(error) = self.load(part, mail.key.sender).await {
                return Err((ticket, code_of(&error)));
            }
        }
        let charge = mail
            .parts
            .iter()
            .map(|part| part.payload.len() + PART_COST)
            .sum::<usize>();
        let charge = u32::try_from(charge.min(self.pace.tail_bytes / 2)).unwrap_or(u32::MAX);
        let Ok(room) = self.room.acquire_many(charge).await else {
            return Err((ticket, Code::Unavailable));
        };
        let parts = mail.parts.len();
        loop {
            let now = self.clock.now();
            {
                let mut books = self.books.lock();
                if let Some(code) = books.refuses() {
                    return Err((ticket, code));
                }
                if books.minter.can_mint(now, parts) {
                    let entry = Entry {
                        now,
                        charge,
                        limits: &self.pace.limits,
                    };
                    let Some(rings) = books.enter(mail, ticket, &entry)? else {
                        self.metrics.sends_duplicate.inc();
                        return Ok(Calls::Ring(Rings::new()));
                    };
                    // From here on the charge is the pending send's, and goes when that is settled.
                    room.forget();
                    // Behind others it is their alarm that the committer waits for.
                    if books.pending.len() == 1 {
                        self.work.notify_one();
                    }
                    self.metrics.envelopes_accepted.inc_by(parts as u64);
                    return Ok(Calls::Ring(rings));
                }
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
            let mut books = self.books.lock();
            if books.recents.knows(key) {
                books.recents.retry(key, digest.now, ticket);
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
        if slots.ledger.is_none() || self.store.is_shared() {
            slots.counted(usage, durable, Instant::now());
        }
        Ok(())
    }

    fn is_good(&self, slots: &Slots, part: &Part, sender: MailboxId) -> bool {
        let (Some(ledger), true) = (&slots.ledger, self.store.is_shared()) else {
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

/// When, at what charge and under which bounds a send comes in.
struct Entry<'a> {
    now: UnixMs,
    charge: u32,
    limits: &'a Limits,
}

impl Books {
    /// Why nothing can be accepted now, if so.
    fn refuses(&self) -> Option<Code> {
        if self.stopped || self.away {
            return Some(Code::Unavailable);
        }
        self.full_until
            .is_some_and(|until| Instant::now() < until)
            .then_some(Code::StorageFull)
    }

    /// Mints, counts and pushes: all of it or nothing. `None` when the send is a retry, which hears of
    /// its outcome with the first try.
    fn enter(
        &mut self,
        mail: Mail,
        ticket: Ticket,
        entry: &Entry<'_>,
    ) -> Result<Option<Rings>, (Ticket, Code)> {
        if self.recents.knows(&mail.key) {
            self.recents.retry(&mail.key, mail.digest.now, ticket);
            return Ok(None);
        }
        // What was counted just now and is not known any more was removed meanwhile.
        if !mail.ephemeral && mail.parts.iter().any(|part| !self.is_counted(part.mailbox)) {
            return Err((ticket, Code::DeviceMismatch));
        }
        if !mail.ephemeral && !self.has_room(&mail, entry.limits) {
            return Err((ticket, Code::MailboxFull));
        }
        let mint = |part| self.envelope(&mail, part, entry.now);
        let envelopes: SmallVec<[Arc<Envelope>; 1]> = mail.parts.iter().filter_map(mint).collect();
        for (envelope, part) in envelopes.iter().zip(&mail.parts) {
            // Ephemeral mail for a device that is away goes nowhere.
            if !mail.ephemeral || part.is_here {
                self.tail.push(Arc::clone(envelope));
            }
            if !mail.ephemeral
                && let Some(ledger) = &mut self.tail.slots(envelope.mailbox).ledger
            {
                ledger.add(envelope.sender, envelope.payload.len() as u64);
            }
        }
        let ids: EnvelopeIds = envelopes.iter().map(|envelope| envelope.id).collect();
        let record = SendRecord {
            key: mail.key.clone(),
            digest: mail.digest.now,
            envelope_ids: ids.to_vec(),
            accepted_at: entry.now,
        };
        let rings = envelopes
            .iter()
            .map(|envelope| (envelope.mailbox, envelope.id))
            .collect();
        self.recents.begin(mail.key, mail.digest.now, ids, ticket);
        self.pending.push_back(Pending {
            since: Instant::now(),
            record,
            envelopes,
            charge: entry.charge,
        });
        Ok(Some(rings))
    }

    fn has_room(&self, mail: &Mail, limits: &Limits) -> bool {
        mail.parts.iter().all(|part| {
            let ledger = self
                .tail
                .known(part.mailbox)
                .and_then(|slots| slots.ledger.as_ref());
            ledger.is_some_and(|ledger| ledger.has_room(mail.key.sender, part.payload.len() as u64, limits))
        })
    }

    fn is_counted(&self, mailbox: MailboxId) -> bool {
        let slots = self.tail.known(mailbox);
        slots.is_some_and(|slots| slots.ledger.is_some())
    }

    fn envelope(&mut self, mail: &Mail, part: &Part, now: UnixMs) -> Option<Arc<Envelope>> {
        Some(Arc::new(Envelope {
            id: self.minter.mint(now)?,
            mailbox: part.mailbox,
            sender: mail.key.sender,
            from: Arc::clone(&mail.from),
            client_msg_id: mail.key.client_msg_id,
            kind: part.kind,
            sent_at: mail.sent_at,
            accepted_at: now,
            expires_at: mail.expires_at,
            urgent: mail.urgent,
            ephemeral: mail.ephemeral,
            payload: part.payload.clone(),
        }))
    }
}

/// Bookkeeping per part of a send, charged with its payload.
const PART_COST: usize = 256;

/// Age at which a ledger is counted anew, where others write to the same mailboxes.
const LEDGER_AGE: Duration = Duration::from_secs(30);

/// Age at which a ledger without room is.
const FULL_LEDGER_AGE: Duration = Duration::from_secs(1);
