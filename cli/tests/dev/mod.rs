//! A relay of the built binary, for tests that talk to it through its files or its port.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// `serve --dev` on `data` and a port that is free; more options may follow.
pub(crate) const SERVE: &str = "serve --dev --data-dir data --listen 127.0.0.1:0 --log-level error";

/// A relay, killed at the end.
pub(crate) struct Relay {
    child: Child,
    /// What it said when it listened.
    #[allow(dead_code, reason = "not every test asks for its address")]
    pub(crate) said: String,
}

impl Relay {
    /// Starts one, and waits until it listens.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        // What it says, it says when it listens.
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        assert!(said.contains("listening"), "{said}");
        Self { child, said }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
