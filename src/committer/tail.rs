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
//!
//! A mailbox has a number here, so that one look into a map finds it for a whole send, page or ack.

use std::collections::HashMap;
use std::sync::Arc;

use chatctl_protocol::EnvelopeId;

use crate::committer::order::{Order, Place, Stay};
use crate::committer::slots::{Kept, Slots};
use crate::model::{Envelope, MailboxId, NumberHasher, UnixMs};
use crate::store::Room;

/// The lately accepted envelopes of all mailboxes.
#[derive(Debug)]
pub(super) struct Tail {
    numbers: HashMap<MailboxId, u32, NumberHasher>,
    /// By the mailboxes' numbers.
    boxes: Vec<Slots>,
    /// Numbers of nobody.
    free: Vec<u32>,
    order: Order,
    /// Everything accepted after this id, and not acked, is here.
    floor: EnvelopeId,
    /// Everything up to this id is durable, or will never be.
    durable: EnvelopeId,
    bytes: usize,
    max_bytes: usize,
}

/// Envelopes and their deliveries before this one.
pub(super) type Pages = Vec<(Arc<Envelope>, u32)>;

/// What the tail has for a reader.
#[derive(Debug)]
pub(super) enum Page {
    /// All there is after the cursor, as far as there was room.
    Here(Pages),
    /// What comes next is in the store, up to this id.
    Below(EnvelopeId),
}

/// Where an acked envelope was.
#[derive(Debug)]
pub(super) enum Acked {
    /// Only in memory: it never touches the disk.
    Elided(Arc<Envelope>),
    /// In the store, or on its way there, and still here if it was.
    Stored(Option<Arc<Envelope>>),
    /// Nowhere: another session's ack came first.
    Before(Option<Arc<Envelope>>),
}

/// What has become of an envelope of a send that waits for its commit.
#[derive(Debug)]
pub(super) enum Fate<'a> {
    /// It is to be stored.
    Waits(&'a Arc<Envelope>),
    /// It was acked, or is not for the store.
    Done,
    /// Its mailbox was removed.
    Removed,
}

impl Tail {
    pub(super) fn new(floor: EnvelopeId, max_bytes: usize) -> Self {
        Self {
            numbers: HashMap::default(),
            boxes: Vec::new(),
            free: Vec::new(),
            order: Order::default(),
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

    /// The number of a mailbox that is known. Good for as long as the books are locked.
    pub(super) fn number(&self, mailbox: MailboxId) -> Option<u32> {
        self.numbers.get(&mailbox).copied()
    }

    /// The part of the mailbox with this number.
    pub(super) fn at(&self, number: u32) -> &Slots {
        &self.boxes[number as usize]
    }

    /// As [`Self::at`], to be changed.
    pub(super) fn at_mut(&mut self, number: u32) -> &mut Slots {
        &mut self.boxes[number as usize]
    }

    pub(super) fn slots(&mut self, mailbox: MailboxId) -> &mut Slots {
        let number = self.known_from_now_on(mailbox);
        self.at_mut(number)
    }

    /// The number of a mailbox, a new one if it has none.
    pub(super) fn known_from_now_on(&mut self, mailbox: MailboxId) -> u32 {
        let (boxes, free) = (&mut self.boxes, &mut self.free);
        *self.numbers.entry(mailbox).or_insert_with(|| {
            let slots = Slots::default();
            if let Some(number) = free.pop() {
                boxes[number as usize] = slots;
                return number;
            }
            boxes.push(slots);
            // Mailboxes are devices: there are not four billions of them.
            u32::try_from(boxes.len() - 1).unwrap_or(u32::MAX)
        })
    }

    pub(super) fn known(&self, mailbox: MailboxId) -> Option<&Slots> {
        self.number(mailbox).map(|number| self.at(number))
    }

    /// The place of the next envelope.
    pub(super) fn next_place(&self) -> u64 {
        self.order.next()
    }

    /// Appends an envelope of the mailbox with this number, whose id is above all before it.
    pub(super) fn push(&mut self, mailbox: u32, envelope: Arc<Envelope>) {
        self.bytes += cost(&envelope);
        let (id, place) = (envelope.id, self.order.next());
        let stay = match envelope.ephemeral {
            true => Stay::Ephemeral,
            false => Stay::Here,
        };
        self.order.push(Place { id, mailbox, stay });
        self.at_mut(mailbox)
            .envelopes
            .push_back(Kept { id, place, envelope });
    }

    /// What has become of the envelope at a place.
    pub(super) fn fate(&self, place: u64) -> Fate<'_> {
        let Some(place) = self.order.at(place) else {
            return Fate::Done;
        };
        match place.stay {
            Stay::Here => match self.at(place.mailbox).find(place.id) {
                Some(envelope) => Fate::Waits(envelope),
                None => Fate::Done,
            },
            Stay::Removed => Fate::Removed,
            Stay::Ephemeral | Stay::Gone => Fate::Done,
        }
    }

    /// The mailbox's next envelopes of the stretch. Ephemeral ones leave the tail as they are read,
    /// stale ones (accepted before `ephemeral_before`) are dropped.
    pub(super) fn page(&mut self, mailbox: MailboxId, stretch: Stretch, room: Room, times: Times) -> Page {
        let Stretch { after, up_to } = stretch;
        let number = self.number(mailbox);
        let of_mailbox = number.map_or(EnvelopeId::ZERO, |number| self.at(number).floor);
        let floor = self.floor.max(of_mailbox);
        if after < floor {
            return Page::Below(floor);
        }
        let Some(slots) = number.and_then(|number| self.boxes.get_mut(number as usize)) else {
            return Page::Here(Vec::new());
        };
        let mut page = Vec::new();
        let mut bytes = 0;
        let mut next = slots.after(after);
        while page.len() < room.envelopes
            && let Some(Kept { id, place, envelope }) = slots.envelopes.get(next)
            && *id <= up_to
        {
            if times.is_over(envelope) {
                next += 1;
                continue;
            }
            bytes += envelope.payload.len();
            if bytes > room.bytes && !page.is_empty() {
                break;
            }
            if page.is_empty() {
                page.reserve((slots.envelopes.len() - next).min(room.envelopes));
            }
            let attempts = slots.attempts(*id);
            if envelope.ephemeral {
                self.bytes -= cost(envelope);
                self.order.leave(*place);
                page.extend(slots.envelopes.remove(next).map(|kept| (kept.envelope, attempts)));
            } else {
                page.push((Arc::clone(envelope), attempts));
                next += 1;
            }
        }
        Page::Here(page)
    }

    /// Forgets an acked envelope of the mailbox with this number. Up to `committing`, the store has it or is
    /// about to.
    pub(super) fn ack(&mut self, number: u32, id: EnvelopeId, committing: EnvelopeId) -> Acked {
        let slots = &mut self.boxes[number as usize];
        slots.expired(id);
        let kept = slots.take(id).map(|kept| {
            self.bytes -= cost(&kept.envelope);
            self.order.leave(kept.place);
            kept.envelope
        });
        match kept {
            Some(envelope) if id > committing => Acked::Elided(envelope),
            kept => match slots.gone.insert(id) {
                true => Acked::Stored(kept),
                false => Acked::Before(kept),
            },
        }
    }

    /// Takes an envelope back that was refused. Returns it if it was still here.
    pub(super) fn take_back(&mut self, place: u64) -> Option<Arc<Envelope>> {
        let Place { id, mailbox, stay } = self.order.at(place)?;
        match stay {
            Stay::Here | Stay::Ephemeral => {}
            Stay::Gone | Stay::Removed => return None,
        }
        let envelope = self.at_mut(mailbox).take(id)?.envelope;
        self.bytes -= cost(&envelope);
        self.order.leave(place);
        Some(envelope)
    }

    /// Everything up to `id` is durable. Makes room by dropping the oldest that are.
    pub(super) fn settle(&mut self, id: EnvelopeId) {
        self.durable = self.durable.max(id);
        while let Some(place) = self.order.front() {
            let is_too_much = self.bytes > self.max_bytes || self.order.len() > self.max_bytes / OVERHEAD;
            match place.stay {
                Stay::Gone => {}
                // Its send has been looked at.
                Stay::Removed if place.id <= self.durable => {}
                Stay::Here | Stay::Ephemeral if place.id <= self.durable && is_too_much => {
                    self.floor = place.id;
                    if let Some(kept) = self.at_mut(place.mailbox).take(place.id) {
                        self.bytes -= cost(&kept.envelope);
                    }
                }
                Stay::Here | Stay::Ephemeral | Stay::Removed => return,
            }
            self.order.pop();
        }
    }

    /// What is durable of this mailbox may have been acked on another relay: from here on only the store says
    /// what of it is left.
    pub(super) fn leave_to_store(&mut self, mailbox: MailboxId) {
        let durable = self.durable;
        let Some(number) = self.number(mailbox) else {
            return;
        };
        let slots = &mut self.boxes[number as usize];
        slots.floor = durable;
        let (order, bytes) = (&mut self.order, &mut self.bytes);
        slots.envelopes.retain(|kept| {
            let stays = kept.id > durable || kept.envelope.ephemeral;
            if !stays {
                *bytes -= cost(&kept.envelope);
                order.leave(kept.place);
            }
            stays
        });
    }

    /// The store has forgotten this envelope.
    pub(super) fn deleted(&mut self, mailbox: MailboxId, id: EnvelopeId) {
        if let Some(number) = self.number(mailbox) {
            self.at_mut(number).gone.remove(&id);
        }
    }

    /// Forgets a mailbox that is no more.
    pub(super) fn forget(&mut self, mailbox: MailboxId) {
        let Some(number) = self.numbers.remove(&mailbox) else {
            return;
        };
        let slots = std::mem::take(&mut self.boxes[number as usize]);
        self.free.push(number);
        for kept in slots.envelopes {
            self.bytes -= cost(&kept.envelope);
            match kept.envelope.ephemeral {
                true => self.order.leave(kept.place),
                false => self.order.remove(kept.place),
            }
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
