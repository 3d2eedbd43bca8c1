//! Secrets are planted in every input, good and bad, and then looked for in everything that comes out: answers,
//! errors, logs, metrics, and what a crash would leave.
//!
//! What `--help` shows of the environment is in `contract`, what traces carry in `traces`.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

#[path = "tls/papers.rs"]
mod papers;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;

/// Stands wherever a secret may stand.
const CANARY: &str = "hunter2-canary";

/// A folder, and what must never come out of it.
struct Desk {
    folder: tempfile::TempDir,
    secrets: BTreeMap<String, &'static str>,
}

impl Desk {
    fn new() -> Self {
        let secrets = BTreeMap::from([(CANARY.to_owned(), "the canary")]);
        Self {
            folder: tempfile::tempdir().unwrap(),
            secrets,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
        papers::mode(&self.path().join(name), 0o600);
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
        command
            .args(line.split_whitespace())
            .current_dir(self.path())
            .env_clear();
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command, and looks at all that it says. Returns its exit code.
    fn run(&self, line: &str, variables: &[(&str, &str)]) -> i32 {
        let output = self
            .command(line)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        self.look(line, &String::from_utf8_lossy(&output.stdout));
        self.look(line, &String::from_utf8_lossy(&output.stderr));
        output.status.code().unwrap()
    }

    /// Fails where a secret is.
    fn look(&self, of: &str, text: &str) {
        for (secret, what) in &self.secrets {
            assert!(!text.contains(secret), "{of} shows {what}: {text}");
        }
    }

    /// Keys, a certificate and tokens of two people and an operator: their secrets are looked for from now on.
    fn furnish(&mut self) {
        assert_eq!(self.run("token keys generate -o keys.json", &[]), 0);
        let keys: Value = serde_json::from_str(&self.read("keys.json")).unwrap();
        for key in keys["keys"].as_array().unwrap() {
            self.secrets
                .insert(key["d"].as_str().unwrap().to_owned(), "a private key");
        }
        papers::issue(self.path(), "relay", 2100);
        let pem = self.read("relay.key");
        for line in pem.lines().filter(|line| !line.starts_with("---")) {
            self.secrets.insert(line.to_owned(), "the key of TLS");
        }
        for (who, scope) in [("ada", "chat"), ("bob", "chat"), ("ops", "admin")] {
            let line =
                format!("token issue --keys keys.json --sub {who} --dev 1 --scope {scope} -o {who}.jwt");
            assert_eq!(self.run(&line, &[]), 0);
            let token = self.read(&format!("{who}.jwt"));
            let signature = token.trim().rsplit('.').next().unwrap().to_owned();
            self.secrets.insert(signature, "a token");
        }
    }
}

/// A relay that logs everything.
struct Relay {
    child: Child,
    address: String,
    log: JoinHandle<String>,
}

impl Relay {
    fn start(desk: &Desk, line: &str) -> Self {
        let line = format!(
            "serve --keys keys.json --data-dir data --listen 127.0.0.1:0 --log-level trace --log-format json {line}"
        );
        let mut child = desk.command(&line).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut said, mut address) = (String::new(), None);
        while address.is_none() {
            let from = said.len();
            assert_ne!(log.read_line(&mut said).unwrap(), 0, "{said}");
            let line: Value = serde_json::from_str(&said[from..]).unwrap();
            let is_it = line["fields"]["message"] == "listening";
            address = line["fields"]["addr"]
                .as_str()
                .filter(|_| is_it)
                .map(str::to_owned);
        }
        // Read on, so that the relay never waits for somebody to read its log.
        let log = std::thread::spawn(move || {
            log.read_to_string(&mut said).unwrap();
            said
        });
        Self {
            child,
            address: address.unwrap(),
            log,
        }
    }

    /// What it answers, head and all.
    fn ask(&self, what: &str, token: &str, body: &str) -> String {
        let mut http = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(
            http,
            "{what} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut told = String::new();
        http.read_to_string(&mut told).unwrap();
        told
    }

    /// What stands of it in `/proc`.
    fn process(&self, file: &str) -> String {
        let bytes = fs::read(format!("/proc/{}/{file}", self.child.id())).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Ends it, and returns all that it logged.
    fn end(mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        self.log.join().unwrap()
    }
}

/// Good and bad requests, with secrets wherever a client can put them.
fn use_and_abuse(desk: &Desk, relay: &Relay) {
    let token = |who: &str| desk.read(&format!("{who}.jwt")).trim().to_owned();
    let forged = format!("{}{CANARY}", token("ada"));
    let letter = format!(
        r#"{{"messages": [{{"device_id": "1", "registration_id": 1, "payload": "{CANARY}"}}], "client_msg_id": 7}}"#
    );
    for (what, token, body) in [
        ("PUT /v1/devices/1", &token("ada"), r#"{"registration_id": 1}"#),
        ("PUT /v1/devices/1", &token("bob"), r#"{"registration_id": 1}"#),
        ("POST /v1/accounts/bob/messages", &token("ada"), letter.as_str()),
        ("POST /v1/accounts/bob/messages", &token("ada"), CANARY),
        ("GET /v1/messages?limit=hunter2-canary", &token("bob"), ""),
        ("GET /v1/keys/x-hunter2-canary", &token("bob"), ""),
        ("GET /v1/ws?token=hunter2-canary", &token("bob"), ""),
        ("GET /v1/messages", &forged, ""),
        ("GET /v1/messages", &CANARY.to_owned(), ""),
        ("GET /v1/admin/status", &token("ops"), ""),
        ("POST /v1/admin/reload", &token("ops"), ""),
        ("GET /v1/limits", &forged, ""),
        ("GET /v1/info", &forged, ""),
        ("GET /.well-known/jwks.json", &forged, ""),
        ("GET /metrics", &forged, ""),
        ("GET /readyz", &forged, ""),
        ("GET /openapi.json", &forged, ""),
    ] {
        let told = relay.ask(what, token, body);
        assert!(told.starts_with("HTTP/1.1 "), "{what}: {told}");
        desk.look(what, &told);
    }
}

#[test]
fn a_relay_tells_its_secrets_to_nobody() {
    let mut desk = Desk::new();
    desk.furnish();
    desk.write("headers", &format!("Authorization: Bearer {CANARY}\n"));
    let relay = Relay::start(
        &desk,
        "--otlp-endpoint http://127.0.0.1:9 --otlp-headers-file headers --sample-ratio 1",
    );
    use_and_abuse(&desk, &relay);
    for line in [
        "status --data-dir data",
        "status --data-dir data --json",
        "top --data-dir data --json --count 1",
        "doctor --data-dir data --keys keys.json --json",
        "config show --keys keys.json --data-dir data",
        "config show --keys keys.json --data-dir data --json",
        "token keys list --keys keys.json --json",
        "token inspect --token-file ada.jwt",
        "jobs list --data-dir data",
        "reload --data-dir data",
        "backup --data-dir data -o backup",
        "restore backup --check --json",
    ] {
        desk.run(line, &[]);
    }
    desk.look("the command line", &relay.process("cmdline"));
    desk.look("the environment", &relay.process("environ"));
    let limits = relay.process("limits");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(
        core.split_whitespace().nth(4),
        Some("0"),
        "a crash would leave keys: {core}"
    );
    desk.look("the log", &relay.end());
    let backup = fs::read(desk.path().join("backup")).unwrap();
    desk.look("the backup", &String::from_utf8_lossy(&backup));
}

#[test]
fn nor_does_one_that_speaks_tls() {
    let mut desk = Desk::new();
    desk.furnish();
    let relay = Relay::start(&desk, "--tls-certificate relay.pem --tls-key relay.key");
    papers::chat(desk.path(), &format!("https://{}", relay.address), "relay.pem");
    for line in [
        "status --data-dir data --json",
        "doctor --data-dir data --keys keys.json --tls-certificate relay.pem --tls-key relay.key",
    ] {
        desk.run(line, &[]);
    }
    let log = relay.end();
    desk.look("the log", &log);
    assert!(!log.contains("and to you") && !log.contains("alice"), "{log}");
}

/// Files of every kind that are not good, with a secret where it hurts.
fn spoil(desk: &Desk) {
    let broken_key = desk.read("relay.key").replacen('M', CANARY, 1);
    desk.write("broken.key", &broken_key);
    desk.write(
        "broken.json",
        &format!("{{\"keys\": [{{\"d\": \"{CANARY}\", \"k\": {CANARY}}}]}}"),
    );
    desk.write(
        "half.json",
        &desk
            .read("keys.json")
            .replacen("\"d\"", &format!("\"{CANARY}\""), 1),
    );
    desk.write(
        "uri",
        &format!("mongodb://me:{CANARY}@127.0.0.1:1/chat?nonsense={CANARY}"),
    );
    desk.write(
        "uri2",
        &format!("mongodb://me:{CANARY}@127.0.0.1:1/chat?serverSelectionTimeoutMS=100"),
    );
    desk.write("uri3", &format!("{CANARY}://me:{CANARY}"));
    desk.write("headers", &format!("{CANARY}\nA B: {CANARY}\n"));
    desk.write("token", CANARY);
    desk.write("backup", CANARY);
    desk.write(
        "c.toml",
        &format!("[auth]\njwt_secret = \"{CANARY}\"\n[store]\npassword = {CANARY}\n"),
    );
    desk.write(
        "d.toml",
        &format!("[store]\nuri = \"mongodb://me:{CANARY}@db/chat\"\n"),
    );
    fs::copy(desk.path().join("keys.json"), desk.path().join("open.json")).unwrap();
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(desk.path().join("open.json"), open).unwrap();
}

/// Commands that none of them can serve.
fn hopeless() -> Vec<String> {
    let tls = "--tls-certificate relay.pem --tls-key";
    vec![
        "serve --keys broken.json --data-dir data".to_owned(),
        "serve --keys open.json --data-dir data".to_owned(),
        "serve --keys keys.json --store-uri-file uri".to_owned(),
        "serve --keys keys.json --store-uri-file uri2 --store-timeout 1s".to_owned(),
        "serve --keys keys.json --store-uri-file uri3".to_owned(),
        format!("serve --keys keys.json --store mongodb://me:{CANARY}@db/chat"),
        format!("serve --keys keys.json --data-dir data {tls} broken.key"),
        format!("config check --keys keys.json --data-dir data {tls} broken.key"),
        "serve --keys keys.json --data-dir data --otlp-endpoint http://127.0.0.1:9 --otlp-headers-file headers"
            .to_owned(),
        format!("serve --keys keys.json --data-dir data --otlp-endpoint http://me:{CANARY}@127.0.0.1:9"),
        "config check -c c.toml".to_owned(),
        "config check -c d.toml".to_owned(),
        "serve -c c.toml".to_owned(),
        "seed apply --store-uri-file uri2 --store-timeout 1s".to_owned(),
        "token verify --token-file token --keys keys.json".to_owned(),
        "token inspect --token-file token".to_owned(),
        "token issue --keys broken.json --sub ada --dev 1".to_owned(),
        "token issue --keys half.json --sub ada --dev 1".to_owned(),
        "token keys check --keys broken.json".to_owned(),
        "reload --url http://127.0.0.1:1 --token-file token".to_owned(),
        "chat --as ada --to bob --token-file token --state state --url http://127.0.0.1:1".to_owned(),
        "restore backup --check".to_owned(),
        "doctor --keys broken.json --data-dir data".to_owned(),
        format!("doctor --keys open.json --data-dir data {tls} broken.key"),
        "doctor store --keys keys.json --store-uri-file uri2 --store-timeout 1s".to_owned(),
    ]
}

#[test]
fn what_is_wrong_with_a_secret_is_said_without_it() {
    let mut desk = Desk::new();
    desk.furnish();
    spoil(&desk);
    for line in hopeless() {
        assert_ne!(desk.run(&line, &[]), 0, "{line}");
        assert_ne!(desk.run(&format!("{line} --json"), &[]), 0, "{line}");
    }
    let uri = format!("mongodb://me:{CANARY}@db/chat");
    for (name, value) in [
        ("CHATCTL_STORE__URI", uri.as_str()),
        ("CHATCTL_AUTH__JWT_SECRET", CANARY),
        ("CHATCTL_STORE__PASSWORD", CANARY),
        ("CHATCTL_SERVER__LISTEN", CANARY),
        ("CHATCTL_LIMITS", CANARY),
    ] {
        let line = "serve --keys keys.json";
        assert_ne!(desk.run(line, &[(name, value)]), 0, "{name}");
        desk.run("config check", &[(name, value)]);
        desk.run("config show --json", &[(name, value)]);
    }
}
