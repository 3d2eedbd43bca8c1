//! The run's clock: nanoseconds since the run's zero, the same for every client of a run on whatever host.

use std::time::{Duration, Instant};

/// Nanoseconds since the run's zero.
pub type Nanos = u64;

/// A clock that only goes forward. On an agent it is set by what was measured against the coordinator's.
#[derive(Debug, Clone, Copy)]
pub struct RunClock {
    zero: Instant,
}

impl RunClock {
    /// A clock whose zero is at an instant of this host.
    #[must_use]
    pub const fn starting_at(zero: Instant) -> Self {
        Self { zero }
    }

    /// Now; 0 before the run's zero.
    #[must_use]
    pub fn now(&self) -> Nanos {
        nanos(self.zero.elapsed())
    }

    /// This host's instant of a moment of the run.
    #[must_use]
    pub fn instant(&self, at: Nanos) -> Instant {
        self.zero + Duration::from_nanos(at)
    }
}

/// A duration in nanoseconds; 584 years at most.
#[must_use]
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
