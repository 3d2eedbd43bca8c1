//! Programs of the system that know what we ask: run without a shell, with a deadline, and read as they are.
//!
//! Must not know what they answer.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// What came of asking a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// What it wrote.
    Text(String),
    /// There is no such program.
    Missing,
    /// It ended badly or not at all: why.
    Failed(String),
}

/// Runs a program and reads what it writes. It is killed when it takes too long.
pub(super) async fn ask(program: &str, args: &[&str]) -> Told {
    let mut command = Command::new(program);
    command
        .args(args)
        .env("LC_ALL", "C")
        .env("SYSTEMD_COLORS", "0")
        .env("SYSTEMD_PAGER", "")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    match timeout(DEADLINE, command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            Told::Text(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let first = said.lines().next().unwrap_or("it says no why").to_owned();
            Told::Failed(format!("{program}: {first}"))
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Told::Missing,
        Ok(Err(error)) => Told::Failed(format!("{program}: {error}")),
        Err(_) => Told::Failed(format!("{program} did not end within 2s")),
    }
}

/// `KEY=VALUE` lines; where a key comes twice, the last counts.
pub(super) fn pairs(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| {
        line.split_once('=')
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

const DEADLINE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_not_there_and_one_that_fails_are_two_things() {
        assert_eq!(ask("chatctl-no-such-program", &[]).await, Told::Missing);
        assert_eq!(
            ask("echo", &["$HOME;", "a=b"]).await,
            Told::Text("$HOME; a=b\n".into())
        );
        assert!(matches!(ask("false", &[]).await, Told::Failed(_)));
    }

    #[test]
    fn a_value_may_hold_an_equals_sign() {
        let pairs = pairs("Type=notify\nExecStart={ path=/usr/bin/chatctl }\nnothing\n");
        assert_eq!(pairs["ExecStart"], "{ path=/usr/bin/chatctl }");
        assert_eq!(pairs.len(), 2);
    }
}
