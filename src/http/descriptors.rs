//! How many files and sockets the system gives this process, and for how many sessions that is enough.
//!
//! Owns how they are shared out. Must not know who sits where.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::debug;

/// The limits of this process, where there are any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// What holds now.
    pub soft: Option<u64>,
    /// What the process may raise it to by itself.
    pub hard: Option<u64>,
}

impl Descriptors {
    /// As if there were as many as anybody wants.
    pub const ENDLESS: Self = Self {
        soft: None,
        hard: None,
    };

    /// Raises the soft limit as far as it goes, and says what holds then.
    #[must_use]
    pub fn raise() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let wanted = Rlimit {
            current: limit.maximum,
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, wanted) {
            debug!(%error, "the limit of open files stays as it is");
        }
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        Self {
            soft: current,
            hard: maximum,
        }
    }

    /// The most sessions that they are enough for: all but an eighth, that is kept for the store, the log and
    /// those who are answered that there is no room.
    #[must_use]
    pub fn most_sessions(self) -> usize {
        self.soft.map_or(usize::MAX, |soft| {
            // Of a few, too, half is for sessions.
            let most = soft.saturating_sub(reserve(soft)).max(soft / 2);
            usize::try_from(most).unwrap_or(usize::MAX)
        })
    }

    /// How many a process needs so that there is room for this many sessions: [`Self::most_sessions`] the other way.
    #[must_use]
    pub fn wanted_for(sessions: u64) -> u64 {
        let kept = sessions.div_ceil(7).clamp(MIN_RESERVE, MAX_REQUESTS + OWN);
        sessions.saturating_add(kept)
    }

    /// The most connections at once that are not sessions yet.
    #[must_use]
    pub fn most_requests(self) -> usize {
        let most = self.soft.map_or(MAX_REQUESTS, |soft| {
            let kept = reserve(soft).min(soft.div_ceil(2));
            kept.saturating_sub(OWN).clamp(1, MAX_REQUESTS)
        });
        usize::try_from(most).unwrap_or(usize::MAX)
    }
}

/// Descriptors that no session gets.
fn reserve(soft: u64) -> u64 {
    (soft / 8).clamp(MIN_RESERVE, MAX_REQUESTS + OWN)
}

/// The least that is kept back.
const MIN_RESERVE: u64 = 128;

/// For what the relay itself holds open: the store, the log, its own sockets, operators' requests.
const OWN: u64 = 64;

/// HTTP connections at once, upgraded ones not counted.
const MAX_REQUESTS: u64 = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_and_requests_never_take_more_than_there_are() {
        let shared = [20, 200, 1_024, 65_536, 1_048_576].map(|soft| {
            let descriptors = Descriptors {
                soft: Some(soft),
                hard: Some(soft),
            };
            (descriptors.most_sessions(), descriptors.most_requests())
        });
        assert_eq!(
            shared,
            [(10, 1), (100, 36), (896, 64), (57_344, 8_128), (1_040_320, 8_192)]
        );
        assert_eq!(Descriptors::ENDLESS.most_sessions(), usize::MAX);
        assert_eq!(Descriptors::ENDLESS.most_requests(), 8_192);
    }

    #[test]
    fn what_is_wanted_is_enough() {
        for sessions in [1, 100, 896, 897, 57_344, 57_792, 57_793, 100_000, 1_000_000] {
            let wanted = Descriptors::wanted_for(sessions);
            let room = |soft| {
                let descriptors = Descriptors {
                    soft: Some(soft),
                    hard: Some(soft),
                };
                descriptors.most_sessions() as u64
            };
            assert!(room(wanted) >= sessions, "{sessions}: {wanted}");
        }
    }

    #[test]
    fn the_soft_limit_is_the_hard_one_afterwards() {
        let raised = Descriptors::raise();
        assert_eq!(raised.soft, raised.hard);
        assert_eq!(Descriptors::raise(), raised);
    }
}
