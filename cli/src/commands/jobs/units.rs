//! `chatctl jobs units`: systemd runs the jobs, from outside.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chatctl_relay::auth::private_file::{self, Access};
use chatctl_relay::config::jobs::{JobName, JobsConfig, OnMissed};
use chatctl_relay::config::schedule::{Effect, Schedule};
use chatctl_relay::jobs::plan::Plan;
use chatctl_relay::model::Clock;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::DEFAULT_FILE;
use crate::config::told::Told;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};

/// Write systemd timers that run the jobs instead of the relay
///
/// A service and a timer for each job. The relay should then be told --no-jobs, so that a tick is not run twice.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl jobs units expire-mail
  chatctl jobs units --dir /etc/systemd/system")]
pub(super) struct Units {
    /// Which jobs; all that are not off without it
    #[arg(value_name = "JOB")]
    jobs: Vec<JobName>,

    /// Write the files into a directory, instead of all of them to stdout
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    #[command(flatten)]
    told: Told,

    #[command(flatten)]
    config: JobsConfig,
}

/// Units.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Written {
    units: Vec<Unit>,
    /// Jobs that are off.
    off: Vec<&'static str>,
    /// Jobs whose schedule systemd cannot have.
    refused: Vec<Refused>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Unit {
    /// `chatctl-job-expire-mail.timer`.
    name: String,
    job: &'static str,
    /// The unit, unless it was written to a directory.
    text: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Refused {
    job: &'static str,
    schedule: String,
    why: String,
}

impl Document for Written {
    const SCHEMA: &'static str = "chatctl.jobs.units/v1";
}

impl Units {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        let mut plans = Plan::all(&self.config);
        plans.retain(|plan| self.jobs.is_empty() || self.jobs.contains(&plan.job));
        let start = Start::of(self.told.file.as_deref())?;
        let mut written = Written {
            units: Vec::new(),
            off: Vec::new(),
            refused: Vec::new(),
        };
        for plan in &plans {
            written.add(plan, &start);
        }
        let mut text = String::new();
        for unit in &mut written.units {
            // Writing to a string does not fail.
            let _ = match &self.dir {
                Some(dir) => {
                    let words = unit.text.take().unwrap_or_default();
                    let path = dir.join(&unit.name);
                    private_file::write(&path, words.as_bytes(), Access::Everybody, out.existing())?;
                    writeln!(text, "{}", path.display())
                }
                None => {
                    let words = unit.text.as_deref().unwrap_or_default();
                    writeln!(text, "# {}\n{words}", unit.name)
                }
            };
        }
        out.result(&text, &written)?;
        for job in &written.off {
            out.note(&format!("note: {job} is off"));
        }
        // What went wrong is said also to those who want to hear no notes; programs have it in the document.
        for Refused { job, schedule, why } in written.refused.iter().filter(|_| !out.is_json()) {
            out.warn(&format!("warning: no units for {job} (\"{schedule}\"): {why}"));
        }
        Ok(match written.refused.is_empty() {
            true => Exit::Ok,
            false => Exit::DataErr,
        })
    }
}

impl Written {
    fn add(&mut self, plan: &Plan, start: &Start) {
        let job = plan.job.as_str();
        let Some(schedule) = &plan.schedule else {
            self.off.push(job);
            return;
        };
        let calendar = match schedule.on_calendar() {
            Ok(calendar) => calendar,
            Err(error) => {
                self.refused.push(Refused {
                    job,
                    schedule: schedule.to_string(),
                    why: error.to_string(),
                });
                return;
            }
        };
        let unit = |kind: &str, text: String| Unit {
            name: format!("chatctl-job-{job}.{kind}"),
            job,
            text: Some(text),
        };
        self.units.push(unit("service", service(plan, start)));
        self.units.push(unit("timer", timer(plan, schedule, &calendar)));
    }
}

/// How a service starts chatctl: with the configuration that was read here, if that is not everybody's.
struct Start(String);

impl Start {
    fn of(file: Option<&Path>) -> Result<Self, Failure> {
        let Some(file) = file.filter(|file| *file != Path::new(DEFAULT_FILE)) else {
            return Ok(Self("chatctl".to_owned()));
        };
        let failed = |error: std::io::Error| {
            Failure::new(Exit::NoInput, format!("cannot tell where {} is", file.display())).caused_by(&error)
        };
        let path = std::path::absolute(file).map_err(failed)?;
        Ok(Self(format!("chatctl -c {}", quoted(&path.to_string_lossy()))))
    }
}

/// A word that systemd reads as it is.
fn quoted(word: &str) -> String {
    let escaped = word
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
        .replace('%', "%%")
        .replace('$', "$$");
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    match word.chars().all(is_plain) {
        true => escaped,
        false => format!("\"{escaped}\""),
    }
}

fn service(plan: &Plan, Start(start): &Start) -> String {
    let Plan { job, timeout, .. } = plan;
    // The run ends itself first.
    let timeout = (*timeout + Duration::from_secs(60)).as_secs();
    let about = job.about();
    format!(
        "# Made by `chatctl jobs units`. The relay should be told --no-jobs.
[Unit]
Description=chatctl: {about}
Documentation=man:chatctl-jobs(1)
Wants=network-online.target
After=network-online.target chatctl.service

[Service]
Type=oneshot
# As the relay's: whoever had the directory without it would take it away from the relay.
User=chatctl
DynamicUser=yes
LoadCredential=store-uri:chatctl.store-uri
ExecStart={start} jobs run {job} --apply
TimeoutStartSec={timeout}
# Somebody else is at it: not a failure.
SuccessExitStatus=75
# If the relay keeps its data elsewhere: ReadWritePaths=
StateDirectory=chatctl
StateDirectoryMode=0700
{HARDENING}"
    )
}

fn timer(plan: &Plan, schedule: &Schedule, calendar: &[String]) -> String {
    let job = plan.job;
    let mut lines = String::new();
    for line in calendar {
        // Writing to a string does not fail.
        let _ = writeln!(lines, "OnCalendar={line}");
    }
    let persistent = match plan.missed {
        OnMissed::RunOnce => "true",
        OnMissed::Skip => "false",
    };
    let jitter = match plan.jitter.subsec_nanos() {
        0 => format!("{}s", plan.jitter.as_secs()),
        _ => format!("{}ms", plan.jitter.as_millis()),
    };
    let changes = schedule.clock_changes(Clock::system().now());
    let is_affected = changes.iter().any(|change| change.effect != Effect::Unaffected);
    let caution = match is_affected {
        true => "\n# Where the clock is changed at such a time, systemd has its own ways.",
        false => "",
    };
    format!(
        "# Made by `chatctl jobs units` from \"{schedule}\": {}{caution}
[Unit]
Description=chatctl: when to run {job}

[Timer]
{lines}Persistent={persistent}
RandomizedDelaySec={jitter}
FixedRandomDelay=true
AccuracySec=1s

[Install]
WantedBy=timers.target
",
        schedule.describe()
    )
}

const HARDENING: &str = "UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
ProtectClock=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_to_systemd_and_nothing_in_it_is_special() {
        assert_eq!(quoted("/etc/chat-1.toml"), "/etc/chat-1.toml");
        assert_eq!(quoted("/a b/50%$\"\\"), r#""/a b/50%%$$\"\\""#);
    }
}
