//! `chatctl bench` against what is no relay, on the built binary: the bare relay that it brings along, and what is
//! refused before anybody hears of it. Also what `calibrate` keeps for later reports.
//!
//! Figures are not judged here: what shares the machine with a test makes the generator late.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

#[path = "dev/bench.rs"]
mod desk;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use desk::command;

const SHORT: &str = "--clients 4 --rate 50/s --duration 1s --warmup 0s --allow-invalid";

fn ran(folder: &TempDir, line: &str) -> Output {
    command(folder, line).output().unwrap()
}

/// A run that has to pass, and its report.
fn report(folder: &TempDir, line: &str) -> Value {
    let output = ran(folder, &format!("{line} --json"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{line}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The bare relay, which ends with it.
struct Echo {
    child: Child,
    url: String,
}

impl Echo {
    fn start(folder: &TempDir) -> Self {
        Self::speaking(folder, "bare")
    }

    fn speaking(folder: &TempDir, speech: &str) -> Self {
        let line = format!("echo --speech {speech}");
        let mut child = command(folder, &line).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        Self {
            child,
            url: url.trim().to_owned(),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Harmless where it is gone.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_bare_relay_is_measured_like_the_relay() {
    let folder = tempfile::tempdir().unwrap();
    let mut echo = Echo::start(&folder);
    for line in [
        format!("pairs {SHORT}"),
        format!("rooms {SHORT} --room-size 4 --crypto staged"),
        "storm --clients 4 --times 1 --pause 100ms --allow-invalid".to_owned(),
    ] {
        let report = report(&folder, &format!("{line} --target ws-echo --url {}", echo.url));
        let place = &report["environment"];
        assert_eq!(
            (&place["target"], &place["url"], &place["same_host"]),
            (&"ws-echo".into(), &echo.url.clone().into(), &true.into()),
            "{line}"
        );
        assert_eq!(
            (&place["server_version"], &place["store"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(report["server"]["pid"], echo.child.id(), "{line}");
        for fault in ["lost", "duplicated", "reordered", "corrupt", "undecryptable"] {
            assert_eq!(report["integrity"][fault], 0, "{line}: {fault}");
        }
        if !line.starts_with("storm") {
            assert!(
                report["load"]["delivered"].as_u64() > Some(0),
                "{line}: {}",
                report["load"]
            );
        }
    }
    // A preset that would make sessions through a directory of keys does without cryptography.
    let crypto = &report(
        &folder,
        &format!("pairs {SHORT} --target ws-echo --url {}", echo.url),
    )["scenario"]["payload"]["crypto"];
    assert_eq!(crypto, "none");
    kill_process(Pid::from_child(&echo.child), Signal::TERM).unwrap();
    assert_eq!(echo.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_bare_relay_that_speaks_frames_answers_and_registers_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::speaking(&folder, "frames");
    let at = format!("--target ws-frames --url {}", echo.url);
    for line in [
        format!("pairs {SHORT} {at}"),
        format!("fanout {SHORT} --recipients 3 {at}"),
        format!("pairs --clients 4 --in-flight 2 --until ok --duration 1s --warmup 0s --allow-invalid {at}"),
    ] {
        let report = report(&folder, &line);
        assert_eq!(report["environment"]["target"], "ws-frames", "{line}");
        assert_eq!(report["server"]["pid"], echo.child.id(), "{line}");
        let (delivered, accepted) = (&report["load"]["delivered"], &report["load"]["accepted"]);
        assert!(
            delivered.as_u64() > Some(0) && accepted.as_u64() > Some(0),
            "{line}: {}",
            report["load"]
        );
        for fault in ["lost", "duplicated", "reordered", "corrupt", "unanswered"] {
            assert_eq!(report["integrity"][fault], 0, "{line}: {fault}");
        }
    }
    let output = ran(&folder, &format!("offline {SHORT} {at}"));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_calibration_is_kept_for_the_reports_of_its_wire() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start(&folder);
    let line = format!("pairs {SHORT} --target ws-echo --url {}", echo.url);
    assert_eq!(
        report(&folder, &line)["generator"]["ceiling_per_second"],
        Value::Null
    );
    report(&folder, "calibrate --duration 300ms --no-store");
    assert!(!folder.path().join("state").exists());
    let found = report(&folder, "calibrate --duration 300ms");
    let file = folder.path().join("state/chatctl/calibration.json");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o600, 0o600);
    assert_eq!(mode & 0o022 & mask(), 0, "as the umask says");
    let kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept["ceilings"], found["ceilings"]);
    assert!(kept["cpu"].is_string());
    let ceiling = report(&folder, &line)["generator"]["ceiling_per_second"].clone();
    assert_eq!(found["ceilings"][0]["wire"], "ws-echo");
    assert_eq!(ceiling, found["ceilings"][0]["messages_per_second"]);
    let screen = ran(&folder, &line);
    assert!(String::from_utf8_lossy(&screen.stdout).contains("ceiling"));
}

/// The file mode creation mask that the commands have, too.
fn mask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    u32::from_str_radix(line.unwrap().trim(), 8).unwrap()
}

#[test]
fn what_a_peer_cannot_do_is_refused_with_what_can_be_done() {
    let folder = tempfile::tempdir().unwrap();
    let ws = "--target ws-echo --url ws://127.0.0.1:1";
    let nats = "--target nats --url nats://127.0.0.1:1";
    for (line, hint) in [
        (format!("prekeys {ws}"), "--target chatctl"),
        (format!("pairs {ws} --crypto session"), "--crypto staged"),
        (
            format!("pairs {ws} --devices-per-account 2"),
            "--devices-per-account 1",
        ),
        (format!("offline {ws}"), "--target"),
        (format!("offline {nats}"), "--peer-mode jetstream"),
        (
            "offline --target mqtt --peer-mode qos0 --url mqtt://127.0.0.1:1".to_owned(),
            "--peer-mode qos1",
        ),
        (format!("pairs {nats} --peer-mode qos1"), "core or jetstream"),
        (format!("pairs {ws} --peer-mode core"), "only nats and mqtt"),
        (format!("pairs {ws} --peer-domain here"), "--target xmpp"),
        (format!("pairs {ws} --keys keys.json"), "--keys is for relays"),
        (
            format!("pairs {ws} --agents 127.0.0.1:1 --agent-secret-file secret"),
            "--agents is for relays",
        ),
        (
            "pairs --target xmpp".to_owned(),
            "--url ws://127.0.0.1:5280/xmpp-websocket",
        ),
        (
            "pairs --target nats --url mqtt://127.0.0.1:1".to_owned(),
            "nats://127.0.0.1:4222",
        ),
        ("pairs --url http://127.0.0.1:1".to_owned(), "--keys"),
        ("echo --listen 0.0.0.0:0".to_owned(), "127.0.0.1:0"),
    ] {
        let output = ran(&folder, &line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(2), 0),
            "{line}: {said}"
        );
        assert!(said.contains(hint), "{line}: {said}");
    }
}

#[test]
fn a_peer_on_another_machine_is_never_measured() {
    let folder = tempfile::tempdir().unwrap();
    let there = "pairs --target nats --url nats://192.0.2.1:4222";
    for (line, code) in [
        (there.to_owned(), 77),
        (format!("{there} --allow-remote 192.0.2.1"), 2),
    ] {
        let output = ran(&folder, &line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
    }
}

#[test]
fn a_peer_that_is_not_there_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = ran(&folder, &format!("pairs --target mqtt --url mqtt://{free}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("is mqtt-qos1 running?"), "{said}");
}
