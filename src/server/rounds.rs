//! What is done from time to time while a relay runs.
//!
//! Owns how often. Must not know what is kept, only whom to ask.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::auth::Verifier;
use crate::http::Doors;
use crate::switchboard::Switchboard;

/// Begins what is done from time to time, until `closing`.
pub(super) fn begin(doors: &Doors, tasks: &TaskTracker, closing: &CancellationToken) {
    let switchboard = &doors.switchboard;
    tasks.spawn(keep_keys(Arc::clone(&doors.verifier), closing.clone()));
    tasks.spawn(keep_house(Arc::clone(switchboard), closing.clone()));
    if switchboard.is_shared() {
        tasks.spawn(keep_leases(Arc::clone(switchboard), closing.clone()));
        tasks.spawn(keep_revocations(Arc::clone(switchboard), closing.clone()));
    }
}

/// Has the keys of outside issuers fetched when they are due.
async fn keep_keys(verifier: Arc<Verifier>, closing: CancellationToken) {
    tokio::select! {
        () = verifier.keep_fresh() => {}
        () = closing.cancelled() => {}
    }
}

/// Turns of something that is done at once and then each time, until it is over. What came due meanwhile is left out.
struct Turns {
    ticks: Interval,
    closing: CancellationToken,
}

impl Turns {
    fn each(time: Duration, closing: CancellationToken) -> Self {
        let mut ticks = interval(time);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self { ticks, closing }
    }

    /// Waits for the next; false when there are no more.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.ticks.tick() => true,
            () = self.closing.cancelled() => false,
        }
    }
}

/// Forgets what is quiet.
async fn keep_house(switchboard: Arc<Switchboard>, closing: CancellationToken) {
    let mut turns = Turns::each(HOUSE_TICK, closing);
    while turns.next().await {
        switchboard.forget_quiet_senders();
        switchboard.forget_revocations();
        // Where nobody was away, only a new day brings something to do here.
        if !switchboard.is_away()
            && let Err(error) = switchboard.stamp_present().await
        {
            warn!(%error, "devices that are here are stamped later");
        }
    }
}

/// Learns what was revoked through other relays, or past all of them.
async fn keep_revocations(switchboard: Arc<Switchboard>, closing: CancellationToken) {
    let mut turns = Turns::each(REVOCATION_TICK, closing);
    while turns.next().await {
        if !switchboard.is_away()
            && let Err(error) = switchboard.learn_revocations().await
        {
            warn!(%error, "revocations are read later");
        }
    }
}

/// Ends the sessions of devices that have signed on to another relay.
async fn keep_leases(switchboard: Arc<Switchboard>, closing: CancellationToken) {
    let mut turns = Turns::each(LEASE_TICK, closing);
    while turns.next().await {
        // Until the store answers nobody can have signed on elsewhere either.
        if !switchboard.is_away()
            && let Err(error) = switchboard.displace().await
        {
            warn!(%error, "sessions are compared with other relays' later");
        }
    }
}

/// Time between two rounds of housekeeping.
const HOUSE_TICK: Duration = Duration::from_secs(10);

/// Time between two comparisons of sessions with those of other relays.
const LEASE_TICK: Duration = Duration::from_secs(2);

/// Time between two looks for revocations: what operators are told about other relays.
const REVOCATION_TICK: Duration = Duration::from_secs(2);
