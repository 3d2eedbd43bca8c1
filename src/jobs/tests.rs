//! Stories of the runner on the model's store, with a clock and pulses moved by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::config::jobs::JobName;
use crate::config::live::Current;
use crate::jobs::rounds::Rounds;
use crate::jobs::runner::{Parts, Runner};
use crate::jobs::{Chore, Desk, Findings, Nobody, Step};
use crate::metrics::Metrics;
use crate::model::{Clock, UnixMs};
use crate::store::model::Model;
use crate::store::{Error, JobStore as _, Outcome, RunQuery, Trigger};

mod stories;
mod year;

/// A round hour: 2027-01-15T08:00:00Z.
const START: UnixMs = UnixMs(1_800_000_000_000);

/// The job that the stories are about.
const JOB: JobName = JobName::ExpireMail;

/// What a step of a chore does.
#[derive(Debug, Clone)]
enum Act {
    /// Takes so many seconds, and removes one thing.
    Takes(u64),
    Fails(Error),
    Panics,
}

/// Which acts the runs of a job have: the first run the first list, and so on; the last list for all that follow.
type Script = Arc<Mutex<Vec<Vec<Act>>>>;

struct Scripted(std::vec::IntoIter<Act>);

#[async_trait]
impl Chore for Scripted {
    async fn step(&mut self, _desk: &Desk, findings: &mut Findings) -> Result<Step, Error> {
        match self.0.next() {
            None => return Ok(Step::Done),
            Some(Act::Takes(seconds)) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            Some(Act::Fails(error)) => return Err(error),
            Some(Act::Panics) => panic!("this step panics"),
        }
        findings.work.affected += 1;
        Ok(match self.0.len() {
            0 => Step::Done,
            _more => Step::More,
        })
    }
}

fn script(runs: impl IntoIterator<Item = Vec<Act>>) -> Script {
    Arc::new(Mutex::new(runs.into_iter().collect()))
}

/// Settings in which one job has a schedule, with a time zone before it or not, and the others are off.
fn settings(setting: &str) -> Config {
    let mut config = Config::default();
    let zoned = setting.strip_prefix("TZ=").and_then(|rest| rest.split_once(' '));
    if let Some((zone, _)) = zoned {
        config.jobs.time_zone = crate::config::schedule::zone(zone).unwrap();
    }
    let setting = zoned.map_or(setting, |(_, rest)| rest);
    let off = JobName::ALL.into_iter().map(|job| format!("{job}=off"));
    let all = off.chain([format!("{JOB}={setting}")]);
    config.jobs.set = all.map(|setting| setting.parse().unwrap()).collect();
    config
}

/// A relay that does jobs and nothing else.
struct Relay {
    store: Arc<Model>,
    runner: Arc<Runner>,
    rounds: Rounds,
    hand: Arc<AtomicU64>,
    live: Current,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl Relay {
    fn new(store: &Arc<Model>, name: &str, setting: &str, script: Script) -> Self {
        let chore = move |_job| -> Box<dyn Chore> {
            let mut runs = script.lock();
            let acts = match runs.len() {
                0 | 1 => runs.first().cloned().unwrap_or_default(),
                _more => runs.remove(0),
            };
            Box::new(Scripted(acts.into_iter()))
        };
        Self::with_chore(store, name, setting, Arc::new(chore))
    }

    fn with_chore(store: &Arc<Model>, name: &str, setting: &str, chore: crate::jobs::runner::Chores) -> Self {
        let (clock, hand) = Clock::manual(START);
        let live = Current::new(settings(setting));
        let metrics = Arc::new(Metrics::new());
        let parts = Parts {
            store: Arc::clone(store) as _,
            audience: Arc::new(Nobody),
            clock,
            keys: Arc::new(Vec::new),
            live: live.clone(),
            metrics: Arc::clone(&metrics),
            holder: name.into(),
        };
        let runner = Runner::with_chores(parts, chore);
        let stop = CancellationToken::new();
        runner.moves_in(TaskTracker::new(), stop.clone());
        Self {
            store: Arc::clone(store),
            rounds: Rounds::new(Arc::clone(&runner)),
            runner,
            hand,
            live,
            metrics,
            stop,
        }
    }

    /// One second after the other goes by, each with a pulse.
    async fn seconds(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.hand.fetch_add(1000, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.rounds.pulse().await;
            settle().await;
        }
    }

    /// All runs in the order of their ticks: seconds from the start, attempt, what became of it.
    async fn runs(&self) -> Vec<(u64, u32, Outcome)> {
        let mut runs = runs(&self.store).await;
        runs.retain(|run| run.trigger == Trigger::Schedule);
        let row = |run: crate::store::Run| {
            let seconds = (run.id.tick.0 - START.0) / 1000;
            (seconds, run.id.attempt, run.outcome)
        };
        runs.into_iter().map(row).collect()
    }
}

async fn runs(store: &Model) -> Vec<crate::store::Run> {
    let all = RunQuery {
        job: None,
        outcome: None,
        since: UnixMs(0),
        limit: usize::MAX,
    };
    let mut runs = store.runs(&all).await.unwrap();
    runs.sort_by(|one, other| one.id.cmp(&other.id));
    runs
}

/// Lets everybody else do what can be done without time passing.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
