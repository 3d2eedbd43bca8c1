//! The sessions of this process: how many there may be, where they run, when they must leave.
//!
//! Every connection's task is spawned here, on the server's tracker, so that a drain can wait for them.

use std::sync::Arc;
use std::time::Duration;

use chatctl_protocol::Code;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::problem::Problem;

/// A handle on all sessions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    tracker: TaskTracker,
    room: Arc<Semaphore>,
    drain: CancellationToken,
    window: Duration,
}

impl Sessions {
    /// At most `max` sessions, that leave spread over `window` once `drain` is cancelled.
    #[must_use]
    pub fn new(max: usize, drain: CancellationToken, window: Duration) -> Self {
        let room = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Self {
            tracker: TaskTracker::new(),
            room,
            drain,
            window,
        }
    }

    /// Room for one more, unless there is none or the relay is draining.
    #[must_use]
    pub fn admit(&self) -> Option<OwnedSemaphorePermit> {
        if self.drain.is_cancelled() {
            return None;
        }
        Arc::clone(&self.room).try_acquire_owned().ok()
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
        self.window.mul_f64(rand::random::<f64>())
    }

    /// Waits until every session has ended; none may be spawned any more.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
