//! How the writer sleeps: until there is something to do, and while acked rows wait at most until the next tick.
//!
//! Owns the interval of the ticks. Must not know what is done then.
//!
//! # Why
//!
//! Nothing is kept after its ack, also on a relay where nothing else happens. A tick makes overdue what was acked before
//! the one before it: so it is gone a minute after its ack at the latest, and time remains for new mail to take its
//! place for nothing. Where nothing waits there are no ticks.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;

/// Time between two ticks: half of what a row may wait after its ack.
const INTERVAL: Duration = Duration::from_secs(30);

/// What ended a sleep.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Woken<T> {
    /// There is something to do.
    By(T),
    /// It is time.
    ByTime,
    /// Nothing comes any more.
    ByEnd,
}

/// The clock of one thread.
pub(super) struct Clock {
    /// While anything waits.
    next_tick: Option<Instant>,
    waker: Waker,
}

impl Clock {
    /// The clock of the thread that calls this.
    pub(super) fn of_this_thread() -> Self {
        Self {
            next_tick: None,
            waker: Arc::new(Sleeper(thread::current())).into(),
        }
    }

    /// Whether it is time for a tick, by now. Begins to count when something waits, and stops when nothing does.
    pub(super) fn ticks(&mut self, is_waiting: bool, now: Instant) -> bool {
        let is_time = self.next_tick.is_some_and(|next| next <= now);
        self.next_tick = match self.next_tick {
            _ if !is_waiting => None,
            Some(next) if !is_time => Some(next),
            Some(_) | None => Some(now + INTERVAL),
        };
        is_time && is_waiting
    }

    /// Sleeps until something comes, or it is time.
    pub(super) fn sleep<T>(&self, queue: &mut Receiver<T>) -> Woken<T> {
        let mut context = Context::from_waker(&self.waker);
        loop {
            match queue.poll_recv(&mut context) {
                Poll::Ready(Some(message)) => return Woken::By(message),
                Poll::Ready(None) => return Woken::ByEnd,
                Poll::Pending => {}
            }
            let Some(next) = self.next_tick else {
                thread::park();
                continue;
            };
            let rest = next.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Woken::ByTime;
            }
            thread::park_timeout(rest);
        }
    }
}

struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn it_ticks_once_an_interval_while_something_waits() {
        let mut clock = Clock::of_this_thread();
        let start = Instant::now();
        let asked = [
            (0, false),
            (100, true),
            (129, true),
            (130, true),
            (131, true),
            (160, true),
            // What waited has gone, and later something else waits.
            (190, false),
            (191, true),
            (220, true),
            (221, true),
        ];
        let ticks: Vec<_> = asked
            .into_iter()
            .filter(|(second, is_waiting)| clock.ticks(*is_waiting, start + Duration::from_secs(*second)))
            .map(|(second, _)| second)
            .collect();
        assert_eq!(ticks, [130, 160, 221]);
    }

    #[test]
    fn who_sleeps_is_woken_by_work_by_time_and_by_the_end() {
        let (give, mut take) = mpsc::channel(1);
        let mut clock = Clock::of_this_thread();
        let giver = thread::spawn(move || give.blocking_send(7));
        assert_eq!(clock.sleep(&mut take), Woken::By(7));
        giver.join().unwrap().unwrap();
        assert_eq!(clock.sleep(&mut take), Woken::ByEnd);
        let (_give, mut take) = mpsc::channel::<u8>(1);
        clock.next_tick = Some(Instant::now());
        assert_eq!(clock.sleep(&mut take), Woken::ByTime);
    }
}
