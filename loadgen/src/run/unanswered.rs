//! Messages that left and were not answered. They are kept, bytes and all, because they are sent again when the
//! connection breaks: that is how a client makes sure, and how a run finds out whether the server kept its word.

use std::collections::VecDeque;

use chatctl_protocol::ClientMsgId;
use smallvec::SmallVec;

use crate::clock::Nanos;
use crate::wire::Part;

/// A message to one account.
pub(super) struct Sent {
    pub(super) name: ClientMsgId,
    /// The account's place among the sender's targets.
    pub(super) target: usize,
    pub(super) seq: u64,
    pub(super) due: Nanos,
    pub(super) measured: bool,
    /// Whether it was sent before.
    pub(super) again: bool,
    pub(super) parts: SmallVec<[Part; 1]>,
}

impl Sent {
    /// Bytes of its payloads.
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.payload.len()).sum()
    }
}

/// All of a sender's.
pub(super) struct Unanswered {
    /// Out on this connection, by serial from `first` on.
    out: VecDeque<Option<Sent>>,
    first: u64,
    /// To be sent again before anything else.
    again: VecDeque<Sent>,
    count: u64,
    bytes: usize,
    limits: Limits,
}

/// What a sender may have out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    count: u64,
    bytes: usize,
}

impl Limits {
    /// What each of so many senders of a worker may have out, so that memory stays within bounds.
    pub(super) fn shared_by(senders: usize) -> Self {
        let senders = senders.max(1);
        Self {
            count: (MOST / senders).clamp(16, 1024) as u64,
            bytes: (MOST_BYTES / senders).clamp(256 * 1024, 8 * 1024 * 1024),
        }
    }
}

impl Unanswered {
    pub(super) const fn new(limits: Limits) -> Self {
        Self {
            out: VecDeque::new(),
            first: 1,
            again: VecDeque::new(),
            count: 0,
            bytes: 0,
            limits,
        }
    }

    /// Messages of it.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Whether another message may leave.
    pub(super) const fn has_room(&self) -> bool {
        self.count < self.limits.count && self.bytes < self.limits.bytes
    }

    /// The serial of the next message.
    pub(super) fn serial(&self) -> u64 {
        self.first + self.out.len() as u64
    }

    /// A message left.
    pub(super) fn push(&mut self, sent: Sent) {
        self.count += 1;
        self.bytes += sent.bytes();
        self.out.push_back(Some(sent));
    }

    /// A message was answered.
    pub(super) fn answered(&mut self, serial: u64) -> Option<Sent> {
        let place = usize::try_from(serial.checked_sub(self.first)?).ok()?;
        let sent = self.out.get_mut(place)?.take()?;
        while let Some(None) = self.out.front() {
            self.out.pop_front();
            self.first += 1;
        }
        self.count -= 1;
        self.bytes -= sent.bytes();
        Some(sent)
    }

    /// On a new connection: all of it is to be sent again.
    pub(super) fn restart(&mut self) {
        let mut again: VecDeque<Sent> = self.out.drain(..).flatten().collect();
        again.append(&mut self.again);
        for sent in &mut again {
            sent.again = true;
        }
        self.again = again;
        self.first = 1;
    }

    /// Whether there is a message to be sent again.
    pub(super) fn has_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// Takes a message to be sent again. It is put back with [`Unanswered::push`].
    pub(super) fn take_again(&mut self) -> Option<Sent> {
        let sent = self.again.pop_front()?;
        self.count -= 1;
        self.bytes -= sent.bytes();
        Some(sent)
    }

    /// Numbers of the messages to a target.
    pub(super) fn seqs(&self, target: usize) -> impl Iterator<Item = u64> {
        let all = self.out.iter().flatten().chain(&self.again);
        all.filter(move |sent| sent.target == target).map(|sent| sent.seq)
    }
}

/// Of all senders of a worker together.
const MOST: usize = 256 * 1024;
const MOST_BYTES: usize = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(seq: u64) -> Sent {
        Sent {
            name: ClientMsgId::parse([1]).unwrap(),
            target: 0,
            seq,
            due: 0,
            measured: true,
            again: false,
            parts: SmallVec::new(),
        }
    }

    #[test]
    fn what_was_not_answered_is_sent_again_in_order_and_first() {
        let mut unanswered = Unanswered::new(Limits::shared_by(1));
        for seq in 0..4 {
            assert_eq!(unanswered.serial(), seq + 1);
            unanswered.push(sent(seq));
        }
        let answers = [2, 2, 9, 1].map(|serial| unanswered.answered(serial).map(|sent| sent.seq));
        assert_eq!(answers, [Some(1), None, None, Some(0)]);
        unanswered.restart();
        let first = unanswered.take_again().unwrap();
        assert_eq!((first.seq, first.again), (2, true));
        unanswered.push(first);
        // It broke once more before the other one could leave.
        unanswered.restart();
        let order: Vec<_> = std::iter::from_fn(|| unanswered.take_again())
            .map(|sent| sent.seq)
            .collect();
        assert_eq!(order, [2, 3]);
        assert_eq!((unanswered.count(), unanswered.has_again()), (0, false));
    }
}
