//! What is said in systemd's words means the same to systemd.

use std::process::Command;

use super::*;

/// Schedules that systemd's calendar can say, and how.
const SAYABLE: [(&str, &[&str]); 22] = [
    ("every 1m", &["*-*-* *:*:00 UTC"]),
    ("every 20s", &["*-*-* *:*:00/20 UTC"]),
    ("every 15m", &["*-*-* *:00/15:00 UTC"]),
    ("every 1h", &["*-*-* *:00:00 UTC"]),
    ("every 6h", &["*-*-* 00,06,12,18:00:00 UTC"]),
    (
        "every 90m",
        &[
            "*-*-* 00,03,06,09,12,15,18,21:00:00 UTC",
            "*-*-* 01,04,07,10,13,16,19,22:30:00 UTC",
        ],
    ),
    ("every 1d", &["*-*-* 00:00:00 UTC"]),
    ("every 7d", &["Thu *-*-* 00:00:00 UTC"]),
    ("17 3 * * *", &["*-*-* 03:17:00 UTC"]),
    ("5 17 3 * * *", &["*-*-* 03:17:05 UTC"]),
    ("*/10 * * * *", &["*-*-* *:00,10,20,30,40,50:00 UTC"]),
    ("* * * * * *", &["*-*-* *:*:* UTC"]),
    ("@hourly", &["*-*-* *:00:00 UTC"]),
    ("@weekly", &["Sun *-*-* 00:00:00 UTC"]),
    ("@monthly", &["*-*-01 00:00:00 UTC"]),
    ("@yearly", &["*-01-01 00:00:00 UTC"]),
    (
        "TZ=Europe/Berlin 0 9 * * MON-FRI",
        &["Mon,Tue,Wed,Thu,Fri *-*-* 09:00:00 Europe/Berlin"],
    ),
    (
        "TZ=America/New_York 17 3 * JUN-AUG *",
        &["*-06,07,08-* 03:17:00 America/New_York"],
    ),
    ("0 0 13 * FRI", &["*-*-13 00:00:00 UTC", "Fri *-*-* 00:00:00 UTC"]),
    ("0 0 13 * +FRI", &["Fri *-*-13 00:00:00 UTC"]),
    ("0 0 29 2 *", &["*-02-29 00:00:00 UTC"]),
    (
        "0 12 */10 * WED",
        &["*-*-01,11,21,31 12:00:00 UTC", "Wed *-*-* 12:00:00 UTC"],
    ),
];

#[test]
fn what_systemd_can_say_is_said_in_its_words() {
    for (text, lines) in SAYABLE {
        assert_eq!(schedule(text).on_calendar().unwrap(), lines, "{text}");
    }
}

#[test]
fn what_systemd_cannot_say_is_refused_with_a_reason() {
    let cases = [
        ("every 7m", NoCalendar::Period("7m".into())),
        ("every 2d", NoCalendar::Period("2days".into())),
        ("every 1500ms", NoCalendar::Period("1s 500ms".into())),
        ("every 64s", NoCalendar::Lines(225)),
        ("0 0 L * *", NoCalendar::Day("L".into())),
        ("0 0 15W * *", NoCalendar::Day("15W".into())),
        ("0 0 * * FRI#2", NoCalendar::Day("FRI#2".into())),
        ("0 0 * * 5L", NoCalendar::Day("5L".into())),
    ];
    for (text, why) in cases {
        assert_eq!(schedule(text).on_calendar(), Err(why), "{text}");
    }
}

/// Asks systemd itself, on machines that have `systemd-analyze`; on others it asks nobody, and says so.
#[test]
fn systemd_finds_the_next_ticks_where_we_do() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("NOT ASKED: there is no systemd-analyze on this machine");
        return;
    }
    let mut asked = 0;
    for from in [
        "2026-11-22 23:50:30",
        "2027-02-27 11:59:59",
        "2028-06-30 22:00:00",
    ] {
        for (text, lines) in SAYABLE {
            let mut theirs: Vec<_> = lines.iter().flat_map(|line| elapses(line, from)).collect();
            theirs.sort();
            theirs.dedup();
            let (ours, _) = schedule(text).ticks(at(from), UnixMs(u64::MAX), 3);
            assert_eq!(ours, theirs[..3], "{text} from {from}");
            asked += lines.len();
        }
    }
    println!("{asked} answers of systemd compared");
}

/// The next three times by systemd's calendar.
fn elapses(line: &str, from: &str) -> Vec<UnixMs> {
    let output = Command::new("systemd-analyze")
        .args(["calendar", "--iterations=3"])
        .arg(format!("--base-time={from} UTC"))
        .arg(line)
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    // `Next elapse: Sun 2026-11-22 23:51:00 UTC`, then `Iter. #2: …`.
    let text = String::from_utf8(output.stdout).unwrap();
    let times = text
        .lines()
        .filter(|line| line.contains("Next elapse:") || line.contains("Iter"))
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().rev().collect();
            at(&format!("{} {}", words[2], words[1]))
        });
    times.collect()
}
