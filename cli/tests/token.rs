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
        said.ends_with("\naccount alice, device 1, scope \"chat\"\n"),
        "{said}"
    );
    assert!(
        said.lines().rev().skip(1).all(|row| row.contains("  ok")),
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
    let said = text(output.stdout);
    let failed: Vec<_> = said
        .lines()
        .filter(|line| line.contains("FAIL"))
        .map(|line| line[2..12].trim_end())
        .collect();
    assert_eq!(failed, ["iss / aud", "exp"], "{said}");
    assert_eq!(
        said.lines().filter(|line| line[14..].starts_with("ok")).count(),
        7,
        "{said}"
    );
    assert!(text(output.stderr).starts_with("error: audience is \"chatctl\", wanted \"other\"\nhint: "));

    let output = desk.run(&format!("{wrong} --json"), &token);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["valid"], false);
    assert_eq!(document["failures"][1]["code"], "expired");
    assert_eq!(document["checks"][1]["ok"], true);
    assert_eq!(document["leeway_seconds"], 5);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["exit"], 65);
}

#[test]
fn the_leeway_and_the_time_are_the_callers() {
    let desk = Desk::with_keys();
    let token = desk.ok(&format!("{ISSUE} --ttl 10m --json"), "");
    let token: Value = serde_json::from_str(&token).unwrap();
    let (token, end) = (&token["tokens"][0]["token"], &token["tokens"][0]["expires_at"]);
    let at = format!("{VERIFY} --at {}", end.as_str().unwrap());
    let token = token.as_str().unwrap();
    desk.ok(&at, token);
    let (exit, said) = desk.fails(&format!("{at} --leeway 0s"), token);
    assert_eq!(
        (exit, said.as_str()),
        (65, "error: the token expired 0s ago (leeway 0s)\n")
    );
    let (exit, said) = desk.fails(&format!("{ISSUE} --ttl 31d"), "");
    assert!(exit == 2 && said.contains("at most"), "{said}");
}

/// The keyset as JSON.
fn file(desk: &Desk) -> Value {
    serde_json::from_slice(&std::fs::read(desk.path("keys.json")).unwrap()).unwrap()
}

/// Lets a state have begun long ago.
fn long_ago(desk: &Desk, at: usize, since: &str) {
    let mut keys = file(desk);
    keys["keys"][at][since] = "2020-01-01T00:00:00Z".into();
    std::fs::write(desk.path("keys.json"), keys.to_string()).unwrap();
}

#[test]
fn a_key_is_published_then_signs_and_the_old_one_retires() {
    let desk = Desk::with_keys();
    let rotate = "token keys rotate --keys keys.json";
    let old = desk.ok(ISSUE, "");
    let before = std::fs::read(desk.path("keys.json")).unwrap();
    desk.ok(&format!("{rotate} --phase publish --dry-run"), "");
    assert_eq!(std::fs::read(desk.path("keys.json")).unwrap(), before);

    desk.ok(&format!("{rotate} --phase publish --kid second --alg ES256"), "");
    assert_eq!(mode(&desk.path("keys.json")), 0o600);
    for phase in ["activate", "auto", "publish"] {
        let (exit, said) = desk.fails(&format!("{rotate} --phase {phase}"), "");
        assert_eq!(exit, 75, "{said}");
    }
    let (_, said) = desk.fails(&format!("{rotate} --phase activate"), "");
    assert!(said.contains("hint: try again in 1"), "{said}");
    let listed: Value =
        serde_json::from_str(&desk.ok("token keys list --keys keys.json --json", "")).unwrap();
    assert_eq!(listed["keys"][1]["state"], "next");
    assert_eq!(listed["keys"][1]["next"]["phase"], "activate");

    long_ago(&desk, 1, "next_since");
    let said: Value = serde_json::from_str(&desk.ok(&format!("{rotate} --phase auto --json"), "")).unwrap();
    assert_eq!(said["phase"], "activate");
    let new = desk.ok(ISSUE, "");
    desk.ok(VERIFY, &old);
    let said = desk.ok(VERIFY, &new);
    assert!(said.contains("ES256, key second (active since "), "{said}");

    assert_eq!(desk.fails(&format!("{rotate} --phase retire"), "").0, 75);
    let output = desk.run(&format!("{rotate} --phase retire --override-wait"), "");
    assert!(output.status.success());
    assert!(text(output.stderr).starts_with("WARNING"));
    let (exit, said) = desk.fails(VERIFY, &old);
    assert!(exit == 65 && said.contains("is retired"), "{said}");
    desk.ok(VERIFY, &new);
}

#[test]
fn two_rotations_at_once_lose_no_key() {
    let desk = Desk::with_keys();
    // Keys that are imported may be many; each command reads, adds and writes.
    let jobs: Vec<_> = (0..8)
        .map(|at| {
            let line = format!("token keys import - --kid k{at} --keys keys.json");
            let mut child = desk.command(&line).spawn().unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(PUBLIC_PEM.as_bytes())
                .unwrap();
            child
        })
        .collect();
    for job in jobs {
        let output = job.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(file(&desk)["keys"].as_array().unwrap().len(), 9);
}

/// Every text in a document.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|value| texts(value, found)),
        Value::Object(members) => members.values().for_each(|value| texts(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn no_private_part_leaves_the_keyset() {
    let desk = Desk::with_keys();
    let rotate = "token keys rotate --keys keys.json --override-wait --phase";
    for alg in ["ES256", "HS256", "EdDSA"] {
        desk.ok(&format!("{rotate} publish --alg {alg}"), "");
        desk.ok(&format!("{rotate} activate"), "");
    }
    let keys = file(&desk);
    let keys = keys["keys"].as_array().unwrap();
    let secrets: Vec<_> = keys
        .iter()
        .filter_map(|key| key.get("d").or(key.get("k"))?.as_str())
        .collect();
    assert_eq!(secrets.len(), 4);
    for line in [
        "export",
        "export --export-format pem",
        "list",
        "check",
        "rotate --dry-run --override-wait",
    ] {
        for format in ["text", "json"] {
            let said = desk.ok(
                &format!("token keys {line} --keys keys.json --format {format}"),
                "",
            );
            for secret in &secrets {
                assert!(!said.contains(secret), "{line}");
            }
            if let Ok(document) = serde_json::from_str::<Value>(&said) {
                let mut found = Vec::new();
                texts(&document, &mut found);
                assert!(!found.is_empty());
                assert!(!found.iter().any(|text| secrets.contains(&text.as_str())));
            }
        }
    }
    let jwks: Value = serde_json::from_str(&desk.ok("token keys export --keys keys.json", "")).unwrap();
    let jwks = jwks["keys"].as_array().unwrap();
    assert_eq!(jwks.len(), 3);
    for key in jwks {
        let members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(
            members
                .iter()
                .all(|name| ["kty", "crv", "use", "alg", "kid", "x", "y"].contains(name)),
            "{key}"
        );
    }
    desk.ok("token keys export --keys keys.json -o jwks.json", "");
    // What was exported is what another relay trusts.
    let token = desk.ok(ISSUE, "");
    desk.ok("token keys generate -o other.json", "");
    desk.ok(
        "token verify --keys other.json --issuer other --trust chatctl=jwks.json",
        &token,
    );
}

#[test]
fn pem_keys_are_taken_from_private_files_and_from_stdin() {
    let desk = Desk::with_keys();
    let import = "token keys import";
    let said = desk.ok(&format!("{import} - --kid pub --keys keys.json"), PUBLIC_PEM);
    assert_eq!(said.lines().count(), 1);
    let path = desk.path("key.pem");
    std::fs::write(&path, PRIVATE_PEM).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let line = format!("{import} key.pem --kid priv --keys keys.json");
    let (exit, said) = desk.fails(&line, "");
    assert!(exit == 77 && said.contains("chmod 0600 key.pem"), "{said}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    desk.ok(&line, "");
    assert_eq!(file(&desk)["keys"][2]["state"], "next");
    let (exit, said) = desk.fails(&line, "");
    assert!(exit == 78 && said.contains("two keys have the kid"), "{said}");
    let encrypted = PRIVATE_PEM.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let (exit, said) = desk.fails(&format!("{import} - --kid e --keys keys.json"), &encrypted);
    assert!(exit == 65 && said.contains("encrypted"), "{said}");
    let (exit, said) = desk.fails(
        &format!("{import} - --kid a --state active --keys keys.json"),
        PRIVATE_PEM,
    );
    assert!(exit == 78 && said.contains("two keys are active"), "{said}");
}

#[test]
fn a_check_names_every_problem_and_warnings_are_not_fatal() {
    let desk = Desk::with_keys();
    let check = "token keys check --keys keys.json";
    assert_eq!(desk.ok(check, ""), "0 errors, 0 warnings in keys.json\n");
    long_ago(&desk, 0, "active_since");
    assert!(desk.ok(check, "").starts_with("warning  key "));
    let mut keys = file(&desk);
    keys["keys"]
        .as_array_mut()
        .unwrap()
        .push(json!({"kid": "w", "kty": "oct", "k": "c2hvcnQ"}));
    std::fs::write(desk.path("keys.json"), keys.to_string()).unwrap();
    std::fs::set_permissions(desk.path("keys.json"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let output = desk.run(&format!("{check} --json"), "");
    assert_eq!(output.status.code(), Some(78));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&document["errors"], &document["warnings"]),
        (&json!(2), &json!(1)),
        "{document}"
    );
    assert_eq!(
        desk.fails("token issue --keys keys.json --sub a --dev 1", "").0,
        77
    );
}

/// Made for this test.
const PRIVATE_PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIDVAOaRiAxwV3jgXq2zss7BB/4ibUPtwtqylJz+N8Bkj\n-----END PRIVATE KEY-----\n";

/// The same key's public part.
const PUBLIC_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAM+MjiIExw0xjvPk8B5/uSx6ZhG/UhDa+f/OGiFdwP0M=\n-----END PUBLIC KEY-----\n";

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
