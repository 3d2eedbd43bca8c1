//! What moved between two statuses of one relay, per second.
//!
//! By the relay's own monotonic clock: neither the network nor a clock that is set can bend a rate. A relay that was
//! started anew counts from zero, and nothing is told of the time between.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::commands::status::Status;

/// Per second, but for shares.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(super) struct Rates {
    /// Between the two statuses.
    pub(super) seconds: f64,
    /// Envelopes accepted.
    pub(super) accepted: f64,
    pub(super) delivered: f64,
    pub(super) acked: f64,
    pub(super) stored: f64,
    pub(super) dropped: f64,
    pub(super) refused: f64,
    pub(super) commits: f64,
    /// Sessions.
    pub(super) opened: f64,
    pub(super) closed: f64,
    /// Processors in use: 1 is a whole one.
    pub(super) processors: f64,
    /// Of the acked envelopes, those that never touched the disk; null when none was acked.
    pub(super) elided_share: Option<f64>,
    /// Mean duration of the commits; null when there were none.
    pub(super) commit_mean_seconds: Option<f64>,
}

/// Whether both are of one process.
pub(super) fn is_same(before: &Status, after: &Status) -> bool {
    before.pid == after.pid && before.started_at == after.started_at && before.up_seconds <= after.up_seconds
}

/// The rates between two statuses of one process; `None` when no time lies between them.
pub(super) fn between(before: &Status, after: &Status) -> Option<Rates> {
    let seconds = after.up_seconds - before.up_seconds;
    if !is_same(before, after) || seconds <= 0.0 {
        return None;
    }
    let per_second = |count: fn(&Status) -> u64| moved(count(before), count(after)) / seconds;
    let acked = moved(before.mail.acked, after.mail.acked);
    let elided = moved(before.mail.elided, after.mail.elided);
    let (first, last) = (&before.mail.commit_seconds, &after.mail.commit_seconds);
    let committed = moved(first.count, last.count);
    Some(Rates {
        seconds,
        accepted: per_second(|status| status.mail.accepted),
        delivered: per_second(|status| status.mail.delivered),
        acked: per_second(|status| status.mail.acked),
        stored: per_second(|status| status.mail.stored),
        dropped: per_second(|status| status.mail.dropped),
        refused: per_second(|status| status.mail.refused),
        commits: per_second(|status| status.mail.commits),
        opened: per_second(|status| status.sessions.opened),
        closed: per_second(|status| status.sessions.closed),
        processors: (after.process.cpu_seconds - before.process.cpu_seconds).max(0.0) / seconds,
        // What was elided in this time may be acked a moment later.
        elided_share: (acked > 0.0).then(|| (elided / acked).min(1.0)),
        commit_mean_seconds: (committed > 0.0).then(|| (last.sum - first.sum).max(0.0) / committed),
    })
}

/// Every refusal, loss and close of a status, by what it was.
pub(super) fn reasons(status: &Status) -> BTreeMap<(&'static str, String), u64> {
    let kinds: [(&'static str, &BTreeMap<String, u64>); 5] = [
        ("close", &status.sessions.closed_by),
        ("send", &status.mail.refused_by),
        ("drop", &status.mail.dropped_by),
        ("rate", &status.rate_limited),
        ("http", &status.http),
    ];
    let all = kinds.into_iter().flat_map(|(kind, counts)| {
        counts
            .iter()
            .map(move |(word, count)| ((kind, word.clone()), *count))
    });
    all.filter(|((kind, word), _)| !(*kind == "http" && word == "ok"))
        .collect()
}

fn moved(before: u64, after: u64) -> f64 {
    after.saturating_sub(before) as f64
}
