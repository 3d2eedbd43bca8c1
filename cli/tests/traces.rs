//! Traces: a collector of our own hears of what the built binary does, and of nobody.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// Somebody who takes spans, one connection after the other.
struct Collector {
    address: String,
    heard: Arc<Mutex<Heard>>,
    /// Rings for each batch.
    bell: Receiver<()>,
}

#[derive(Default)]
struct Heard {
    spans: Vec<Span>,
    /// Heads and bodies as they came.
    bytes: Vec<u8>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::<Mutex<Heard>>::default();
        let telling = Arc::clone(&heard);
        let (ring, bell) = sync_channel(1024);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                take(stream.unwrap(), &telling);
                // The test may be over.
                let _ = ring.send(());
            }
        });
        Self { address, heard, bell }
    }

    fn names(&self) -> BTreeSet<String> {
        let heard = self.heard.lock().unwrap();
        heard.spans.iter().map(|span| span.name.clone()).collect()
    }
}

/// One request.
fn take(stream: TcpStream, heard: &Mutex<Heard>) {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
    let spans = request.resource_spans.into_iter().flat_map(|of| of.scope_spans);
    {
        let mut heard = heard.lock().unwrap();
        heard.spans.extend(spans.flat_map(|of| of.spans));
        heard.bytes.extend(head.bytes());
        heard.bytes.extend(body);
    }
    let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    reader.get_mut().write_all(answer).unwrap();
}

fn chatctl(folder: &std::path::Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
    command.args(line.split_whitespace()).current_dir(folder);
    command.env_remove("CHATCTL_CONFIG").stderr(Stdio::piped());
    command
}

fn address(said: &str) -> String {
    let start = said.find("127.0.0.1:").expect(said);
    let rest = &said[start..];
    let end = rest
        .find(|letter: char| letter != ':' && letter != '.' && !letter.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].to_owned()
}

/// An answer, head and all.
fn ask(address: &str, what: &str, token: &str, body: &str) -> String {
    let mut http = TcpStream::connect(address).unwrap();
    let length = body.len();
    let ask = format!(
        "{what} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    http.write_all(ask.as_bytes()).unwrap();
    let mut told = String::new();
    http.read_to_string(&mut told).unwrap();
    told
}

fn get(address: &str, path: &str) -> String {
    ask(address, &format!("GET {path}"), "none", "")
}

fn end(mut child: Child) {
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

/// A relay whose traces go somewhere, and what it logs.
struct Traced {
    child: Child,
    address: String,
    log: JoinHandle<String>,
}

impl Traced {
    fn start(folder: &Path, collector: &Collector) -> Self {
        let line = format!(
            "serve --dev --keys keys.json --data-dir data --listen 127.0.0.1:0 --log-level debug --sample-ratio 1 \
             --otlp-endpoint http://{} --otlp-headers-file headers",
            collector.address
        );
        let mut child = chatctl(folder, &line).stdout(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let mut said = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut said).unwrap();
        Self {
            child,
            address: address(&said),
            log,
        }
    }

    /// Stops it; returns its log.
    fn end(self) -> String {
        end(self.child);
        self.log.join().unwrap()
    }
}

/// Keys, a token for each of two people, and a header that is a secret.
fn prepare(folder: &Path) {
    let headers = folder.join("headers");
    fs::write(&headers, "Authorization: Bearer canary-header\n").unwrap();
    fs::set_permissions(&headers, fs::Permissions::from_mode(0o600)).unwrap();
    let run = |line: &str| {
        let output = chatctl(folder, line).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
    };
    run("token keys generate -o keys.json");
    for who in ["canary-ada", "canary-bob"] {
        run(&format!(
            "token issue --keys keys.json --sub {who} --dev canary-device -o {who}"
        ));
    }
}

/// Somebody writes to somebody, and somebody else guesses.
fn do_something(folder: &Path, address: &str) {
    let token = |who: &str| fs::read_to_string(folder.join(who)).unwrap().trim().to_owned();
    for (number, who) in ["canary-ada", "canary-bob"].iter().enumerate() {
        let body = format!("{{\"registration_id\": {}}}", number + 1);
        let told = ask(address, "PUT /v1/devices/canary-device", &token(who), &body);
        assert!(told.starts_with("HTTP/1.1 20"), "{told}");
    }
    let letter = r#"{"messages": [{"device_id": "canary-device", "registration_id": 2, "kind": 1,
        "payload": "Y2FuYXJ5"}], "client_msg_id": "AAAAAAAAAAAAAAAAAAAAAQ==", "sent_at": 1}"#;
    let told = ask(
        address,
        "POST /v1/accounts/canary-bob/messages",
        &token("canary-ada"),
        letter,
    );
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    assert!(get(address, "/canary-guess?token=canary-token").starts_with("HTTP/1.1 404"));
    assert!(get(address, "/healthz").starts_with("HTTP/1.1 200"));
}

#[test]
fn spans_reach_the_collector_and_name_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start();
    prepare(folder.path());
    let relay = Traced::start(folder.path(), &collector);
    do_something(folder.path(), &relay.address);
    collector.bell.recv_timeout(PATIENCE).expect("a batch");
    // Counted a moment after the collector has answered.
    let begun = Instant::now();
    while !get(&relay.address, "/metrics").contains("chatctl_spans_total{outcome=\"sent\"}") {
        assert!(begun.elapsed() < PATIENCE, "never counted");
    }
    // The rest goes out at the end.
    assert!(get(&relay.address, "/v1/info").starts_with("HTTP/1.1 200"));
    let log = relay.end();
    assert!(!log.contains("canary"), "{log}");

    let names = collector.names();
    for name in [
        "GET /healthz",
        "GET /metrics",
        "GET /v1/info",
        "GET none",
        "POST /v1/accounts/{account}/messages",
        "commit",
    ] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    let heard = collector.heard.lock().unwrap();
    for span in &heard.spans {
        let keys = span.attributes.iter().map(|attribute| attribute.key.as_str());
        assert!(keys.clone().all(|key| ATTRIBUTES.contains(&key)), "{span:?}");
        assert!(span.events.is_empty(), "{span:?}");
    }
    let bytes = String::from_utf8_lossy(&heard.bytes);
    // Once in each head, where it belongs.
    assert!(bytes.contains("canary-header"));
    let others = bytes.replace("canary-header", "");
    assert!(!others.contains("canary"), "{others}");
}

/// All that a span may say of itself.
const ATTRIBUTES: [&str; 12] = [
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "chatctl.answer",
    "chatctl.close",
    "chatctl.sends",
    "chatctl.envelopes",
    "chatctl.bytes",
    "chatctl.deletions",
    "chatctl.job",
    "chatctl.outcome",
    "chatctl.affected",
];

#[test]
fn a_collector_that_does_not_answer_is_not_felt() {
    let folder = tempfile::tempdir().unwrap();
    // Takes connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let line = format!(
        "serve --dev --data-dir data --listen 127.0.0.1:0 --log-level error --sample-ratio 1 --otlp-endpoint http://{}",
        silent.local_addr().unwrap()
    );
    let mut child = chatctl(folder.path(), &line)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut said).unwrap();
    let address = address(&said);
    // More than there is room for.
    let mut http = TcpStream::connect(&address).unwrap();
    let ask = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(100);
    for _ in 0..50 {
        http.write_all(ask.as_bytes()).unwrap();
        let mut answers = String::new();
        while answers.matches("alive").count() < 100 {
            let mut some = [0; 16 * 1024];
            let read = http.read(&mut some).unwrap();
            assert_ne!(read, 0, "{answers}");
            answers.push_str(std::str::from_utf8(&some[..read]).unwrap());
        }
    }
    assert!(get(&address, "/metrics").contains("chatctl_spans_total{outcome=\"dropped\"}"));
    let begun = Instant::now();
    end(child);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn an_endpoint_with_a_secret_and_headers_that_all_may_read_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = |line: &str| {
        let output = chatctl(folder.path(), line).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), text)
    };
    let (code, said) = run("serve --dev --otlp-endpoint http://me:canary@127.0.0.1:1");
    assert_eq!(code, 2, "{said}");
    let headers = folder.path().join("headers");
    fs::write(&headers, "Authorization: canary\n").unwrap();
    fs::set_permissions(&headers, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = run("serve --dev --otlp-endpoint http://127.0.0.1:1 --otlp-headers-file headers");
    assert_ne!(code, 0);
    assert!(said.contains("headers") && !said.contains("canary"), "{said}");
}

#[test]
fn without_a_journal_the_log_is_text_on_stderr() {
    let folder = tempfile::tempdir().unwrap();
    if std::path::Path::new("/run/systemd/journal/socket").exists() {
        return;
    }
    let line = "serve --dev --data-dir data --listen 127.0.0.1:0 --log-format journal";
    let mut child = chatctl(folder.path(), line)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next = || log.next().unwrap().unwrap();
    assert!(next().starts_with("warning: the journal does not answer"));
    assert!(
        std::iter::from_fn(|| Some(next()))
            .take(20)
            .any(|line| line.contains("listening"))
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Longest time for anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
