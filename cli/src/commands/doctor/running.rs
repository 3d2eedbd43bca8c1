//! The relay that runs, if one does: what it says of itself, and whether it is what is installed.
//!
//! Owns finding it for all areas. Must not judge what is an area's of its own: descriptors, keys, the store.

use std::path::PathBuf;

use chatctl_relay::config::Config;
use serde_json::Value;

use super::Area;
use super::finding::{Finding, as_root};
use super::proc::{self, Descriptors};
use crate::authority::Authority;
use crate::exit::Exit;
use crate::relay::{Relay, RelayOptions};

/// What is known of a relay that runs.
#[derive(Debug)]
pub(super) enum Running {
    /// Nobody listens.
    Nobody,
    /// Somebody may, and does not speak with us: why.
    Silent {
        /// What was said.
        why: String,
        /// Whether somebody else would be let in.
        is_denied: bool,
    },
    /// It answers.
    Here(Box<Known>),
}

/// What is known of a relay that answers.
#[derive(Debug)]
pub(super) struct Known {
    /// Where.
    pub(super) name: String,
    /// Its process, where that is on this machine.
    pub(super) pid: Option<u32>,
    /// User and group that it runs as.
    pub(super) owner: Option<(u32, u32)>,
    /// What it may open.
    pub(super) descriptors: Option<Descriptors>,
    program: Option<PathBuf>,
    /// Its status, or why it has none.
    status: Result<Value, String>,
}

impl Running {
    /// Looks for the relay that would have these settings.
    pub(super) async fn find(config: &Config) -> Self {
        let options = RelayOptions {
            admin_socket: config.server.admin_socket.clone(),
            url: None,
            token_file: None,
            authority: Authority::default(),
        };
        let relay = match Relay::find(&options, config.store.data_dir.as_deref()).await {
            Ok(Some(relay)) => relay,
            Ok(None) => return Self::Nobody,
            Err(failure) => {
                return Self::Silent {
                    why: failure.sentence(),
                    is_denied: failure.exit == Exit::NoPerm,
                };
            }
        };
        let status = relay.get("/v1/admin/status").await;
        let status = match status {
            Err(failure) if failure.exit == Exit::NoPerm => {
                return Self::Silent {
                    why: failure.sentence(),
                    is_denied: true,
                };
            }
            status => status.map_err(|failure| failure.sentence()),
        };
        let told = status.as_ref().ok().and_then(|status| number(status, "/pid"));
        let pid = match told.and_then(|pid| u32::try_from(pid).ok()) {
            Some(pid) => Some(pid),
            None => relay.process().await,
        };
        Self::Here(Box::new(Known {
            name: relay.name(),
            pid,
            owner: pid.and_then(proc::owner),
            descriptors: pid.and_then(proc::descriptors),
            program: pid.and_then(proc::program),
            status,
        }))
    }

    /// What is known of it, if it answers.
    pub(super) fn known(&self) -> Option<&Known> {
        match self {
            Self::Here(known) => Some(known),
            Self::Nobody | Self::Silent { .. } => None,
        }
    }

    /// What it says of itself under a JSON pointer, if it answers and says it.
    pub(super) fn says(&self, pointer: &str) -> Option<&Value> {
        let status = self.known()?.status.as_ref().ok()?;
        status.pointer(pointer).filter(|value| !value.is_null())
    }

    /// The area of the relay itself.
    pub(super) fn judge(&self) -> Vec<Finding> {
        match self {
            Self::Nobody => vec![Finding::skipped(
                "running",
                "no relay answers: what follows is about one that would be started",
                "systemctl start chatctl",
            )],
            Self::Silent { why, is_denied: true } => {
                vec![Finding::skipped("running", why.clone(), as_root(Area::Relay))]
            }
            Self::Silent {
                why,
                is_denied: false,
            } => {
                vec![Finding::bad("running", why.clone(), "systemctl status chatctl")]
            }
            Self::Here(known) => known.judge(),
        }
    }
}

impl Known {
    fn judge(&self) -> Vec<Finding> {
        let pid = self.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
        let mut found = vec![Finding::ok("running", format!("answers at {}{pid}", self.name))];
        match &self.status {
            Ok(status) => found.extend(judge_status(status)),
            Err(why) => found.push(
                Finding::skipped("status", why.clone(), "systemctl restart chatctl")
                    .meaning("a relay of this version says more of itself"),
            ),
        }
        found.extend(
            self.program
                .as_ref()
                .map(|program| judge_program(&program.to_string_lossy())),
        );
        found
    }
}

/// What a relay says of itself, as far as it says it.
fn judge_status(status: &Value) -> Vec<Finding> {
    let flag = |pointer: &str| status.pointer(pointer).and_then(Value::as_bool);
    let mut found = Vec::new();
    if let Some(version) = status.pointer("/version").and_then(Value::as_str) {
        found.push(judge_version(version, env!("CARGO_PKG_VERSION")));
    }
    match (flag("/ready"), flag("/draining")) {
        (_, Some(true)) => found.push(Finding::warn(
            "ready",
            "it drains, and is about to stop",
            "systemctl restart chatctl",
        )),
        (Some(false), _) => found.push(
            Finding::bad("ready", "it takes no clients", "journalctl -u chatctl -n 50")
                .meaning("its store has stopped, or it is about to stop; the log says which"),
        ),
        (Some(true), _) => found.push(Finding::ok("ready", "it takes clients")),
        (None, _) => {}
    }
    match flag("/config/good") {
        Some(true) => found.push(Finding::ok("configuration", "the last one that it read is good")),
        Some(false) => found.push(
            Finding::bad(
                "configuration",
                "it refused the last one that it read",
                "chatctl config check && chatctl reload",
            )
            .meaning("it goes on with the one before; a restart would fail"),
        ),
        None => {}
    }
    if let (Some(open), Some(most)) = (number(status, "/sessions/open"), number(status, "/sessions/most")) {
        found.push(judge_sessions(open, most));
    }
    found
}

fn number(status: &Value, pointer: &str) -> Option<u64> {
    status.pointer(pointer).and_then(Value::as_u64)
}

fn judge_version(running: &str, ours: &str) -> Finding {
    match running == ours {
        true => Finding::ok("version", format!("{running}, as this command")),
        false => Finding::warn(
            "version",
            format!("{running} runs, and this command is {ours}"),
            "systemctl restart chatctl",
        ),
    }
}

/// A program whose file was replaced or removed since.
fn judge_program(program: &str) -> Finding {
    match program.strip_suffix(" (deleted)") {
        None => Finding::ok("program", program),
        Some(path) => Finding::warn(
            "program",
            format!("the file {path} is not the one that runs"),
            "systemctl restart chatctl",
        )
        .meaning("it was installed anew, and the old one still runs"),
    }
}

fn judge_sessions(open: u64, most: u64) -> Finding {
    let measured = format!("{open} of {most}");
    // Nine tenths, without rounding.
    match u128::from(open) * 10 >= u128::from(most) * 9 {
        false => Finding::ok("sessions", measured),
        true => Finding::warn(
            "sessions",
            measured,
            format!(
                "chatctl config show --changed  # then set server.max_sessions = {}, and chatctl reload",
                most.saturating_mul(2).max(1)
            ),
        )
        .meaning("more are answered 503"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Mark;
    use super::*;

    fn marks(findings: &[Finding]) -> Vec<(&str, Mark)> {
        findings
            .iter()
            .map(|finding| (finding.name.as_str(), finding.mark))
            .collect()
    }

    #[test]
    fn a_relay_is_judged_by_what_it_says_and_by_no_more() {
        assert_eq!(judge_status(&json!({})), []);
        let good = json!({
            "version": env!("CARGO_PKG_VERSION"), "ready": true, "draining": false,
            "config": { "good": true }, "sessions": { "open": 89, "most": 100 },
        });
        assert!(judge_status(&good).iter().all(|finding| finding.mark == Mark::Ok));
        let bad = json!({
            "version": "0.0.1", "ready": false, "draining": false,
            "config": { "good": false }, "sessions": { "open": 90, "most": 100 },
        });
        assert_eq!(
            marks(&judge_status(&bad)),
            [
                ("version", Mark::Warn),
                ("ready", Mark::Bad),
                ("configuration", Mark::Bad),
                ("sessions", Mark::Warn),
            ]
        );
    }

    #[test]
    fn a_program_that_was_replaced_is_known() {
        assert_eq!(judge_program("/usr/bin/chatctl").mark, Mark::Ok);
        assert_eq!(judge_program("/usr/bin/chatctl (deleted)").mark, Mark::Warn);
    }

    #[test]
    fn no_relay_is_no_fault_and_a_closed_door_is_for_root() {
        assert_eq!(marks(&Running::Nobody.judge()), [("running", Mark::Skipped)]);
        let closed = Running::Silent {
            why: "no".into(),
            is_denied: true,
        };
        assert_eq!(
            closed.judge()[0].fix.as_deref(),
            Some("sudo chatctl doctor relay")
        );
    }
}
