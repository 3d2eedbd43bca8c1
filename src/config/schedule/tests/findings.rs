//! What people should know of their schedules, sentence by sentence.

use super::*;

const SAID: [(&str, &[&str]); 17] = [
    (
        "* 1 * * * *",
        &[
            "warning: fires 60 times an hour, at xx:01:00 … xx:01:59. For \"every day at 01:00\" write \"0 1 * * *\".",
        ],
    ),
    (
        "* */5 * * * *",
        &[
            "warning: fires 720 times an hour, at xx:00:00 … xx:55:59. For \"once in each of these minutes\" write \"*/5 * * * *\".",
        ],
    ),
    (
        "*/20 * * * * *",
        &["warning: fires 180 times an hour, at xx:00:00 … xx:59:40."],
    ),
    (
        "* 1 * * *",
        &["warning: fires 60 times, at 01:00 … 01:59. For \"every day at 01:00\" write \"0 1 * * *\"."],
    ),
    (
        "0 0 31 2 *",
        &["warning: does not fire within eight years. Is there such a day in such a month?"],
    ),
    (
        "0 0 13 * FRI",
        &[
            "warning: fires on the days of the month and on the days of the week: either is enough. If both are needed, write a + before the day of the week.",
        ],
    ),
    ("every 30s", &["note: fires 120 times an hour."]),
    (
        "every 7m",
        &["note: a day cannot be divided into parts of 7m: it fires at other times on each day."],
    ),
    (
        "TZ=Europe/Berlin 30 2 * * *",
        &[
            "note: 2027-03-28 has no 02:00–03:00 in this zone (the tick comes at 03:00)",
            "note: 2027-10-31 has 02:00–03:00 twice in this zone (the tick comes once, at the first)",
        ],
    ),
    (
        "TZ=Europe/Berlin */20 2 * * *",
        &[
            "warning: 2027-03-28 has no 02:00–03:00 in this zone (3 ticks do not come)",
            "warning: 2027-10-31 has 02:00–03:00 twice in this zone (3 ticks come twice)",
        ],
    ),
    (
        "TZ=Australia/Lord_Howe 15 * * * *",
        &["warning: 2027-10-03 has no 02:00–02:30 in this zone (one tick does not come)"],
    ),
    ("TZ=Europe/Berlin */30 * * * *", &[]),
    ("TZ=Europe/Berlin 17 3 * * *", &[]),
    ("17 3 * * *", &[]),
    ("@daily", &[]),
    ("every 1d", &[]),
    ("every 7d", &[]),
];

#[test]
fn what_people_should_know_is_said_in_sentences() {
    for (text, sentences) in SAID {
        let findings = schedule(text).lint(at("2026-11-22 12:00:00"));
        let lines = findings
            .iter()
            .map(|finding| format!("{}: {finding}", finding.severity()));
        assert_eq!(lines.collect::<Vec<_>>(), sentences, "{text}");
    }
}
