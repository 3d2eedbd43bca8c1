//! Chance: what a difference of medians would have been with other runs of the same kind.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

/// The middle of some figures; 0 of none.
pub(super) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (None, _) => 0.0,
        (Some(upper), 0) => f64::midpoint(sorted[middle - 1], *upper),
        (Some(one), _) => *one,
    }
}

/// Where the difference of the medians is with a probability of 95 percent, by drawing runs again and again from those
/// that there are. None without several runs on both sides.
pub(super) fn interval(base: &[f64], new: &[f64]) -> Option<[f64; 2]> {
    if base.len() < 2 || new.len() < 2 {
        return None;
    }
    let mut dice = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let mut redrawn = |figures: &[f64]| {
        let drawn: Vec<f64> = figures
            .iter()
            .map(|_| figures[dice.random_range(0..figures.len())])
            .collect();
        median(&drawn)
    };
    let mut differences: Vec<f64> = (0..DRAWS).map(|_| redrawn(new) - redrawn(base)).collect();
    differences.sort_by(f64::total_cmp);
    let at = |share: f64| differences[(share * (DRAWS - 1) as f64).round() as usize];
    Some([at(0.025), at(0.975)])
}

const SEED: u64 = 42;
const DRAWS: usize = 4000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn medians_are_the_middle() {
        assert_eq!(
            (
                median(&[]),
                median(&[3.0]),
                median(&[9.0, 1.0, 5.0]),
                median(&[4.0, 2.0])
            ),
            (0.0, 3.0, 5.0, 3.0)
        );
    }

    #[test]
    fn an_interval_covers_the_truth_about_as_often_as_it_says() {
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut runs = |shift: f64| -> Vec<f64> { (0..12).map(|_| shift + dice.random::<f64>()).collect() };
        let covered = (0..60).filter(|_| {
            let [low, high] = interval(&runs(10.0), &runs(10.2)).unwrap();
            (low..=high).contains(&0.2)
        });
        // Of medians of few runs the interval is a little too wide.
        let covered = covered.count();
        assert!((54..=60).contains(&covered), "{covered}");
    }

    proptest! {
        #[test]
        fn an_interval_stays_between_the_extremes(
            base in prop::collection::vec(0.0..100f64, 0..8),
            new in prop::collection::vec(0.0..100f64, 0..8),
        ) {
            let Some([low, high]) = interval(&base, &new) else {
                prop_assert!(base.len() < 2 || new.len() < 2);
                return Ok(());
            };
            let least = |all: &[f64]| all.iter().copied().fold(f64::INFINITY, f64::min);
            let most = |all: &[f64]| all.iter().copied().fold(0.0, f64::max);
            prop_assert!(low <= high && low >= least(&new) - most(&base) && high <= most(&new) - least(&base));
            prop_assert_eq!(interval(&base, &new), Some([low, high]));
        }
    }
}
