//! What a connection sleeps on beside its socket: the session's bell, an alarm, and the word that all must leave.
//!
//! # Why
//!
//! A busy connection sleeps thousands of times a second, and a `select!` would ask each of them anew each time: the
//! alarm's waker is exchanged, and to ask for the word to leave takes a lock that all connections share. The task is
//! the same each time, and so is its waker; it is left once, and afterwards a look at a flag is enough.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::http::sessions::Sessions;
use crate::hub::Wake;

/// Everything that wakes one task.
pub(super) struct Waiting {
    bell: Arc<Wake>,
    alarm: Pin<Box<Sleep>>,
    is_alarm_set: bool,
    leaving: Arc<Leaving>,
    /// Tells `leaving` when it is time; nobody asks it again.
    word: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Waiting {
    /// Waits for a session's bell, for an alarm, and until the sessions have to leave.
    pub(super) fn new(bell: Arc<Wake>, first_alarm: Instant, sessions: Sessions) -> Self {
        let leaving = Arc::new(Leaving {
            is_said: AtomicBool::new(false),
            bell: Arc::clone(&bell),
        });
        let mut word: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(async move { sessions.draining().await });
        let waker = Waker::from(Arc::clone(&leaving));
        if word.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            leaving.say();
        }
        Self {
            bell,
            alarm: Box::pin(sleep_until(first_alarm)),
            is_alarm_set: false,
            leaving,
            word: Some(word),
        }
    }

    /// Moves the alarm, where it would ring too late. Most turns only move the time further away: an alarm that rings
    /// too early costs less than one that is set anew each time.
    pub(super) fn no_later_than(&mut self, due: Instant) {
        if due < self.alarm.deadline() || self.alarm.is_elapsed() {
            self.alarm.as_mut().reset(due);
            self.is_alarm_set = false;
        }
    }

    /// Ready once after each ring, and when the alarm rings. Always of the same task.
    pub(super) fn poll_rung(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_elapsed = match self.is_alarm_set {
            true => self.alarm.is_elapsed(),
            false => {
                self.is_alarm_set = true;
                self.alarm.as_mut().poll(cx).is_ready()
            }
        };
        match self.bell.poll_rung(cx).is_ready() || is_elapsed {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Whether it was said that all have to leave. True once.
    pub(super) fn take_word(&mut self) -> bool {
        self.leaving.is_said.load(Ordering::Acquire) && self.word.take().is_some()
    }
}

/// Notes that it is time to leave, and wakes the session for it.
struct Leaving {
    is_said: AtomicBool,
    bell: Arc<Wake>,
}

impl Leaving {
    fn say(&self) {
        self.is_said.store(true, Ordering::Release);
        self.bell.ring();
    }
}

impl std::task::Wake for Leaving {
    fn wake(self: Arc<Self>) {
        self.say();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.say();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::poll;
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn waiting(drain: &CancellationToken) -> (Arc<Wake>, Waiting) {
        let bell = Arc::new(Wake::default());
        let sessions = Sessions::new(1, drain.clone(), Duration::ZERO);
        let alarm = Instant::now() + Duration::from_secs(60);
        (Arc::clone(&bell), Waiting::new(bell, alarm, sessions))
    }

    async fn rung(waiting: &mut Waiting) {
        std::future::poll_fn(|cx| waiting.poll_rung(cx)).await;
    }

    #[tokio::test]
    async fn the_word_to_leave_wakes_and_is_taken_once() {
        let drain = CancellationToken::new();
        let (_bell, mut waiting) = waiting(&drain);
        assert!(poll!(std::pin::pin!(rung(&mut waiting))).is_pending() && !waiting.take_word());
        drain.cancel();
        rung(&mut waiting).await;
        assert!(waiting.take_word() && !waiting.take_word());
    }

    #[tokio::test]
    async fn a_word_from_before_is_heard() {
        let drain = CancellationToken::new();
        drain.cancel();
        let (_bell, mut waiting) = waiting(&drain);
        rung(&mut waiting).await;
        assert!(waiting.take_word());
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_rings_in_time_although_it_is_asked_only_once() {
        let (bell, mut waiting) = waiting(&CancellationToken::new());
        let began = Instant::now();
        waiting.no_later_than(began + Duration::from_secs(5));
        bell.ring();
        rung(&mut waiting).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        // Later than it is set: it stays.
        waiting.no_later_than(began + Duration::from_secs(9));
        rung(&mut waiting).await;
        assert_eq!(began.elapsed().as_secs(), 5);
        waiting.no_later_than(began + Duration::from_secs(9));
        rung(&mut waiting).await;
        assert_eq!(began.elapsed().as_secs(), 9);
    }
}
