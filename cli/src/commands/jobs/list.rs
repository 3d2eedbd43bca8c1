//! `chatctl jobs list`.

use chatctl_relay::jobs::board;
use chatctl_relay::jobs::plan::Plan;
use chatctl_relay::model::{Clock, UnixMs};
use chatctl_relay::store::FOREVER;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::desk::{Door, Settings, Where};
use super::entry::{Job, Run, read};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::figures::{dated, relative, span, table, tame, thousands};
use crate::out::{Document, Out};
use crate::store::store_failure;
use crate::when;

/// List the jobs: when each is due, who runs it, what came of it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl jobs list --data-dir /var/lib/chatctl
  chatctl jobs list --url http://127.0.0.1:8480 --token-file admin.jwt --json")]
pub(super) struct List {
    #[command(flatten)]
    place: Where,

    #[command(flatten)]
    settings: Settings,
}

/// All jobs.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct JobList {
    jobs: Vec<Job>,
    /// Whether the relay runs them by schedule; null when none was asked.
    by_schedule: Option<bool>,
    /// The relay that was asked; null when there was none: schedules are then as the settings here say.
    through: Option<String>,
}

impl Document for JobList {
    const SCHEMA: &'static str = "chatctl.jobs.list/v1";
}

#[derive(Deserialize)]
struct Answered {
    jobs: Vec<Job>,
    by_schedule: bool,
}

impl List {
    pub(super) async fn run(self, out: &Out) -> Result<Exit, Failure> {
        let now = Clock::system().now();
        let door = self.place.open().await?;
        let (jobs, by_schedule) = match &door {
            Door::Relay(relay) => {
                let Answered { jobs, by_schedule } = read(relay.get("/v1/admin/jobs").await?)?;
                (jobs, Some(by_schedule))
            }
            Door::Store(store) => {
                let plans = Plan::all(&self.settings.jobs);
                let standings = board::standings(plans, &**store, now).await;
                let standings = standings.map_err(|error| store_failure(&error))?;
                let jobs = standings.into_iter().map(Job::of).collect::<Result<_, _>>()?;
                (jobs, None)
            }
        };
        let document = JobList {
            jobs,
            by_schedule,
            through: door.through(),
        };
        door.close().await?;
        out.result(&text(&document.jobs, now), &document)?;
        match document.by_schedule {
            Some(false) => out.note("this relay runs no jobs by schedule (--no-jobs)"),
            None => out.note("no relay answered here: schedules are as the settings here say"),
            Some(true) => {}
        }
        Ok(Exit::Ok)
    }
}

fn text(jobs: &[Job], now: UnixMs) -> String {
    let head = ["JOB", "SCHEDULE", "NEXT", "LAST RUN"].map(str::to_owned);
    let mut rows = vec![head.to_vec()];
    rows.extend(jobs.iter().map(|job| {
        let last = job.last_run.as_ref().map(|run| last(job, run, now));
        let failures = match job.failures {
            0 => String::new(),
            1 => "  1 failure".to_owned(),
            failures => format!("  {failures} failures"),
        };
        vec![
            tame(&job.name),
            schedule(job),
            next(job, now),
            last.unwrap_or_else(|| "never".to_owned()) + &failures,
        ]
    }));
    table(&rows)
}

fn schedule(job: &Job) -> String {
    let Some(schedule) = &job.schedule else {
        return "-".to_owned();
    };
    let schedule = tame(schedule);
    // A period has no zone, and UTC goes without saying.
    match job.zone.as_deref() {
        Some(zone) if zone != "UTC" && !schedule.starts_with("every ") && !schedule.contains(zone) => {
            format!("{schedule} {}", tame(zone))
        }
        Some(_) | None => schedule,
    }
}

fn next(job: &Job, now: UnixMs) -> String {
    match (&job.paused_until, &job.next_at) {
        (Some(until), _) if when::parse(until).is_ok_and(is_forever) => "paused".to_owned(),
        (Some(until), _) => format!("paused until {}", tame(until)),
        (None, _) if !job.is_on => "off".to_owned(),
        (None, Some(next)) => dated(next, now),
        (None, None) => "never".to_owned(),
    }
}

fn last(job: &Job, run: &Run, now: UnixMs) -> String {
    if let Some(held) = &job.held {
        let since = when::parse(&held.since).map(|since| relative(since, now));
        let since = since.unwrap_or_default();
        return format!("running on {}, began {since}", tame(&held.holder));
    }
    let ended = run.ended_at.as_deref().unwrap_or(&run.began_at);
    let ago = when::parse(ended).map(|ended| relative(ended, now));
    let outcome = tame(&run.outcome);
    let ago = ago.unwrap_or_default();
    match run.took_ms {
        Some(took) => {
            let took = span(std::time::Duration::from_millis(took));
            format!("{outcome} {ago}: {} in {took}", thousands(run.affected))
        }
        None => format!("{outcome} {ago}"),
    }
}

/// Whether a pause has no end. Of the last day: what is read is to the second.
pub(super) fn is_forever(until: UnixMs) -> bool {
    until.0 / 1000 >= FOREVER.0 / 1000
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_348_840_000);

    fn job(name: &str, changes: &Value) -> Job {
        let mut job = json!({
            "name": name, "about": "", "deletes": true, "is_on": true, "schedule": "every 1m",
            "sentence": "Every 1m.", "zone": "UTC", "overlap": "skip", "missed": "run-once", "jitter_ms": 5000,
            "timeout_ms": 600_000, "next_at": "2026-11-22T12:01:00Z", "failures": 0,
            "last_run": {
                "run": "j/1/1", "job": name, "scheduled_for": "2026-11-22T12:00:00Z", "after": "2026-11-22T11:59:00Z",
                "attempt": 1, "trigger": "schedule", "holder": "relay-2:4711", "began_at": "2026-11-22T12:00:02Z",
                "ended_at": "2026-11-22T12:00:03Z", "took_ms": 810, "outcome": "ok", "affected": 1204, "counts": {},
                "retries": 0,
            },
        });
        for (key, value) in changes.as_object().unwrap() {
            job[key] = value.clone();
        }
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn a_line_tells_when_a_job_is_due_and_what_came_of_it() {
        let held = json!({"held": {"run": "j/1/1", "holder": "relay-2:4711", "fence": 7,
            "since": "2026-11-22T12:00:28Z", "remaining_ms": 9_000}});
        let jobs = [
            job("expire-mail", &json!({})),
            job("prune-records", &held),
            job(
                "remove-idle-devices",
                &json!({"schedule": "37 3 * * *", "zone": "Europe/Berlin", "next_at": "2026-11-23T02:37:00Z",
                    "last_run": null}),
            ),
            job(
                "sweep-departed",
                &json!({"paused_until": "2026-11-23T06:00:00Z", "failures": 3}),
            ),
            job("report-low-keys", &json!({"paused_until": FOREVER.rfc3339()})),
            job(
                "trim-history",
                &json!({"is_on": false, "schedule": null, "next_at": null}),
            ),
        ];
        let shown = text(&jobs, NOW);
        assert_eq!(
            shown,
            "\
JOB                  SCHEDULE                  NEXT                               LAST RUN
expire-mail          every 1m                  2026-11-22T12:01:00Z (in 20s)      ok 37s ago: 1,204 in 810ms
prune-records        every 1m                  2026-11-22T12:01:00Z (in 20s)      running on relay-2:4711, began 12s ago
remove-idle-devices  37 3 * * * Europe/Berlin  2026-11-23T02:37:00Z (in 14h 36m)  never
sweep-departed       every 1m                  paused until 2026-11-23T06:00:00Z  ok 37s ago: 1,204 in 810ms  3 failures
report-low-keys      every 1m                  paused                             ok 37s ago: 1,204 in 810ms
trim-history         -                         off                                ok 37s ago: 1,204 in 810ms
"
        );
    }

    #[test]
    fn a_usual_list_fits_into_a_hundred_columns() {
        let jobs = ["remind-key-rotation", "expire-mail"].map(|name| {
            job(
                name,
                &json!({"schedule": "*/15 * * * *", "next_at": "2026-11-23T11:37:00Z"}),
            )
        });
        assert!(text(&jobs, NOW).lines().all(|line| line.len() <= 100));
    }
}
