//! `chatctl jobs run`: looks what a job would do, or does it while somebody waits.

mod here;
mod screen;
mod signals;
mod there;
mod words;

use std::time::Duration;

use chatctl_relay::config::jobs::JobName;
use chatctl_relay::jobs::hand;
use chatctl_relay::jobs::plan::Plan;
use chatctl_relay::model::{Clock, UnixMs};
use chatctl_relay::store::Outcome;
use schemars::JsonSchema;
use serde::Serialize;

use self::screen::Screen;
use super::desk::{Door, Settings, Where};
use super::entry::{Found, Held, read};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::store::store_failure;

/// Run a job now; one that deletes only looks, unless told to apply
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl jobs run remove-idle-devices --data-dir /var/lib/chatctl
  chatctl jobs run expire-mail --data-dir /var/lib/chatctl --apply --timeout 5m")]
pub(super) struct Run {
    /// Which job
    #[arg(value_name = "JOB", value_parser = super::job())]
    job: JobName,

    /// Do it, and not only look: for a job that deletes
    #[arg(long)]
    apply: bool,

    /// Only look what it would do
    #[arg(short = 'n', long, conflicts_with = "apply")]
    dry_run: bool,

    /// Longest run (default: as by schedule)
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    timeout: Option<Duration>,

    #[command(flatten)]
    place: Where,

    #[command(flatten)]
    settings: Settings,
}

/// What a job did, or would do.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct JobRun {
    job: &'static str,
    /// Whether it was done; otherwise this is what it would do, and nothing was changed.
    applied: bool,
    /// Its name in the history; null when it was not done.
    run: Option<String>,
    /// `ok`, `failed`, `timeout`, `stopped`, …; null when it was not done.
    outcome: Option<String>,
    /// How long it took; null when it was not done.
    took_ms: Option<u64>,
    /// Why it failed.
    error: Option<String>,
    #[serde(flatten)]
    found: Found,
    /// The relay that was asked; null when there was none.
    through: Option<String>,
}

impl Document for JobRun {
    const SCHEMA: &'static str = "chatctl.jobs.run/v1";
}

/// A run that has ended.
#[derive(Debug)]
struct Ended {
    run: String,
    outcome: String,
    found: Found,
    took: Duration,
    error: Option<String>,
    /// How this process ends because it was told to.
    told: Option<Exit>,
}

impl Run {
    pub(super) async fn run(self, out: &Out) -> Result<Exit, Failure> {
        let door = self.place.open().await?;
        // Whatever came of it, the store is let go of.
        let ran = match self.dry_run || self.job.deletes() && !self.apply {
            true => self.look(&door, out).await,
            false => self.apply(&door, out).await,
        };
        let closed = door.close().await;
        let exit = ran?;
        closed.map(|()| exit)
    }

    async fn look(&self, door: &Door, out: &Out) -> Result<Exit, Failure> {
        let found: Found = match door {
            Door::Relay(relay) => {
                let path = format!("/v1/admin/jobs/{}/look", self.job);
                read(relay.clone().patient(LONGEST_LOOK).get(&path).await?)?
            }
            Door::Store(store) => {
                let desk = self.settings.desk(store.clone())?;
                let findings = hand::look(self.job, &desk).await;
                Found::of(findings.map_err(|error| store_failure(&error))?)?
            }
        };
        let text = words::would(self.job, &found, Clock::system().now());
        let document = JobRun {
            job: self.job.as_str(),
            applied: false,
            run: None,
            outcome: None,
            took_ms: None,
            error: None,
            found,
            through: door.through(),
        };
        out.result(&text, &document)?;
        Ok(Exit::Ok)
    }

    async fn apply(&self, door: &Door, out: &Out) -> Result<Exit, Failure> {
        let screen = Screen::begin(out, self.job);
        let ended = match door {
            Door::Relay(relay) => there::run(relay, self.job, self.timeout, &screen).await,
            Door::Store(store) => {
                let desk = self.settings.desk(store.clone())?;
                let planned = Plan::of(self.job, &self.settings.jobs).timeout;
                here::run(self.job, self.timeout.unwrap_or(planned), desk, &screen).await
            }
        };
        drop(screen);
        let ended = ended?;
        let text = words::did(self.job, &ended);
        let (told, failure) = (ended.told, self.failure(&ended));
        let document = JobRun {
            job: self.job.as_str(),
            applied: true,
            run: Some(ended.run),
            outcome: Some(ended.outcome),
            took_ms: u64::try_from(ended.took.as_millis()).ok(),
            error: ended.error,
            found: ended.found,
            through: door.through(),
        };
        out.result(&text, &document)?;
        match (failure, told) {
            // Told to stop, and stopped: what was left is the next run's.
            (_, Some(exit)) => Ok(exit),
            (Some(failure), None) => Err(failure),
            (None, None) => Ok(Exit::Ok),
        }
    }

    /// Why a run that has ended is no success.
    fn failure(&self, ended: &Ended) -> Option<Failure> {
        let (exit, what) = match Outcome::parse(&ended.outcome) {
            Some(Outcome::Done) => return None,
            Some(Outcome::Stopped) => (Exit::TempFail, "was stopped"),
            Some(Outcome::TimedOut) => (Exit::Failure, "took too long"),
            Some(Outcome::LeaseLost) => (Exit::Failure, "lost its lease"),
            Some(Outcome::Panicked) => (Exit::Failure, "panicked"),
            Some(Outcome::Crashed) => (Exit::Failure, "went down with its relay"),
            Some(
                Outcome::Failed
                | Outcome::Running
                | Outcome::Queued
                | Outcome::Skipped
                | Outcome::Paused
                | Outcome::Missed,
            )
            | None => (Exit::Failure, "failed"),
        };
        let failure = Failure::new(exit, format!("{} {what}", self.job));
        let failure = failure.because(ended.error.as_deref().map(crate::figures::tame));
        Some(failure.hint(format!(
            "what it did is done, and the next run goes on; `chatctl jobs history {}` shows the others",
            self.job
        )))
    }
}

/// Somebody else runs it.
fn held(job: JobName, held: &Held, now: UnixMs) -> Failure {
    let message = format!("{job} is running on {}", held.sentence(now));
    Failure::new(Exit::TempFail, message).hint(format!("chatctl jobs history {job}"))
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match timeout.as_secs() {
        0 => Err("must be at least 1s".to_owned()),
        _ => Ok(timeout),
    }
}

/// How long a look over everything may take.
const LONGEST_LOOK: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::Format;

    #[test]
    fn a_job_that_runs_elsewhere_is_told_with_its_holder() {
        let lease = Held {
            run: "expire-mail/1795348800000/1".into(),
            holder: "relay-2:4711".into(),
            fence: 7,
            since: "2026-11-22T12:00:00Z".into(),
            remaining_ms: 41_000,
        };
        let failure = held(JobName::ExpireMail, &lease, UnixMs(1_795_348_820_000));
        assert_eq!(failure.exit, Exit::TempFail);
        assert_eq!(
            failure.report(Format::Text),
            "\
error: expire-mail is running on relay-2:4711 since 2026-11-22T12:00:00Z (lease until 2026-11-22T12:01:01Z)
hint: chatctl jobs history expire-mail
"
        );
    }

    #[test]
    fn a_timeout_is_a_second_or_more() {
        assert_eq!(timeout("5m"), Ok(Duration::from_secs(300)));
        assert!(timeout("500ms").is_err() && timeout("0s").is_err() && timeout("5").is_err());
    }
}
