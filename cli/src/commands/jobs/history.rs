//! `chatctl jobs history`.

use std::time::Duration;

use chatctl_relay::config::jobs::JobName;
use chatctl_relay::model::{Clock, UnixMs};
use chatctl_relay::store::{Outcome, RunQuery};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::desk::{Door, Where};
use super::entry::{Run, read};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::figures::{relative, span, table, tame, thousands};
use crate::out::{Document, Out};
use crate::store::store_failure;
use crate::when::{self, rfc3339};

/// Show what came of runs, the newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl jobs history --data-dir /var/lib/chatctl --since 24h
  chatctl jobs history expire-mail --data-dir /var/lib/chatctl --outcome failed")]
pub(super) struct History {
    /// Of this job alone
    #[arg(value_name = "JOB", value_parser = super::job())]
    job: Option<JobName>,

    /// With this outcome alone
    #[arg(long, value_name = "OUTCOME", value_parser = outcome())]
    outcome: Option<Outcome>,

    /// That began at this time (RFC 3339) or later, or not longer ago than this
    #[arg(long, value_name = "TIME|DURATION", value_parser = since)]
    since: Option<Since>,

    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,

    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    At(UnixMs),
    Ago(Duration),
}

/// What came of runs.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RunHistory {
    /// The one that began last first.
    runs: Vec<Run>,
    /// The relay that was asked; null when there was none.
    through: Option<String>,
}

impl Document for RunHistory {
    const SCHEMA: &'static str = "chatctl.jobs.history/v1";
}

impl History {
    pub(super) async fn run(self, out: &Out) -> Result<Exit, Failure> {
        let now = Clock::system().now();
        let query = self.query(now);
        let door = self.place.open().await?;
        let runs = match &door {
            Door::Relay(relay) => {
                let mut answer = relay.get(&path(&query)).await?;
                read(answer.get_mut("runs").map(Value::take).unwrap_or_default())?
            }
            Door::Store(store) => {
                let runs = store.runs(&query).await;
                let runs = runs.map_err(|error| store_failure(&error))?;
                runs.into_iter().map(Run::of).collect::<Result<_, _>>()?
            }
        };
        let document = RunHistory {
            runs,
            through: door.through(),
        };
        door.close().await?;
        out.result(&text(&document.runs, self.job.is_none(), now), &document)?;
        Ok(Exit::Ok)
    }

    fn query(&self, now: UnixMs) -> RunQuery {
        RunQuery {
            job: self.job.map(|job| job.as_str().into()),
            outcome: self.outcome,
            since: match self.since {
                None => UnixMs(0),
                Some(Since::At(time)) => time,
                Some(Since::Ago(span)) => chatctl_relay::jobs::before(now, span),
            },
            limit: self.limit.into(),
        }
    }
}

/// How a relay is asked for the same.
pub(super) fn path(query: &RunQuery) -> String {
    let mut path = format!("/v1/admin/jobs/runs?limit={}", query.limit);
    if let Some(job) = &query.job {
        path += &format!("&job={job}");
    }
    if let Some(outcome) = query.outcome {
        path += &format!("&outcome={}", outcome.as_str());
    }
    if query.since > UnixMs(0) {
        path += &format!("&since={}", rfc3339(query.since));
    }
    path
}

fn text(runs: &[Run], names_jobs: bool, now: UnixMs) -> String {
    if runs.is_empty() {
        return "no runs\n".to_owned();
    }
    let head = [
        "SCHEDULED",
        "BEGAN",
        "TOOK",
        "WHO",
        "OUTCOME",
        "AFFECTED",
        "ERROR",
    ];
    let mut rows: Vec<Vec<String>> = vec![head.map(str::to_owned).to_vec()];
    rows.extend(runs.iter().map(|run| {
        let took = run.took_ms.map(|took| span(Duration::from_millis(took)));
        let began = when::parse(&run.began_at).map(|began| relative(began, now));
        let outcome = match run.attempt {
            0 | 1 => tame(&run.outcome),
            attempt => format!("{} (attempt {attempt})", tame(&run.outcome)),
        };
        let scheduled = match run.trigger.as_str() {
            "hand" => "by hand".to_owned(),
            _ => tame(&run.scheduled_for),
        };
        vec![
            scheduled,
            began.unwrap_or_default(),
            took.unwrap_or_else(|| "-".to_owned()),
            tame(&run.holder),
            outcome,
            thousands(run.affected),
            run.error.as_deref().map(tame).unwrap_or_default(),
        ]
    }));
    if names_jobs {
        let jobs = runs.iter().map(|run| tame(&run.job));
        for (row, job) in rows.iter_mut().zip(["JOB".to_owned()].into_iter().chain(jobs)) {
            row.insert(0, job);
        }
    }
    table(&rows)
}

fn outcome() -> impl clap::builder::TypedValueParser<Value = Outcome> {
    PossibleValuesParser::new(Outcome::ALL.map(Outcome::as_str))
        .try_map(|word| Outcome::parse(&word).ok_or("is not the word for an outcome"))
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(span) = humantime::parse_duration(text) {
        return Ok(Since::Ago(span));
    }
    let time = when::parse(text);
    time.map(Since::At)
        .map_err(|_| "must be a time as in 2026-11-22T12:00:00Z, or a duration as in 24h".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(changes: &Value) -> Run {
        let mut run = json!({
            "run": "expire-mail/1/1", "job": "expire-mail", "scheduled_for": "2026-11-22T12:00:00Z",
            "after": "2026-11-22T11:59:00Z", "attempt": 1, "trigger": "schedule", "holder": "relay-2:4711",
            "began_at": "2026-11-22T12:00:02Z", "ended_at": "2026-11-22T12:00:03Z", "took_ms": 810, "outcome": "ok",
            "affected": 1204, "counts": {}, "retries": 0,
        });
        for (key, value) in changes.as_object().unwrap() {
            run[key] = value.clone();
        }
        serde_json::from_value(run).unwrap()
    }

    #[test]
    fn a_line_tells_what_came_of_a_run() {
        let runs = [
            run(&json!({"trigger": "hand", "outcome": "running", "ended_at": null, "took_ms": null})),
            run(&json!({"attempt": 2})),
            run(&json!({"outcome": "failed", "affected": 0, "error": "the disk is \u{7}full"})),
        ];
        let now = UnixMs(1_795_348_842_000);
        assert_eq!(
            text(&runs, true, now),
            "\
JOB          SCHEDULED             BEGAN    TOOK   WHO           OUTCOME         AFFECTED  ERROR
expire-mail  by hand               40s ago  -      relay-2:4711  running         1,204
expire-mail  2026-11-22T12:00:00Z  40s ago  810ms  relay-2:4711  ok (attempt 2)  1,204
expire-mail  2026-11-22T12:00:00Z  40s ago  810ms  relay-2:4711  failed          0         the disk is \\u{7}full
"
        );
        assert_eq!(text(&[], false, now), "no runs\n");
    }

    #[test]
    fn since_is_a_time_or_a_span() {
        assert_eq!(since("24h"), Ok(Since::Ago(Duration::from_secs(86_400))));
        assert_eq!(
            since("2026-11-22T12:00:00Z"),
            Ok(Since::At(UnixMs(1_795_348_800_000)))
        );
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn a_relay_is_asked_for_what_the_store_would_be() {
        let query = RunQuery {
            job: Some("expire-mail".into()),
            outcome: Some(Outcome::Failed),
            since: UnixMs(1_795_348_800_000),
            limit: 20,
        };
        assert_eq!(
            path(&query),
            "/v1/admin/jobs/runs?limit=20&job=expire-mail&outcome=failed&since=2026-11-22T12:00:00Z"
        );
    }
}
