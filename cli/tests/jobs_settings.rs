//! The built binary, as an operator meets it: what can be told of jobs from the settings alone.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// A folder in which `chatctl` runs.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Exit code, stdout and stderr.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new(env!("CARGO_BIN_EXE_chatctl"))
            .args(words)
            .current_dir(self.0.path())
            .env_clear()
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    /// The stdout of a command that must succeed.
    fn ok(&self, words: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(words);
        assert_eq!(code, 0, "{words:?}: {stderr}");
        stdout
    }
}

const FROM: &str = "2026-11-22T10:28:30Z";

#[test]
fn the_next_times_are_told_by_the_clock_there_in_utc_and_from_now() {
    let desk = Desk::new();
    let settings = "[jobs]\ntime_zone = \"Europe/Berlin\"\nset = [\"prune-tombstones=17 3 * * *; jitter=10m\", \"compact-store=off\"]\n";
    std::fs::write(desk.path("chatctl.toml"), settings).unwrap();
    let next = |rest: &[&str]| {
        let words = ["jobs", "next", "-c", "chatctl.toml", "--from", FROM];
        desk.ok(&[&words[..], rest].concat())
    };
    assert_eq!(
        next(&["prune-tombstones", "--count", "3"]),
        "prune-tombstones  \"17 3 * * *\"  At 03:17.  tz Europe/Berlin  jitter ≤10m
  2026-11-23 03:17 CET   02:17Z   in 15h 48m
  2026-11-24 03:17 CET   02:17Z
  2026-11-25 03:17 CET   02:17Z
note: 2027-03-28 has no 02:00–03:00 in this zone (not affected)
note: 2027-10-31 has 02:00–03:00 twice in this zone (not affected)
"
    );
    assert_eq!(next(&["compact-store"]), "compact-store  off\n");
    // A flag says more than the file.
    let flags = [
        "--job",
        "trim-history=5 0 0 1 * *",
        "--time-zone",
        "UTC",
        "--count",
        "1",
    ];
    assert_eq!(
        next(&[&["trim-history"], &flags[..]].concat()),
        "trim-history  \"5 0 0 1 * *\"  At 00:00:05, on day 1.  tz UTC  jitter ≤5s
  2026-12-01 00:00:05 UTC   in 8days 13h 31m
"
    );
    let all: Value = serde_json::from_str(&next(&["--json", "--count", "1"])).unwrap();
    let jobs = all["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 10, "every job");
    let tombstones = jobs.iter().find(|job| job["job"] == "prune-tombstones").unwrap();
    assert_eq!(
        tombstones["ticks"],
        json!([{ "at": "2026-11-23T02:17:00Z", "local": "2026-11-23T03:17:00+01:00", "zone": "CET" }])
    );
}

#[test]
fn a_schedule_that_fires_sixty_times_an_hour_is_warned_of() {
    let desk = Desk::new();
    let wrong = "\"* 1 * * * *\"  6 fields (seconds first): Every second, minute 1 past every hour.
warning: fires 60 times an hour, at xx:01:00 … xx:01:59. For \"every day at 01:00\" write \"0 1 * * *\".
";
    assert_eq!(desk.ok(&["jobs", "lint", "* 1 * * * *"]), wrong);
    let (code, stdout, _) = desk.run(&["jobs", "lint", "--strict", "* 1 * * * *"]);
    assert_eq!((code, stdout.as_str()), (65, wrong));
    assert_eq!(
        desk.ok(&["jobs", "lint", "--strict", "0 1 * * *"]),
        "\"0 1 * * *\"  5 fields: At 01:00.\n"
    );
    assert_eq!(
        desk.run(&["jobs", "lint", "0 25 * * *"]),
        (
            65,
            String::new(),
            "error: \"0 25 * * *\" is not a schedule: the hour \"25\": number out of bounds\n".to_owned()
        )
    );
}

#[test]
fn timers_run_jobs_at_the_times_of_their_schedules() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("units")).unwrap();
    let words = [
        "jobs",
        "units",
        "--dir",
        "units",
        "--job",
        "remind-key-rotation=TZ=Europe/Berlin 0 9 * * MON-FRI; missed=skip; jitter=10m",
        "--job",
        "compact-store=off",
    ];
    let written = desk.ok(&words);
    assert_eq!(written.lines().count(), 9 * 2, "{written}");
    let timer = std::fs::read_to_string(desk.path("units/chatctl-job-remind-key-rotation.timer")).unwrap();
    let lines = [
        "OnCalendar=Mon,Tue,Wed,Thu,Fri *-*-* 09:00:00 Europe/Berlin",
        "Persistent=false",
        "RandomizedDelaySec=600s",
        "WantedBy=timers.target",
    ];
    for line in lines {
        assert!(timer.lines().any(|found| found == line), "{line}: {timer}");
    }
    let service = std::fs::read_to_string(desk.path("units/chatctl-job-expire-mail.service")).unwrap();
    assert!(
        service.contains("\nExecStart=chatctl jobs run expire-mail --apply\n"),
        "{service}"
    );
    // What is there stays, unless it is told otherwise.
    let (code, _, stderr) = desk.run(&words);
    assert_eq!(code, 73, "{stderr}");
    desk.ok(&[&words[..], &["--force"]].concat());
}

#[test]
fn what_systemd_cannot_say_is_refused_and_the_rest_is_written() {
    let desk = Desk::new();
    let (code, stdout, stderr) = desk.run(&[
        "jobs",
        "units",
        "expire-mail",
        "trim-history",
        "--job",
        "expire-mail=every 7m",
    ]);
    assert_eq!(code, 65);
    assert!(stdout.contains("# chatctl-job-trim-history.timer\n"), "{stdout}");
    assert!(!stdout.contains("expire-mail"), "{stdout}");
    assert_eq!(
        stderr,
        "warning: no units for expire-mail (\"every 7m\"): systemd's calendar cannot say every 7m: a day cannot be divided into such parts\n"
    );
}

/// Asks systemd itself, on machines that have `systemd-analyze`; on others it asks nobody, and says so.
#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("NOT ASKED: there is no systemd-analyze on this machine");
        return;
    }
    let desk = Desk::new();
    let units = desk.path("units");
    std::fs::create_dir(&units).unwrap();
    let written = desk.ok(&["jobs", "units", "--dir", units.to_str().unwrap()]);
    // It looks for the program where it is; here that is the one that was built.
    for path in written.lines().filter(|path| path.ends_with(".service")) {
        let text = std::fs::read_to_string(path).unwrap();
        let start = format!("ExecStart={} ", env!("CARGO_BIN_EXE_chatctl"));
        std::fs::write(path, text.replace("ExecStart=chatctl ", &start)).unwrap();
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(written.lines())
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    // What it says of other units of the machine is their business.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("chatctl-job")).collect();
    assert_eq!(ours, [""; 0], "{said}");
}
