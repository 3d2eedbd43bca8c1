//! What a mailbox holds and what it may hold: quota, the reserve for small envelopes, the fair share.
//!
//! Must not know where envelopes are; it counts those that were accepted and not yet acked.

use std::collections::HashMap;

use chatctl_protocol::Limits;
use smallvec::SmallVec;

use crate::model::{MailboxId, NumberHasher};
use crate::store::Usage;

/// The count of one mailbox.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Ledger {
    total: Count,
    senders: Senders,
}

/// What each sender has there. Most mailboxes hear from few at a time: those are looked through.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Senders {
    few: SmallVec<[(MailboxId, Count); 1]>,
    /// All of them, from when they were too many until there are none.
    many: Option<Box<HashMap<MailboxId, Count, NumberHasher>>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    envelopes: u64,
    bytes: u64,
}

impl From<Usage> for Ledger {
    fn from(usage: Usage) -> Self {
        let mut senders = Senders::default();
        for (sender, envelopes, bytes) in usage.senders {
            *senders.entry(sender) = Count { envelopes, bytes };
        }
        Self {
            total: Count {
                envelopes: usage.envelopes,
                bytes: usage.bytes,
            },
            senders,
        }
    }
}

impl Ledger {
    /// Envelopes that wait.
    pub(super) const fn envelopes(&self) -> u64 {
        self.total.envelopes
    }

    /// Whether an envelope of `bytes` from `sender` may come in.
    ///
    /// The last tenth is kept for envelopes of at most [`SMALL_BYTES`], so that ratchet repair still
    /// fits; one sender may hold at most half of everything.
    pub(super) fn has_room(&self, sender: MailboxId, bytes: u64, limits: &Limits) -> bool {
        let full = Count {
            envelopes: u64::from(limits.mailbox_envelopes),
            bytes: limits.mailbox_bytes,
        };
        let bound = if bytes <= SMALL_BYTES {
            full
        } else {
            Count {
                envelopes: full.envelopes - full.envelopes / 10,
                bytes: full.bytes - full.bytes / 10,
            }
        };
        let share = Count {
            envelopes: full.envelopes.div_ceil(2),
            bytes: full.bytes.div_ceil(2),
        };
        let of_sender = self.senders.of(sender);
        self.total.with(bytes).fits(bound) && of_sender.with(bytes).fits(share)
    }

    /// Counts an envelope in.
    pub(super) fn add(&mut self, sender: MailboxId, bytes: u64) {
        self.total = self.total.with(bytes);
        let of_sender = self.senders.entry(sender);
        *of_sender = of_sender.with(bytes);
    }

    /// Counts an envelope out.
    pub(super) fn remove(&mut self, sender: MailboxId, bytes: u64) {
        self.total = self.total.without(bytes);
        self.senders.count_out(sender, bytes);
    }
}

impl Senders {
    fn of(&self, sender: MailboxId) -> Count {
        if let Some(many) = &self.many {
            return many.get(&sender).copied().unwrap_or_default();
        }
        let found = self.few.iter().find(|(of, _)| *of == sender);
        found.map_or_else(Count::default, |(_, count)| *count)
    }

    /// The count of a sender, to be changed.
    fn entry(&mut self, sender: MailboxId) -> &mut Count {
        let place = self.few.iter().position(|(of, _)| *of == sender);
        if self.many.is_some() || (place.is_none() && self.few.len() >= FEW) {
            let few = std::mem::take(&mut self.few);
            let many = self.many.get_or_insert_with(Box::default);
            many.extend(few);
            return many.entry(sender).or_default();
        }
        let place = place.unwrap_or_else(|| {
            self.few.push((sender, Count::default()));
            self.few.len() - 1
        });
        &mut self.few[place].1
    }

    fn count_out(&mut self, sender: MailboxId, bytes: u64) {
        if let Some(many) = &mut self.many {
            if let Some(count) = many.get_mut(&sender) {
                *count = count.without(bytes);
                if count.envelopes == 0 {
                    many.remove(&sender);
                }
            }
            if many.is_empty() {
                self.many = None;
            }
        } else if let Some(place) = self.few.iter().position(|(of, _)| *of == sender) {
            let count = &mut self.few[place].1;
            *count = count.without(bytes);
            if count.envelopes == 0 {
                self.few.swap_remove(place);
            }
        }
    }
}

impl Count {
    const fn with(self, bytes: u64) -> Self {
        Self {
            envelopes: self.envelopes + 1,
            bytes: self.bytes + bytes,
        }
    }

    const fn without(self, bytes: u64) -> Self {
        Self {
            envelopes: self.envelopes.saturating_sub(1),
            bytes: self.bytes.saturating_sub(bytes),
        }
    }

    const fn fits(self, bound: Self) -> bool {
        self.envelopes <= bound.envelopes && self.bytes <= bound.bytes
    }
}

/// Senders that are looked through.
const FEW: usize = 8;

/// Largest payload that may use the reserve.
const SMALL_BYTES: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: MailboxId = MailboxId(1);
    const CAROL: MailboxId = MailboxId(2);

    fn limits() -> Limits {
        Limits {
            mailbox_envelopes: 10,
            mailbox_bytes: 100_000,
            ..Limits::default()
        }
    }

    #[test]
    fn one_sender_holds_at_most_half_and_a_second_one_still_gets_in() {
        let mut ledger = Ledger::default();
        while ledger.has_room(ALICE, 10, &limits()) {
            ledger.add(ALICE, 10);
        }
        assert_eq!(ledger.envelopes(), 5);
        assert!(ledger.has_room(CAROL, 10, &limits()));
        ledger.remove(ALICE, 10);
        assert!(ledger.has_room(ALICE, 10, &limits()));
    }

    #[test]
    fn the_last_tenth_is_for_small_envelopes() {
        let mut ledger = Ledger::default();
        for sender in 0..9 {
            ledger.add(MailboxId(10 + sender), 2000);
        }
        assert!(!ledger.has_room(ALICE, 2000, &limits()));
        assert!(ledger.has_room(ALICE, SMALL_BYTES, &limits()));
        ledger.add(ALICE, SMALL_BYTES);
        assert!(!ledger.has_room(CAROL, 1, &limits()));
    }

    #[test]
    fn many_senders_are_counted_as_few_are() {
        let mut ledger = Ledger::default();
        for turn in 0..3 {
            for sender in 0..100 {
                ledger.add(MailboxId(sender), turn);
            }
        }
        let all = (0..100).map(|sender| ledger.senders.of(MailboxId(sender)));
        let each = Count {
            envelopes: 3,
            bytes: 3,
        };
        assert!(all.into_iter().all(|count| count == each));
        for turn in 0..3 {
            (0..100).for_each(|sender| ledger.remove(MailboxId(sender), turn));
        }
        assert_eq!(ledger, Ledger::default());
    }

    #[test]
    fn what_goes_in_comes_out() {
        let mut ledger = Ledger::from(Usage {
            envelopes: 1,
            bytes: 5,
            senders: vec![(ALICE, 1, 5)],
        });
        ledger.add(CAROL, 7);
        ledger.remove(ALICE, 5);
        ledger.remove(CAROL, 7);
        assert_eq!(ledger, Ledger::default());
    }
}
