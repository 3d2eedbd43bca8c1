//! `chatctl jobs pause` and `chatctl jobs resume`.

use std::time::Duration;

use chatctl_relay::config::jobs::JobName;
use chatctl_relay::jobs::board;
use chatctl_relay::model::{Clock, UnixMs};
use chatctl_relay::store::FOREVER;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::desk::{Door, Where};
use super::list::is_forever;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::figures::dated;
use crate::out::{Document, Out};
use crate::store::store_failure;
use crate::when::{self, rfc3339};

/// Pause a job on every relay of the store
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("end").args(["until", "span"]),
    after_help = "Examples:
  chatctl jobs pause expire-mail --data-dir /var/lib/chatctl --for 2h
  chatctl jobs pause expire-mail --data-dir /var/lib/chatctl --until 2126-11-23T06:00:00Z"
)]
pub(super) struct Pause {
    /// Which job
    #[arg(value_name = "JOB", value_parser = super::job())]
    job: JobName,

    /// Until this time (RFC 3339); without it, until it is resumed
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<UnixMs>,

    /// For so long
    #[arg(id = "span", long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    span: Option<Duration>,

    #[command(flatten)]
    place: Where,
}

/// Resume a job that is paused
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl jobs resume expire-mail --data-dir /var/lib/chatctl")]
pub(super) struct Resume {
    /// Which job
    #[arg(value_name = "JOB", value_parser = super::job())]
    job: JobName,

    #[command(flatten)]
    place: Where,
}

/// A job that is paused.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Paused {
    job: &'static str,
    /// RFC 3339; the end of the year 9999 when there is no end.
    paused_until: String,
    /// The relay that was told; null when there was none.
    through: Option<String>,
}

impl Document for Paused {
    const SCHEMA: &'static str = "chatctl.jobs.pause/v1";
}

/// A job that is not paused.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Resumed {
    job: &'static str,
    /// The relay that was told; null when there was none.
    through: Option<String>,
}

impl Document for Resumed {
    const SCHEMA: &'static str = "chatctl.jobs.resume/v1";
}

impl Pause {
    pub(super) async fn run(self, out: &Out) -> Result<Exit, Failure> {
        let now = Clock::system().now();
        let until = match (self.until, self.span) {
            (Some(until), _) => until,
            (None, Some(span)) => now.plus_seconds(span.as_secs()).min(FOREVER),
            (None, None) => FOREVER,
        };
        if until <= now {
            return Err(Failure::new(Exit::Usage, "the pause would be over already")
                .hint("`chatctl jobs resume JOB` ends one"));
        }
        let through = set(self.job, Some(until), &self.place, now).await?;
        let document = Paused {
            job: self.job.as_str(),
            paused_until: rfc3339(until),
            through,
        };
        out.result(&text(self.job, until, now), &document)?;
        Ok(Exit::Ok)
    }
}

impl Resume {
    pub(super) async fn run(self, out: &Out) -> Result<Exit, Failure> {
        let now = Clock::system().now();
        let through = set(self.job, None, &self.place, now).await?;
        let job = self.job.as_str();
        let document = Resumed { job, through };
        out.result(
            &format!("{job} is not paused; it runs at its next tick\n"),
            &document,
        )?;
        Ok(Exit::Ok)
    }
}

/// Pauses or resumes, and says through whom.
async fn set(
    job: JobName,
    until: Option<UnixMs>,
    place: &Where,
    now: UnixMs,
) -> Result<Option<String>, Failure> {
    let door = place.open().await?;
    let path = format!("/v1/admin/jobs/{job}/pause");
    match (&door, until) {
        (Door::Relay(relay), Some(until)) => {
            let request = match is_forever(until) {
                true => json!({}),
                false => json!({ "until": rfc3339(until) }),
            };
            relay.put(&path, &request).await?;
        }
        (Door::Relay(relay), None) => {
            relay.delete(&path).await?;
        }
        (Door::Store(store), until) => board::pause(&**store, job, until, now)
            .await
            .map_err(|error| store_failure(&error))?,
    }
    let through = door.through();
    door.close().await?;
    Ok(through)
}

fn text(job: JobName, until: UnixMs, now: UnixMs) -> String {
    match is_forever(until) {
        true => format!("{job} is paused until it is resumed\n"),
        false => format!("{job} is paused until {}\n", dated(&rfc3339(until), now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_says_when_it_ends() {
        let now = UnixMs(1_795_348_800_000);
        assert_eq!(
            text(JobName::ExpireMail, now.plus_seconds(7_500), now),
            "expire-mail is paused until 2026-11-22T14:05:00Z (in 2h 5m)\n"
        );
        assert_eq!(
            text(JobName::ExpireMail, FOREVER, now),
            "expire-mail is paused until it is resumed\n"
        );
    }
}
