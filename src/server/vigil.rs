//! Signs of life for the supervisor: each after a hop through the hub, and a word on how it goes.
//!
//! Owns when we are alive: when a bell that another task rings is heard in time. Never asks the store: one that is
//! away is no reason to restart a relay that waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::supervisor::Supervisor;
use crate::http::sessions::Sessions;
use crate::hub::Hub;
use crate::metrics::Metrics;

/// Who watches what.
#[derive(Debug)]
pub(super) struct Vigil {
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) hub: Arc<Hub>,
    pub(super) sessions: Sessions,
    pub(super) metrics: Arc<Metrics>,
}

impl Vigil {
    /// Watches until `closing`; nothing to do where nobody listens. Bells are rung on the tracker.
    pub(super) async fn keep(self, tasks: TaskTracker, closing: CancellationToken) {
        if !self.supervisor.is_there() {
            return;
        }
        let hub = Arc::clone(&self.hub);
        let hop = || {
            let canary = hub.canary();
            let ring = canary.ringer();
            tasks.spawn(async move { ring() });
            async move { canary.heard().await }
        };
        tokio::select! {
            () = self.watch(hop) => {}
            () = closing.cancelled() => {}
        }
    }

    async fn watch<H: Future<Output = ()>>(&self, hop: impl Fn() -> H) {
        // Half of the time that we have: one that comes late does not count against us.
        let every = self.supervisor.watchdog().map_or(TELL, |watchdog| watchdog / 2);
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Tally::of(&self.metrics);
        loop {
            ticks.tick().await;
            match timeout(every, hop()).await {
                Ok(()) if self.supervisor.watchdog().is_some() => self.supervisor.alive(),
                Ok(()) => {}
                Err(_) => warn!("the hub did not ring in time: no sign of life is given"),
            }
            if told.at.elapsed() >= TELL.min(every) {
                self.tell(&mut told);
            }
        }
    }

    fn tell(&self, told: &mut Tally) {
        let now = Tally::of(&self.metrics);
        let seconds = (now.at - told.at).as_secs_f64();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate for people"
        )]
        let rate = ((now.accepted - told.accepted) as f64 / seconds).round() as u64;
        let open = self.sessions.open() as u64;
        let status = format!("{} sessions, {} messages/s", grouped(open), grouped(rate));
        self.supervisor.serving(&status);
        *told = now;
    }
}

/// How many messages there had been at a time.
#[derive(Debug, Clone, Copy)]
struct Tally {
    at: Instant,
    accepted: u64,
}

impl Tally {
    fn of(metrics: &Metrics) -> Self {
        Self {
            at: Instant::now(),
            accepted: metrics.envelopes_accepted.get(),
        }
    }
}

/// A number as people read it: 1,234,567.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Longest time between two words on how it goes, where no watchdog asks more often.
const TELL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::super::supervisor::tests::{heard, watched};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn there_is_no_sign_of_life_while_the_hub_does_not_ring() {
        let (supervisor, ear, _folder) = watched(Duration::from_secs(2));
        supervisor.ready("listening").await;
        let hub = Hub::new();
        let vigil = Vigil {
            supervisor,
            hub: Arc::clone(&hub),
            sessions: Sessions::new(1, CancellationToken::new(), Duration::ZERO),
            metrics: Arc::new(Metrics::new()),
        };
        let signs = |ear: &_| heard(ear).iter().filter(|said| *said == "WATCHDOG=1\n").count();
        // Nobody rings.
        let mute = || async { vigil.hub.canary().heard().await };
        let minute = Duration::from_secs(60);
        assert!(timeout(minute, vigil.watch(mute)).await.is_err());
        assert_eq!(signs(&ear), 0);
        // One that rings, for as long as the ear's queue holds.
        let rings = || async {
            let canary = vigil.hub.canary();
            canary.ringer()();
            canary.heard().await;
        };
        let moment = Duration::from_millis(3_500);
        assert!(timeout(moment, vigil.watch(rings)).await.is_err());
        assert_eq!(signs(&ear), 4);
        assert!(hub.is_empty());
    }

    #[test]
    fn numbers_are_grouped() {
        let numbers = [0, 12, 123, 1_234, 123_456, 1_234_567];
        let texts = ["0", "12", "123", "1,234", "123,456", "1,234,567"];
        assert_eq!(numbers.map(grouped), texts);
    }
}
