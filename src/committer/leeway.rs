//! How long a send waits for its commit: the configured interval, and somewhat longer while that spares the disk.
//!
//! Must not know whose mail it is: it counts, over all of it.
//!
//! # Why
//!
//! What is acked before its commit costs no disk. When a relay is busy an ack comes a little later than the interval,
//! and then most mail is written for nothing, which makes the relay busier still. So the wait follows the time that
//! acks take: their mean and twice their usual distance from it, as TCP waits before it sends again. Bounded by four
//! intervals; and an interval of zero stays zero.
//!
//! It goes back to the interval when acks come quickly, and when hardly any come at all: whoever is away will not
//! ack sooner because the relay waits. Between the two answers there is a gap, and everything is smoothed over some
//! periods, so that it does not sway. A longer wait makes acks quicker, not slower, so what is measured pulls the wait
//! to one point from both sides.
//!
//! The wait is the same for every envelope of the relay, since the time until an answer must not tell who is
//! online. On a quiet relay a single recipient would still shape it, therefore only a busy one waits longer:
//! busier than one sender may be by far.

use std::time::Duration;

use tokio::time::Instant;

/// Measures acks, and says how long sends wait.
#[derive(Debug)]
pub(super) struct Leeway {
    least: Duration,
    wait: Duration,
    period: Period,
    /// Share of the mail that was acked soon, lately.
    share: f64,
    /// How long those acks took, in milliseconds.
    lag: f64,
    /// How far they were from that, on average.
    spread: f64,
    /// Whether so much was acked soon that the wait is worth it.
    is_worth_it: bool,
}

/// What is counted until the next turn.
#[derive(Debug)]
struct Period {
    since: Instant,
    /// Envelopes that came in and want an ack.
    accepted: u64,
    /// Acks that came soon.
    soon: u64,
    /// How long they took together, in milliseconds.
    took: u64,
    /// How far each was from the lag, together.
    apart: u64,
}

impl Period {
    const fn begin(since: Instant) -> Self {
        Self {
            since,
            accepted: 0,
            soon: 0,
            took: 0,
            apart: 0,
        }
    }
}

impl Leeway {
    pub(super) const fn new(least: Duration, now: Instant) -> Self {
        Self {
            least,
            wait: least,
            period: Period::begin(now),
            share: 0.0,
            lag: 0.0,
            spread: 0.0,
            is_worth_it: false,
        }
    }

    /// How long a send waits now.
    pub(super) const fn wait(&self) -> Duration {
        self.wait
    }

    /// So many envelopes have come in.
    pub(super) const fn accepted(&mut self, count: u64) {
        self.period.accepted += count;
    }

    /// An envelope was acked so many milliseconds after it had come in.
    pub(super) fn acked(&mut self, after_ms: u64) {
        if u128::from(after_ms) <= (self.least * MOST).as_millis() {
            self.period.soon += 1;
            self.period.took += after_ms;
            self.period.apart += after_ms.abs_diff(self.lag as u64);
        }
    }

    /// Thinks again, once a period is over.
    pub(super) fn turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.period.since);
        if self.least.is_zero() || passed < self.least * PERIOD {
            return;
        }
        let period = std::mem::replace(&mut self.period, Period::begin(now));
        let intervals = passed.as_secs_f64() / self.least.as_secs_f64();
        let is_busy = period.accepted as f64 >= BUSY * intervals;
        let share = match is_busy {
            true => (period.soon as f64 / period.accepted as f64).min(1.0),
            false => 0.0,
        };
        near(&mut self.share, share);
        if is_busy && period.soon > 0 {
            near(&mut self.lag, period.took as f64 / period.soon as f64);
            near(&mut self.spread, period.apart as f64 / period.soon as f64);
        }
        self.is_worth_it = match self.is_worth_it {
            true => self.share > STAYS,
            false => self.share > BEGINS,
        };
        let wanted = Duration::from_secs_f64((self.lag + 2.0 * self.spread) / 1000.0);
        self.wait = match self.is_worth_it {
            true => wanted.clamp(self.least, self.least * MOST),
            false => self.least,
        };
    }
}

/// A step towards what was measured now.
fn near(smoothed: &mut f64, measured: f64) {
    *smoothed += (measured - *smoothed) / 4.0;
}

/// Longest wait, in intervals. An ack that comes within is soon.
const MOST: u32 = 4;

/// Intervals from one turn to the next.
const PERIOD: u32 = 16;

/// Envelopes in an interval from which on a relay is busy: 6,400 a second at the default interval.
const BUSY: f64 = 32.0;

/// Share of acks that come soon from which on the relay waits for them.
const BEGINS: f64 = 0.6;

/// Share below which it does no more.
const STAYS: f64 = 0.4;

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(5);

    /// Lets a relay be busy for some periods, whose acks come after what `ack` says of each envelope's turn
    /// and the present wait; `None` for never. Returns the wait of each period.
    fn run(
        leeway: &mut Leeway,
        now: &mut Instant,
        count: u64,
        ack: impl Fn(u64, Duration) -> Option<u64>,
    ) -> Vec<Duration> {
        let periods = (0..40).map(|_| {
            leeway.accepted(count);
            let wait = leeway.wait();
            (0..count)
                .filter_map(|turn| ack(turn, wait))
                .for_each(|after| leeway.acked(after));
            *now += INTERVAL * PERIOD;
            leeway.turn(*now);
            leeway.wait()
        });
        periods.collect()
    }

    fn fresh() -> (Leeway, Instant) {
        let now = Instant::now();
        (Leeway::new(INTERVAL, now), now)
    }

    fn sway(waits: &[Duration]) -> Duration {
        let (least, most) = (waits.iter().min(), waits.iter().max());
        *most.unwrap() - *least.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn late_acks_are_waited_for_up_to_a_bound_and_quick_ones_are_not() {
        let (mut leeway, mut now) = fresh();
        let waits = run(&mut leeway, &mut now, 10_000, |turn, _| Some(5 + turn % 4));
        // Slowly: not before some periods agree.
        assert_eq!(waits[..3], [INTERVAL; 3]);
        let settled = *waits.last().unwrap();
        assert!(
            settled > Duration::from_millis(7) && settled < Duration::from_millis(10),
            "{settled:?}"
        );
        let waits = run(&mut leeway, &mut now, 10_000, |turn, _| Some(turn % 20));
        assert!(waits.iter().all(|wait| *wait <= INTERVAL * MOST));
        let waits = run(&mut leeway, &mut now, 10_000, |turn, _| Some(turn % 2));
        assert_eq!(waits.last(), Some(&INTERVAL));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_those_who_are_away_nor_on_a_quiet_relay_nor_at_an_interval_of_zero() {
        let (mut leeway, mut now) = fresh();
        let away = run(&mut leeway, &mut now, 10_000, |turn, _| {
            turn.is_multiple_of(3).then_some(8)
        });
        assert_eq!(away, [INTERVAL; 40]);
        let quiet = run(&mut leeway, &mut now, 500, |_, _| Some(8));
        assert_eq!(quiet, [INTERVAL; 40]);
        let mut at_once = Leeway::new(Duration::ZERO, now);
        let waits = run(&mut at_once, &mut now, 10_000, |_, _| Some(0));
        assert_eq!(waits, [Duration::ZERO; 40]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_makes_acks_quicker_comes_to_rest() {
        let (mut leeway, mut now) = fresh();
        // Twice as long a wait, half the time until an ack.
        let eager = |turn: u64, wait: Duration| Some(40 / wait.as_millis() as u64 + turn % 4);
        run(&mut leeway, &mut now, 10_000, eager);
        let waits = run(&mut leeway, &mut now, 10_000, eager);
        assert!(sway(&waits) <= Duration::from_millis(1), "{waits:?}");
        // Nor does it sway where about half of the mail is acked soon.
        let half = |turn: u64, _| (turn % 100 < 50).then_some(7);
        run(&mut leeway, &mut now, 10_000, half);
        let waits = run(&mut leeway, &mut now, 10_000, half);
        assert!(sway(&waits) <= Duration::from_millis(1), "{waits:?}");
    }
}
