//! What is looked at when somebody asks for the metrics, and costs nothing in between.
//!
//! Must not know how metrics are written.

use crate::http::Doors;

/// Looks at everything that only a look tells. A few system calls, and one answer of the store at most a second
/// old.
pub(super) async fn look(doors: &Doors) {
    let metrics = &doors.metrics;
    let is_ready = doors.readiness.check().is_ok() && doors.switchboard.answers().await;
    metrics.ready.set(i64::from(is_ready));
    metrics
        .clock
        .set(i64::try_from(doors.clock.now().0 / 1000).unwrap_or(i64::MAX));
    let (_, most) = doors.sessions.room();
    metrics.sessions_max.set(whole(most));
    let (store, mail) = doors.switchboard.measure();
    metrics.tail_bytes.set(whole(mail.tail_bytes));
    metrics.uncommitted_bytes.set(whole(mail.uncommitted_bytes));
    metrics.uncommitted_max_bytes.set(whole(mail.uncommitted_most));
    metrics.envelopes_waiting.set(store.envelopes);
    metrics.store_bytes.set(store.bytes);
    metrics.store_log_bytes.set(store.log_bytes);
    metrics.store_free_bytes.set(store.free_bytes);
    metrics.store_reserve_bytes.set(store.reserve_bytes);
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
