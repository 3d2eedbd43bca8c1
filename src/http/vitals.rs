//! What is looked at when somebody asks for the metrics, and costs nothing in between.
//!
//! Must not know how metrics are written.

use crate::http::Doors;

/// Looks at everything that only a look tells. What the store has to say is at most some seconds old.
pub(super) async fn look(doors: &Doors) {
    let metrics = &doors.metrics;
    let glance = doors.board.glance(doors).await;
    let is_ready = doors.readiness.check().is_ok() && glance.answers;
    metrics.ready.set(i64::from(is_ready));
    metrics.clock.set(whole(doors.clock.now().0 / 1000));
    metrics.sessions_max.set(whole(doors.sessions.most() as u64));
    let load = doors.switchboard.workload();
    metrics.tail_bytes.set(whole(load.tail_bytes));
    metrics.uncommitted_bytes.set(whole(load.uncommitted_bytes));
    metrics.uncommitted_max_bytes.set(whole(load.uncommitted_most));
    let extent = glance.extent;
    metrics.envelopes_waiting.set(extent.envelopes);
    metrics.store_bytes.set(extent.bytes);
    metrics.store_log_bytes.set(extent.log_bytes);
    metrics.store_free_bytes.set(extent.free_bytes);
    metrics.store_reserve_bytes.set(extent.reserve_bytes);
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
