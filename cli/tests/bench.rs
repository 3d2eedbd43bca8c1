//! `chatctl bench` on the built binary, with the relay that it starts for itself.
//!
//! Figures are not judged here: what shares the machine with a test makes the generator late. That nothing is lost, and how
//! the command ends, is.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

#[path = "dev/bench.rs"]
mod desk;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use desk::command;

const SHORT: &str = "--clients 4 --rate 50/s --duration 1s --warmup 0s --crypto none --allow-invalid";

fn ran(line: &str) -> (TempDir, Output) {
    let folder = tempfile::tempdir().unwrap();
    let output = command(&folder, line).output().unwrap();
    (folder, output)
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Everything that is in a folder, for what is to leave nothing behind.
fn names(folder: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_run_delivers_everything_and_leaves_nothing_behind() {
    for line in [
        format!("pairs {SHORT}"),
        format!("fanout {SHORT} --recipients 3"),
        format!("rooms {SHORT} --room-size 4"),
        "offline --clients 4 --each 10 --crypto none --allow-invalid".to_owned(),
    ] {
        let (folder, output) = ran(&format!("{line} --json"));
        assert_eq!(
            code(&output),
            Some(0),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let report = report(&output);
        let load = &report["load"];
        assert!(load["delivered"].as_u64() > Some(0), "{line}: {load}");
        for fault in ["lost", "duplicated", "reordered", "corrupt", "undecryptable"] {
            assert_eq!(report["integrity"][fault], 0, "{line}: {fault}");
        }
        assert_eq!(names(&folder), [""; 0], "{line}");
    }
}

#[test]
fn a_relay_that_is_killed_in_the_middle_loses_nothing_that_it_accepted() {
    let (folder, output) = ran(
        "pairs --clients 4 --rate 50/s --duration 3s --warmup 0s --crypto none --allow-invalid --verify-restart --json",
    );
    assert_eq!(
        code(&output),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report = report(&output);
    let label = report["labels"]["verify_restart"].as_str().unwrap();
    assert!(label.starts_with("kill -9 after "), "{label}");
    assert_eq!(report["integrity"]["lost"], 0);
    assert!(
        report["latency"]["reconnect"]["count"].as_u64() >= Some(4),
        "{report:#}"
    );
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn a_threshold_that_is_mistyped_is_refused_before_anything_is_started() {
    let (folder, output) = ran("pairs --threshold e2e.p9x<5ms");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((code(&output), output.stdout.len()), (Some(2), 0), "{said}");
    assert!(!said.contains("store is in"), "{said}");
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn a_threshold_that_does_not_hold_has_an_exit_code_of_its_own() {
    let (_folder, output) = ran(&format!("pairs {SHORT} --threshold e2e.p50<1us"));
    assert_eq!(code(&output), Some(99));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("e2e.p50 < 1us"), "{said}");
}

#[test]
fn another_machine_is_refused_before_it_hears_anything() {
    let (_folder, output) = ran("pairs --url http://192.0.2.1:8480 --keys keys.json");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(code(&output), Some(77), "{said}");
    assert!(said.contains("--allow-remote 192.0.2.1"), "{said}");
}

#[test]
fn nobody_at_an_address_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ["token", "keys", "generate", "-o", "keys.json"];
    let made = Command::new(env!("CARGO_BIN_EXE_chatctl"))
        .args(keys)
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(made.status.success());
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = command(&folder, &format!("pairs --url http://{free} --keys keys.json"))
        .output()
        .unwrap();
    assert_eq!(
        code(&output),
        Some(69),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn what_was_measured_until_ctrl_c_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(
        &folder,
        "pairs --clients 4 --rate 50/s --duration 10m --warmup 0s --crypto none",
    )
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    // The first line that says that load is on.
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = said
        .map_while(Result::ok)
        .skip_while(|line| !line.starts_with("load:"));
    assert!(said.next().is_some());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(code(&output), Some(130), "{told}");
    assert!(
        told.starts_with("INTERRUPTED") && told.contains("lost 0"),
        "{told}"
    );
    assert_eq!(names(&folder), [""; 0]);
}

/// An agent, killed at the end.
struct Agent(Child, String);

impl Agent {
    fn start(folder: &TempDir) -> Self {
        let line = "agent --listen 127.0.0.1:0 --secret-file agents.secret";
        let mut child = command(folder, line).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        let address = said.trim().strip_prefix("listening on ").unwrap();
        Self(child, address.to_owned())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn two_agents_share_a_run_and_an_agent_that_is_gone_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("agents.secret");
    std::fs::write(&secret, "0123456789abcdef0123").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (one, two) = (Agent::start(&folder), Agent::start(&folder));
    let run = format!("pairs {SHORT} --agent-secret-file agents.secret --json");
    let output = command(&folder, &format!("{run} --agents {},{}", one.1, two.1))
        .output()
        .unwrap();
    let report = report(&output);
    assert_eq!(code(&output), Some(0), "{report:#}");
    let load = &report["load"];
    assert_eq!((&load["sent"], &load["delivered"]), (&50.into(), &50.into()));
    let agents = report["environment"]["agents"].as_array().unwrap();
    let shares = agents.iter().map(|agent| (&agent["address"], &agent["clients"]));
    let expected = [&one.1, &two.1].map(|address| (Value::from(address.as_str()), Value::from(2)));
    assert!(shares.eq(expected.iter().map(|(address, clients)| (address, clients))));
    let gone = two.1.clone();
    drop(two);
    let output = command(&folder, &format!("{run} --agents {},{gone}", one.1))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(code(&output), Some(69), "{said}");
    assert!(said.contains(&gone), "{said}");
}

#[test]
fn reports_are_kept_shown_again_and_compared() {
    let (folder, output) = ran(&format!("pairs {SHORT} --out-dir runs --junit junit.xml -q"));
    assert_eq!(
        code(&output),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(names(&folder), ["junit.xml", "runs"]);
    let run = std::fs::read_dir(folder.path().join("runs"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") || page.starts_with("<!DOCTYPE html>"));
    assert!(run.join("latency.hlog").is_file());
    let kept = run.join("report.json");
    let shown = command(&folder, &format!("report {}", kept.display()))
        .output()
        .unwrap();
    assert_eq!(shown.stdout, output.stdout);
    let again = format!("compare {0} {0} --anyway --fail-on e2e.p99>+10%", kept.display());
    assert_eq!(code(&command(&folder, &again).output().unwrap()), Some(0));
}
