//! The built binary and scheduled jobs: with a relay that runs them, and straight on a store.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dev::Relay;
use serde_json::Value;

mod dev;

/// A folder in which `chatctl` runs with a bare environment.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Words are separated by spaces; those of one argument by underscores.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
        command
            .args(line.split(' ').map(|word| word.replace('_', " ")))
            .current_dir(self.path())
            .env_clear()
            .stdin(Stdio::null());
        command
    }

    /// Exit code, stdout, stderr.
    fn run(&self, line: &str) -> (i32, String, String) {
        let output = self.command(line).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// The stdout of a command that must succeed.
    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let (code, stdout, stderr) = self.run(line);
        assert_eq!(code, 0, "{line}: {stdout}{stderr}");
        stdout
    }

    /// The document of a command that must succeed.
    #[track_caller]
    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} --json"))).unwrap()
    }

    /// A job, as the list has it.
    #[track_caller]
    fn job(&self, name: &str) -> Value {
        let list = self.json("jobs list --data-dir data");
        let jobs = list["jobs"].as_array().unwrap();
        jobs.iter().find(|job| job["name"] == name).unwrap().clone()
    }

    /// A relay on `data`.
    fn relay(&self, options: &str) -> Relay {
        Relay::start(&mut self.command(format!("{} {options}", dev::SERVE).trim()))
    }
}

/// What a relay counts.
fn counts(relay: &Relay) -> String {
    let mut words = relay
        .said
        .split(|letter: char| letter != ':' && letter != '.' && !letter.is_ascii_digit());
    let address = words.find(|word| word.starts_with("127.0.0.1:")).unwrap();
    let mut http = TcpStream::connect(address).unwrap();
    let ask = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    http.write_all(ask.as_bytes()).unwrap();
    let mut told = String::new();
    http.read_to_string(&mut told).unwrap();
    told
}

/// What holds whoever is asked.
fn an_operator_looks_pauses_and_runs(desk: &Desk) {
    let list = desk.ok("jobs list --data-dir data");
    assert!(
        list.starts_with("JOB ") && list.lines().count() == 11 && list.contains("never"),
        "{list}"
    );
    assert_eq!(desk.job("expire-mail")["last_run"], Value::Null);
    assert_eq!(desk.ok("jobs history --data-dir data"), "no runs\n");

    let said = desk.ok("jobs pause expire-mail --data-dir data --until 2126-11-22T12:00:00Z");
    assert!(
        said.starts_with("expire-mail is paused until 2126-11-22T12:00:00Z (in "),
        "{said}"
    );
    assert_eq!(desk.job("expire-mail")["paused_until"], "2126-11-22T12:00:00Z");
    let said = desk.ok("jobs pause expire-mail --data-dir data");
    assert_eq!(said, "expire-mail is paused until it is resumed\n");
    assert_eq!(desk.job("expire-mail")["paused_until"], "9999-12-31T23:59:59Z");

    // By hand it runs nevertheless, and only looks unless it is told to apply.
    let looked = desk.ok("jobs run expire-mail --data-dir data");
    assert_eq!(looked, "there is nothing to drop\n");
    assert_eq!(desk.ok("jobs history --data-dir data"), "no runs\n");
    let ran = desk.json("jobs run expire-mail --data-dir data --apply");
    assert_eq!(
        (&ran["applied"], &ran["outcome"], &ran["affected"]),
        (&true.into(), &"ok".into(), &0.into()),
        "{ran}"
    );
    let history = desk.json("jobs history expire-mail --data-dir data --outcome ok --since 1h");
    let runs = history["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1, "{history}");
    assert_eq!(
        (&runs[0]["run"], &runs[0]["trigger"]),
        (&ran["run"], &"hand".into())
    );
    let job = desk.job("expire-mail");
    assert_eq!(
        (&job["last_run"]["run"], &job["held"]),
        (&ran["run"], &Value::Null)
    );

    let said = desk.ok("jobs resume expire-mail --data-dir data");
    assert_eq!(said, "expire-mail is not paused; it runs at its next tick\n");
    assert_eq!(desk.job("expire-mail")["paused_until"], Value::Null);
    let said = desk.ok("jobs unlock expire-mail --data-dir data");
    assert_eq!(said, "nobody has the lease of expire-mail: nothing to break\n");
}

#[test]
fn jobs_are_looked_at_paused_and_run_straight_on_a_store() {
    let desk = Desk::new();
    an_operator_looks_pauses_and_runs(&desk);
    let list = desk.json("jobs list --data-dir data --job trim-history=off");
    assert_eq!(
        (&list["by_schedule"], &list["through"]),
        (&Value::Null, &Value::Null)
    );
    let trim = &list["jobs"].as_array().unwrap()[9];
    assert_eq!(
        (&trim["name"], &trim["is_on"]),
        (&"trim-history".into(), &false.into())
    );
}

#[test]
fn jobs_are_looked_at_paused_and_run_through_a_relay() {
    let desk = Desk::new();
    let _relay = desk.relay("--no-jobs");
    an_operator_looks_pauses_and_runs(&desk);
    let list = desk.json("jobs list --data-dir data");
    assert_eq!(list["by_schedule"], false);
    assert!(
        list["through"].as_str().unwrap().ends_with("admin.sock"),
        "{list}"
    );
    let (_, _, stderr) = desk.run("jobs list --data-dir data");
    assert_eq!(stderr, "this relay runs no jobs by schedule (--no-jobs)\n");
}

#[test]
fn what_a_look_finds_is_what_a_run_removes() {
    let desk = Desk::new();
    desk.ok("jobs run prune-revocations --data-dir data --apply");
    let trim = "jobs run trim-history --data-dir data --keep-history 1ms";
    let looked = desk.ok(trim);
    assert!(
        looked.starts_with("would forget 1 run\n  the oldest began ")
            && looked.ends_with("nothing was changed; --apply does it\n"),
        "{looked}"
    );
    let found = desk.json(trim);
    assert_eq!(
        (&found["applied"], &found["affected"], &found["run"]),
        (&false.into(), &1.into(), &Value::Null)
    );
    let ran = desk.ok(&format!("{trim} --apply"));
    assert!(ran.starts_with("forgot 1 run in "), "{ran}");
    let history = desk.json("jobs history --data-dir data");
    let runs = history["runs"].as_array().unwrap();
    let jobs: Vec<_> = runs.iter().map(|run| run["job"].as_str().unwrap()).collect();
    assert_eq!(jobs, ["trim-history"]);
}

#[test]
fn a_relay_runs_jobs_by_schedule_and_they_are_in_the_history() {
    let desk = Desk::new();
    let _relay = desk.relay("--job prune-records=every_1s;_jitter=0s");
    let begun = Instant::now();
    let runs = loop {
        let history = desk.json("jobs history prune-records --data-dir data --outcome ok");
        let runs = history["runs"].as_array().unwrap().clone();
        if runs.len() > 1 {
            break runs;
        }
        assert!(begun.elapsed() < PATIENCE, "no job runs by schedule: {history}");
    };
    assert_eq!(runs[0]["trigger"], "schedule");
    let job = desk.job("prune-records");
    assert_eq!(
        (&job["schedule"], &job["failures"]),
        (&"every 1s".into(), &0.into())
    );
}

#[test]
fn every_metric_of_the_alert_rules_for_jobs_is_there() {
    let desk = Desk::new();
    let relay = desk.relay("");
    let rules = include_str!("../../docs/ops/alerts.yml");
    let words = rules.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let metrics: BTreeSet<&str> = words.filter(|word| word.starts_with("chatctl_job_")).collect();
    assert!(metrics.len() >= 4, "{metrics:?}");
    let begun = Instant::now();
    loop {
        let told = counts(&relay);
        let is_there = |metric: &&&str| told.contains(&format!("\n{metric}{{job_name=\"expire-mail\"}}"));
        if metrics.iter().filter(is_there).count() == metrics.len() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{metrics:?}: {told}");
    }
}

#[test]
fn a_line_that_makes_no_sense_changes_nothing() {
    let desk = Desk::new();
    for (line, code, part) in [
        ("jobs run sweep --data-dir data", 2, "expire-mail"),
        (
            "jobs run expire-mail --data-dir data --apply --dry-run",
            2,
            "--dry-run",
        ),
        (
            "jobs run expire-mail --data-dir data --timeout 0s",
            2,
            "at least 1s",
        ),
        (
            "jobs pause expire-mail --data-dir data --for 1h --until 2126-01-01T00:00:00Z",
            2,
            "--until",
        ),
        (
            "jobs pause expire-mail --data-dir data --until 2020-01-01T00:00:00Z",
            2,
            "over already",
        ),
        ("jobs history --data-dir data --outcome good", 2, "lease-lost"),
        ("jobs history --data-dir data --since yesterday", 2, "24h"),
        ("jobs list", 78, "no store is named"),
        (
            "jobs list --data-dir data --admin-socket /nowhere/admin.sock --job x=y",
            2,
            "there is no job",
        ),
    ] {
        let (exit, stdout, stderr) = desk.run(line);
        assert_eq!((exit, stdout.as_str()), (code, ""), "{line}: {stderr}");
        assert!(stderr.contains(part), "{line}: {stderr}");
    }
    assert!(!desk.path().join("data").exists());
}

/// How long something may take that is due every second.
const PATIENCE: Duration = Duration::from_secs(30);
