//! A folder in which `chatctl` runs with a bare environment.

use std::path::PathBuf;
use std::process::Command;

pub(crate) struct Desk(tempfile::TempDir);

impl Desk {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
        command
            .args(line.split_whitespace())
            .current_dir(self.0.path())
            .env_clear();
        command
    }

    /// Exit code, stdout, stderr.
    pub(crate) fn run(&self, line: &str, variables: &[(&str, &str)]) -> (i32, String, String) {
        let output = self
            .command(line)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// Runs a command that must succeed, and returns its stdout.
    pub(crate) fn ok(&self, line: &str, variables: &[(&str, &str)]) -> String {
        let (exit, stdout, stderr) = self.run(line, variables);
        assert_eq!(exit, 0, "{line}: {stderr}");
        stdout
    }
}
