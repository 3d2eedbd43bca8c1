//! The search for the highest rate that still passes: doubling until a rate fails, then halving what lies between.
//!
//! Pure logic: whoever runs the probes tells what came of them.
//!
//! # Why
//!
//! A probe near the knee passes on one try and fails on the next. A rate is given up only when it failed twice, so that a
//! hiccup of the machine far below the knee does not end the search; what passed is believed at once, because chance
//! does not make a server faster than it is.

use crate::units::Rate;

/// A search.
#[derive(Debug, Clone)]
pub struct Search {
    /// The highest rate that passed.
    passed: Option<Rate>,
    /// The lowest rate that failed twice.
    failed: Option<Rate>,
    /// A rate that failed once.
    doubted: Option<Rate>,
    start: Rate,
    most: Rate,
    resolution: f64,
}

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    /// This rate passed, and the next one that was tried did not.
    Knee(Rate),
    /// The highest rate of the search passed: the knee is above it.
    Beyond(Rate),
    /// Even this rate, the lowest of the search, failed.
    Below(Rate),
}

impl Search {
    /// A search from a rate up to another, until what passed and what failed are so many percent apart.
    #[must_use]
    pub fn new(start: Rate, most: Rate, resolution_percent: f64) -> Self {
        Self {
            passed: None,
            failed: None,
            doubted: None,
            start: if start > most { most } else { start },
            most,
            // What is finer than a thousandth would be tried for ever.
            resolution: resolution_percent.max(0.1) / 100.0,
        }
    }

    /// The rate to try next; none once there is an answer. The same one until [`Search::tell`].
    #[must_use]
    pub fn next(&self) -> Option<Rate> {
        if self.doubted.is_some() {
            return self.doubted;
        }
        let (low, high) = match (self.passed, self.failed) {
            (None, None) => return Some(self.start),
            (Some(passed), None) if passed >= self.most => return None,
            (Some(passed), None) => return between(passed.get() * 2.0, self.most),
            // Below the start, halving finds a rate that passes, or that there is none worth telling.
            (None, Some(failed)) if failed.get() <= self.start.get() / LOWEST => return None,
            (None, Some(failed)) => return between(failed.get() / 2.0, self.most),
            (Some(passed), Some(failed)) => (passed.get(), failed.get()),
        };
        match high - low > self.resolution * low {
            true => between(f64::midpoint(low, high), self.most),
            false => None,
        }
    }

    /// Says what came of a rate. Answers about rates that were not asked for count as well.
    pub fn tell(&mut self, rate: Rate, has_passed: bool) {
        if has_passed {
            self.doubted = self.doubted.filter(|doubted| *doubted > rate);
            self.passed = self.passed.filter(|passed| *passed > rate).or(Some(rate));
            // It failed at a lower rate, twice: by chance then.
            self.failed = self.failed.filter(|failed| *failed > rate);
        } else if self.doubted == Some(rate) {
            self.doubted = None;
            self.failed = self.failed.filter(|failed| *failed < rate).or(Some(rate));
        } else {
            self.doubted = Some(rate);
        }
    }

    /// What was found; none while the search goes on.
    #[must_use]
    pub fn answer(&self) -> Option<Answer> {
        if self.next().is_some() {
            return None;
        }
        match (self.passed, self.failed) {
            (Some(passed), Some(_)) => Some(Answer::Knee(passed)),
            (Some(passed), None) => Some(Answer::Beyond(passed)),
            (None, Some(failed)) => Some(Answer::Below(failed)),
            (None, None) => None,
        }
    }
}

fn between(rate: f64, most: Rate) -> Option<Rate> {
    // Whole messages per second are what people read; slow servers are searched more finely.
    let rate = if rate > 100.0 { rate.round() } else { rate };
    Rate::per_second(rate.min(most.get())).ok()
}

/// How far below the start a rate is still looked for.
const LOWEST: f64 = 64.0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    fn rate(per_second: f64) -> Rate {
        Rate::per_second(per_second).unwrap()
    }

    fn search() -> Search {
        Search::new(rate(500.0), rate(50_000.0), 5.0)
    }

    /// The rates that were tried, and the answer.
    fn run(mut search: Search, mut passes: impl FnMut(f64) -> bool) -> (Vec<f64>, Answer) {
        let mut tried = Vec::new();
        while let Some(rate) = search.next() {
            assert!(tried.len() < 200, "{tried:?}");
            assert_eq!(search.answer(), None);
            tried.push(rate.get());
            search.tell(rate, passes(rate.get()));
        }
        (tried, search.answer().unwrap())
    }

    #[test]
    fn rates_double_until_one_fails_twice_and_then_close_in() {
        let (tried, answer) = run(search(), |rate| rate <= 2_100.0);
        assert_eq!(
            tried,
            [
                500.0, 1000.0, 2000.0, 4000.0, 4000.0, 3000.0, 3000.0, 2500.0, 2500.0, 2250.0, 2250.0,
                2125.0, 2125.0, 2063.0
            ]
        );
        assert_eq!(answer, Answer::Knee(rate(2063.0)));
    }

    #[test]
    fn a_knee_outside_of_the_search_is_told_as_such() {
        let (tried, answer) = run(search(), |_| true);
        assert_eq!(
            (tried.last(), answer),
            (Some(&50_000.0), Answer::Beyond(rate(50_000.0)))
        );
        let (_, answer) = run(search(), |_| false);
        assert_eq!(answer, Answer::Below(rate(500.0 / 64.0)));
        let (_, answer) = run(search(), |rate| rate < 100.0);
        assert!(
            matches!(answer, Answer::Knee(found) if (90.0..100.0).contains(&found.get())),
            "{answer:?}"
        );
    }

    #[test]
    fn one_failure_is_tried_again() {
        let mut failures = 1;
        let (tried, answer) = run(search(), |rate| {
            let fails = rate == 1000.0 && failures > 0;
            failures -= i32::from(fails);
            !fails && rate <= 8_000.0
        });
        assert_eq!(
            (&tried[..4], answer),
            (&[500.0, 1000.0, 1000.0, 2000.0][..], Answer::Knee(rate(8000.0)))
        );
    }

    #[test]
    fn probes_that_fail_by_chance_are_borne() {
        let knee = 7_300.0;
        let close = (0..200).filter(|seed| {
            let mut dice = Xoshiro256PlusPlus::seed_from_u64(*seed);
            // One in fifty fails although the server could, and near the knee it is a toss.
            let (_, answer) = run(search(), |rate| {
                let luck: f64 = dice.random();
                rate < knee * 0.95 && luck > 0.02 || rate < knee * 1.05 && luck > 0.5
            });
            matches!(answer, Answer::Knee(found) if (knee * 0.9..knee * 1.05).contains(&found.get()))
        });
        let close = close.count();
        assert!(close >= 195, "{close} of 200");
    }

    proptest! {
        #[test]
        fn the_knee_is_found_to_the_resolution(knee in 10.0..49_000f64, resolution in 0.5..20f64) {
            let search = Search::new(rate(500.0), rate(50_000.0), resolution);
            let (tried, answer) = run(search, |rate| rate <= knee);
            let Answer::Knee(found) = answer else {
                return Err(TestCaseError::fail(format!("{answer:?}")));
            };
            prop_assert!(found.get() <= knee && knee <= found.get() * (1.0 + resolution / 100.0) + 1.0, "{found} of {knee}");
            prop_assert!(tried.len() < 50);
        }
    }
}
