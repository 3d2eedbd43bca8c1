//! The built binary, as an operator meets it: tokens and keys.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// A folder with a keyset, in which `chatctl` runs.
struct Desk(tempfile::TempDir);

impl Desk {
    fn with_keys() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.ok("token keys generate -o keys.json", "");
        desk
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
        command
            .args(line.split(' '))
            .current_dir(self.0.path())
            .env_clear();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, line: &str, stdin: &str) -> Output {
        let mut child = self.command(line).spawn().unwrap();
        // A command that does not read is not to blame for a closed pipe.
        drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
        child.wait_with_output().unwrap()
    }

    /// Runs a command that must succeed, and returns its stdout.
    fn ok(&self, line: &str, stdin: &str) -> String {
        let output = self.run(line, stdin);
        assert!(output.status.success(), "{line}: {output:?}");
        text(output.stdout)
    }

    /// Runs a command that must fail, and returns its exit code and stderr.
    fn fails(&self, line: &str, stdin: &str) -> (i32, String) {
        let output = self.run(line, stdin);
        (output.status.code().unwrap(), text(output.stderr))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

const ISSUE: &str = "token issue --keys keys.json --sub alice --dev 1";
const VERIFY: &str = "token verify --keys keys.json";

#[test]
fn a_token_goes_from_issue_to_verify_through_a_pipe() {
    let desk = Desk::with_keys();
    let token = desk.ok(&format!("{ISSUE} --ttl 10m"), "");
    assert_eq!(token.lines().count(), 1);
    let said = desk.ok(&format!("{VERIFY} -"), &token);
    assert!(
        said.starts_with("ok    account alice, device 1, scope \"chat\", expires in "),
        "{said}"
    );
    desk.ok(&format!("{ISSUE} -o t.jwt"), "");
    assert_eq!(mode(&desk.path("t.jwt")), 0o600);
    desk.ok(&format!("{VERIFY} --token-file t.jwt"), "");
}

#[test]
fn every_failed_check_is_named_in_text_and_in_json() {
    let desk = Desk::with_keys();
    let token = desk.ok(ISSUE, "");
    let wrong = format!("{VERIFY} --aud other --at 2999-01-01T00:00:00Z");
    let output = desk.run(&wrong, &token);
    assert_eq!(output.status.code(), Some(65));
    let codes: Vec<_> = text(output.stdout)
        .lines()
        .map(|line| line[..28].trim_end().to_owned())
        .collect();
    assert_eq!(codes, ["FAIL  audience", "FAIL  expired"]);
    assert!(text(output.stderr).starts_with("error: audience is \"chatctl\", wanted \"other\"\nhint: "));

    let output = desk.run(&format!("{wrong} --json"), &token);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["valid"], false);
    assert_eq!(document["failures"][1]["code"], "expired");
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["exit"], 65);
}

#[test]
fn inspection_says_that_nothing_was_verified() {
    let desk = Desk::with_keys();
    let token = desk.ok(&format!("{ISSUE} --claim shoe=43"), "");
    let output = desk.run("token inspect", &token);
    assert!(text(output.stderr).starts_with("NOT VERIFIED"));
    let document: Value = serde_json::from_str(&desk.ok("token inspect --json", &token)).unwrap();
    assert_eq!(document["verified"], false);
    assert_eq!(document["claims"]["shoe"], 43);
    assert_eq!(document["warnings"], json!([]));
    assert_eq!(desk.fails("token inspect", "nonsense").0, 65);
}

#[test]
fn a_keyset_is_private_and_is_not_overwritten_by_accident() {
    let desk = Desk::with_keys();
    let path = desk.path("keys.json");
    assert_eq!(mode(&path), 0o600);
    let before = std::fs::read(&path).unwrap();
    let refused = (
        73,
        "error: keys.json exists\nhint: `--force` takes its place\n".to_owned(),
    );
    assert_eq!(desk.fails("token keys generate -o keys.json", ""), refused);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    desk.ok("token keys generate -o keys.json --force", "");
    assert_ne!(std::fs::read(&path).unwrap(), before);

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (exit, said) = desk.fails(ISSUE, "");
    assert_eq!(exit, 77);
    assert!(said.contains("hint: `chmod 0600 keys.json`"), "{said}");
    assert_eq!(desk.fails("token verify --keys nowhere.json", "").0, 66);
}

#[test]
fn a_token_on_the_command_line_is_refused_and_not_shown() {
    let desk = Desk::with_keys();
    let token = desk.ok(ISSUE, "").trim().to_owned();
    for line in [
        format!("{VERIFY} {token}"),
        format!("token inspect {token}"),
        format!("{VERIFY} --token-file {token}"),
    ] {
        let (exit, said) = desk.fails(&line, "");
        assert_eq!(exit, 2, "{said}");
        assert!(
            said.contains("refusing to read a token from the command line"),
            "{said}"
        );
        assert!(!said.contains(&token), "{said}");
    }
}

#[test]
fn a_reader_that_has_had_enough_ends_the_command_well() {
    let desk = Desk::with_keys();
    // More than a pipe holds, so that the command is still writing when its reader goes.
    let mut child = desk.command(&format!("{ISSUE} --count 2000")).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        !text(output.stderr).contains("error"),
        "a closed pipe is no error"
    );
}

#[test]
fn a_relay_without_keys_and_a_demo_for_everybody_are_refused() {
    let desk = Desk::with_keys();
    assert_eq!(desk.fails("serve", "").0, 78);
    assert_eq!(desk.fails("serve --keys keys.json", "").0, 78);
    assert_eq!(desk.fails("serve --dev --listen 0.0.0.0:0", "").0, 2);
}
