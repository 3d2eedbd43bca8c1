//! What recipients of a sender's messages know of each other, on whatever worker they are: when a message came to the
//! first of them.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::clock::Nanos;

/// A sender's trail.
#[derive(Debug, Default)]
pub(super) struct Trail {
    spread: Mutex<Spread>,
}

impl Trail {
    /// A message is about to leave for so many devices.
    pub(super) fn sent(&self, seq: u64, devices: u64) {
        if devices > 1 {
            self.spread.lock().sent(seq, devices);
        }
    }

    /// A message came to one of so many devices: how long after the first one, when it was the last.
    pub(super) fn landed(&self, seq: u64, devices: u64, now: Nanos) -> Option<Nanos> {
        match devices > 1 {
            true => self.spread.lock().landed(seq, now),
            false => None,
        }
    }
}

/// Messages on their way to several devices, oldest first.
#[derive(Debug, Default)]
struct Spread {
    first_seq: u64,
    messages: VecDeque<Landing>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Landing {
    first: Option<Nanos>,
    left: u64,
}

impl Spread {
    /// A message left for so many devices.
    fn sent(&mut self, seq: u64, devices: u64) {
        if self.messages.is_empty() {
            self.first_seq = seq;
        }
        if self.messages.len() == MOST_LANDINGS {
            self.messages.pop_front();
            self.first_seq += 1;
        }
        self.messages.push_back(Landing {
            first: None,
            left: devices,
        });
    }

    /// One came to a device: how long after the first one, when it was the last.
    fn landed(&mut self, seq: u64, now: Nanos) -> Option<Nanos> {
        let place = seq.checked_sub(self.first_seq)?;
        let landing = self.messages.get_mut(usize::try_from(place).ok()?)?;
        let first = *landing.first.get_or_insert(now);
        landing.left = landing.left.checked_sub(1)?;
        let took = (landing.left == 0).then(|| now.saturating_sub(first));
        while self.messages.front().is_some_and(|landing| landing.left == 0) {
            self.messages.pop_front();
            self.first_seq += 1;
        }
        took
    }
}

/// Messages whose spread is watched, for each sender. What is slower than so many others is not measured.
const MOST_LANDINGS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_from_the_first_to_the_last() {
        let mut spread = Spread::default();
        spread.sent(5, 2);
        spread.sent(6, 2);
        let told = [(5, 10), (6, 12), (6, 15), (5, 40), (5, 50)].map(|(seq, now)| spread.landed(seq, now));
        assert_eq!(told, [None, None, Some(3), Some(30), None]);
        assert!(spread.messages.is_empty());
    }
}
