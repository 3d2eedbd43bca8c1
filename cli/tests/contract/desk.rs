//! A folder with what commands may need, in which the built binary runs.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::recipes::Recipe;

/// A folder of a command's own.
pub(crate) struct Desk(tempfile::TempDir);

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Runs a command to its end. A command that does not read is not to blame for a closed pipe.
    pub(crate) fn of(mut command: Command, stdin: &str) -> Self {
        let mut child = command.spawn().unwrap();
        drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
        Self::from(child.wait_with_output().unwrap())
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A command of the built binary, with nothing in its environment. Words are what stands between spaces.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
        command
            .args(line.split(' ').filter(|word| !word.is_empty()))
            .current_dir(self.0.path())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, line: &str, stdin: &str) -> Ended {
        Ended::of(self.command(line), stdin)
    }

    /// Runs a command that must succeed, and returns its stdout.
    pub(crate) fn ok(&self, line: &str) -> String {
        let ended = self.run(line, "");
        assert_eq!(ended.code, 0, "{line}: {ended:?}");
        ended.stdout
    }

    /// Makes what a recipe begins with, and runs its line.
    pub(crate) fn recipe(&self, recipe: &Recipe, line: &str) -> Ended {
        let stdin = self.prepare(recipe);
        self.run(line, &stdin)
    }

    /// The same for a stdout that nobody reads.
    pub(crate) fn recipe_into_closed_pipe(&self, recipe: &Recipe, line: &str) -> Ended {
        let stdin = self.prepare(recipe);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = self.command(line);
        command.stdout(writer);
        Ended::of(command, &stdin)
    }

    fn prepare(&self, recipe: &Recipe) -> String {
        let mut last = String::new();
        for line in recipe.before {
            last = self.run(line, &last).stdout;
        }
        for (name, text) in recipe.files {
            std::fs::write(self.path(name), text).unwrap();
        }
        match recipe.before.is_empty() {
            true => recipe.stdin.to_owned(),
            false if recipe.stdin.is_empty() => last,
            false => recipe.stdin.to_owned(),
        }
    }

    /// Asserts that a document has a name, and is as the schema of that name says.
    pub(crate) fn fits(&self, document: &Value, name: &str, line: &str) {
        assert_eq!(document["schema"], name, "{line}");
        let schema: Value = serde_json::from_str(&self.ok(&format!("schema {name}"))).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let faults: Vec<_> = validator
            .iter_errors(document)
            .map(|fault| fault.to_string())
            .collect();
        assert_eq!(faults, [""; 0], "{line}: {document:#}");
    }

    /// The private parts of the keyset, if there is one.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let Ok(text) = std::fs::read(self.path("keys.json")) else {
            return Vec::new();
        };
        let keyset: Value = serde_json::from_slice(&text).unwrap();
        let parts = keyset["keys"].as_array().unwrap().iter();
        let parts: Vec<_> = parts
            .flat_map(|key| [&key["d"], &key["k"]])
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        assert!(!parts.is_empty(), "a keyset without a secret");
        parts
    }

    /// Every command there is.
    pub(crate) fn commands(&self) -> Vec<Value> {
        let tree: Value = serde_json::from_str(&self.ok("commands --json")).unwrap();
        tree["commands"].as_array().unwrap().clone()
    }

    pub(crate) fn named(&self, name: &str) -> Value {
        let found = self
            .commands()
            .into_iter()
            .find(|command| command["command"] == name);
        found.unwrap_or_else(|| panic!("there is no command {name}"))
    }
}
