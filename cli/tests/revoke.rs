//! The built binary takes tokens back: with a relay that runs, and without one.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use dev::Relay;
use serde_json::{Value, json};

mod dev;

/// `chatctl` in a folder.
fn chatctl(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
    command
        .args(line.split(' '))
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null());
    command
}

fn run(folder: &Path, line: &str) -> Output {
    chatctl(folder, line).output().unwrap()
}

#[track_caller]
fn ok(folder: &Path, line: &str) -> String {
    let output = run(folder, line);
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn serve(folder: &Path) -> Relay {
    Relay::start(&mut chatctl(folder, dev::SERVE))
}

#[test]
fn without_a_relay_the_store_is_written_to_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let said = ok(
        folder.path(),
        "token revoke --data-dir data --sub alice --device 2 --reason stolen",
    );
    assert!(
        said.contains("no relay answered here: written to the store"),
        "{said}"
    );
    let list: Value = serde_json::from_str(&ok(
        folder.path(),
        "token revocations list --data-dir data --json",
    ))
    .unwrap();
    assert_eq!(list["schema"], "chatctl.token.revocations.list/v1");
    let entry = &list["revocations"][0];
    assert_eq!(
        json!([
            entry["number"],
            entry["account"],
            entry["device_id"],
            entry["jti"],
            entry["reason"]
        ]),
        json!([1, "alice", "2", null, "stolen"])
    );
    let pruned = ok(folder.path(), "token revocations prune --data-dir data");
    assert_eq!(pruned, "0 revocations were over, and are forgotten\n");
    let future = run(
        folder.path(),
        "token revoke --data-dir data --sub alice --issued-before 2901-01-01T00:00:00Z",
    );
    assert_eq!(future.status.code(), Some(2));
    assert_eq!(
        run(folder.path(), "token revoke --data-dir data").status.code(),
        Some(2)
    );
}

#[test]
fn a_running_relay_is_told_and_what_it_was_told_outlives_it() {
    let folder = tempfile::tempdir().unwrap();
    let relay = serve(folder.path());
    let said = ok(folder.path(), "token revoke --data-dir data --jti one");
    assert!(
        said.contains("closed 0 sessions on the relay at data/admin.sock"),
        "{said}"
    );
    // Whoever looks past the relay's socket is told where to look.
    let past = run(
        folder.path(),
        "token revoke --admin-socket nowhere.sock --data-dir data --jti two",
    );
    assert_eq!(past.status.code(), Some(75), "{past:?}");
    assert!(String::from_utf8(past.stderr).unwrap().contains("--admin-socket"));
    // Killed: its socket's file stays, and is no relay.
    drop(relay);
    assert!(folder.path().join("data/admin.sock").exists());
    let list = ok(folder.path(), "token revocations list --data-dir data");
    assert!(list.contains("token one"), "{list}");
    // And the next relay takes its place.
    let _relay = serve(folder.path());
    let list = ok(folder.path(), "token revocations list --data-dir data");
    assert!(list.contains("token one"), "{list}");
}
