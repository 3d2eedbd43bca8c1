//! A replica set under load that loses its primary: to SIGKILL while the others lag behind, and to a pause that
//! nobody announces.
//!
//! Nothing answered OK is lost, no key is handed out twice, order holds, and the relay goes on by itself.

use std::time::Instant;

use tokio::time::{Duration, sleep};

use crate::relay::Relay;
use crate::replica_set::ReplicaSet;
use crate::{ALONE, Run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_loses_nothing() {
    let _alone = ALONE.lock().await;
    let mut set = ReplicaSet::start(3).await;
    let mut relay = Relay::new();
    relay.keep_state_in(&["--store", &set.uri("failover")]);
    let mut run = Run::start(relay, None).await;
    run.wait_for_load().await;

    let killed = set.primary().await;
    let began = run.watch();
    // What the primary has alone is gone with it: whoever was told OK for it would lose it now.
    let others = (0..3).filter(|member| *member != killed);
    others.clone().for_each(|member| set.pause(member));
    sleep(ALONE_FOR).await;
    set.kill(killed);
    others.for_each(|member| set.resume(member));
    run.wait_for_another(&set, killed).await;
    run.tell("killed", began).await;
    set.restart(killed);
    set.wait_for_secondary(killed).await;
    run.wait_for_load().await;

    let paused = set.primary().await;
    let began = run.watch();
    set.pause(paused);
    run.wait_for_another(&set, paused).await;
    sleep(PAUSE.saturating_sub(began.elapsed())).await;
    run.tell("paused", began).await;
    let began = run.watch();
    set.resume(paused);
    set.wait_for_secondary(paused).await;
    run.tell("back", began).await;

    assert!(!run.relay.has_ended(), "the relay ended{}", run.story());
    run.finish().await;
}

impl Run {
    /// Starts to look for the longest time without an accepted send.
    fn watch(&self) -> Instant {
        self.world.ledger().watch();
        Instant::now()
    }

    async fn wait_for_another(&self, set: &ReplicaSet, old: usize) {
        while set.primary().await == old {
            self.check();
        }
    }

    /// Waits for load, and says how long sends stalled.
    async fn tell(&self, what: &str, began: Instant) {
        self.wait_for_load().await;
        let stalled = self.world.ledger().longest_pause();
        eprintln!(
            "primary {what}: sends stalled for {:.1} s; all in all {:.1} s",
            stalled.as_secs_f32(),
            began.elapsed().as_secs_f32()
        );
    }
}

/// How long a primary is without the others: shorter than it takes to notice.
const ALONE_FOR: Duration = Duration::from_secs(1);

/// How long a primary is silent: longer than the set needs for another one, and than the relay's deadlines.
const PAUSE: Duration = Duration::from_secs(10);
