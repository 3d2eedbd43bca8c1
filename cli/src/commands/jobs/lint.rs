//! `chatctl jobs lint`.

use std::fmt::Write as _;

use chatctl_relay::config::schedule::{self, Finding, Schedule, Severity, Zone};
use chatctl_relay::model::{Clock, UnixMs};
use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::when::{self, rfc3339};

/// Say what a schedule means, and what may be wrong with it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl jobs lint '17 3 * * *'
  chatctl jobs lint '30 2 * * *' --time-zone Europe/Berlin
  chatctl jobs lint every 15m --strict")]
pub(super) struct Lint {
    /// The schedule: five fields, six with seconds first, @daily and its like, or `every 15m`
    #[arg(value_name = "SCHEDULE", required = true)]
    words: Vec<String>,

    /// Time zone of a schedule that names none (IANA name)
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = schedule::zone)]
    time_zone: Zone,

    /// The time from which on clocks that are changed are looked at, for a year (RFC 3339); now without it
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    from: Option<UnixMs>,

    /// Let warnings fail
    #[arg(long)]
    strict: bool,
}

/// What a schedule means.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Linted {
    /// Whether there is no warning.
    ok: bool,
    /// As it was written.
    schedule: String,
    /// `5 fields`, `6 fields (seconds first)`, `a name` or `a period`.
    form: String,
    /// What was understood.
    sentence: String,
    /// The zone that it is in (IANA name).
    time_zone: String,
    /// The first time after `from`, in UTC (RFC 3339); null when there is none within eight years.
    next: Option<String>,
    /// The longest time between two, by the clock on the wall.
    interval_seconds: Option<u64>,
    findings: Vec<Found>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Found {
    /// `warning` or `note`.
    severity: String,
    /// often, every-minute, never, either-day, drifts, clock-change.
    code: &'static str,
    message: String,
}

impl Document for Linted {
    const SCHEMA: &'static str = "chatctl.jobs.lint/v1";
}

impl Lint {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        let schedule: Schedule = self
            .words
            .join(" ")
            .parse()
            .map_err(|error| Failure::from_error(Exit::DataErr, &error))?;
        let schedule = schedule.in_zone(self.time_zone);
        let from = self.from.unwrap_or_else(|| Clock::system().now());
        let findings = schedule.lint(from);
        let form = schedule.form();
        let mut text = format!("\"{schedule}\"  {form}: {}\n", schedule.describe());
        for finding in &findings {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}: {finding}", finding.severity());
        }
        let has_warning = findings
            .iter()
            .any(|finding| finding.severity() == Severity::Warning);
        let linted = Linted {
            ok: !has_warning,
            schedule: schedule.to_string(),
            form,
            sentence: schedule.sentence(),
            time_zone: schedule.zone().to_string(),
            next: schedule.next_after(from).map(rfc3339),
            interval_seconds: schedule.interval(from).map(|interval| interval.as_secs()),
            findings: findings.iter().map(found).collect(),
        };
        out.result(&text, &linted)?;
        Ok(match self.strict && has_warning {
            true => Exit::DataErr,
            false => Exit::Ok,
        })
    }
}

fn found(finding: &Finding) -> Found {
    Found {
        severity: finding.severity().to_string(),
        code: finding.code(),
        message: finding.to_string(),
    }
}
