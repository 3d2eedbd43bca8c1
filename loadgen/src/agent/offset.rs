//! How far another host's clock is from ours, and how sure that is: Cristian's method over the quickest of several exchanges.

use crate::clock::Nanos;

/// A question and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// When we asked, on our clock.
    pub asked: Nanos,
    /// What their clock said.
    pub theirs: Nanos,
    /// When the answer came, on our clock.
    pub answered: Nanos,
}

/// What was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// Their clock less ours, in nanoseconds.
    pub ahead: i64,
    /// The truth is at most this far from it, whatever the way there and the way back took.
    pub uncertainty: Nanos,
}

impl Offset {
    /// From the exchange with the shortest way; none without one.
    #[must_use]
    pub fn of(exchanges: &[Exchange]) -> Option<Self> {
        let way = |exchange: &Exchange| exchange.answered.saturating_sub(exchange.asked);
        let best = exchanges.iter().min_by_key(|exchange| way(exchange))?;
        let middle = best.asked + way(best) / 2;
        Some(Self {
            ahead: signed(best.theirs) - signed(middle),
            uncertainty: way(best).div_ceil(2),
        })
    }

    /// A moment of our clock on theirs.
    #[must_use]
    pub fn theirs(&self, ours: Nanos) -> Nanos {
        u64::try_from(signed(ours) + self.ahead).unwrap_or(0)
    }
}

fn signed(nanos: Nanos) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_an_answer_nothing_is_known() {
        assert_eq!(Offset::of(&[]), None);
    }

    proptest! {
        #[test]
        fn the_truth_is_within_the_uncertainty(
            ahead in -1_000_000_000_i64..1_000_000_000,
            ways in prop::collection::vec((0_u64..50_000_000, 0_u64..50_000_000), 1..20),
        ) {
            let exchanges: Vec<_> = ways.iter().zip(0_u64..).map(|((there, back), nth)| {
                let asked = 10_000_000_000 + nth * 1_000_000_000;
                let at = signed(asked + there) + ahead;
                Exchange { asked, theirs: at as u64, answered: asked + there + back }
            }).collect();
            let found = Offset::of(&exchanges).unwrap();
            prop_assert!(found.ahead.abs_diff(ahead) <= found.uncertainty);
            prop_assert!(found.uncertainty <= 50_000_000);
        }
    }
}
