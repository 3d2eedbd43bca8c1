//! The duplicate filter: each message reaches the app once, each envelope of it gets its ack.
//!
//! # Why
//!
//! The relay delivers at least once. Dropping a repeated envelope is not enough: if the app has already
//! acked the message the copy must be acked too, or it comes again for ever; if the app has not, the copy
//! must wait for the app's ack, or a crash of the app loses the message. So the memory holds, for each
//! message, the ids under which it came and whether the app is done with it.

use std::collections::{HashMap, VecDeque};

use chatctl_protocol::{Address, ClientMsgId, EnvelopeId};

use crate::Mail;

/// Bounded memory of messages, forgetting the oldest first.
#[derive(Debug)]
pub(crate) struct Seen {
    messages: HashMap<Key, Entry>,
    by_envelope: HashMap<EnvelopeId, Key>,
    order: VecDeque<Key>,
    capacity: usize,
}

type Key = (Option<Address>, ClientMsgId);

#[derive(Debug)]
struct Entry {
    /// Ids under which the message came, oldest first.
    ids: Vec<EnvelopeId>,
    acked: bool,
}

/// What to do with an envelope that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Give it to the app.
    New,
    /// The app has it and has acked it: ack this copy as well.
    Done,
    /// The app has it and has not acked it yet: its ack will name this copy too.
    Pending,
}

impl Seen {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            messages: HashMap::new(),
            by_envelope: HashMap::new(),
            order: VecDeque::new(),
            capacity: capacity.max(1),
        }
    }

    /// Judges an envelope and remembers it.
    pub(crate) fn arrived(&mut self, mail: &Mail) -> Verdict {
        let key = (mail.from.clone(), mail.message_id);
        if let Some(entry) = self.messages.get_mut(&key) {
            if !entry.ids.contains(&mail.id) {
                if entry.ids.len() == MAX_COPIES {
                    self.by_envelope.remove(&entry.ids.remove(0));
                }
                entry.ids.push(mail.id);
                self.by_envelope.insert(mail.id, key);
            }
            return if entry.acked {
                Verdict::Done
            } else {
                Verdict::Pending
            };
        }
        if self.order.len() >= self.capacity {
            self.forget_oldest();
        }
        let entry = Entry {
            ids: vec![mail.id],
            acked: false,
        };
        self.messages.insert(key.clone(), entry);
        self.by_envelope.insert(mail.id, key.clone());
        self.order.push_back(key);
        Verdict::New
    }

    /// The app is done with an envelope: all ids that its ack must name.
    pub(crate) fn acked(&mut self, id: EnvelopeId) -> Vec<EnvelopeId> {
        let entry = self
            .by_envelope
            .get(&id)
            .and_then(|key| self.messages.get_mut(key));
        match entry {
            Some(entry) => {
                entry.acked = true;
                entry.ids.clone()
            }
            // Forgotten: the relay knows what it delivered.
            None => vec![id],
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(entry) = self.order.pop_front().and_then(|key| self.messages.remove(&key)) {
            for id in entry.ids {
                self.by_envelope.remove(&id);
            }
        }
    }
}

/// A relay that crashes between delivery and commit makes one more copy; more than this is a broken one.
const MAX_COPIES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use chatctl_protocol::{AccountId, DeviceId};

    fn mail(id: u64, from: &str, message: &'static str) -> Mail {
        Mail {
            id: EnvelopeId::from_u64(id),
            from: Some(Address {
                account: AccountId::parse(from).unwrap(),
                device_id: DeviceId::parse("1").unwrap(),
            }),
            kind: 0,
            message_id: ClientMsgId::parse(Bytes::from_static(message.as_bytes())).unwrap(),
            sent_at: 0,
            accepted_at: 0,
            attempt: 1,
            payload: Bytes::new(),
            urgent: false,
            ephemeral: false,
        }
    }

    fn ids(numbers: &[u64]) -> Vec<EnvelopeId> {
        numbers.iter().copied().map(EnvelopeId::from_u64).collect()
    }

    #[test]
    fn a_copy_is_acked_together_with_the_first() {
        let mut seen = Seen::new(9);
        assert_eq!(seen.arrived(&mail(1, "alice", "m")), Verdict::New);
        assert_eq!(seen.arrived(&mail(1, "alice", "m")), Verdict::Pending);
        assert_eq!(seen.arrived(&mail(2, "alice", "m")), Verdict::Pending);
        assert_eq!(seen.acked(EnvelopeId::from_u64(1)), ids(&[1, 2]));
        assert_eq!(seen.arrived(&mail(3, "alice", "m")), Verdict::Done);
    }

    #[test]
    fn the_same_id_of_another_sender_is_another_message() {
        let mut seen = Seen::new(9);
        assert_eq!(seen.arrived(&mail(1, "alice", "m")), Verdict::New);
        assert_eq!(seen.arrived(&mail(2, "bob", "m")), Verdict::New);
    }

    #[test]
    fn memory_is_bounded_and_forgets_the_oldest() {
        let mut seen = Seen::new(2);
        for (id, message) in [(1, "a"), (2, "b"), (3, "c")] {
            assert_eq!(seen.arrived(&mail(id, "alice", message)), Verdict::New);
        }
        assert_eq!(
            (seen.messages.len(), seen.by_envelope.len(), seen.order.len()),
            (2, 2, 2)
        );
        assert_eq!(seen.acked(EnvelopeId::from_u64(1)), ids(&[1]));
        assert_eq!(seen.arrived(&mail(3, "alice", "c")), Verdict::Pending);
        assert_eq!(seen.arrived(&mail(4, "alice", "a")), Verdict::New);
        for id in 10..100 {
            seen.arrived(&mail(id, "alice", "a"));
        }
        assert!(seen.by_envelope.len() <= 2 * MAX_COPIES);
    }
}
