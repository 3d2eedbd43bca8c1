//! The built binary looks at a relay: once, and live.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may fail loudly, too")]

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use dev::Relay;
use serde_json::Value;

mod dev;

/// A folder in which `chatctl` runs with a bare environment.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
        command
            .args(line.split(' '))
            .current_dir(self.0.path())
            .env_clear()
            .stdin(Stdio::null());
        command
    }

    /// Exit code, stdout, stderr.
    fn run(&self, line: &str) -> (i32, String, String) {
        let output = self.command(line).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    fn relay(&self) -> Relay {
        Relay::start(&mut self.command(dev::SERVE))
    }

    /// Asserts that a document is as the schema of its name says.
    fn fits(&self, document: &Value) {
        let name = document["schema"].as_str().unwrap();
        let (code, schema, _) = self.run(&format!("schema {name}"));
        assert_eq!(code, 0, "{name}");
        let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
        let faults: Vec<_> = validator
            .iter_errors(document)
            .map(|fault| fault.to_string())
            .collect();
        assert_eq!(faults, [""; 0], "{document:#}");
    }
}

/// A `chatctl top --json`, killed at the end.
struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watching {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next look that is as it should be.
    fn until(&mut self, is_so: impl Fn(&Value) -> bool) -> Value {
        let looks = self.lines.by_ref();
        let mut looks = looks.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        looks.find(|look| is_so(look)).unwrap()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_status_is_one_screen_or_one_document() {
    let desk = Desk::new();
    let _relay = desk.relay();
    let (code, screen, stderr) = desk.run("status --data-dir data");
    assert_eq!((code, stderr.as_str()), (0, ""), "{screen}");
    let head = screen.lines().next().unwrap();
    assert!(
        head.starts_with("chatctl ") && head.contains(": ready, up for "),
        "{screen}"
    );
    for word in ["listens ", "sessions ", "store     embedded, ", "keys ", "jobs "] {
        assert!(screen.contains(&format!("\n  {word}")), "{word}: {screen}");
    }
    assert!(screen.lines().count() <= 24, "{screen}");
    let (code, document, _) = desk.run("status --data-dir data --json");
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!((code, &document["ready"]), (0, &true.into()));
    assert_eq!(document["keys"]["from"], "memory");
    desk.fits(&document);
}

#[test]
fn without_a_relay_it_is_said_how_to_start_one() {
    let desk = Desk::new();
    for command in ["status", "top --json"] {
        let (code, stdout, stderr) = desk.run(&format!("{command} --data-dir data"));
        assert_eq!((code, stdout.as_str()), (69, ""), "{command}: {stderr}");
        assert!(stderr.contains("chatctl serve --dev"), "{command}: {stderr}");
    }
}

#[test]
fn top_wants_a_terminal_or_writes_lines() {
    let desk = Desk::new();
    let (code, stdout, stderr) = desk.run("top --data-dir data");
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert!(stderr.contains("--json --count 1"), "{stderr}");
    let _relay = desk.relay();
    let (code, stdout, stderr) = desk.run("top --json --count 2 --interval 100ms --data-dir data");
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    let looks: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(looks.len(), 2, "{stdout}");
    looks.iter().for_each(|look| desk.fits(look));
    assert_eq!(looks[0]["rates"], Value::Null);
    assert!(looks[1]["rates"]["seconds"].as_f64().unwrap() > 0.0, "{stdout}");
    assert_eq!(
        (&looks[1]["rates"]["accepted"], &looks[1]["restarted"]),
        (&0.0.into(), &false.into())
    );
}

#[test]
fn top_outlives_the_relay_and_begins_anew_with_the_next_one() {
    let desk = Desk::new();
    let relay = desk.relay();
    let mut watching = Watching::start(&mut desk.command("top --json --interval 100ms --data-dir data"));
    watching.until(|look| !look["rates"].is_null());
    drop(relay);
    let gone = watching.until(|look| !look["error"].is_null());
    assert_eq!((&gone["status"], &gone["rates"]), (&Value::Null, &Value::Null));
    let _next = desk.relay();
    let back = watching.until(|look| look["error"].is_null());
    assert_eq!((&back["restarted"], &back["rates"]), (&true.into(), &Value::Null));
    let moved = watching.until(|look| !look["rates"].is_null());
    assert_eq!(moved["restarted"], false);
}
