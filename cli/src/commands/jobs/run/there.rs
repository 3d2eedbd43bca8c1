//! A run on a relay: begun there, and watched from here until it is over.

use std::time::Duration;

use chatctl_relay::config::jobs::JobName;
use chatctl_relay::model::{Clock, UnixMs};
use chatctl_relay::store::RunQuery;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::screen::Screen;
use super::signals::{STOPPING, left};
use super::{Ended, held};
use crate::commands::jobs::entry::{Found, Job, Run, read};
use crate::commands::jobs::history;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::relay::Relay;
use crate::signals::Signals;

/// Begins a job on a relay and waits for its end, or until a signal stops it there.
///
/// # Errors
///
/// When somebody runs it already, of a relay that goes meanwhile, and at a second signal.
pub(super) async fn run(
    relay: &Relay,
    job: JobName,
    timeout: Option<Duration>,
    screen: &Screen<'_>,
) -> Result<Ended, Failure> {
    let mut signals = Signals::listen()?;
    let name = begin(relay, job, timeout).await?;
    let mut watched = Watched {
        relay,
        job,
        name,
        found: Found::default(),
        unseen: 0,
    };
    let mut told = None;
    let mut looks = interval(BETWEEN_LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            exit = signals.next() => {
                if told.is_some() {
                    return Err(left(exit));
                }
                told = Some(exit);
                relay.delete(&format!("/v1/admin/jobs/{job}/run")).await?;
                screen.say(STOPPING);
            }
        }
        let ended = watched.look(screen).await.map_err(|failure| {
            failure.hint(format!(
                "the run goes on without this command; `chatctl jobs history {job}` shows what came of it"
            ))
        })?;
        if let Some(ended) = ended {
            return Ok(Ended { told, ..ended });
        }
    }
}

async fn begin(relay: &Relay, job: JobName, timeout: Option<Duration>) -> Result<String, Failure> {
    let request = match timeout {
        Some(timeout) => json!({ "timeout_seconds": timeout.as_secs() }),
        None => json!({}),
    };
    let path = format!("/v1/admin/jobs/{job}/runs");
    match relay.post_unless(&path, &request, RUNNING).await? {
        Ok(mut answer) => read(answer.get_mut("run").map(Value::take).unwrap_or_default()),
        Err(mut problem) => {
            let lease = read(problem.get_mut("held").map(Value::take).unwrap_or_default())?;
            Err(held(job, &lease, Clock::system().now()))
        }
    }
}

/// A run on a relay.
struct Watched<'a> {
    relay: &'a Relay,
    job: JobName,
    name: String,
    /// What it had done when it was last seen.
    found: Found,
    /// Looks since then.
    unseen: u32,
}

impl Watched<'_> {
    /// What came of it, once it is over.
    async fn look(&mut self, screen: &Screen<'_>) -> Result<Option<Ended>, Failure> {
        let answer = self.relay.get(&format!("/v1/admin/jobs/{}", self.job)).await?;
        let job: Job = read(answer)?;
        if let Some(under_way) = job.under_way.filter(|under_way| under_way.run == self.name) {
            self.found = under_way.findings;
            self.unseen = 0;
            screen.show(&self.found);
            return Ok(None);
        }
        let last = job.last_run.filter(|run| run.run == self.name);
        let run = match last {
            Some(run) => Some(run),
            None => self.remembered().await?,
        };
        if let Some(run) = run.filter(|run| run.ended_at.is_some()) {
            return Ok(Some(self.ended(run)));
        }
        self.unseen += 1;
        match self.unseen < MOST_UNSEEN {
            true => Ok(None),
            false => Err(Failure::new(
                Exit::TempFail,
                format!("the relay has lost sight of {}", self.job),
            )),
        }
    }

    /// The run among the latest ones: others may have begun since.
    async fn remembered(&self) -> Result<Option<Run>, Failure> {
        let query = RunQuery {
            job: Some(self.job.as_str().into()),
            outcome: None,
            since: UnixMs(0),
            limit: 100,
        };
        let mut answer = self.relay.get(&history::path(&query)).await?;
        let runs: Vec<Run> = read(answer.get_mut("runs").map(Value::take).unwrap_or_default())?;
        Ok(runs.into_iter().find(|run| run.run == self.name))
    }

    fn ended(&self, run: Run) -> Ended {
        // Sizes and lines are not remembered: they are good only if nothing was done after the last look.
        let (bytes, lines) = match self.found.affected == run.affected {
            true => (self.found.bytes, self.found.lines.clone()),
            false => (0, Vec::new()),
        };
        Ended {
            run: run.run,
            outcome: run.outcome,
            found: Found {
                affected: run.affected,
                counts: run.counts,
                bytes,
                oldest: run.oldest,
                retries: run.retries,
                lines,
            },
            took: Duration::from_millis(run.took_ms.unwrap_or_default()),
            error: run.error,
            told: None,
        }
    }
}

/// The problem of a job that runs already.
const RUNNING: &str = "job_running";

/// About four looks a second.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Looks after which a run that nobody sees counts as lost: half a minute.
const MOST_UNSEEN: u32 = 120;
