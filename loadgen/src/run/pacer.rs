//! Hands messages to senders at the moments at which they are due, whether or not earlier ones have left.
//!
//! # Why a timer of its own
//!
//! The runtime's timers count milliseconds: a message could leave a whole one late, which is more than a server takes.
//! This one is a descriptor in the same poll as the sockets, with the clock's own resolution.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::clock::{Nanos, RunClock};
use crate::run::desk::Due;
use crate::run::gauges::Turn;
use crate::run::shop::Shop;
use crate::schedule::Schedule;
use crate::tally::Count;

/// A pacer.
pub(super) struct Pacer {
    pub(super) shop: Rc<Shop>,
    pub(super) schedule: Schedule,
    /// Desks of the senders, and the devices that each of their messages goes to.
    pub(super) senders: Vec<(usize, u64)>,
    pub(super) timer: Timer,
}

impl Pacer {
    /// Hands out everything that is due from `starts` on. After `gives_up`, what is left never leaves.
    pub(super) async fn run(self, starts: Nanos, gives_up: Nanos) {
        let Self {
            shop,
            mut schedule,
            senders,
            timer,
        } = self;
        let most = (MOST_WAITING / senders.len().max(1)).clamp(64, 65_536);
        let mut in_turn = senders.iter().cycle();
        let mut next = schedule.next();
        while let Some(first) = next {
            if timer.until(starts + first.at, &shop.common.clock).await.is_err() {
                shop.tally(true).error("timer");
                return;
            }
            let now = shop.now();
            let mut turn = Turn::default();
            if now > gives_up {
                for (due, (_, devices)) in next.into_iter().chain(schedule).zip(in_turn) {
                    shop.tally(due.measured).add(Count::Due, *devices);
                    shop.missed(*devices);
                }
                return;
            }
            for _ in 0..MOST_AT_ONCE {
                let Some(due) = next.filter(|due| starts + due.at <= now) else {
                    break;
                };
                let Some((desk, devices)) = in_turn.next() else {
                    return;
                };
                let Some(desk) = shop.desks.get(*desk) else { return };
                shop.tally(due.measured).add(Count::Due, *devices);
                let left = Due {
                    at: Some(starts + due.at),
                    measured: due.measured,
                    waited: true,
                };
                match desk.leave(left, most) {
                    true => turn.queued += 1,
                    false => shop.missed(*devices),
                }
                desk.wake();
                next = schedule.next();
            }
            shop.turn(&turn);
            tokio::task::yield_now().await;
        }
    }
}

/// A timer of the system.
#[derive(Debug)]
pub(super) struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    /// A timer of the current runtime.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types that might swap their descriptor"
        )]
        AsyncFd::new(timer).map(Self)
    }

    /// Waits until a moment; not at all when it has passed.
    pub(super) async fn until(&self, at: Nanos, clock: &RunClock) -> io::Result<()> {
        loop {
            let Some(left) = at.checked_sub(clock.now()).filter(|left| *left > 0) else {
                return Ok(());
            };
            // Several messages that are due together cost one wake-up.
            let left = Duration::from_nanos(left).max(LEAST_WAIT);
            let once = Itimerspec {
                it_interval: timespec(Duration::ZERO),
                it_value: timespec(left),
            };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            let mut rung = self.0.readable().await?;
            // Setting it again also makes it silent, so what is read does not matter.
            let _ = rustix::io::read(self.0.get_ref(), &mut [0; 8]);
            rung.clear_ready();
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Messages that wait for their connections, of all senders of a worker together. What comes then is missed.
const MOST_WAITING: usize = 1 << 20;
/// Messages handed out before the clients have their turns.
const MOST_AT_ONCE: usize = 1024;
const LEAST_WAIT: Duration = Duration::from_micros(50);
