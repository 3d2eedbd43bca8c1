//! The built binary backs a store up and restores it: beside a relay, without one, and killed in the middle.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use dev::Relay;
use serde_json::Value;

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

#[track_caller]
fn json(folder: &Path, line: &str) -> Value {
    serde_json::from_str(&ok(folder, &format!("{line} --json"))).unwrap()
}

#[track_caller]
fn ends(folder: &Path, line: &str, code: i32, words: &str) {
    let output = run(folder, line);
    assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(words), "{line}: {said}");
}

/// Some accounts with keys.
fn furnish(folder: &Path) {
    ok(folder, "seed apply --data-dir data");
    ok(
        folder,
        "seed demo --data-dir data --users 3 --prekeys 4 --state-dir state",
    );
}

#[test]
fn beside_a_relay_it_goes_through_its_socket_and_the_restored_store_serves() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    furnish(folder);
    let relay = Relay::start(&mut chatctl(folder, dev::SERVE));
    let taken = json(folder, "backup --data-dir data -o one.backup");
    assert!(
        taken["through"].as_str().unwrap().ends_with("admin.sock"),
        "{taken}"
    );
    // Those of the demo, and those of `--dev`.
    assert_eq!(taken["contents"]["accounts"], 5);
    let keys = taken["contents"]["one_time_keys"].as_u64().unwrap();
    assert!(keys > 0, "{taken}");
    let mode = fs::metadata(folder.join("one.backup"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // Into a pipe it is the same, and a file that is there stays.
    let piped = run(folder, "backup --data-dir data");
    assert!(piped.status.success(), "{piped:?}");
    fs::write(folder.join("two.backup"), piped.stdout).unwrap();
    let checked = json(folder, "restore two.backup --check");
    assert_eq!(checked["contents"]["one_time_keys"], keys);
    ends(folder, "backup --data-dir data -o one.backup", 73, "--force");
    ends(folder, "backup --data-dir data --json", 2, "-o FILE");
    ends(
        folder,
        "restore one.backup --data-dir data",
        73,
        "there is a store",
    );
    ends(folder, "restore one.backup --data-dir data --force", 75, "in use");
    drop(relay);

    let would = json(folder, "restore one.backup --data-dir other --dry-run");
    assert_eq!(
        (&would["restored"], &would["burned"]),
        (&false.into(), &keys.into())
    );
    assert!(!folder.join("other").exists());
    let restored = json(folder, "restore one.backup --data-dir other");
    assert_eq!(
        (&restored["restored"], &restored["burned"]),
        (&true.into(), &keys.into())
    );
    ok(folder, "seed verify --data-dir other");
    let relay = Relay::start(&mut chatctl(
        folder,
        &dev::SERVE.replace("--data-dir data", "--data-dir other"),
    ));
    drop(relay);
    // Over the old one, which stays under another name.
    let restored = json(folder, "restore one.backup --data-dir data --force");
    assert!(
        folder.join(restored["aside"].as_str().unwrap()).exists(),
        "{restored}"
    );
    assert!(restored["carried"].is_object(), "{restored}");
}

#[test]
fn what_is_no_backup_and_what_is_no_store_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ends(folder, "backup --data-dir data -o x", 66, "no store");
    ends(folder, "restore nowhere --data-dir data", 66, "cannot read");
    fs::write(folder.join("note"), "no backup").unwrap();
    ends(folder, "restore note --check", 65, "no backup");
    ends(
        folder,
        "backup --store mongodb://127.0.0.1:1/chat?replicaSet=rs0 -o x",
        78,
        "mongodump",
    );
    assert!(!folder.join("x").exists());
}

/// Names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn killed_in_the_middle_it_leaves_nothing_or_everything() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    furnish(folder);
    let (mut whole, mut none) = (0, 0);
    for step in 0..24 {
        // From before anything is done to after everything is.
        let pause = Duration::from_millis(step * 6);
        let mut child = chatctl(folder, "backup --data-dir data -o killed.backup --force");
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(pause);
        let _ = child.kill();
        child.wait().unwrap();
        match folder.join("killed.backup").exists() {
            true => drop(ok(folder, "restore killed.backup --check")),
            false => none += 1,
        }
        ok(folder, "backup --data-dir data -o good.backup --force");
        let left = names(&folder.join("data"));
        assert!(!left.iter().any(|name| name.contains("tmp")), "{left:?}");

        let to = format!("restored-{step}");
        let mut child = chatctl(folder, &format!("restore good.backup --data-dir {to}"));
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(pause);
        let _ = child.kill();
        child.wait().unwrap();
        match folder.join(&to).join("chatctl.sqlite").exists() {
            true => whole += 1,
            false => drop(ok(folder, &format!("restore good.backup --data-dir {to}"))),
        }
        ok(folder, &format!("seed verify --data-dir {to}"));
        let left = names(&folder.join(&to));
        assert!(!left.iter().any(|name| name.contains("tmp")), "{left:?}");
    }
    println!("restores that were whole when killed: {whole} of 24; backups that were not there: {none}");
}

#[test]
fn told_to_stop_it_takes_its_files_with_it() {
    use rustix::process::{Pid, Signal, kill_process};
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    furnish(folder);
    // A reader that does not read: the pipe is full long before the end.
    let mut child = chatctl(folder, "backup --data-dir data");
    let mut child = child
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 16];
    std::io::Read::read_exact(&mut stdout, &mut first).unwrap();
    assert_eq!(&first, b"SQLite format 3\0");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    drop(stdout);
    let ended = child.wait().unwrap();
    assert!(matches!(ended.code(), Some(0 | 130)), "{ended:?}");
    let left = names(&folder.join("data"));
    assert!(!left.iter().any(|name| name.contains("tmp")), "{left:?}");
}
