//! `chatctl bench` in a folder, which is all that it may write to.

use std::process::{Command, Stdio};

use tempfile::TempDir;

pub(crate) fn command(folder: &TempDir, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
    command
        .arg("bench")
        .args(line.split_whitespace())
        .current_dir(folder)
        .env_clear()
        .env("TMPDIR", folder.path())
        .env("XDG_STATE_HOME", folder.path().join("state"))
        .stdin(Stdio::null());
    command
}
