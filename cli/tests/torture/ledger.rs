//! What was promised and what came: the judge of a torture run.
//!
//! Senders write down what they posted and what was answered OK, recipients each delivery. Must not know
//! how either happened.
//!
//! # Why
//!
//! Delivery is at least once, so a second delivery is no fault by itself. A second *copy* is one when the
//! first copy was durable: then the relay had all it needed to know the retry. A copy was durable when one
//! life of the process delivered it and a later life delivered it again. Which life a session belongs to
//! is known as a range only, so the ranges must not even touch.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chatctl_protocol::EnvelopeId;

/// Names a message: sender, recipient, and its number between the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) number: u32,
}

/// Lives of the process that a session can belong to, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lives {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// One delivery, as the recipient saw it.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) id: EnvelopeId,
    pub(crate) name: Bytes,
    pub(crate) payload: Bytes,
    pub(crate) lives: Lives,
}

#[derive(Debug)]
struct Posted {
    name: Bytes,
    payload: Bytes,
    /// It was refused once and posted again, so its place in the order is open.
    refused: bool,
    accepted: Option<EnvelopeId>,
    arrived: bool,
    copies: Vec<Copy>,
}

#[derive(Debug)]
struct Copy {
    id: EnvelopeId,
    /// The earliest life that can have minted it last.
    minted_by: u64,
    durable: bool,
}

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    messages: HashMap<Key, Posted>,
    /// Highest number that came in order, by sender and recipient.
    order: HashMap<(u32, u32), u32>,
    accepted: usize,
    arrived: usize,
    repeated: usize,
    /// When the last send was accepted, and the longest time without one, while somebody watches.
    watched: Option<(Instant, Duration)>,
    violations: Vec<String>,
}

impl Ledger {
    pub(crate) fn posted(&mut self, key: Key, name: Bytes, payload: Bytes) {
        let posted = Posted {
            name,
            payload,
            refused: false,
            accepted: None,
            arrived: false,
            copies: Vec::new(),
        };
        self.messages.insert(key, posted);
    }

    /// The relay refused it for now, and it was posted again behind later ones.
    pub(crate) fn refused(&mut self, key: Key) {
        if let Some(posted) = self.messages.get_mut(&key) {
            posted.refused = true;
        }
    }

    /// The relay answered OK.
    pub(crate) fn accepted(&mut self, key: Key, ids: &[EnvelopeId]) {
        let Some(posted) = self.messages.get_mut(&key) else {
            return self.violated(format!("{key:?}: OK for what was never sent"));
        };
        let &[id] = ids else {
            return self.violated(format!("{key:?}: OK with {} envelopes instead of one", ids.len()));
        };
        if posted.accepted.replace(id).is_some() {
            return self.violated(format!("{key:?}: two answers to one send"));
        }
        self.accepted += 1;
        self.look();
        self.check_copies(key);
    }

    /// Starts to measure the time without an accepted send.
    pub(crate) fn watch(&mut self) {
        self.watched = Some((Instant::now(), Duration::ZERO));
    }

    /// The longest time without an accepted send since [`Self::watch`].
    pub(crate) fn longest_pause(&self) -> Duration {
        self.watched.map_or(Duration::ZERO, |(_, longest)| longest)
    }

    fn look(&mut self) {
        if let Some((last, longest)) = &mut self.watched {
            *longest = last.elapsed().max(*longest);
            *last = Instant::now();
        }
    }

    /// An envelope came, before it is acked.
    pub(crate) fn arrived(&mut self, key: Key, delivery: &Delivery) {
        let Some(posted) = self.messages.get_mut(&key) else {
            return self.violated(format!("{key:?}: came and was never sent"));
        };
        if posted.name != delivery.name || posted.payload != delivery.payload {
            return self.violated(format!("{key:?}: came with other bytes than it was sent with"));
        }
        match posted.copies.iter_mut().find(|copy| copy.id == delivery.id) {
            Some(copy) => {
                copy.durable |= delivery.lives.first > copy.minted_by;
                copy.minted_by = copy.minted_by.min(delivery.lives.last);
            }
            None => posted.copies.push(Copy {
                id: delivery.id,
                minted_by: delivery.lives.last,
                durable: false,
            }),
        }
        let (first_time, refused) = (!posted.arrived, posted.refused);
        posted.arrived = true;
        if first_time {
            self.arrived += 1;
            self.check_order(key, refused);
        } else {
            self.repeated += 1;
        }
        self.check_copies(key);
    }

    pub(crate) fn violated(&mut self, what: String) {
        // The first ones tell the story; a broken relay would fill the memory.
        if self.violations.len() < 20 {
            self.violations.push(what);
        }
    }

    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Messages posted that have not come.
    pub(crate) fn on_the_way(&self) -> usize {
        self.messages.len() - self.arrived
    }

    pub(crate) fn accepted_count(&self) -> usize {
        self.accepted
    }

    /// Messages answered OK that have not come.
    pub(crate) fn lost(&self) -> Vec<Key> {
        let lost =
            |(key, posted): (&Key, &Posted)| (posted.accepted.is_some() && !posted.arrived).then_some(*key);
        let mut lost: Vec<_> = self.messages.iter().filter_map(lost).collect();
        lost.sort_unstable();
        lost
    }

    pub(crate) fn summary(&self) -> String {
        format!(
            "{} posted, {} accepted, {} arrived, {} deliveries repeated",
            self.messages.len(),
            self.accepted,
            self.arrived,
            self.repeated
        )
    }

    fn check_order(&mut self, key: Key, refused: bool) {
        if refused {
            return;
        }
        let highest = self.order.entry((key.from, key.to)).or_default();
        let before = *highest;
        *highest = before.max(key.number);
        if key.number < before {
            self.violated(format!("{key:?}: came after number {before} of the same sender"));
        }
    }

    fn check_copies(&mut self, key: Key) {
        let Some(posted) = self.messages.get(&key) else {
            return;
        };
        let mut safe: Vec<_> = posted
            .copies
            .iter()
            .filter(|copy| copy.durable)
            .map(|copy| copy.id)
            .collect();
        safe.extend(posted.accepted);
        safe.sort_unstable();
        safe.dedup();
        if safe.len() > 1 {
            self.violated(format!("{key:?}: stored more than once, as {safe:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        Key {
            from: 0,
            to: 1,
            number,
        }
    }

    fn delivery(id: u64, life: u64) -> Delivery {
        Delivery {
            id: EnvelopeId::from_u64(id),
            name: Bytes::from_static(b"name"),
            payload: Bytes::from_static(b"payload"),
            lives: Lives {
                first: life,
                last: life,
            },
        }
    }

    fn ledger(numbers: &[u32]) -> Ledger {
        let mut ledger = Ledger::default();
        for &number in numbers {
            let (name, payload) = (Bytes::from_static(b"name"), Bytes::from_static(b"payload"));
            ledger.posted(key(number), name, payload);
        }
        ledger
    }

    #[test]
    fn a_copy_that_was_lost_with_its_process_is_no_fault() {
        let mut ledger = ledger(&[1, 2]);
        ledger.arrived(key(1), &delivery(10, 0));
        ledger.arrived(key(2), &delivery(11, 0));
        ledger.arrived(key(1), &delivery(20, 1));
        ledger.arrived(key(2), &delivery(21, 1));
        ledger.accepted(key(1), &[EnvelopeId::from_u64(20)]);
        ledger.arrived(key(1), &delivery(20, 2));
        assert_eq!(ledger.violations(), [""; 0]);
        assert_eq!(
            ledger.summary(),
            "2 posted, 1 accepted, 2 arrived, 3 deliveries repeated"
        );
    }

    #[test]
    fn loss_is_found() {
        let mut ledger = ledger(&[1, 2]);
        ledger.accepted(key(1), &[EnvelopeId::from_u64(10)]);
        assert_eq!((ledger.lost(), ledger.on_the_way()), (vec![key(1)], 2));
        ledger.arrived(key(1), &delivery(10, 0));
        assert_eq!((ledger.lost(), ledger.on_the_way()), (Vec::new(), 1));
    }

    #[test]
    fn a_wrong_order_is_found() {
        let mut ledger = ledger(&[1, 2]);
        ledger.arrived(key(2), &delivery(11, 0));
        ledger.arrived(key(1), &delivery(10, 0));
        assert_eq!(ledger.violations().len(), 1);
    }

    #[test]
    fn a_retry_of_a_durable_message_that_became_a_second_one_is_found() {
        let mut ledger = ledger(&[1]);
        ledger.arrived(key(1), &delivery(10, 0));
        ledger.arrived(key(1), &delivery(10, 1));
        ledger.accepted(key(1), &[EnvelopeId::from_u64(11)]);
        assert_eq!(ledger.violations().len(), 1);
    }

    #[test]
    fn other_bytes_and_unknown_mail_are_found() {
        let mut ledger = ledger(&[1]);
        let forged = Delivery {
            payload: Bytes::from_static(b"forged"),
            ..delivery(10, 0)
        };
        ledger.arrived(key(1), &forged);
        ledger.arrived(key(9), &delivery(11, 0));
        assert_eq!(ledger.violations().len(), 2);
    }
}
