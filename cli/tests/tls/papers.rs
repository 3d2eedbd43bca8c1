//! Certificates of a test, and two people who chat over https.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Makes `NAME.pem`, a certificate for this machine that vouches for itself, and its `NAME.key`.
pub(crate) fn issue(folder: &Path, name: &str, until: i32) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    let path = folder.join(format!("{name}.key"));
    fs::write(&path, key.serialize_pem()).unwrap();
    mode(&path, 0o600);
}

pub(crate) fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Somebody at a terminal that a program reads. Gone when it is dropped.
struct Person(Child, BufReader<std::process::ChildStdout>);

impl Person {
    fn sit_down(folder: &Path, url: &str, ca: &str, [who, to]: [&str; 2]) -> Self {
        let issue = format!("token issue --keys keys.json --sub {who} --dev 1 -o {who}.token");
        assert!(chatctl(folder, &issue).status().unwrap().success());
        let line = format!(
            "chat --url {url} --ca {ca} --as {who} --to {to} --token-file {who}.token --state {who} --json --follow"
        );
        let mut child = chatctl(folder, &line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut person = Self(child, lines);
        person.until("connected");
        person
    }

    fn say(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn until(&mut self, event: &str) -> Value {
        loop {
            let mut line = String::new();
            assert_ne!(self.1.read_line(&mut line).unwrap(), 0, "chat has ended");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["event"] == event {
                return line;
            }
        }
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two people write to each other.
pub(crate) fn chat(folder: &Path, url: &str, ca: &str) {
    let mut bob = Person::sit_down(folder, url, ca, ["bob", "alice"]);
    let mut alice = Person::sit_down(folder, url, ca, ["alice", "bob"]);
    alice.say("hello");
    assert_eq!(bob.until("message")["text"], "hello");
    bob.say("and to you");
    assert_eq!(alice.until("message")["text"], "and to you");
}

fn chatctl(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
    command
        .args(line.split_whitespace())
        .current_dir(folder)
        .env_clear();
    command
}
