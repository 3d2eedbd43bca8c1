//! How much may be claimed, by whom, from whom.
//!
//! Owns three kinds of buckets and their memory. Must not know what a claim is or what it brings.
//!
//! # Why
//!
//! Per-caller limits do not stop a crowd, per-target limits alone let one caller use up what is there
//! for all: so both, and a hard one per caller. Buckets are keyed by a keyed hash of addresses, never
//! by mailbox: a device that registers anew does not get a new budget. Their number is bounded; when
//! even a sweep of the idle ones makes no room, nobody is given items until it does (fail closed).

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::time::Duration;

use chatctl_protocol::Address;
use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;

use crate::config::DirectoryConfig;

/// Time in which a pair gets one more claim.
const PAIR_REFILL: Duration = Duration::from_secs(600);
/// Most pairs that are remembered.
const MAX_PAIRS: usize = 1_000_000;
/// Most targets, and most callers, that are remembered.
const MAX_DEVICES: usize = 250_000;
/// Below so many keys nothing is swept.
const SMALL: usize = 4_096;
/// Shortest time between two sweeps of a full table.
const SWEEP_PAUSE: Duration = Duration::from_secs(10);

/// A soft budget that is used up: the fallback is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spent {
    /// This caller and this target.
    Pair,
    /// Everybody and this target.
    Target,
}

impl Spent {
    /// The word in the metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Pair => "claim_pair",
            Self::Target => "claim_target",
        }
    }
}

/// The budgets of claims.
#[derive(Debug)]
pub(super) struct Budgets<C: Clock = DefaultClock> {
    hasher: RandomState,
    pairs: Buckets<C>,
    targets: Buckets<C>,
    callers: Buckets<C>,
}

impl Budgets {
    pub(super) fn new(config: &DirectoryConfig) -> Self {
        Self::with_clock(config, &DefaultClock::default())
    }
}

impl<C: Clock + Clone> Budgets<C> {
    fn with_clock(config: &DirectoryConfig, clock: &C) -> Self {
        let pair = NonZeroU32::new(config.claim_pair_burst)
            .and_then(|burst| Some(Quota::with_period(PAIR_REFILL)?.allow_burst(burst)));
        let target = NonZeroU32::new(config.claim_target_hourly).map(Quota::per_hour);
        let caller = NonZeroU32::new(config.claim_caller_minute).map(Quota::per_minute);
        Self {
            hasher: RandomState::new(),
            pairs: Buckets::new(pair, MAX_PAIRS, clock),
            targets: Buckets::new(target, MAX_DEVICES, clock),
            callers: Buckets::new(caller, MAX_DEVICES, clock),
        }
    }

    /// Takes one claim of `target`'s queues from the soft budgets.
    pub(super) fn take(&self, caller: &Address, target: &Address) -> Result<(), Spent> {
        // The pair first: a caller that is over its share takes nothing from what is there for all.
        self.pairs
            .take(self.key((caller, target)), NonZeroU32::MIN)
            .map_err(|_| Spent::Pair)?;
        self.targets
            .take(self.key(target), NonZeroU32::MIN)
            .map_err(|_| Spent::Target)
    }

    /// Takes a claim of so many devices from the caller's hard budget, or says when it may pass.
    pub(super) fn admit(&self, caller: &Address, devices: usize) -> Result<(), Duration> {
        let devices = u32::try_from(devices).unwrap_or(u32::MAX);
        let devices = NonZeroU32::new(devices).unwrap_or(NonZeroU32::MIN);
        self.callers.take(self.key(caller), devices)
    }

    fn key(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }
}

type Limiter<C> = RateLimiter<u64, DashMapStateStore<u64>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Buckets of one kind, of a bounded number of keys.
struct Buckets<C: Clock> {
    /// `None` when the setting is 0: nothing passes.
    limiter: Option<(Limiter<C>, NonZeroU32)>,
    clock: C,
    max_keys: usize,
    sweep: Mutex<Sweep<C::Instant>>,
}

/// When idle buckets were thrown out, and at which number of keys that is due again.
struct Sweep<I> {
    at: I,
    due: usize,
}

impl<C: Clock + Clone> Buckets<C> {
    fn new(quota: Option<Quota>, max_keys: usize, clock: &C) -> Self {
        Self {
            limiter: quota.map(|quota| {
                let limiter = RateLimiter::dashmap_with_clock(quota, clock.clone());
                (limiter, quota.burst_size())
            }),
            clock: clock.clone(),
            max_keys,
            sweep: Mutex::new(Sweep {
                at: clock.now(),
                due: SMALL.min(max_keys),
            }),
        }
    }

    fn take(&self, key: u64, cells: NonZeroU32) -> Result<(), Duration> {
        let Some((limiter, burst)) = &self.limiter else {
            return Err(PAIR_REFILL);
        };
        if !self.has_room(limiter) {
            return Err(SWEEP_PAUSE);
        }
        // More than the whole bucket at once costs the whole bucket, or it could never pass.
        let cells = cells.min(*burst);
        match limiter.check_key_n(&key, cells) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(until.wait_time_from(self.clock.now())),
            Err(_) => Err(PAIR_REFILL),
        }
    }

    /// Whether one more key may be remembered; sweeps when it is time to.
    ///
    /// The table may double between sweeps, so their cost spreads over the keys that came in. The
    /// largest takes tens of milliseconds, and there are at least ten seconds between two of those.
    fn has_room(&self, limiter: &Limiter<C>) -> bool {
        let keys = limiter.len();
        // Somebody else is at it: the bound still holds, a few keys late.
        let Some(mut sweep) = self.sweep.try_lock() else {
            return keys < self.max_keys;
        };
        if keys < sweep.due {
            return true;
        }
        let now = self.clock.now();
        let pause: Duration = now.duration_since(sweep.at).into();
        if keys >= self.max_keys && sweep.due == self.max_keys && pause < SWEEP_PAUSE {
            return false;
        }
        limiter.retain_recent();
        limiter.shrink_to_fit();
        let kept = limiter.len();
        *sweep = Sweep {
            at: now,
            due: kept
                .saturating_mul(2)
                .clamp(SMALL.min(self.max_keys), self.max_keys),
        };
        kept < self.max_keys
    }
}

impl<C: Clock> fmt::Debug for Buckets<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.limiter.as_ref().map_or(0, |(limiter, _)| limiter.len());
        write!(f, "Buckets({keys} keys)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chatctl_protocol::{AccountId, DeviceId};
    use governor::clock::FakeRelativeClock;

    fn device(account: &str) -> Address {
        Address {
            account: AccountId::parse(account).unwrap(),
            device_id: DeviceId::parse("1").unwrap(),
        }
    }

    fn budgets(pair: u32, hourly: u32, minute: u32) -> (Budgets<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let config = DirectoryConfig {
            claim_pair_burst: pair,
            claim_target_hourly: hourly,
            claim_caller_minute: minute,
            ..DirectoryConfig::default()
        };
        (Budgets::with_clock(&config, &clock), clock)
    }

    #[test]
    fn a_pair_has_a_burst_and_then_one_claim_in_ten_minutes() {
        let (budgets, clock) = budgets(2, 100, 100);
        let (alice, bob, carol) = (device("alice"), device("bob"), device("carol"));
        let took: Vec<_> = (0..3).map(|_| budgets.take(&alice, &bob)).collect();
        assert_eq!(took, [Ok(()), Ok(()), Err(Spent::Pair)]);
        assert_eq!(budgets.take(&carol, &bob), Ok(()));
        assert_eq!(budgets.take(&bob, &alice), Ok(()));
        clock.advance(Duration::from_secs(601));
        assert_eq!(budgets.take(&alice, &bob), Ok(()));
        assert_eq!(budgets.take(&alice, &bob), Err(Spent::Pair));
    }

    #[test]
    fn a_crowd_shares_the_budget_of_its_target() {
        let (budgets, clock) = budgets(6, 3, 100);
        let bob = device("bob");
        let crowd: Vec<_> = (0..1000)
            .map(|n| budgets.take(&device(&format!("caller{n}")), &bob))
            .collect();
        assert_eq!(crowd.iter().filter(|took| took.is_ok()).count(), 3);
        assert_eq!(crowd.last(), Some(&Err(Spent::Target)));
        assert_eq!(budgets.take(&device("caller1"), &device("carol")), Ok(()));
        clock.advance(Duration::from_secs(20 * 60 + 1));
        assert_eq!(budgets.take(&device("another"), &bob), Ok(()));
    }

    #[test]
    fn a_caller_over_its_budget_hears_when_to_come_back() {
        let (budgets, clock) = budgets(6, 100, 60);
        let alice = device("alice");
        assert_eq!(budgets.admit(&alice, 60), Ok(()));
        let wait = budgets.admit(&alice, 3).unwrap_err();
        assert!(
            wait > Duration::from_secs(2) && wait <= Duration::from_secs(3),
            "{wait:?}"
        );
        assert_eq!(budgets.admit(&device("bob"), 1), Ok(()));
        clock.advance(wait);
        assert_eq!(budgets.admit(&alice, 3), Ok(()));
    }

    #[test]
    fn a_claim_larger_than_the_bucket_costs_the_bucket() {
        let (budgets, _clock) = budgets(6, 100, 10);
        assert_eq!(budgets.admit(&device("alice"), 64), Ok(()));
        assert!(budgets.admit(&device("alice"), 1).is_err());
    }

    #[test]
    fn a_budget_of_zero_gives_nothing() {
        let (budgets, _clock) = budgets(0, 0, 0);
        assert_eq!(budgets.take(&device("alice"), &device("bob")), Err(Spent::Pair));
        assert!(budgets.admit(&device("alice"), 1).is_err());
    }

    #[test]
    fn a_full_table_fails_closed_until_buckets_are_idle() {
        let clock = FakeRelativeClock::default();
        let buckets = Buckets::new(Some(Quota::per_minute(NonZeroU32::MIN)), 8, &clock);
        for key in 0..8 {
            assert_eq!(buckets.take(key, NonZeroU32::MIN), Ok(()));
        }
        assert_eq!(buckets.take(8, NonZeroU32::MIN), Err(SWEEP_PAUSE));
        assert_eq!(buckets.limiter.as_ref().unwrap().0.len(), 8);
        clock.advance(Duration::from_secs(200));
        assert_eq!(buckets.take(8, NonZeroU32::MIN), Ok(()));
        assert_eq!(buckets.limiter.as_ref().unwrap().0.len(), 1);
    }
}
