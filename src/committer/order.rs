//! Where the envelopes of the tail stand, over all mailboxes: one place each, in the order of their ids.
//!
//! Must not hold envelopes; it says which of them are still there, so that a batch need not ask their mailboxes.

use std::collections::VecDeque;

use chatctl_protocol::EnvelopeId;

/// The places of the tail, oldest first. Each has a number that never changes.
#[derive(Debug, Default)]
pub(super) struct Order {
    places: VecDeque<Place>,
    /// The number of the first one.
    first: u64,
}

/// One envelope's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: EnvelopeId,
    /// The number of its mailbox on the tail. Means nothing once the envelope is gone.
    pub(super) mailbox: u32,
    pub(super) stay: Stay,
}

/// Whether an envelope is on the tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    /// It is.
    Here,
    /// It is, and is never stored.
    Ephemeral,
    /// It was acked, read or taken back.
    Gone,
    /// Its mailbox is no more.
    Removed,
}

impl Order {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The number of the next place.
    pub(super) fn next(&self) -> u64 {
        self.first + self.places.len() as u64
    }

    /// Takes the next place, for an id above all before it.
    pub(super) fn push(&mut self, place: Place) {
        self.places.push_back(place);
    }

    /// What stands at a place; what was there is gone when it is not known any more.
    pub(super) fn at(&self, number: u64) -> Option<Place> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.places.get(index).copied()
    }

    /// Whoever stood there is gone. The oldest places go with him, as far as all of them are free.
    pub(super) fn leave(&mut self, number: u64) {
        self.mark(number, Stay::Gone);
        while self
            .places
            .pop_front_if(|place| place.stay == Stay::Gone)
            .is_some()
        {
            self.first += 1;
        }
    }

    /// The mailbox of whoever stood there is no more.
    pub(super) fn remove(&mut self, number: u64) {
        self.mark(number, Stay::Removed);
    }

    /// The oldest place.
    pub(super) fn front(&self) -> Option<Place> {
        self.places.front().copied()
    }

    /// Gives the oldest place up.
    pub(super) fn pop(&mut self) {
        self.first += u64::from(self.places.pop_front().is_some());
    }

    fn mark(&mut self, number: u64, stay: Stay) {
        let index = number.wrapping_sub(self.first);
        if let Some(place) = usize::try_from(index).ok().and_then(|at| self.places.get_mut(at)) {
            place.stay = stay;
        }
    }
}
