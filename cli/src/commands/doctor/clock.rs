//! The clock: whether somebody keeps it right, and whether others have the same.
//!
//! Owns how large a difference may be. Must not know who the others are.

use chatctl_relay::model::{Clock, UnixMs};

use super::finding::Finding;
use super::running::Running;
use super::tool::{Told, ask, pairs};
use crate::when;

/// Asks the system, and compares with the relay that runs.
pub(super) async fn look(asked_at: UnixMs, relays: Option<UnixMs>) -> Vec<Finding> {
    let told = ask("timedatectl", &["show", "--property=NTP,NTPSynchronized"]).await;
    let mut found = vec![judge_synchronised(&told)];
    found.extend(relays.map(|theirs| judge_skew("relay's clock", "the relay", difference(theirs, asked_at))));
    found
}

/// When the relay answered, by its own clock.
pub(super) fn of_relay(running: &Running) -> Option<UnixMs> {
    let now = running.says("/now")?;
    match now.as_u64() {
        Some(number) => Some(UnixMs(number)),
        None => when::parse(now.as_str()?).ok(),
    }
}

/// Milliseconds by which one clock is before another.
pub(super) fn difference(theirs: UnixMs, ours: UnixMs) -> i64 {
    i64::try_from(i128::from(theirs.0) - i128::from(ours.0)).unwrap_or(i64::MAX)
}

/// What the system's clock says.
pub(super) fn now() -> UnixMs {
    Clock::system().now()
}

fn judge_synchronised(told: &Told) -> Finding {
    let name = "synchronised";
    let text = match told {
        Told::Text(text) => pairs(text),
        Told::Missing => return unknown(name, "there is no timedatectl here"),
        Told::Failed(why) => return unknown(name, why),
    };
    let is = |key: &str| text.get(key).map(String::as_str);
    match (is("NTPSynchronized"), is("NTP")) {
        (Some("yes"), _) => Finding::ok(name, "yes"),
        (Some("no"), Some("yes")) => Finding::warn(
            name,
            "not yet: the time service runs and has no answer",
            "timedatectl timesync-status",
        )
        .meaning(DRIFT),
        (Some("no"), _) => Finding::warn(name, "no", "sudo timedatectl set-ntp true").meaning(DRIFT),
        _ => unknown(name, "timedatectl does not say"),
    }
}

fn unknown(name: &str, why: &str) -> Finding {
    Finding::skipped(name, why, "chronyc tracking || ntpq -p || timedatectl")
}

/// Judges how far another clock is from this one.
pub(super) fn judge_skew(name: &str, whose: &str, milliseconds: i64) -> Finding {
    let distance = milliseconds.unsigned_abs();
    let measured = match milliseconds {
        -999..=999 => format!("{whose} has the same time within {}ms", distance.max(1)),
        ahead if ahead > 0 => format!("{whose} is {:.1}s ahead", distance as f64 / 1000.0),
        _ => format!("{whose} is {:.1}s behind", distance as f64 / 1000.0),
    };
    let fix = "sudo timedatectl set-ntp true  # on both machines";
    match distance {
        0..2_000 => Finding::ok(name, measured),
        2_000..5_000 => Finding::warn(name, measured, fix).meaning(DRIFT),
        _ => Finding::bad(name, measured, fix)
            .meaning("tokens are refused when clocks differ by more than 5 s"),
    }
}

const DRIFT: &str = "tokens begin and end by the clock, and so do mail and leases";

#[cfg(test)]
mod tests {
    use super::super::finding::Mark;
    use super::*;

    #[test]
    fn a_clock_that_nobody_keeps_is_worth_a_look() {
        let mark = |text: &str| judge_synchronised(&Told::Text(text.into())).mark;
        assert_eq!(mark("NTP=yes\nNTPSynchronized=yes\n"), Mark::Ok);
        assert_eq!(mark("NTP=yes\nNTPSynchronized=no\n"), Mark::Warn);
        assert_eq!(mark("NTP=no\nNTPSynchronized=no\n"), Mark::Warn);
        assert_eq!(mark(""), Mark::Skipped);
        assert_eq!(judge_synchronised(&Told::Missing).mark, Mark::Skipped);
    }

    #[test]
    fn clocks_may_differ_by_less_than_what_tokens_allow() {
        let mark = |milliseconds| judge_skew("clock", "it", milliseconds).mark;
        assert_eq!([mark(0), mark(-1_999), mark(1_999)], [Mark::Ok; 3]);
        assert_eq!([mark(2_000), mark(-4_999)], [Mark::Warn; 2]);
        assert_eq!([mark(5_000), mark(-86_400_000)], [Mark::Bad; 2]);
        assert_eq!(judge_skew("clock", "it", -5_500).measured, "it is 5.5s behind");
        assert_eq!(difference(UnixMs(1_000), UnixMs(3_000)), -2_000);
    }
}
