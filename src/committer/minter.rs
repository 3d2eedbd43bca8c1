//! Envelope ids: time-ordered, strictly increasing, whatever the wall clock does.
//!
//! Must not know what the ids are for. The ceiling is what makes them safe over a crash with a clock
//! that steps back: no id at or above it is minted before a higher ceiling is durable.

use chatctl_protocol::EnvelopeId;

use crate::model::UnixMs;

/// Mints ids for one node.
#[derive(Debug)]
pub(super) struct Minter {
    last: EnvelopeId,
    ceiling: EnvelopeId,
    node: u16,
}

impl Minter {
    /// Begins above everything that may have been used, by whichever node.
    pub(super) const fn new(floor: EnvelopeId, node: u16) -> Self {
        // Counting on from another node's id would mint that node's ids.
        let floor = floor.for_node(node);
        // The ceiling begins where the ids end: the first mint asks for a higher one.
        Self {
            last: floor,
            ceiling: floor,
            node,
        }
    }

    /// Goes on above an id that another node may have minted, and above everything minted so far: what is
    /// minted from now on is later than what a sender was answered elsewhere. Returns the id between.
    pub(super) fn pass(&mut self, other: EnvelopeId) -> EnvelopeId {
        self.last = self.last.next().max(other.for_node(self.node));
        self.last
    }

    /// The highest id minted so far.
    pub(super) const fn last(&self) -> EnvelopeId {
        self.last
    }

    /// The next id, or `None` when the ceiling is in the way.
    pub(super) fn mint(&mut self, now: UnixMs) -> Option<EnvelopeId> {
        let next = self.next(now);
        if next >= self.ceiling {
            return None;
        }
        self.last = next;
        Some(next)
    }

    /// Whether `count` ids can be minted now.
    pub(super) fn can_mint(&self, now: UnixMs, count: usize) -> bool {
        // The counter never skips more than one millisecond for each 4096 ids.
        let slack = UnixMs(now.0 + 2 + (count as u64) / 4096);
        self.last.max(EnvelopeId::at(slack.0, self.node)) < self.ceiling
    }

    /// The ceiling to ask for, when the present one is near.
    pub(super) fn wanted_ceiling(&self, now: UnixMs) -> Option<EnvelopeId> {
        let near = UnixMs(now.0 + LEAD_MS / 2);
        let reach = self.last.max(EnvelopeId::at(near.0, self.node));
        (reach >= self.ceiling).then(|| self.last.max(EnvelopeId::at(now.0, self.node)).plus_ms(LEAD_MS))
    }

    /// A higher ceiling is durable.
    pub(super) fn raise(&mut self, ceiling: EnvelopeId) {
        self.ceiling = self.ceiling.max(ceiling);
    }

    fn next(&self, now: UnixMs) -> EnvelopeId {
        let clock = EnvelopeId::at(now.0, self.node);
        if clock > self.last {
            clock
        } else {
            self.last.next()
        }
    }
}

/// How far ahead of the clock ids may be after a crash.
const LEAD_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: u64 = EnvelopeId::EPOCH_MS + 1_000_000;

    proptest! {
        #[test]
        fn a_sender_that_moves_between_nodes_gets_higher_ids(
            moves in proptest::collection::vec((0usize..3, 0u64..5_000, 1usize..5), 1..60),
        ) {
            // Three nodes whose clocks differ by up to some seconds; the store knows the newest id.
            let mut nodes = [5, 900, 0].map(|node| Minter::new(EnvelopeId::ZERO, node));
            let mut newest = EnvelopeId::ZERO;
            for (at, skew, sends) in moves {
                let now = UnixMs(T0 + skew);
                let minter = &mut nodes[at];
                let between = minter.pass(newest);
                prop_assert!(between >= newest && between.node() == minter.node);
                for _ in 0..sends {
                    if !minter.can_mint(now, 1) {
                        let ceiling = minter.wanted_ceiling(now).unwrap();
                        minter.raise(ceiling);
                    }
                    let id = minter.mint(now).unwrap();
                    prop_assert!(id > newest && id > between && id.node() == minter.node);
                    newest = id;
                }
            }
        }

        #[test]
        fn a_floor_of_another_node_is_passed_with_our_own_bits(floor in 0u64..1 << 60, node in 0u16..1024) {
            let floor = EnvelopeId::from_u64(floor);
            let mut minter = Minter::new(floor, node);
            minter.raise(minter.wanted_ceiling(UnixMs(T0)).unwrap());
            let id = minter.mint(UnixMs(T0)).unwrap();
            prop_assert!(id > floor);
            prop_assert_eq!(id.node(), node);
        }

        #[test]
        fn ids_increase_over_clock_steps_and_crashes(steps in proptest::collection::vec((0u64..200_000, 0u8..20), 1..200)) {
            let mut durable = EnvelopeId::ZERO;
            let mut minter = Minter::new(durable, 3);
            let mut last = EnvelopeId::ZERO;
            for (offset, what) in steps {
                let now = UnixMs(T0 + offset);
                if what == 0 {
                    // A crash: only the durable ceiling is left.
                    minter = Minter::new(durable, 3);
                }
                if !minter.can_mint(now, 1) {
                    durable = minter.wanted_ceiling(now).unwrap();
                    minter.raise(durable);
                }
                let id = minter.mint(now).unwrap();
                prop_assert!(id > last && id < durable);
                last = id;
            }
        }
    }
}
