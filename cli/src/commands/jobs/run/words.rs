//! What a job would do and did, as sentences.

use chatctl_relay::config::jobs::JobName;
use chatctl_relay::model::UnixMs;

use super::Ended;
use crate::commands::jobs::entry::Found;
use crate::figures::{bytes, dated, span, tame, thousands};

/// The words of a job.
struct Words {
    /// `drop`.
    verb: &'static str,
    /// `dropped`.
    done: &'static str,
    /// `envelope`.
    one: &'static str,
    /// `envelopes`.
    many: &'static str,
    /// `the oldest was due`.
    oldest: &'static str,
}

impl Words {
    const fn of(
        words: (
            &'static str,
            &'static str,
            &'static str,
            &'static str,
            &'static str,
        ),
    ) -> Self {
        let (verb, done, one, many, oldest) = words;
        Self {
            verb,
            done,
            one,
            many,
            oldest,
        }
    }
}

/// `would drop 1,204 envelopes, 3.4 MiB (the oldest was due …)`, and that nothing was changed.
pub(super) fn would(job: JobName, found: &Found, now: UnixMs) -> String {
    let words = of(job);
    let oldest = found.oldest.as_deref().map(|time| {
        let since = dated(time, now);
        format!("\n  {} {since}", words.oldest)
    });
    let mut text = match (is_nothing(job, found), job.deletes()) {
        (true, _) => format!("there is nothing to {}\n", words.verb),
        (false, _) => format!(
            "would {} {}{}\n",
            words.verb,
            what(job, found),
            oldest.unwrap_or_default()
        ),
    };
    text += &details(found);
    if !is_nothing(job, found) {
        text += match job.deletes() {
            true => "nothing was changed; --apply does it\n",
            false => "nothing was changed; it runs without --dry-run\n",
        };
    }
    text
}

/// `dropped 1,204 envelopes, 3.4 MiB in 810ms`, and what stopped it.
pub(super) fn did(job: JobName, ended: &Ended) -> String {
    let words = of(job);
    let took = span(ended.took);
    let mut text = match is_nothing(job, &ended.found) {
        true => format!("there was nothing to {}; it took {took}\n", words.verb),
        false => format!("{} {} in {took}\n", words.done, what(job, &ended.found)),
    };
    text += &details(&ended.found);
    if ended.told.is_some() {
        text += &format!(
            "ended as told: {}; the next run goes on from there\n",
            tame(&ended.outcome)
        );
    }
    text
}

fn is_nothing(job: JobName, found: &Found) -> bool {
    match job {
        JobName::CompactStore => found.bytes == 0 && found.affected == 0,
        JobName::ExpireMail
        | JobName::PruneRecords
        | JobName::PruneRevocations
        | JobName::PruneTombstones
        | JobName::RemoveIdleDevices
        | JobName::SweepDeparted
        | JobName::ReportLowKeys
        | JobName::RemindKeyRotation
        | JobName::TrimHistory => found.affected == 0,
    }
}

/// `1,204 envelopes, 3.4 MiB`.
fn what(job: JobName, found: &Found) -> String {
    let words = of(job);
    if job == JobName::CompactStore && found.bytes > 0 {
        return bytes(found.bytes);
    }
    let noun = match found.affected {
        1 => words.one,
        _ => words.many,
    };
    let size = match found.bytes {
        0 => String::new(),
        size => format!(", {}", bytes(size)),
    };
    format!("{} {noun}{size}", thousands(found.affected))
}

/// Numbers by kind, where there is more than one, and what was found.
fn details(found: &Found) -> String {
    let counts = found.counts.iter();
    let counts = counts.map(|(name, count)| format!("  {}: {}\n", tame(name), thousands(*count)));
    let counts: String = match found.counts.len() {
        0 | 1 => String::new(),
        _ => counts.collect(),
    };
    let lines: String = found
        .lines
        .iter()
        .map(|line| format!("  {}\n", tame(line)))
        .collect();
    let retries = match found.retries {
        0 => String::new(),
        1 => "  1 step was tried again\n".to_owned(),
        retries => format!("  {} steps were tried again\n", thousands(retries.into())),
    };
    counts + &lines + &retries
}

const fn of(job: JobName) -> Words {
    let words = match job {
        JobName::ExpireMail => ("drop", "dropped", "envelope", "envelopes", "the oldest was due"),
        JobName::PruneRecords => ("forget", "forgot", "send", "sends", "the oldest was accepted"),
        JobName::PruneRevocations => (
            "forget",
            "forgot",
            "revocation",
            "revocations",
            "the oldest was over",
        ),
        JobName::PruneTombstones => (
            "forget",
            "forgot",
            "key that was handed out",
            "keys that were handed out",
            "the oldest was handed out",
        ),
        JobName::RemoveIdleDevices => (
            "remove",
            "removed",
            "device",
            "devices",
            "the quietest was last seen",
        ),
        JobName::SweepDeparted => (
            "empty",
            "emptied",
            "mailbox of a device that is gone",
            "mailboxes of devices that are gone",
            "the oldest is left over since",
        ),
        JobName::ReportLowKeys => (
            "report",
            "found",
            "queue that runs low",
            "queues that run low",
            "the oldest is of",
        ),
        JobName::RemindKeyRotation => (
            "remind of",
            "found",
            "key that should be rotated",
            "keys that should be rotated",
            "the oldest is of",
        ),
        JobName::CompactStore => (
            "give back",
            "gave back",
            "piece of the store",
            "pieces of the store",
            "the oldest is of",
        ),
        JobName::TrimHistory => ("forget", "forgot", "run", "runs", "the oldest began"),
    };
    Words::of(words)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::exit::Exit;

    const NOW: UnixMs = UnixMs(1_795_348_800_000);

    fn found(affected: u64, bytes: u64) -> Found {
        Found {
            affected,
            bytes,
            ..Found::default()
        }
    }

    fn ended(found: Found, told: Option<Exit>) -> Ended {
        Ended {
            run: "expire-mail/1/1".into(),
            outcome: if told.is_some() { "stopped" } else { "ok" }.into(),
            found,
            took: Duration::from_millis(810),
            error: None,
            told,
        }
    }

    #[test]
    fn a_look_says_what_would_be_done_and_that_nothing_was() {
        let mail = Found {
            oldest: Some("2026-10-01T12:00:00Z".into()),
            counts: [("envelopes".to_owned(), 1204)].into(),
            ..found(1204, 3_565_158)
        };
        assert_eq!(
            would(JobName::ExpireMail, &mail, NOW),
            "\
would drop 1,204 envelopes, 3.4 MiB
  the oldest was due 2026-10-01T12:00:00Z (52d ago)
nothing was changed; --apply does it
"
        );
        assert_eq!(
            would(JobName::TrimHistory, &found(0, 0), NOW),
            "there is nothing to forget\n"
        );
        let low = Found {
            lines: vec!["alice/1 signal ec: 3 left".into(), "\u{1b}[2J".into()],
            counts: [("devices".to_owned(), 9), ("queues".to_owned(), 1)].into(),
            ..found(1, 0)
        };
        assert_eq!(
            would(JobName::ReportLowKeys, &low, NOW),
            "\
would report 1 queue that runs low
  devices: 9
  queues: 1
  alice/1 signal ec: 3 left
  \\u{1b}[2J
nothing was changed; it runs without --dry-run
"
        );
    }

    #[test]
    fn a_run_says_what_it_did_and_where_it_was_stopped() {
        assert_eq!(
            did(JobName::ExpireMail, &ended(found(1, 2048), None)),
            "dropped 1 envelope, 2.0 KiB in 810ms\n"
        );
        assert_eq!(
            did(JobName::CompactStore, &ended(found(0, 5 << 20), None)),
            "gave back 5.0 MiB in 810ms\n"
        );
        assert_eq!(
            did(JobName::PruneRecords, &ended(found(0, 0), None)),
            "there was nothing to forget; it took 810ms\n"
        );
        assert_eq!(
            did(
                JobName::PruneRecords,
                &ended(found(12_000, 0), Some(Exit::Interrupted))
            ),
            "\
forgot 12,000 sends in 810ms
ended as told: stopped; the next run goes on from there
"
        );
    }
}
