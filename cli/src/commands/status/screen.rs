//! A status for people: one line for each matter, the gravest word first.

use std::collections::BTreeMap;
use std::time::Duration;

use chatctl_relay::model::UnixMs;

use super::document::{Job, Listener, Status};
use crate::figures::{bytes, relative, span, tame, thousands};
use crate::when;

/// The screen.
pub(super) fn text(status: &Status) -> String {
    let lines = [
        ("", head(status)),
        ("listens", listeners(&status.listeners)),
        ("sessions", sessions(status)),
        ("mail", mail(status)),
        ("losses", losses(status)),
        ("tail", tail(status)),
        ("commits", commits(status)),
        ("store", store(status)),
        ("keys", keys(status)),
        ("tls", tls(status)),
        ("config", config(status)),
        ("jobs", jobs(status)),
        ("watchdog", watchdog(status)),
        ("process", process(status)),
    ];
    let line = |(word, text): (&str, String)| match word {
        "" => format!("{text}\n"),
        word => format!("  {word:<9} {text}\n"),
    };
    lines.map(line).concat()
}

/// `normal 98, going_away 8`, the most frequent first.
fn counts(counts: &BTreeMap<String, u64>) -> String {
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let words = counts
        .iter()
        .map(|(word, count)| format!("{} {}", tame(word), thousands(**count)));
    words.collect::<Vec<_>>().join(", ")
}

/// A short time: `810µs`, `2.8ms`, `1.25s`.
pub(in crate::commands) fn moment(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 0.001 => format!("{:.0}µs", seconds * 1e6),
        Some(seconds) if seconds < 1.0 => format!("{:.1}ms", seconds * 1e3),
        Some(seconds) => format!("{seconds:.2}s"),
    }
}

/// `67%`; of nothing it is none.
pub(in crate::commands) fn percent(part: f64, whole: f64) -> String {
    match whole > 0.0 {
        true => format!("{:.0}%", part / whole * 100.0),
        false => "-".to_owned(),
    }
}

fn seconds(seconds: f64) -> String {
    // A span that no clock has is shown as none.
    let whole = Duration::try_from_secs_f64(seconds.trunc()).unwrap_or_default();
    span(whole.max(Duration::from_secs(0)))
}

fn head(status: &Status) -> String {
    let word = match (status.ready, status.draining) {
        (_, true) => "draining",
        (true, false) => "ready",
        (false, false) => "NOT READY",
    };
    let reason = status.not_ready.as_deref().map(tame).unwrap_or_default();
    let reason = if reason.is_empty() {
        reason
    } else {
        format!(" ({})", reason.trim_end_matches('.'))
    };
    let node = status
        .node
        .map(|node| format!(", node {node}"))
        .unwrap_or_default();
    format!(
        "chatctl {}: {word}{reason}, up for {}, pid {}{node}",
        tame(&status.version),
        seconds(status.up_seconds),
        status.pid
    )
}

fn listeners(listeners: &[Listener]) -> String {
    let words = listeners.iter().map(|listener| {
        let tls = if listener.tls { " with TLS" } else { "" };
        let inherited = if listener.inherited { " (inherited)" } else { "" };
        format!("{}{tls}{inherited}", tame(&listener.address))
    });
    words.collect::<Vec<_>>().join(", ")
}

fn sessions(status: &Status) -> String {
    let sessions = &status.sessions;
    let mut text = format!(
        "{} of {} open, {} opened, {} closed",
        thousands(sessions.open),
        thousands(sessions.most),
        thousands(sessions.opened),
        thousands(sessions.closed)
    );
    if !sessions.closed_by.is_empty() {
        text += &format!(" ({})", counts(&sessions.closed_by));
    }
    if let (Some(open), Some(soft)) = (sessions.descriptors.open, sessions.descriptors.soft) {
        text += &format!("; {} of {} descriptors", thousands(open), thousands(soft));
    }
    text
}

fn mail(status: &Status) -> String {
    let mail = &status.mail;
    let rate = |count: u64| match status.up_seconds > 0.0 {
        true => format!(" ({:.1}/s)", count as f64 / status.up_seconds),
        false => String::new(),
    };
    let waiting = mail
        .waiting
        .map(|waiting| format!(", {} waiting", thousands(waiting)))
        .unwrap_or_default();
    format!(
        "{} accepted{}, {} delivered{}, {} acked{}, {} of them never on disk{waiting}",
        thousands(mail.accepted),
        rate(mail.accepted),
        thousands(mail.delivered),
        rate(mail.delivered),
        thousands(mail.acked),
        rate(mail.acked),
        percent(mail.elided as f64, mail.acked as f64),
    )
}

fn losses(status: &Status) -> String {
    let reasons = |by: &BTreeMap<String, u64>| match by.is_empty() {
        true => String::new(),
        false => format!(" ({})", counts(by)),
    };
    let mail = &status.mail;
    let limited = match status.rate_limited.is_empty() {
        true => String::new(),
        false => format!("; over a rate: {}", counts(&status.rate_limited)),
    };
    format!(
        "{} dropped{}, {} refused{}{limited}",
        thousands(mail.dropped),
        reasons(&mail.dropped_by),
        thousands(mail.refused),
        reasons(&mail.refused_by)
    )
}

fn tail(status: &Status) -> String {
    let mail = &status.mail;
    format!(
        "{} of {}; {} of {} wait for their commit",
        bytes(mail.tail_bytes),
        bytes(mail.tail_most),
        bytes(mail.uncommitted_bytes),
        bytes(mail.uncommitted_most)
    )
}

fn commits(status: &Status) -> String {
    let mail = &status.mail;
    let failed = match mail.commits_failed {
        0 => String::new(),
        failed => format!(", {} FAILED", thousands(failed)),
    };
    let lately = match mail.commit_seconds.p50 {
        None => "none in the last minutes".to_owned(),
        p50 => format!("p50 {}, p99 {}", moment(p50), moment(mail.commit_seconds.p99)),
    };
    format!("{}{failed}; {lately}", thousands(mail.commits))
}

fn store(status: &Status) -> String {
    let store = &status.store;
    let answers = if store.answers { "" } else { ", DOES NOT ANSWER" };
    let size = store
        .bytes
        .map(|size| format!(", {}", bytes(size)))
        .unwrap_or_default();
    let free = store
        .free_bytes
        .map(|free| format!(", {} free on its disk", bytes(free)))
        .unwrap_or_default();
    format!("{}{answers}{size}{free}", tame(&store.kind))
}

fn keys(status: &Status) -> String {
    let keys = &status.keys;
    let age = keys
        .age_seconds
        .map(|age| format!(" for {}", seconds(age)))
        .unwrap_or_default();
    let signing = keys.signing_kid.as_deref();
    let signs = match signing {
        Some(kid) => format!("{} signs{age}", tame(kid)),
        None => "none signs".to_owned(),
    };
    let others = keys.believed.iter().filter(|kid| Some(kid.as_str()) != signing);
    let others: Vec<_> = others.map(|kid| tame(kid)).collect();
    let others = match others.is_empty() {
        true => String::new(),
        false => format!(", believed too: {}", others.join(", ")),
    };
    let from = match keys.from.as_str() {
        "credential" => "from a credential: a restart follows a change".to_owned(),
        "file" => "from a file".to_owned(),
        "memory" => "in memory alone".to_owned(),
        other => tame(other),
    };
    let silent = match keys.silent_issuers {
        0 => String::new(),
        silent => format!("; {silent} outside issuers have given NO KEYS"),
    };
    format!("{signs}{others}, {from}{silent}")
}

fn tls(status: &Status) -> String {
    let Some(tls) = &status.tls else {
        return "none here".to_owned();
    };
    let until = tame(&tls.certificate_expires_at);
    match (when::parse(&tls.certificate_expires_at), when::parse(&status.now)) {
        (Ok(at), Ok(now)) if at <= now => format!("certificate has EXPIRED, {until}"),
        (Ok(at), Ok(now)) => format!(
            "certificate expires {} ({until}), from a {}",
            relative(at, now),
            tame(&tls.from)
        ),
        _ => format!("certificate expires {until}"),
    }
}

fn config(status: &Status) -> String {
    let config = &status.config;
    let now = when::parse(&status.now).unwrap_or(UnixMs(0));
    let read = when::parse(&config.read_at).map(|at| relative(at, now));
    let read = read.unwrap_or_else(|_| tame(&config.read_at));
    match config.good {
        true => format!("generation {}, read {read}", config.generation),
        false => format!(
            "generation {} of {read} is kept: the last one read was NOT GOOD (`chatctl config check`)",
            config.generation
        ),
    }
}

fn jobs(status: &Status) -> String {
    let Some(jobs) = &status.jobs else {
        return "unknown: the store does not say".to_owned();
    };
    let named = |word: &str, is: fn(&Job) -> bool| {
        let names: Vec<_> = jobs
            .iter()
            .filter(|job| is(job))
            .map(|job| tame(&job.name))
            .collect();
        (!names.is_empty()).then(|| format!("{} {word}: {}", names.len(), names.join(", ")))
    };
    let on = jobs.iter().filter(|job| job.is_on).count();
    let by = if status.jobs_by_schedule {
        ""
    } else {
        ", run by something else"
    };
    let mut parts = vec![format!("{on} on{by}")];
    let findings = [
        named("OVERDUE", |job| job.is_overdue),
        named("FAILING", |job| job.failures > 0),
        named("paused", |job| job.paused_until.is_some()),
        named("running", |job| job.is_running),
    ];
    parts.extend(findings.into_iter().flatten());
    parts.join("; ")
}

fn watchdog(status: &Status) -> String {
    match &status.watchdog {
        Some(watchdog) => format!("every {}", span(Duration::from_millis(watchdog.interval_ms))),
        None => "none".to_owned(),
    }
}

fn process(status: &Status) -> String {
    let memory = status
        .process
        .resident_bytes
        .map_or_else(|| "-".to_owned(), bytes);
    let cpu = status.process.cpu_seconds;
    format!(
        "{memory} of memory, {} of a processor since the start",
        percent(cpu, status.up_seconds)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_screen_says_what_is_wrong_in_capitals() {
        let status: Status = serde_json::from_value(json!({
            "version": "0.1.0", "pid": 4711, "up_seconds": 7200.5, "now": "2026-11-22T12:00:00Z", "ready": false,
            "not_ready": "The store does not answer.", "node": 3,
            "listeners": [{"address": "0.0.0.0:8480", "kind": "tcp", "tls": true, "inherited": true}],
            "sessions": {"open": 1204, "most": 50_000, "opened": 1310, "closed": 106,
                "closed_by": {"going_away": 8, "normal": 98}, "descriptors": {"soft": 1024, "open": 1243}},
            "mail": {"accepted": 72_000, "delivered": 71_990, "acked": 70_000, "elided": 35_000, "waiting": 84,
                "refused": 6, "refused_by": {"mailbox_full": 6}, "tail_bytes": 1_048_576, "tail_most": 67_108_864,
                "commits": 3021, "commits_failed": 2, "commit_seconds": {"p50": 0.0028, "p99": 1.25}},
            "store": {"kind": "mongodb"},
            "keys": {"signing_kid": "new", "believed": ["old", "new"], "from": "credential", "age_seconds": 90_061.0},
            "tls": {"certificate_expires_at": "2026-12-01T12:00:00Z", "from": "file"},
            "config": {"generation": 2, "good": false, "read_at": "2026-11-22T11:00:00Z"},
            "jobs": [{"name": "expire-mail", "is_on": true, "is_overdue": true, "failures": 3},
                {"name": "sweep-departed", "is_on": true, "paused_until": "9999-12-31T23:59:59Z"}],
            "jobs_by_schedule": true, "watchdog": {"interval_ms": 30_000},
            "process": {"resident_bytes": 88_080_384, "cpu_seconds": 72.0}, "something": "new",
        }))
        .unwrap();
        assert_eq!(
            text(&status),
            "\
chatctl 0.1.0: NOT READY (The store does not answer), up for 2h, pid 4711, node 3
  listens   0.0.0.0:8480 with TLS (inherited)
  sessions  1,204 of 50,000 open, 1,310 opened, 106 closed (normal 98, going_away 8); 1,243 of 1,024 descriptors
  mail      72,000 accepted (10.0/s), 71,990 delivered (10.0/s), 70,000 acked (9.7/s), 50% of them never on disk, 84 waiting
  losses    0 dropped, 6 refused (mailbox_full 6)
  tail      1.0 MiB of 64.0 MiB; 0 B of 0 B wait for their commit
  commits   3,021, 2 FAILED; p50 2.8ms, p99 1.25s
  store     mongodb, DOES NOT ANSWER
  keys      new signs for 1d 1h, believed too: old, from a credential: a restart follows a change
  tls       certificate expires in 9d (2026-12-01T12:00:00Z), from a file
  config    generation 2 of 1h ago is kept: the last one read was NOT GOOD (`chatctl config check`)
  jobs      2 on; 1 OVERDUE: expire-mail; 1 FAILING: expire-mail; 1 paused: sweep-departed
  watchdog  every 30s
  process   84.0 MiB of memory, 1% of a processor since the start
"
        );
        let again = serde_json::to_value(&status).unwrap();
        assert_eq!(again["something"], "new");
    }
}
