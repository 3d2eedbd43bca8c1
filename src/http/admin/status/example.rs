//! A status in the description.

use serde_json::{Value, json};

/// A relay that is well.
pub(super) fn status() -> Value {
    json!({
        "version": "0.1.0", "pid": 4711, "started_at": "2026-11-22T10:00:00Z", "up_seconds": 7200.25,
        "now": "2026-11-22T12:00:00Z", "node": null, "ready": true, "not_ready": null, "draining": false,
        "listeners": [
            {"address": "127.0.0.1:8480", "kind": "tcp", "tls": false, "inherited": false},
            {"address": "/run/chatctl/admin.sock", "kind": "unix", "tls": false, "inherited": false},
        ],
        "sessions": {
            "open": 1204, "most": 50_000, "opened": 1310, "closed": 106, "closed_by": {"normal": 98, "going_away": 8},
            "descriptors": {"soft": 524_288, "hard": 524_288, "open": 1243},
        },
        "store": {"kind": "embedded", "answers": true, "bytes": 73_400_320, "free_bytes": 48_318_382_080_u64},
        "mail": mail(),
        "keys": {
            "signing_kid": "2026-11-01", "believed": ["2026-11-01"], "from": "file", "age_seconds": 1_814_400.0,
            "silent_issuers": 0, "claims": {"item": 512, "fallback": 3}, "low_devices": 2,
        },
        "tls": null,
        "config": {"generation": 1, "good": true, "read_at": "2026-11-22T10:00:00Z"},
        "jobs": [{
            "name": "expire-mail", "is_on": true, "is_overdue": false, "is_running": false, "paused_until": null,
            "failures": 0, "last_outcome": "ok", "last_success": "2026-11-22T11:59:02Z",
            "next_at": "2026-11-22T12:00:00Z",
        }],
        "jobs_by_schedule": true,
        "rate_limited": {"send": 4},
        "http": {"ok": 4096, "unauthorized": 2},
        "watchdog": {"interval_ms": 30_000},
        "process": {"resident_bytes": 88_080_384, "cpu_seconds": 41.5},
    })
}

fn mail() -> Value {
    json!({
        "tail_bytes": 1_048_576, "tail_most": 67_108_864, "uncommitted_bytes": 8192, "uncommitted_most": 33_554_432,
        "accepted": 90_210, "delivered": 90_180, "acked": 90_105, "elided": 61_020, "stored": 29_190,
        "dropped": 1, "dropped_by": {"ttl": 1}, "refused": 6, "refused_by": {"mailbox_full": 2, "rate_limited": 4},
        "duplicates": 12, "commits": 3021, "commits_failed": 0,
        "commit_seconds": {"count": 3021, "sum": 9.06, "p50": 0.0028, "p99": 0.0091}, "waiting": 84,
    })
}
