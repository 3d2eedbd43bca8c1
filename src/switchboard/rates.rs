//! How much each device may send.
//!
//! Owns what each sender has used up. Must not know what is sent, or who asks: all sessions and requests of a device
//! draw on the same.
//!
//! # Why
//!
//! Every send is counted. What a device has used up is one number, held by its session, so that counting is one
//! exchange of that number: nothing is looked up, and the time comes from the caller, who has it. The algorithm is the
//! generic cell rate algorithm, that of the `governor` crate, whose limiters each hold a clock and a quota of their own.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::Instant;

use crate::config::MailConfig;
use crate::model::{MailboxId, NumberHasher};

/// What a device has used up: the time by which all that it sent would have been sent at the steady rate, in
/// nanoseconds since the relay began to count.
#[derive(Debug, Default)]
pub(super) struct Spent(AtomicU64);

/// What may be sent, and what was.
#[derive(Debug)]
pub(super) struct Rates {
    since: Instant,
    /// Nanoseconds from one send to the next at the steady rate.
    step: AtomicU64,
    /// Nanoseconds by which a sender may be ahead of the steady rate.
    ahead: AtomicU64,
    senders: DashMap<MailboxId, Arc<Spent>, NumberHasher>,
}

impl Rates {
    /// As the settings say; nobody has sent anything.
    pub(super) fn new(config: &MailConfig) -> Self {
        let (step, ahead) = pace(config);
        Self {
            since: Instant::now(),
            step: AtomicU64::new(step),
            ahead: AtomicU64::new(ahead),
            senders: DashMap::default(),
        }
    }

    /// As these settings say from now on, for those who have sent already too. What they sent is forgiven.
    pub(super) fn follow(&self, config: &MailConfig) {
        let (step, ahead) = pace(config);
        self.step.store(step, Ordering::Relaxed);
        self.ahead.store(ahead, Ordering::Relaxed);
        for sender in &self.senders {
            sender.0.store(0, Ordering::Relaxed);
        }
    }

    /// What the device has used up, to be held by whoever sends for it.
    pub(super) fn of(&self, sender: MailboxId) -> Arc<Spent> {
        Arc::clone(&self.senders.entry(sender).or_default())
    }

    /// Counts one send.
    ///
    /// # Errors
    ///
    /// How long to wait, when it is one too many; it is not counted then.
    pub(super) fn count(&self, spent: &Spent, now: Instant) -> Result<(), Duration> {
        let (step, ahead) = (
            self.step.load(Ordering::Relaxed),
            self.ahead.load(Ordering::Relaxed),
        );
        let now = self.passed(now);
        let after = |before: u64| before.max(now).saturating_add(step);
        let counted = spent
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| {
                // Two threads need not agree on what time it is: without a pace nobody is ahead.
                (step == 0 || after(before) - now <= ahead).then(|| after(before))
            });
        counted
            .map(drop)
            .map_err(|before| Duration::from_nanos(after(before) - now - ahead))
    }

    /// Forgets those who have been quiet for so long that it makes no difference.
    pub(super) fn forget_quiet(&self, now: Instant) {
        let now = self.passed(now);
        // Who is held is shared: another one beside it would be counted apart.
        self.senders
            .retain(|_, spent| Arc::strong_count(spent) > 1 || spent.0.load(Ordering::Relaxed) > now);
        self.senders.shrink_to_fit();
    }

    fn passed(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.since).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The time from one send to the next, and how far ahead of that a sender may be.
fn pace(config: &MailConfig) -> (u64, u64) {
    let at_least_one = |count| u64::from(NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN).get());
    let step = SECOND / at_least_one(config.send_rate);
    (step, step * at_least_one(config.send_burst))
}

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const ALICE: MailboxId = MailboxId(1);
    const BOB: MailboxId = MailboxId(2);

    fn settings(send_rate: u32, send_burst: u32) -> MailConfig {
        MailConfig {
            send_rate,
            send_burst,
            ..Config::default().mail
        }
    }

    /// How many pass before one does not, and how long that one has to wait.
    fn burst(rates: &Rates, spent: &Spent, now: Instant) -> (usize, Duration) {
        for count in 0.. {
            if let Err(wait) = rates.count(spent, now) {
                return (count, wait);
            }
        }
        unreachable!("a burst ends")
    }

    #[test]
    fn a_burst_passes_and_then_as_many_as_the_rate_says() {
        let rates = Rates::new(&settings(10, 3));
        let (start, alice) = (Instant::now(), rates.of(ALICE));
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(burst(&rates, &alice, at(0)), (3, Duration::from_millis(100)));
        assert_eq!(burst(&rates, &alice, at(60)), (0, Duration::from_millis(40)));
        assert_eq!(burst(&rates, &alice, at(100)), (1, Duration::from_millis(100)));
        assert_eq!(burst(&rates, &alice, at(250)), (1, Duration::from_millis(50)));
        assert_eq!(burst(&rates, &alice, at(9_000)), (3, Duration::from_millis(100)));
        assert_eq!(burst(&rates, &rates.of(BOB), at(9_000)).0, 3);
    }

    #[test]
    fn all_who_send_for_a_device_share_what_it_has_used_up() {
        let rates = Rates::new(&settings(10, 3));
        let now = Instant::now();
        let (session, request) = (rates.of(ALICE), rates.of(ALICE));
        assert_eq!(rates.count(&session, now), Ok(()));
        assert_eq!(rates.count(&request, now), Ok(()));
        assert_eq!(burst(&rates, &session, now).0, 1);
        drop(request);
        // One who is quiet and held is not forgotten: the next request would be counted apart.
        let later = now + Duration::from_secs(60);
        rates.forget_quiet(later);
        assert_eq!(burst(&rates, &session, later).0, 3);
        assert_eq!(burst(&rates, &rates.of(ALICE), later).0, 0);
        drop(session);
        rates.forget_quiet(later);
        assert_eq!(rates.senders.len(), 1);
        rates.forget_quiet(later + Duration::from_secs(60));
        assert!(rates.senders.is_empty());
    }

    #[test]
    fn new_settings_hold_for_those_who_send_already_and_forgive() {
        let rates = Rates::new(&settings(10, 3));
        let (now, alice) = (Instant::now(), rates.of(ALICE));
        assert_eq!(burst(&rates, &alice, now).0, 3);
        rates.follow(&settings(1, 5));
        assert_eq!(burst(&rates, &alice, now), (5, Duration::from_secs(1)));
    }

    #[test]
    fn a_rate_without_bounds_refuses_nobody() {
        let rates = Rates::new(&settings(u32::MAX, u32::MAX));
        let (now, alice) = (Instant::now(), rates.of(ALICE));
        let earlier = now.checked_sub(Duration::from_millis(1)).unwrap();
        for at in [now, earlier, now] {
            assert_eq!(rates.count(&alice, at), Ok(()));
        }
    }
}
