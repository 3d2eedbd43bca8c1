//! How often each address opens sessions, and how often it may.
//!
//! Owns which addresses count as one, and the memory for them. Keeps addresses for as long as they matter to the rate,
//! a minute or so, and never writes one down.
//!
//! # Why it lets everybody in when there are too many addresses
//!
//! What is bounded here is one client that opens sessions all the time. Where a hundred thousand addresses come within a
//! minute, each below its rate, no rate by address helps, and to refuse those who come next would help the attacker.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::Request;
use chatctl_protocol::Code;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use tracing::warn;

use crate::http::Doors;
use crate::http::origin::{self, Peer};
use crate::http::problem::Problem;
use crate::metrics::Count as _;

/// The rates of all addresses.
pub struct Arrivals<C: Clock = DefaultClock> {
    clock: C,
    gate: Mutex<Option<Gate<C>>>,
    has_warned: AtomicBool,
}

/// One rate, and who has used how much of it.
struct Gate<C: Clock> {
    per_minute: NonZeroU32,
    limiter: Arc<Limiter<C>>,
    swept: C::Instant,
}

type Limiter<C> = RateLimiter<IpAddr, DashMapStateStore<IpAddr>, C, NoOpMiddleware<<C as Clock>::Instant>>;

impl Default for Arrivals {
    fn default() -> Self {
        Self::at(DefaultClock::default())
    }
}

/// Lets a session begin, or says when its address may come again.
///
/// # Errors
///
/// [`Problem`] 429.
pub fn admit<B>(doors: &Doors, request: &Request<B>) -> Result<(), Problem> {
    let live = doors.live.now();
    let settings = &live.server;
    // A socket of this machine has no address, and nobody far away comes by it.
    let Some(Peer(Some(peer))) = request.extensions().get::<Peer>().copied() else {
        return Ok(());
    };
    if origin::came_in_the_clear(peer, request.headers(), &settings.trusted_proxies) {
        doors.arrivals.warn_once();
    }
    let Some(rate) = NonZeroU32::new(settings.connect_rate) else {
        return Ok(());
    };
    let client = origin::client(peer, request.headers(), &settings.trusted_proxies);
    doors.arrivals.admit(rate, client).map_err(|wait| {
        doors.metrics.rate_limited.count("address");
        let seconds = wait.as_secs().saturating_add(1);
        Problem::new(Code::RateLimited, "Too many sessions from this address for now.").retry_after(seconds)
    })
}

impl<C: Clock + Clone> Arrivals<C> {
    fn at(clock: C) -> Self {
        Self {
            clock,
            gate: Mutex::default(),
            has_warned: AtomicBool::new(false),
        }
    }

    /// Counts one more session of an address; the error is how long it has to wait. A rate that is another one than
    /// before begins anew.
    fn admit(&self, per_minute: NonZeroU32, client: IpAddr) -> Result<(), Duration> {
        let limiter = self.limiter(per_minute);
        let client = block(client);
        match limiter {
            None => Ok(()),
            Some(limiter) => limiter
                .check_key(&client)
                .map_err(|until| until.wait_time_from(self.clock.now())),
        }
    }

    /// Who counts; nobody while there are too many addresses.
    fn limiter(&self, per_minute: NonZeroU32) -> Option<Arc<Limiter<C>>> {
        let mut gate = self.gate.lock();
        let current = gate.take().filter(|gate| gate.per_minute == per_minute);
        let gate = gate.insert(current.unwrap_or_else(|| Gate {
            per_minute,
            limiter: Arc::new(RateLimiter::dashmap_with_clock(
                Quota::per_minute(per_minute),
                self.clock.clone(),
            )),
            swept: self.clock.now(),
        }));
        let now = self.clock.now();
        let pause: Duration = governor::clock::Reference::duration_since(&now, gate.swept).into();
        if pause >= SWEEP_PAUSE {
            gate.limiter.retain_recent();
            gate.limiter.shrink_to_fit();
            gate.swept = now;
        }
        (gate.limiter.len() < MAX_ADDRESSES).then(|| Arc::clone(&gate.limiter))
    }

    fn warn_once(&self) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            warn!(
                "a trusted proxy passes on sessions that came without TLS: tokens cross the network in the clear"
            );
        }
    }
}

impl<C: Clock> fmt::Debug for Arrivals<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrivals").finish_non_exhaustive()
    }
}

/// Those who count as one: an IPv4 address, or the /64 that one subscriber of IPv6 has at least.
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX)).into(),
        four @ IpAddr::V4(_) => four,
    }
}

/// Addresses that are remembered: some ten megabytes.
const MAX_ADDRESSES: usize = 100_000;

/// Time between two rounds of forgetting.
const SWEEP_PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const TWO: NonZeroU32 = NonZeroU32::new(2).unwrap();

    fn from(arrivals: &Arrivals<FakeRelativeClock>, address: &str) -> Result<(), Duration> {
        arrivals.admit(TWO, address.parse().unwrap())
    }

    #[test]
    fn an_address_opens_a_minutes_worth_at_once_and_then_as_often_as_it_may() {
        let clock = FakeRelativeClock::default();
        let arrivals = Arrivals::at(clock.clone());
        assert_eq!(from(&arrivals, "192.0.2.1"), Ok(()));
        assert_eq!(from(&arrivals, "::ffff:192.0.2.1"), Ok(()));
        assert_eq!(from(&arrivals, "192.0.2.1"), Err(Duration::from_secs(30)));
        assert_eq!(from(&arrivals, "192.0.2.2"), Ok(()));
        clock.advance(Duration::from_secs(30));
        assert_eq!(from(&arrivals, "192.0.2.1"), Ok(()));
        assert!(from(&arrivals, "192.0.2.1").is_err());
        // Another rate is another account.
        assert_eq!(
            arrivals.admit(NonZeroU32::MIN, "192.0.2.1".parse().unwrap()),
            Ok(())
        );
    }

    #[test]
    fn the_addresses_of_one_subscriber_count_as_one() {
        let arrivals = Arrivals::at(FakeRelativeClock::default());
        assert_eq!(from(&arrivals, "2001:db8:1:2::1"), Ok(()));
        assert_eq!(from(&arrivals, "2001:db8:1:2:ffff::"), Ok(()));
        assert!(from(&arrivals, "2001:db8:1:2:5::5").is_err());
        assert_eq!(from(&arrivals, "2001:db8:1:3::1"), Ok(()));
    }

    #[test]
    fn too_many_addresses_are_not_remembered_and_quiet_ones_are_forgotten() {
        let clock = FakeRelativeClock::default();
        let arrivals = Arrivals::at(clock.clone());
        for number in 0..u32::try_from(MAX_ADDRESSES).unwrap() + 10 {
            assert_eq!(
                arrivals.admit(TWO, std::net::Ipv4Addr::from_bits(number).into()),
                Ok(())
            );
        }
        let kept = |arrivals: &Arrivals<FakeRelativeClock>| {
            arrivals.gate.lock().as_ref().map(|gate| gate.limiter.len())
        };
        assert_eq!(kept(&arrivals), Some(MAX_ADDRESSES));
        clock.advance(Duration::from_secs(60));
        assert_eq!(from(&arrivals, "192.0.2.1"), Ok(()));
        assert_eq!(kept(&arrivals), Some(1));
    }
}
