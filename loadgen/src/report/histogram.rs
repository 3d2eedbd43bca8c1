//! Whole histograms, as a report carries them.

use hdrhistogram::Histogram;

use crate::packed;
use crate::report::LatencyFigures;

/// The histogram of a latency, of nanoseconds; none when it cannot be read.
#[must_use]
pub fn histogram(figures: &LatencyFigures) -> Option<Histogram<u64>> {
    packed::unpack(&figures.hdr_v2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::sample;

    #[test]
    fn figures_and_histogram_of_a_report_say_the_same() {
        let report = sample();
        for (name, figures) in &report.latency {
            let histogram = histogram(figures).expect("a histogram");
            assert_eq!(histogram.len(), figures.count, "{name}");
            let p99 = histogram.value_at_quantile(0.99) as f64 / 1e9;
            assert!(
                (p99 / figures.p99_seconds - 1.0).abs() < 0.01,
                "{name}: {p99} and {}",
                figures.p99_seconds
            );
        }
    }

    #[test]
    fn what_is_no_histogram_is_none() {
        let mut figures = sample().latency["e2e"].clone();
        let half = figures.hdr_v2[..figures.hdr_v2.len() / 2].to_owned();
        for broken in ["", "!", "AAAA", half.as_str()] {
            broken.clone_into(&mut figures.hdr_v2);
            assert!(histogram(&figures).is_none(), "{broken}");
        }
    }
}
