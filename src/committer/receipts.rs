//! What became of sends: one inbox per sender's session, filled when a batch is settled.
//!
//! An inbox is bounded by its owner, who stops sending while too many answers are out.

use std::sync::Arc;

use chatctl_protocol::{Code, EnvelopeId};
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::hub::Wake;

/// The ids of one send's envelopes, in the order of its devices.
pub type EnvelopeIds = SmallVec<[EnvelopeId; 1]>;

/// How a send ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every envelope is on disk, or already acked by its device.
    Safe {
        /// The envelopes.
        ids: EnvelopeIds,
        /// An earlier send of the same name was the one that counted.
        duplicate: bool,
    },
    /// Nothing of it is stored.
    Refused(Code),
}

/// An inbox of outcomes.
#[derive(Debug)]
pub struct Receipts {
    done: Mutex<Vec<(u64, Outcome)>>,
    wake: Arc<Wake>,
}

impl Receipts {
    /// An inbox that rings `wake` when something comes in.
    #[must_use]
    pub fn new(wake: Arc<Wake>) -> Arc<Self> {
        Arc::new(Self {
            done: Mutex::default(),
            wake,
        })
    }

    /// Moves what came in to the end of `into`, oldest first.
    pub fn take(&self, into: &mut Vec<(u64, Outcome)>) {
        into.append(&mut self.done.lock());
    }

    /// Waits for the next outcome; for a caller with a single send out.
    pub async fn next(&self) -> Outcome {
        loop {
            if let Some((_, outcome)) = self.done.lock().pop() {
                return outcome;
            }
            self.wake.rung().await;
        }
    }

    /// A place in the inbox for the send that its owner calls `id`.
    #[must_use]
    pub fn ticket(self: &Arc<Self>, id: u64) -> Ticket {
        Ticket {
            inbox: Some(Arc::clone(self)),
            id,
        }
    }
}

/// A promise of one outcome. Dropped without one, it says that the relay cannot tell.
#[derive(Debug)]
pub struct Ticket {
    inbox: Option<Arc<Receipts>>,
    id: u64,
}

/// Delivers outcomes, in their order. Those that stand together and go to one inbox are put there at once.
pub(super) fn settle_all(outcomes: impl IntoIterator<Item = (Ticket, Outcome)>) {
    let mut outcomes = outcomes.into_iter();
    let mut next = outcomes.next();
    while let Some((mut ticket, outcome)) = next.take() {
        let Some(inbox) = ticket.inbox.take() else {
            next = outcomes.next();
            continue;
        };
        let mut done = inbox.done.lock();
        done.push((ticket.id, outcome));
        for (mut ticket, outcome) in outcomes.by_ref() {
            if ticket
                .inbox
                .as_ref()
                .is_none_or(|other| !Arc::ptr_eq(other, &inbox))
            {
                next = Some((ticket, outcome));
                break;
            }
            done.push((ticket.id, outcome));
            ticket.inbox = None;
        }
        drop(done);
        inbox.wake.ring();
    }
}

impl Ticket {
    /// Delivers the outcome.
    pub fn settle(mut self, outcome: Outcome) {
        self.deliver(outcome);
    }

    /// Nobody waits for the outcome: it was told in another way.
    pub fn give_up(mut self) {
        self.inbox = None;
    }

    fn deliver(&mut self, outcome: Outcome) {
        if let Some(inbox) = self.inbox.take() {
            inbox.done.lock().push((self.id, outcome));
            inbox.wake.ring();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.deliver(Outcome::Refused(Code::Unavailable));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ticket_that_nobody_settles_says_so() {
        let receipts = Receipts::new(Arc::default());
        drop(receipts.ticket(1));
        assert_eq!(receipts.next().await, Outcome::Refused(Code::Unavailable));
        receipts.ticket(2).settle(Outcome::Refused(Code::Conflict));
        let mut taken = Vec::new();
        receipts.take(&mut taken);
        assert_eq!(taken, [(2, Outcome::Refused(Code::Conflict))]);
    }

    #[test]
    fn outcomes_of_many_reach_each_inbox_in_their_order() {
        let inboxes = [(); 3].map(|()| Receipts::new(Arc::default()));
        let whose = [0, 0, 1, 0, 2, 2, 2, 1, 0];
        let refused = Outcome::Refused(Code::Conflict);
        let tickets = whose.iter().zip(0..);
        settle_all(tickets.map(|(whose, id)| (inboxes[*whose].ticket(id), refused.clone())));
        let taken = inboxes.map(|inbox| {
            let mut taken = Vec::new();
            inbox.take(&mut taken);
            taken.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
        });
        assert_eq!(taken, [vec![0, 1, 3, 8], vec![2, 7], vec![4, 5, 6]]);
    }
}
