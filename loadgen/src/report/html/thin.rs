//! Series of a long run with fewer intervals: a page for people does not grow with the run.
//!
//! Rates are means, counts are sums, and of latencies the highest stays: a moment at which the server stood still must
//! not vanish because the run was long.

use crate::report::Series;

/// The series with at most [`MOST`] intervals, and how many of the run's each of them stands for.
pub(super) fn thin(series: &Series) -> (Series, usize) {
    let every = series.at.len().div_ceil(MOST).max(1);
    if every == 1 {
        return (series.clone(), 1);
    }
    let thinner = Series {
        interval_seconds: series.interval_seconds * every as f64,
        at: first(&series.at, every),
        phase: first(&series.phase, every),
        due: each(&series.due, every, mean),
        sent: each(&series.sent, every, mean),
        accepted: each(&series.accepted, every, mean),
        delivered: each(&series.delivered, every, mean),
        connections: each(&series.connections, every, mean),
        reconnects: each(&series.reconnects, every, sum),
        errors: each(&series.errors, every, sum),
        e2e_p50_seconds: highest(&series.e2e_p50_seconds, every),
        e2e_p90_seconds: highest(&series.e2e_p90_seconds, every),
        e2e_p99_seconds: highest(&series.e2e_p99_seconds, every),
        e2e_max_seconds: highest(&series.e2e_max_seconds, every),
        service_p50_seconds: highest(&series.service_p50_seconds, every),
        service_p99_seconds: highest(&series.service_p99_seconds, every),
        ok_p99_seconds: highest(&series.ok_p99_seconds, every),
        heat_seconds: series.heat_seconds.clone(),
        heat: series.heat.chunks(every).map(sum_of_rows).collect(),
        server_cpu: highest(&series.server_cpu, every),
        server_rss_bytes: highest(&series.server_rss_bytes, every),
        generator_cpu: each(&series.generator_cpu, every, mean),
    };
    (thinner, every)
}

fn first<T: Clone>(values: &[T], every: usize) -> Vec<T> {
    values.iter().step_by(every).cloned().collect()
}

fn each(values: &[f64], every: usize, one: fn(&[f64]) -> f64) -> Vec<f64> {
    values.chunks(every).map(one).collect()
}

fn mean(values: &[f64]) -> f64 {
    sum(values) / values.len() as f64
}

fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}

fn highest(values: &[Option<f64>], every: usize) -> Vec<Option<f64>> {
    values
        .chunks(every)
        .map(|some| some.iter().copied().flatten().reduce(f64::max))
        .collect()
}

fn sum_of_rows(rows: &[Vec<u32>]) -> Vec<u32> {
    let mut sums = vec![0u32; rows.iter().map(Vec::len).max().unwrap_or(0)];
    for row in rows {
        for (sum, count) in sums.iter_mut().zip(row) {
            *sum = sum.saturating_add(*count);
        }
    }
    sums
}

/// Intervals on a page.
const MOST: usize = 240;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_its_sums_and_its_worst_moment() {
        let mut series = Series {
            interval_seconds: 1.0,
            at: (0..1000).map(f64::from).collect(),
            errors: vec![1.0; 1000],
            sent: vec![7.0; 1000],
            e2e_p99_seconds: vec![Some(0.01); 1000],
            heat: vec![vec![1, 2]; 1000],
            ..Series::default()
        };
        series.e2e_p99_seconds[501] = Some(3.0);
        series.e2e_p99_seconds[502] = None;
        let (thinner, every) = thin(&series);
        assert_eq!((every, thinner.at.len(), thinner.interval_seconds), (5, 200, 5.0));
        assert_eq!(thinner.errors.iter().sum::<f64>(), 1000.0);
        assert_eq!(thinner.sent, vec![7.0; 200]);
        assert_eq!(thinner.e2e_p99_seconds[100], Some(3.0));
        assert_eq!(thinner.heat[0], [5, 10]);
        assert_eq!(thin(&thinner), (thinner.clone(), 1));
    }
}
