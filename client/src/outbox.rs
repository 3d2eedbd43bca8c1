//! Sends that have no answer yet, in the order in which they were posted.
//!
//! The relay accepts in the order of the socket, so writing all unanswered sends again in this order
//! after a break keeps the order of each recipient's mail.

use std::collections::VecDeque;

use chatctl_protocol::v1;

use crate::{Message, SendId};

/// A bounded queue; `post` refuses when it is full.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: VecDeque<v1::Send>,
    /// How many of the front have been written on the present socket.
    written: usize,
    capacity: usize,
    last_id: u64,
}

impl Outbox {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            written: 0,
            capacity,
            last_id: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the message, unless `unread` answers and the waiting sends fill the bound.
    pub(crate) fn post(&mut self, message: Message, unread: usize) -> Option<SendId> {
        if self.waiting.len() + unread >= self.capacity {
            return None;
        }
        self.last_id += 1;
        self.waiting.push_back(v1::Send {
            id: self.last_id,
            ..message.into_frame()
        });
        Some(SendId(self.last_id))
    }

    /// The next send to write. Payloads are shared, not copied.
    pub(crate) fn next_to_write(&mut self) -> Option<v1::Send> {
        let next = self.waiting.get(self.written)?.clone();
        self.written += 1;
        Some(next)
    }

    pub(crate) fn has_unwritten(&self) -> bool {
        self.written < self.waiting.len()
    }

    /// Whether the id names a written send; it leaves the queue.
    pub(crate) fn answered(&mut self, id: u64) -> bool {
        // Ids rise along the queue.
        let Ok(at) = self.waiting.binary_search_by_key(&id, |send| send.id) else {
            return false;
        };
        if at >= self.written {
            return false;
        }
        self.written -= 1;
        self.waiting.remove(at);
        true
    }

    /// The socket is gone: what was written may be lost.
    pub(crate) fn rewind(&mut self) {
        self.written = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chatctl_protocol::AccountId;

    fn message() -> Message {
        Message::new(AccountId::parse("bob").unwrap())
    }

    fn write_all(outbox: &mut Outbox) -> Vec<u64> {
        std::iter::from_fn(|| outbox.next_to_write())
            .map(|send| send.id)
            .collect()
    }

    #[test]
    fn what_is_not_answered_is_written_again_in_order() {
        let mut outbox = Outbox::new(9);
        let ids: Vec<_> = (0..4).map(|_| outbox.post(message(), 0).unwrap().0).collect();
        let names: Vec<_> = outbox
            .waiting
            .iter()
            .map(|send| send.client_msg_id.clone())
            .collect();
        assert_eq!(write_all(&mut outbox), ids);
        assert!(outbox.answered(ids[2]));
        outbox.rewind();
        assert_eq!(write_all(&mut outbox), [ids[0], ids[1], ids[3]]);
        let kept: Vec<_> = outbox
            .waiting
            .iter()
            .map(|send| send.client_msg_id.clone())
            .collect();
        assert_eq!(kept, [names[0].clone(), names[1].clone(), names[3].clone()]);
    }

    #[test]
    fn an_answer_to_nothing_is_told() {
        let mut outbox = Outbox::new(9);
        let id = outbox.post(message(), 0).unwrap().0;
        assert!(!outbox.answered(id), "not written yet");
        write_all(&mut outbox);
        assert!(!outbox.answered(id + 1));
        assert!(outbox.answered(id));
        assert!(!outbox.answered(id));
    }

    #[test]
    fn the_bound_counts_unread_answers() {
        let mut outbox = Outbox::new(2);
        assert!(outbox.post(message(), 1).is_some());
        assert!(outbox.post(message(), 1).is_none());
        assert!(outbox.post(message(), 0).is_some());
    }
}
