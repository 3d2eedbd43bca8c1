//! The service manager's side: the unit as it is after every drop-in, against what the relay needs of it.
//!
//! Must not know how a unit is written: what systemd says of it is what counts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::descriptors::needed;
use super::finding::Finding;
use super::tool::{self, Told, ask, pairs};
use crate::exit::Exit;
use crate::figures::span;
use chatctl_relay::config::Config;

/// What is known of the unit.
#[derive(Debug)]
pub(super) enum Unit {
    /// There is none, or no systemd: why.
    Absent(String),
    /// Its properties, by systemd's names.
    Here(BTreeMap<String, String>),
}

impl Unit {
    /// Asks systemd.
    pub(super) async fn find() -> Self {
        let properties = format!("--property={PROPERTIES}");
        match ask("systemctl", &["show", UNIT, &properties]).await {
            Told::Text(text) => Self::of(pairs(&text)),
            Told::Missing => Self::Absent("there is no systemd here".to_owned()),
            Told::Failed(why) => Self::Absent(why),
        }
    }

    fn of(properties: BTreeMap<String, String>) -> Self {
        match properties.get("LoadState").map(String::as_str) {
            Some("loaded") => Self::Here(properties),
            Some("masked") => Self::Absent(format!("{UNIT} is masked")),
            _ => Self::Absent(format!("{UNIT} is not installed here")),
        }
    }

    /// The user that the service runs as, by name.
    pub(super) fn user(&self) -> Option<&str> {
        self.property("User")
    }

    /// How many files the service may open, at most.
    fn descriptors(&self) -> Option<u64> {
        match self.property("LimitNOFILE")? {
            "infinity" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    }

    fn property(&self, name: &str) -> Option<&str> {
        match self {
            Self::Absent(_) => None,
            Self::Here(properties) => properties
                .get(name)
                .map(String::as_str)
                .filter(|value| !value.is_empty()),
        }
    }

    /// Everything that the unit itself says.
    pub(super) fn judge(&self, config: &Config) -> Vec<Finding> {
        let properties = match self {
            Self::Absent(why) => {
                let fix = "chatctl doctor service  # on the machine that runs the service";
                return vec![Finding::skipped("unit", why.clone(), fix)];
            }
            Self::Here(properties) => properties,
        };
        let mut found = vec![self.judge_files(properties)];
        found.extend(self.property("Type").map(judge_type));
        found.extend(
            self.property("TimeoutStopUSec")
                .and_then(duration)
                .map(|stop| judge_stop(stop, config.server.drain_window)),
        );
        found.extend(
            self.descriptors()
                .map(|limit| judge_descriptors(limit, needed(config))),
        );
        found.push(judge_restart(
            self.property("Restart").unwrap_or("no"),
            self.property("RestartPreventExitStatus").unwrap_or_default(),
        ));
        found.push(judge_watchdog(self.property("WatchdogUSec").and_then(duration)));
        if let Some(path) = self.property("ExecStart").and_then(program) {
            let ours = std::env::current_exe()
                .ok()
                .and_then(|path| path.canonicalize().ok());
            let theirs = Path::new(path).canonicalize().ok();
            found.push(judge_program(path, theirs.is_some() && theirs == ours));
        }
        found
    }

    fn judge_files(&self, properties: &BTreeMap<String, String>) -> Finding {
        let file = self.property("FragmentPath").unwrap_or("no file");
        let drop_ins: Vec<_> = self
            .property("DropInPaths")
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let measured = match drop_ins.as_slice() {
            [] => file.to_owned(),
            some => format!("{file}, changed by {}", some.join(" ")),
        };
        match properties.get("NeedDaemonReload").map(String::as_str) {
            Some("yes") => Finding::warn(
                "unit",
                measured,
                "systemctl daemon-reload && systemctl restart chatctl",
            )
            .meaning("its files have changed since systemd read them"),
            _ => Finding::ok("unit", measured),
        }
    }

    /// What else systemd knows: the socket, and how exposed the service is. For information.
    pub(super) async fn look_around(&self) -> Vec<Finding> {
        if let Self::Absent(_) = self {
            return Vec::new();
        }
        let mut found = Vec::new();
        if let Told::Text(text) =
            ask("systemctl", &["show", SOCKET, "--property=LoadState,ActiveState"]).await
        {
            found.push(Finding::ok("socket unit", socket(&pairs(&text))));
        }
        if let Told::Text(text) = tool::ask("systemd-analyze", &["security", "--no-pager", UNIT]).await {
            found.extend(exposure(&text).map(|level| Finding::ok("exposure", level)));
        }
        found
    }
}

fn socket(properties: &BTreeMap<String, String>) -> String {
    let of = |name: &str| properties.get(name).map(String::as_str).unwrap_or_default();
    match (of("LoadState"), of("ActiveState")) {
        ("loaded", "active") => format!("{SOCKET} listens: a restart refuses nobody"),
        ("loaded", state) => format!("{SOCKET} is {state}: the relay listens by itself"),
        _ => "none: the relay listens by itself".to_owned(),
    }
}

/// The sum that `systemd-analyze security` ends with.
fn exposure(text: &str) -> Option<String> {
    let line = text
        .lines()
        .rev()
        .find(|line| line.contains("Overall exposure level"))?;
    let words: Vec<_> = line.split(": ").nth(1)?.split_whitespace().take(2).collect();
    Some(format!("{} of 10 (systemd-analyze security)", words.join(" ")))
}

fn judge_type(word: &str) -> Finding {
    match word {
        "notify" | "notify-reload" => Finding::ok("type", word),
        other => Finding::warn("type", other, drop_in("type", "Type=notify"))
            .meaning("systemd takes the relay for started before it listens"),
    }
}

fn judge_stop(stop: Duration, drain: Duration) -> Finding {
    let wanted = drain + GRACE;
    let measured = match stop == Duration::MAX {
        true => "no limit".to_owned(),
        false => format!("{} for a stop", span(stop)),
    };
    match stop >= wanted {
        true => Finding::ok("stop time", measured),
        false => Finding::warn(
            "stop time",
            format!("{measured}, and a drain of {} may take {}", span(drain), span(wanted)),
            drop_in("stop", &format!("TimeoutStopSec={}", wanted.as_secs() + 10)),
        )
        .meaning("systemd kills the relay before all clients were told to come back later; nothing accepted is lost"),
    }
}

fn judge_descriptors(limit: u64, needed: u64) -> Finding {
    match limit >= needed {
        true => Finding::ok("LimitNOFILE", limit.to_string()),
        false => Finding::warn(
            "LimitNOFILE",
            format!("{limit}, and server.max_sessions needs {needed}"),
            drop_in("files", &format!("LimitNOFILE={needed}")),
        )
        .meaning("sessions beyond what it has room for are answered 503"),
    }
}

fn judge_restart(restart: &str, prevented: &str) -> Finding {
    let config = Exit::Config.number().to_string();
    let is_kept = prevented.split_whitespace().any(|code| code == config);
    match (restart, is_kept) {
        ("no", _) => Finding::warn("restart", "never", drop_in("restart", "Restart=on-failure"))
            .meaning("after a crash the relay stays away"),
        (_, true) => Finding::ok(
            "restart",
            format!("{restart}, but not after exit {config} (bad configuration)"),
        ),
        (_, false) => Finding::warn(
            "restart",
            format!("{restart}, also after exit {config}"),
            drop_in("restart", &format!("RestartPreventExitStatus={config}")),
        )
        .meaning("a configuration that is not good makes a loop of restarts"),
    }
}

fn judge_watchdog(interval: Option<Duration>) -> Finding {
    match interval {
        Some(interval) if !interval.is_zero() && interval != Duration::MAX => {
            Finding::ok("watchdog", format!("every {}", span(interval)))
        }
        Some(_) | None => Finding::warn("watchdog", "off", drop_in("watchdog", "WatchdogSec=30s"))
            .meaning("a relay that hangs is not restarted"),
    }
}

fn judge_program(path: &str, is_ours: bool) -> Finding {
    match is_ours {
        true => Finding::ok("binary", path),
        false => Finding::warn(
            "binary",
            format!("the unit runs {path}, which is not this command"),
            format!("{path} doctor"),
        )
        .meaning("what is judged here may not be what that one needs"),
    }
}

/// The path in `{ path=/usr/bin/chatctl ; argv[]=… }`.
fn program(start: &str) -> Option<&str> {
    let rest = start.split_once("path=")?.1;
    rest.split(' ').next().filter(|path| path.starts_with('/'))
}

/// A time span as systemd writes it.
fn duration(text: &str) -> Option<Duration> {
    match text {
        "infinity" => Some(Duration::MAX),
        "0" => Some(Duration::ZERO),
        text => humantime::parse_duration(text).ok(),
    }
}

/// A command that changes one setting of the unit.
fn drop_in(name: &str, setting: &str) -> String {
    format!(
        "printf '[Service]\\n{setting}\\n' | sudo install -D -m 0644 /dev/stdin /etc/systemd/system/{UNIT}.d/{name}.conf && sudo systemctl daemon-reload && sudo systemctl restart chatctl"
    )
}

/// The unit.
const UNIT: &str = "chatctl.service";

const SOCKET: &str = "chatctl.socket";

/// What is asked of it.
const PROPERTIES: &str = "LoadState,FragmentPath,DropInPaths,ExecStart,LimitNOFILE,WatchdogUSec,TimeoutStopUSec,Restart,RestartPreventExitStatus,NeedDaemonReload,Type,User";

/// What a relay may take beyond its drain window.
const GRACE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::super::finding::Mark;
    use super::*;

    fn unit(changes: &[(&str, &str)]) -> Unit {
        let shipped = "LoadState=loaded
FragmentPath=/usr/lib/systemd/system/chatctl.service
DropInPaths=
LimitNOFILE=524288
WatchdogUSec=30s
TimeoutStopUSec=1min 30s
Restart=on-failure
RestartPreventExitStatus=78
NeedDaemonReload=no
Type=notify
User=chatctl
";
        let mut properties = pairs(shipped);
        properties.extend(
            changes
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        Unit::of(properties)
    }

    fn not_good(changes: &[(&str, &str)]) -> Vec<(String, Mark)> {
        let found = unit(changes).judge(&Config::default());
        let found = found.into_iter().filter(|finding| finding.mark != Mark::Ok);
        found
            .inspect(|finding| assert!(finding.fix.is_some(), "{finding:?}"))
            .map(|finding| (finding.name, finding.mark))
            .collect()
    }

    #[test]
    fn a_unit_as_it_is_shipped_is_good() {
        assert_eq!(not_good(&[]), []);
        assert_eq!(unit(&[]).user(), Some("chatctl"));
    }

    #[test]
    fn each_override_that_hurts_is_named() {
        let one = |key: &str, value: &str| not_good(&[(key, value)]);
        let is = |name: &str, mark| vec![(name.to_owned(), mark)];
        assert_eq!(one("NeedDaemonReload", "yes"), is("unit", Mark::Warn));
        assert_eq!(one("TimeoutStopUSec", "14s"), is("stop time", Mark::Warn));
        assert_eq!(one("TimeoutStopUSec", "15s"), []);
        assert_eq!(one("TimeoutStopUSec", "infinity"), []);
        assert_eq!(one("LimitNOFILE", "1024"), is("LimitNOFILE", Mark::Warn));
        assert_eq!(one("LimitNOFILE", "infinity"), []);
        assert_eq!(one("RestartPreventExitStatus", ""), is("restart", Mark::Warn));
        assert_eq!(one("RestartPreventExitStatus", "64 78"), []);
        assert_eq!(one("Restart", "no"), is("restart", Mark::Warn));
        assert_eq!(one("WatchdogUSec", "0"), is("watchdog", Mark::Warn));
        assert_eq!(one("WatchdogUSec", "infinity"), is("watchdog", Mark::Warn));
        assert_eq!(one("Type", "simple"), is("type", Mark::Warn));
        assert_eq!(one("LoadState", "not-found"), is("unit", Mark::Skipped));
        let elsewhere = "{ path=/opt/chatctl ; argv[]=/opt/chatctl serve ; ignore_errors=no }";
        assert_eq!(one("ExecStart", elsewhere), is("binary", Mark::Warn));
    }

    #[test]
    fn drop_ins_are_named() {
        let unit = unit(&[("DropInPaths", "/etc/systemd/system/chatctl.service.d/files.conf")]);
        let found = unit.judge(&Config::default());
        assert!(
            found[0]
                .measured
                .ends_with("changed by /etc/systemd/system/chatctl.service.d/files.conf")
        );
    }

    #[test]
    fn the_sum_of_the_exposure_is_read() {
        let text = "✓ NAME  …\n\n→ Overall exposure level for chatctl.service: 1.1 OK 🙂\n";
        assert_eq!(
            exposure(text),
            Some("1.1 OK of 10 (systemd-analyze security)".into())
        );
    }
}
