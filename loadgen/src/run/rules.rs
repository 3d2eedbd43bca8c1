//! What a scenario means for each client: worked out once, the same for everybody.

use std::time::Duration;

use crate::clock::Nanos;
use crate::scenario::{Load, Scenario, Until};

/// Rules.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Messages that a sender of a closed load has out at most.
    pub(super) in_flight: Option<u64>,
    /// When one of them is over.
    pub(super) until: Until,
    /// Messages for each recipient, while nobody is there.
    pub(super) each: Option<u64>,
    /// Part of the clients that ack late.
    pub(super) slow_share: f64,
    /// Part of the clients whose connection breaks, per second.
    pub(super) break_share: f64,
    /// Initial connections per second, of all clients together.
    pub(super) connect_rate: Option<f64>,
}

/// When the load is, on the run's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hours {
    /// Warm-up begins.
    pub(super) starts: Nanos,
    /// What is due from here on is measured.
    pub(super) measured: Nanos,
    /// Nothing is due from here on. Far away when it ends otherwise.
    pub(super) ends: Nanos,
    /// What has not left by then never does.
    pub(super) gives_up: Nanos,
}

impl Rules {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let (in_flight, until, each) = match scenario.load {
            Load::Closed { in_flight, until, .. } => (Some(in_flight), until, None),
            Load::Offline { each, in_flight } => (Some(in_flight), Until::Ok, Some(each)),
            Load::Open { .. } | Load::Claims { .. } | Load::Hold { .. } | Load::Storm { .. } => {
                (None, Until::Ok, None)
            }
        };
        Self {
            in_flight: in_flight.map(|most| u64::from(most.max(1))),
            until,
            each: each.map(u64::from),
            slow_share: scenario.faults.slow_consumers_percent / 100.0,
            break_share: scenario.faults.reconnect_percent_per_minute / 100.0 / 60.0,
            connect_rate: scenario.clients.connect_rate.map(crate::units::Rate::get),
        }
    }

    /// Whether recipients come only after everything was sent.
    pub(super) const fn is_offline(&self) -> bool {
        self.each.is_some()
    }

    /// Whether a client acks late: every so many-th one.
    pub(super) fn is_slow(&self, place: u32) -> bool {
        let place = f64::from(place);
        ((place + 1.0) * self.slow_share).floor() > (place * self.slow_share).floor()
    }
}

/// How late slow clients ack.
pub(super) const SLOW: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_clients_are_spread_evenly() {
        let mut rules = Rules::of(&toml::from_str("schema = \"x\"").unwrap());
        rules.slow_share = 0.25;
        let slow = |places: std::ops::Range<u32>| places.filter(|place| rules.is_slow(*place)).count();
        assert_eq!((slow(0..100), slow(0..4), slow(0..3)), (25, 1, 0));
    }
}
