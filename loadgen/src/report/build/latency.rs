//! Figures of a histogram of nanoseconds.

use hdrhistogram::Histogram;

use crate::clock::Nanos;
use crate::packed;
use crate::report::LatencyFigures;

pub(super) fn figures(histogram: &Histogram<u64>) -> LatencyFigures {
    let at = |quantile| seconds(histogram.value_at_quantile(quantile));
    LatencyFigures {
        count: histogram.len(),
        min_seconds: seconds(histogram.min()),
        mean_seconds: histogram.mean() / 1e9,
        p50_seconds: at(0.5),
        p75_seconds: at(0.75),
        p90_seconds: at(0.9),
        p95_seconds: at(0.95),
        p99_seconds: at(0.99),
        p999_seconds: at(0.999),
        p9999_seconds: at(0.9999),
        max_seconds: seconds(histogram.max()),
        hdr_v2: packed::pack(histogram),
    }
}

pub(super) fn seconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {

    use proptest::prelude::*;

    use super::*;
    use crate::tally::{Latency, Tally};

    proptest! {
        /// Against sorting, which nobody gets wrong: every figure to a thousandth, or to the microsecond.
        #[test]
        fn figures_are_what_sorting_says(
            mut took in prop::collection::vec(prop_oneof![1u64..100_000, 1_000u64..50_000_000, 1u64..10_000_000_000], 1..400),
        ) {
            let mut tally = Tally::default();
            took.iter().for_each(|one| tally.record(Latency::E2e, *one));
            let histogram = tally.latency(Latency::E2e).unwrap();
            let found = figures(histogram);
            took.sort_unstable();
            let at = |share: f64| {
                let place = (share * took.len() as f64).ceil() as usize;
                took[place.clamp(1, took.len()) - 1] as f64 / 1e9
            };
            let mean = took.iter().map(|one| *one as f64).sum::<f64>() / took.len() as f64 / 1e9;
            for (name, found, expected) in [
                ("min", found.min_seconds, at(0.0)),
                ("mean", found.mean_seconds, mean),
                ("p50", found.p50_seconds, at(0.5)),
                ("p75", found.p75_seconds, at(0.75)),
                ("p90", found.p90_seconds, at(0.9)),
                ("p95", found.p95_seconds, at(0.95)),
                ("p99", found.p99_seconds, at(0.99)),
                ("p99.9", found.p999_seconds, at(0.999)),
                ("p99.99", found.p9999_seconds, at(0.9999)),
                ("max", found.max_seconds, at(1.0)),
            ] {
                prop_assert!((found - expected).abs() <= expected / 999.0 + 1.1e-6, "{name}: {found}, not {expected}");
            }
            prop_assert_eq!(found.count, took.len() as u64);
            let again = packed::unpack(&found.hdr_v2).unwrap();
            prop_assert_eq!(&again, histogram);
        }
    }
}
