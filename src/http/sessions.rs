//! The sessions of this process: how many there may be, where they run, when they must leave.
//!
//! Every connection's task is spawned here, on the server's tracker, so that a drain can wait for them.

use std::sync::Arc;
use std::time::Duration;

use chatctl_protocol::Code;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::descriptors::Descriptors;
use crate::http::problem::Problem;

/// A handle on all sessions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    tracker: TaskTracker,
    room: Arc<Mutex<Room>>,
    drain: CancellationToken,
    descriptors: Descriptors,
}

#[derive(Debug)]
struct Room {
    taken: usize,
    max: usize,
    window: Duration,
}

/// A session's place among those that there may be, given back on drop.
#[derive(Debug)]
pub struct Seat(Arc<Mutex<Room>>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.lock().taken -= 1;
    }
}

impl Sessions {
    /// At most `max` sessions, that leave spread over `window` once `drain` is cancelled.
    #[must_use]
    pub fn new(max: usize, drain: CancellationToken, window: Duration) -> Self {
        let room = Room {
            taken: 0,
            max,
            window,
        };
        Self {
            tracker: TaskTracker::new(),
            room: Arc::new(Mutex::new(room)),
            drain,
            descriptors: Descriptors::ENDLESS,
        }
    }

    /// Never more sessions than the descriptors are enough for, whatever the settings say.
    #[must_use]
    pub fn within(self, descriptors: Descriptors) -> Self {
        Self { descriptors, ..self }
    }

    /// What the system gives.
    #[must_use]
    pub const fn descriptors(&self) -> Descriptors {
        self.descriptors
    }

    /// The most sessions that there may be now.
    #[must_use]
    pub fn most(&self) -> usize {
        self.room.lock().max.min(self.descriptors.most_sessions())
    }

    /// How many there are.
    #[must_use]
    pub fn open(&self) -> usize {
        self.room.lock().taken
    }

    /// Other bounds from now on. Nobody has to leave: when there are more than `max`, none are admitted
    /// until enough have left.
    pub fn follow(&self, max: usize, window: Duration) {
        let mut room = self.room.lock();
        (room.max, room.window) = (max, window);
    }

    /// Room for one more, unless there is none or the relay is draining.
    #[must_use]
    pub fn admit(&self) -> Option<Seat> {
        if self.drain.is_cancelled() {
            return None;
        }
        let mut room = self.room.lock();
        if room.taken >= room.max.min(self.descriptors.most_sessions()) {
            return None;
        }
        room.taken += 1;
        Some(Seat(Arc::clone(&self.room)))
    }

    /// Runs a session.
    pub fn spawn(&self, session: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(session);
    }

    /// Runs something to its end although its caller may hang up: a request's future is dropped when its
    /// client leaves, and some things must not stop half-way.
    ///
    /// # Errors
    ///
    /// [`Problem`] 500 when it panicked.
    pub async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        let ended = self.tracker.spawn(work).await;
        ended.map_err(|_| Problem::new(Code::Internal, "The relay failed."))
    }

    /// Waits until sessions have to leave. Cancel safe.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// A random part of the drain window, so that not all leave and come back at once.
    #[must_use]
    pub fn some_delay(&self) -> Duration {
        let window = self.room.lock().window;
        window.mul_f64(rand::random::<f64>())
    }

    /// Waits until every session has ended; none may be spawned any more.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_than_descriptors_are_enough_for() {
        let descriptors = Descriptors {
            soft: Some(4),
            hard: Some(4),
        };
        let sessions = Sessions::new(9, CancellationToken::new(), Duration::ZERO).within(descriptors);
        assert_eq!((sessions.most(), sessions.open()), (2, 0));
        let seats = [(); 3].map(|()| sessions.admit());
        assert_eq!(seats.each_ref().map(Option::is_some), [true, true, false]);
        sessions.follow(1, Duration::ZERO);
        assert_eq!((sessions.most(), sessions.open()), (1, 2));
    }

    #[test]
    fn a_smaller_house_sends_nobody_away_and_admits_nobody_until_there_is_room() {
        let sessions = Sessions::new(2, CancellationToken::new(), Duration::ZERO);
        let (first, second) = (sessions.admit(), sessions.admit());
        assert!(first.is_some() && second.is_some() && sessions.admit().is_none());
        sessions.follow(1, Duration::ZERO);
        drop(first);
        assert!(sessions.admit().is_none());
        drop(second);
        assert!(sessions.admit().is_some());
    }
}
