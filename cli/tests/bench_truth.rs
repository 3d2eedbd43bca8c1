//! Whether `chatctl bench` tells the truth about what was done to a relay: one that stands still, a generator that cannot
//! keep up, and a relay that is killed while people write to each other end-to-end encrypted.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a story that goes wrong ends there"
)]

#[path = "seed_demo/desk.rs"]
#[expect(dead_code, reason = "the module is shared with `seed_demo`")]
mod desk;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use desk::Desk;

/// A measurement under way.
struct Bench(Child);

impl Bench {
    fn begin(desk: &Desk, line: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
        command
            .arg("bench")
            .args(line.split_whitespace())
            .args(["--out-dir", "runs"])
            .current_dir(desk.path(""))
            .env_clear()
            .env("TMPDIR", desk.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Waits until it says that the measured part is on; what it says later is read on.
    fn until_under_load(&mut self) {
        let stderr = self.0.stderr.take().unwrap();
        let mut said = BufReader::new(stderr).lines().map_while(Result::ok);
        assert!(said.any(|line| line.starts_with("load:")), "it never began");
        std::thread::spawn(move || said.for_each(drop));
    }

    /// Waits for its end: its exit code, and the report that it kept in `runs`.
    fn ends(self, desk: &Desk) -> (Option<i32>, Value) {
        let output = self.0.wait_with_output().unwrap();
        let run = std::fs::read_dir(desk.path("runs")).unwrap().next();
        let run = run.unwrap_or_else(|| panic!("{output:?}")).unwrap();
        let report = std::fs::read(run.path().join("report.json")).unwrap();
        (output.status.code(), serde_json::from_slice(&report).unwrap())
    }
}

fn clean(report: &Value) {
    for fault in [
        "lost",
        "unanswered",
        "duplicated",
        "reordered",
        "corrupt",
        "undecryptable",
    ] {
        assert_eq!(report["integrity"][fault], 0, "{fault}");
    }
}

fn seconds(report: &Value, latency: &str, of: &str) -> f64 {
    report["latency"][latency][of].as_f64().unwrap()
}

#[test]
fn a_relay_that_stands_still_for_a_second_is_seen_by_those_whose_messages_were_due_then() {
    let desk = Desk::new();
    desk.ok("token keys generate -o keys.json");
    desk.ok("seed apply --data-dir data");
    let relay = desk.serve("serve --data-dir data --keys keys.json --listen 127.0.0.1:0");
    let line = format!(
        "pairs --url {} --keys keys.json --clients 20 --rate 200/s --duration 10s --warmup 0s --crypto none \
         --allow-invalid",
        relay.url()
    );
    let mut bench = Bench::begin(&desk, &line);
    bench.until_under_load();
    kill_process(relay.pid(), Signal::STOP).unwrap();
    std::thread::sleep(STANDSTILL);
    kill_process(relay.pid(), Signal::CONT).unwrap();
    let (code, report) = bench.ends(&desk);
    assert_eq!(code, Some(0), "{report:#}");
    clean(&report);
    assert_eq!(report["load"]["delivered"], report["load"]["due"]);
    // A tenth of all was due while nobody answered; the hundredth that waited longest waited nearly all of it.
    let p99 = seconds(&report, "e2e", "p99_seconds");
    assert!((0.9..5.0).contains(&p99), "e2e p99 is {p99}");
    // Most of them never noticed.
    let p50 = seconds(&report, "service", "p50_seconds");
    assert!(p50 < 0.1, "service p50 is {p50}");
}

#[test]
fn a_generator_that_cannot_keep_up_says_so_instead_of_blaming_the_relay() {
    let desk = Desk::new();
    let line =
        "pairs --clients 20 --workers 1 --rate 400k/s --duration 2s --warmup 0s --drain 1s --crypto none";
    let (code, report) = Bench::begin(&desk, line).ends(&desk);
    assert_eq!((code, &report["verdict"]), (Some(65), &Value::from("invalid")));
    let reasons = report["reasons"].as_array().unwrap();
    let reason = reasons.first().and_then(Value::as_str).unwrap();
    assert!(reason.contains("generator"), "{reason}");
    clean(&report);
}

#[test]
fn encrypted_sessions_live_on_when_the_relay_is_killed_between_their_messages() {
    let desk = Desk::new();
    let line = "pairs --clients 4 --rate 50/s --duration 3s --warmup 0s --crypto session --verify-restart \
                --allow-invalid";
    let (code, report) = Bench::begin(&desk, line).ends(&desk);
    assert_eq!(code, Some(0), "{report:#}");
    let label = report["labels"]["verify_restart"].as_str().unwrap();
    assert!(label.starts_with("kill -9 after "), "{label}");
    for fault in ["lost", "duplicated", "reordered", "corrupt", "undecryptable"] {
        assert_eq!(report["integrity"][fault], 0, "{fault}");
    }
    assert!(
        report["latency"]["decrypt"]["count"].as_u64() > Some(0),
        "{report:#}"
    );
}

/// How long the relay stands still: a little more than what is asserted and the hundredth of the run that may wait longer.
const STANDSTILL: Duration = Duration::from_millis(1_150);
