//! Whether each message of a stream arrived once, unharmed and in order: one ledger for each stream at each device
//! that receives it.
//!
//! Memory is bounded: what is missing is kept as ranges, at most [`MOST_GAPS`] of them.

/// What an arrival means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The next one, or a later one.
    InOrder,
    /// One that was missing: a later one came before it.
    Late,
    /// One that came before.
    Again,
}

/// A ledger.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Everything below is here, or among the gaps, or given up.
    next: u64,
    /// Missing, from the first to the one before the second; sorted.
    gaps: Vec<(u64, u64)>,
    /// Missing and forgotten, because there were too many gaps.
    given_up: u64,
}

impl Ledger {
    /// Notes that a message arrived. Constant time while nothing is missing.
    pub fn arrived(&mut self, seq: u64) -> Arrival {
        if seq == self.next {
            self.next += 1;
            return Arrival::InOrder;
        }
        if seq > self.next {
            self.miss(self.next, seq);
            self.next = seq + 1;
            return Arrival::InOrder;
        }
        let place = self.gaps.partition_point(|(_, end)| *end <= seq);
        let Some((start, end)) = self.gaps.get(place).copied().filter(|(start, _)| *start <= seq) else {
            return Arrival::Again;
        };
        let parts = [(start, seq), (seq + 1, end)];
        let left = parts.into_iter().filter(|(start, end)| start < end);
        self.gaps.splice(place..=place, left);
        Arrival::Late
    }

    /// Messages that did not arrive, of so many that were sent.
    #[must_use]
    pub fn lost(&self, sent: u64) -> u64 {
        let holes: u64 = self.gaps.iter().map(|(start, end)| end - start).sum();
        holes + self.given_up + sent.saturating_sub(self.next)
    }

    /// One more than the latest message that arrived.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Whether a message arrived. One of a forgotten gap counts as arrived.
    #[must_use]
    pub fn has(&self, seq: u64) -> bool {
        seq < self.next && !self.gaps.iter().any(|(start, end)| (*start..*end).contains(&seq))
    }

    fn miss(&mut self, start: u64, end: u64) {
        if self.gaps.len() == MOST_GAPS {
            let (start, end) = self.gaps.remove(0);
            self.given_up += end - start;
        }
        self.gaps.push((start, end));
    }
}

/// Gaps that a ledger remembers. A message of a forgotten one counts as lost even if it comes.
pub const MOST_GAPS: usize = 1024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_swap_is_one_late_arrival_and_nothing_is_lost() {
        let mut ledger = Ledger::default();
        let told = [0, 2, 1, 3].map(|seq| ledger.arrived(seq));
        assert_eq!(
            told,
            [
                Arrival::InOrder,
                Arrival::InOrder,
                Arrival::Late,
                Arrival::InOrder
            ]
        );
        assert_eq!((ledger.lost(4), ledger.lost(6)), (0, 2));
        assert_eq!(ledger.arrived(1), Arrival::Again);
    }

    #[test]
    fn gaps_without_end_do_not_fill_the_memory() {
        let mut ledger = Ledger::default();
        for seq in 0..10_000 {
            ledger.arrived(seq * 2 + 1);
        }
        assert_eq!((ledger.gaps.len(), ledger.lost(20_000)), (MOST_GAPS, 10_000));
    }

    proptest! {
        #[test]
        fn a_ledger_says_what_a_set_says(seqs in prop::collection::vec(0u64..60, 0..120)) {
            let (mut ledger, mut seen) = (Ledger::default(), BTreeSet::new());
            for seq in seqs {
                let expected = match seen.last() {
                    _ if seen.contains(&seq) => Arrival::Again,
                    Some(last) if *last > seq => Arrival::Late,
                    _ => Arrival::InOrder,
                };
                seen.insert(seq);
                prop_assert_eq!(ledger.arrived(seq), expected);
            }
            for seq in 0..60 {
                prop_assert_eq!(ledger.has(seq), seen.contains(&seq));
            }
            prop_assert_eq!(ledger.lost(60), 60 - seen.len() as u64);
        }
    }
}
