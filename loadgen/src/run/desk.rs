//! What others on the same worker leave at a client: messages that are due, news of arrivals, an order to drop its
//! connection.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::{Context, Waker};

use crate::clock::Nanos;
use crate::run::rules::Hours;

/// A desk.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Where its next messages come from.
    pub(super) feed: RefCell<Feed>,
    /// Copies of its messages that arrived, for a load that waits for them.
    pub(super) arrived: Cell<u64>,
    is_open: Cell<bool>,
    is_thrown: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Where messages come from.
#[derive(Debug, Default)]
pub(super) enum Feed {
    /// Nothing is due.
    #[default]
    Nothing,
    /// A schedule.
    Schedule(VecDeque<Due>),
    /// There is always one.
    Endless(Hours),
    /// So many are left.
    Some(u64),
}

/// A message that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// On the run's clock. In a closed load only when it leaves.
    pub(super) at: Option<Nanos>,
    pub(super) measured: bool,
    /// Whether it counts among those that wait.
    pub(super) waited: bool,
}

impl Feed {
    /// Whether a message is due.
    pub(super) fn has_some(&self, now: Nanos) -> bool {
        match self {
            Self::Nothing => false,
            Self::Schedule(queue) => !queue.is_empty(),
            Self::Endless(hours) => (hours.starts..hours.ends).contains(&now),
            Self::Some(left) => *left > 0,
        }
    }

    /// Takes one that is due.
    pub(super) fn take(&mut self, now: Nanos) -> Option<Due> {
        match self {
            Self::Nothing => None,
            Self::Schedule(queue) => queue.pop_front(),
            Self::Endless(hours) => (hours.starts..hours.ends).contains(&now).then_some(Due {
                at: None,
                measured: now >= hours.measured,
                waited: false,
            }),
            Self::Some(left) => {
                *left = left.checked_sub(1)?;
                Some(Due {
                    at: None,
                    measured: true,
                    waited: true,
                })
            }
        }
    }

    /// Whether anything may ever be due.
    pub(super) const fn is_on(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// Messages that wait.
    pub(super) fn waiting(&self) -> u64 {
        match self {
            Self::Nothing | Self::Endless(_) => 0,
            Self::Schedule(queue) => queue.len() as u64,
            Self::Some(left) => *left,
        }
    }
}

impl Desk {
    /// Leaves a message that is due, unless too many wait already.
    pub(super) fn leave(&self, due: Due, most: usize) -> bool {
        let mut feed = self.feed.borrow_mut();
        if let Feed::Nothing = &*feed {
            *feed = Feed::Schedule(VecDeque::new());
        }
        let Feed::Schedule(queue) = &mut *feed else {
            return false;
        };
        let has_room = queue.len() < most;
        if has_room {
            queue.push_back(due);
        }
        has_room
    }

    /// Orders the client to drop its connection.
    pub(super) fn throw(&self) {
        self.is_thrown.set(true);
        self.wake();
    }

    /// Whether it was ordered to. Asked by the client, which does it then.
    pub(super) fn is_thrown(&self) -> bool {
        self.is_thrown.take()
    }

    /// Lets the client connect.
    pub(super) fn open(&self) {
        self.is_open.set(true);
        self.wake();
    }

    pub(super) const fn is_open(&self) -> bool {
        self.is_open.get()
    }

    /// Wakes the client.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Remembers whom to wake.
    pub(super) fn attend(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_and_says_so() {
        let desk = Desk::default();
        let due = Due {
            at: Some(1),
            measured: true,
            waited: true,
        };
        assert_eq!([desk.leave(due, 1), desk.leave(due, 1)], [true, false]);
        assert_eq!(desk.feed.borrow_mut().take(9), Some(due));
        assert_eq!(desk.feed.borrow_mut().take(9), None);
    }
}
