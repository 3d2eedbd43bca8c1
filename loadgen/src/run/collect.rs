//! Puts together what workers hand over: the sums of the run, and interval after interval of it.
//!
//! Memory does not grow with the run: when there are too many intervals, each two neighbours become one.

use std::collections::VecDeque;
use std::sync::Arc;

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

use crate::clock::{Nanos, RunClock};
use crate::outcome::{MOST_MOMENTS, Moment, heat_rows};
use crate::progress::Phase;
use crate::run::gauges::Gauges;
use crate::run::slice::{Handed, Slice};
use crate::run::worker::seconds;
use crate::tally::{Latency, Tally};

/// A collector.
pub(super) struct Collector {
    clock: RunClock,
    gauges: Arc<Gauges>,
    rows: Vec<Nanos>,
    pub(super) measured: Tally,
    pub(super) whole: Tally,
    pub(super) moments: Vec<Moment>,
    /// Nanoseconds of an interval.
    interval: Nanos,
    /// Intervals that are not over, the first one beginning at `first`.
    open: VecDeque<Tally>,
    first: Nanos,
    /// Until when each worker has told everything.
    told: Vec<Nanos>,
    /// When phases began.
    phases: Vec<(Nanos, Phase)>,
    /// Processor time at the end of the last interval.
    cpu: f64,
}

impl Collector {
    pub(super) fn new(clock: RunClock, gauges: Arc<Gauges>, workers: usize) -> Self {
        let first = clock.now() / SECOND * SECOND;
        Self {
            clock,
            gauges,
            rows: heat_rows(),
            measured: Tally::default(),
            whole: Tally::default(),
            moments: Vec::new(),
            interval: SECOND,
            open: VecDeque::new(),
            first,
            told: vec![first; workers],
            phases: Vec::new(),
            cpu: process_cpu(),
        }
    }

    /// Notes that another phase began.
    pub(super) fn entered(&mut self, phase: Phase) {
        self.phases.push((self.clock.now(), phase));
    }

    /// How long intervals are, in seconds.
    pub(super) fn interval(&self) -> f64 {
        self.interval as f64 / SECOND as f64
    }

    /// Takes a slice; gives it back, empty.
    pub(super) fn take(&mut self, handed: Handed) -> Box<Slice> {
        let mut slice = handed.slice;
        self.measured.merge(&slice.measured);
        let place = handed.began.max(self.first) - self.first;
        let place = usize::try_from(place / self.interval).unwrap_or(0).min(MOST_OPEN);
        while self.open.len() <= place {
            self.open.push_back(Tally::default());
        }
        for part in [&slice.measured, &slice.rest] {
            self.whole.merge(part);
            if let Some(open) = self.open.get_mut(place) {
                open.merge(part);
            }
        }
        if let Some(told) = self.told.get_mut(handed.worker) {
            *told = (handed.began / SECOND + 1) * SECOND;
        }
        let all = self.told.iter().copied().min().unwrap_or(0);
        while self.first + self.interval <= all && !self.open.is_empty() {
            self.close();
        }
        slice.clear();
        slice
    }

    /// Closes what is open; at the end.
    pub(super) fn finish(&mut self) {
        while !self.open.is_empty() {
            self.close();
        }
    }

    /// Makes a moment of the first open interval.
    fn close(&mut self) {
        let Some(tally) = self.open.pop_front() else {
            return;
        };
        let cpu = process_cpu();
        let moment = self.moment(&tally, (cpu - self.cpu) / self.interval());
        self.cpu = cpu;
        self.first += self.interval;
        self.moments.push(moment);
        if self.moments.len() == MOST_MOMENTS {
            self.double();
        }
    }

    fn moment(&self, tally: &Tally, cpu: f64) -> Moment {
        let end = self.first + self.interval;
        // The run begins somewhere in the first interval.
        let phase = self.phases.iter().rev().find(|(began, _)| *began <= self.first);
        let phase = phase.or_else(|| self.phases.iter().find(|(began, _)| *began < end));
        let e2e = tally.latency(Latency::E2e).filter(|latency| !latency.is_empty());
        let service = tally
            .latency(Latency::Service)
            .filter(|latency| !latency.is_empty());
        let ok = tally.latency(Latency::Ok).filter(|latency| !latency.is_empty());
        Moment {
            at: self.first as f64 / SECOND as f64,
            phase: phase.map_or(Phase::Connect, |(_, phase)| *phase),
            counts: tally.without_latencies(),
            e2e: e2e.map(|e2e| [0.5, 0.9, 0.99, 1.0].map(|part| e2e.value_at_quantile(part))),
            service: service.map(|service| [0.5, 0.99].map(|part| service.value_at_quantile(part))),
            ok: ok.map(|ok| ok.value_at_quantile(0.99)),
            heat: e2e.map_or_else(|| vec![0; self.rows.len() + 1], |e2e| self.heat(e2e)),
            connections: self.gauges.alive(),
            cpu,
        }
    }

    fn heat(&self, e2e: &Histogram<u64>) -> Vec<u32> {
        let mut heat = vec![0_u32; self.rows.len() + 1];
        for value in e2e.iter_recorded() {
            let row = self
                .rows
                .partition_point(|most| *most < value.value_iterated_to());
            let events = u32::try_from(value.count_at_value()).unwrap_or(u32::MAX);
            heat[row] = heat[row].saturating_add(events);
        }
        heat
    }

    /// Intervals become twice as long.
    fn double(&mut self) {
        let mut moments = std::mem::take(&mut self.moments).into_iter();
        while let Some(mut one) = moments.next() {
            if let Some(two) = moments.next() {
                join(&mut one, &two);
            }
            self.moments.push(one);
        }
        let mut open = std::mem::take(&mut self.open).into_iter();
        while let Some(mut one) = open.next() {
            if let Some(two) = open.next() {
                one.merge(&two);
            }
            self.open.push_back(one);
        }
        self.interval *= 2;
    }
}

/// Makes one moment of two neighbours.
fn join(one: &mut Moment, two: &Moment) {
    one.join(two);
    one.connections = two.connections;
    one.cpu = f64::midpoint(one.cpu, two.cpu);
}

/// Processor time of this process, in seconds.
pub(super) fn process_cpu() -> f64 {
    seconds(clock_gettime(ClockId::ProcessCPUTime))
}

const SECOND: Nanos = 1_000_000_000;
/// A worker that is so many intervals ahead of another counts as if it were not.
const MOST_OPEN: usize = 60;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::tally::Count;

    fn collector(workers: usize) -> Collector {
        let mut collector = Collector::new(RunClock::starting_at(Instant::now()), Arc::default(), workers);
        collector.entered(Phase::Load);
        collector
    }

    fn handed(worker: usize, second: u64) -> Handed {
        let mut slice = Box::<Slice>::default();
        slice.measured.add(Count::Delivered, 1);
        slice.measured.record(Latency::E2e, 1_000_000 * (second + 1));
        slice.rest.add(Count::Delivered, 10);
        Handed {
            worker,
            began: second * SECOND,
            slice,
        }
    }

    #[test]
    fn a_moment_is_over_when_all_workers_told() {
        let mut collector = collector(2);
        collector.take(handed(0, 0));
        collector.take(handed(0, 1));
        assert_eq!(collector.moments.len(), 0);
        collector.take(handed(1, 0));
        let delivered = collector
            .moments
            .iter()
            .map(|moment| moment.counts.count(Count::Delivered));
        assert_eq!(delivered.collect::<Vec<_>>(), [22]);
        collector.finish();
        assert_eq!(collector.moments.len(), 2);
        assert_eq!(collector.moments[1].heat.iter().sum::<u32>(), 1);
        let sums = [&collector.measured, &collector.whole].map(|sum| sum.count(Count::Delivered));
        assert_eq!(sums, [3, 33]);
    }

    #[test]
    fn a_long_run_has_longer_moments_and_not_more_of_them() {
        let mut collector = collector(1);
        for second in 0..5000 {
            let slice = collector.take(handed(0, second));
            assert_eq!(slice.measured.count(Count::Delivered), 0);
        }
        collector.finish();
        assert!(collector.moments.len() < MOST_MOMENTS && collector.interval() == 8.0);
        let delivered = collector
            .moments
            .iter()
            .map(|moment| moment.counts.count(Count::Delivered));
        assert_eq!(delivered.sum::<u64>(), 55_000);
        let at: Vec<_> = collector.moments.iter().map(|moment| moment.at).collect();
        assert!(at.windows(2).all(|two| two[1] - two[0] == 8.0));
    }
}
