//! The runner: what a relay has of jobs. One run for each tick by schedule, runs by hand, and who is at work here.
//!
//! Owns the runs under way on this relay. When what is due is for `rounds`, how a run goes for `run`.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::config::Config;
use crate::config::jobs::JobName;
use crate::config::live::Current;
use crate::jobs::gauges;
use crate::jobs::hand::{self, Refusal};
use crate::jobs::plan::Plan;
use crate::jobs::pulse::{Beat, Pulse};
use crate::jobs::rounds::Rounds;
use crate::jobs::run::{Granted, Shift};
use crate::jobs::{Audience, Chore, Desk, Findings, Keys, Terms};
use crate::metrics::Metrics;
use crate::model::{Clock, UnixMs};
use crate::store::{Error, RunId, Store};
use crate::trace;

/// What a runner is made of.
#[derive(Clone)]
pub struct Parts {
    /// Where state lives.
    pub store: Arc<dyn Store>,
    /// Who hears of what a chore does.
    pub audience: Arc<dyn Audience>,
    /// Wall clock.
    pub clock: Clock,
    /// The keys for tokens.
    pub keys: Keys,
    /// The settings as they are now.
    pub live: Current,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Host and process.
    pub holder: Arc<str>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

/// A run that is under way on this relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    /// The run.
    pub run: RunId,
    /// When it began.
    pub since: UnixMs,
    /// What it has done so far.
    pub findings: Findings,
}

/// Makes the chore of a job.
pub(super) type Chores = Arc<dyn Fn(JobName) -> Box<dyn Chore> + Send + Sync>;

/// Runs jobs.
pub struct Runner {
    pub(super) parts: Parts,
    chores: Chores,
    plans: Mutex<Option<Plans>>,
    at_work: Mutex<HashMap<JobName, AtWork>>,
    /// Where runs are spawned, and what ends them all; from the moment that it runs.
    house: OnceLock<(TaskTracker, CancellationToken)>,
    /// Counts the runs, and whatever may become one.
    runs: TaskTracker,
    /// Jobs of which a run has ended since the last look.
    pub(super) ended: Mutex<Vec<JobName>>,
    rings: Notify,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

/// What the settings make of all jobs.
#[derive(Clone)]
pub(super) struct Plans {
    /// The settings.
    pub config: Arc<Config>,
    /// A plan and this relay's delay for each job.
    pub all: Arc<[(Plan, Duration)]>,
}

struct AtWork {
    since: UnixMs,
    granted: Granted,
    findings: Arc<Mutex<Findings>>,
    stop: CancellationToken,
}

impl Runner {
    /// A runner that does nothing before [`Self::run`].
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        Self::with_chores(parts, Arc::new(super::chore))
    }

    /// A runner with other work to do.
    pub(super) fn with_chores(parts: Parts, chores: Chores) -> Arc<Self> {
        Arc::new(Self {
            parts,
            chores,
            plans: Mutex::default(),
            at_work: Mutex::default(),
            house: OnceLock::new(),
            runs: TaskTracker::new(),
            ended: Mutex::default(),
            rings: Notify::new(),
        })
    }

    /// Runs jobs by schedule until `stop`, and those by hand. Then each run ends after the step that it is at, and this
    /// returns when none is left.
    pub async fn run(self: Arc<Self>, tasks: TaskTracker, stop: CancellationToken) {
        let pulse = Pulse::start().await;
        self.run_at(pulse, tasks, stop).await;
    }

    /// The same, at other times.
    pub(super) async fn run_at(
        self: Arc<Self>,
        mut beat: impl Beat,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) {
        self.moves_in(tasks, stop.clone());
        let mut rounds = Rounds::new(Arc::clone(&self));
        while !stop.is_cancelled() {
            rounds.pulse().await;
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = beat.next() => {}
                () = self.rings.notified() => {}
            }
        }
        beat.end().await;
        self.is_idle().await;
    }

    /// Has a place for runs from now on.
    pub(super) fn moves_in(&self, tasks: TaskTracker, stop: CancellationToken) {
        // A second time changes nothing: a runner runs once.
        let _ = self.house.set((tasks, stop));
    }

    /// Waits until no run is left, after the stop.
    pub(super) async fn is_idle(&self) {
        self.runs.close();
        self.runs.wait().await;
    }

    /// Whether it was told to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.house.get().is_none_or(|(_, stop)| stop.is_cancelled())
    }

    /// What jobs work with, by the settings as they are now.
    #[must_use]
    pub fn desk(&self) -> Desk {
        let parts = &self.parts;
        Desk {
            store: Arc::clone(&parts.store),
            audience: Arc::clone(&parts.audience),
            clock: parts.clock.clone(),
            terms: Terms::of(&parts.live.now()),
            keys: Arc::clone(&parts.keys),
        }
    }

    /// The plans of all jobs, by the settings as they are now.
    #[must_use]
    pub fn plans(&self) -> Vec<Plan> {
        self.settings().all.iter().map(|(plan, _)| plan.clone()).collect()
    }

    /// The settings as they are now; plans are made anew when they have changed.
    pub(super) fn settings(&self) -> Plans {
        let config = self.parts.live.now();
        let mut known = self.plans.lock();
        if let Some(plans) = &*known
            && Arc::ptr_eq(&plans.config, &config)
        {
            return plans.clone();
        }
        let now = self.parts.clock.now();
        let plans = Plan::all(&config.jobs).into_iter().map(|plan| {
            let delay = plan.delay(&self.parts.holder, now);
            (plan, delay)
        });
        let all = plans.collect();
        known.insert(Plans { config, all }).clone()
    }

    /// Begins a job by hand, in the background and under the lease.
    ///
    /// # Errors
    ///
    /// [`Refusal`]. Before [`Self::run`], and when it is about to return, the store counts as not available.
    pub async fn start(self: &Arc<Self>, job: JobName, timeout: Option<Duration>) -> Result<RunId, Refusal> {
        let counted = self.runs.token();
        if self.is_stopped() {
            return Err(Error::Unavailable("this relay runs no jobs now".into()).into());
        }
        let parts = &self.parts;
        let granted = hand::begin(job, &parts.holder, &*parts.store, &parts.clock).await?;
        let run = granted.grant.run.clone();
        let timeout = timeout.unwrap_or_else(|| self.timeout(job));
        self.launch(job, granted, timeout);
        drop(counted);
        Ok(run)
    }

    fn timeout(&self, job: JobName) -> Duration {
        Plan::of(job, &self.parts.live.now().jobs).timeout
    }

    /// The run of a job that is under way on this relay.
    #[must_use]
    pub fn progress(&self, job: JobName) -> Option<UnderWay> {
        let at_work = self.at_work.lock();
        let work = at_work.get(&job)?;
        Some(UnderWay {
            run: work.granted.grant.run.clone(),
            since: work.since,
            findings: work.findings.lock().clone(),
        })
    }

    /// Ends the run of a job on this relay after the step that it is at. `false` when there is none.
    ///
    /// A run of the schedule is taken over within seconds, here or elsewhere, unless the job is paused before.
    #[must_use = "there may be nothing to stop"]
    pub fn stop(&self, job: JobName) -> bool {
        let at_work = self.at_work.lock();
        at_work.get(&job).map(|work| work.stop.cancel()).is_some()
    }

    /// Runs a job in the background.
    pub(super) fn launch(self: &Arc<Self>, job: JobName, granted: Granted, timeout: Duration) {
        // Without a house nothing was asked of the store; its lease would be over by itself.
        let Some((tasks, stop)) = self.house.get() else {
            return;
        };
        let (findings, stop) = (Arc::<Mutex<Findings>>::default(), stop.child_token());
        let work = AtWork {
            since: self.parts.clock.now(),
            granted: granted.clone(),
            findings: Arc::clone(&findings),
            stop: stop.clone(),
        };
        self.at_work.lock().insert(job, work);
        let entry = Entry {
            runner: Arc::clone(self),
            job,
            fence: granted.grant.fence,
        };
        gauges::began(&self.parts.metrics, job);
        let counted = self.runs.token();
        tasks.spawn(async move {
            let (desk, chore) = (entry.runner.desk(), (entry.runner.chores)(job));
            let progress = |so_far: &Findings| findings.lock().clone_from(so_far);
            let shift = Shift {
                desk: &desk,
                timeout,
                stop: &stop,
                progress: &progress,
            };
            let span = trace::job(job.as_str());
            let ran = shift.work(&granted, chore).instrument(span.clone()).await;
            trace::ran(&span, ran.outcome.as_str(), ran.findings.work.affected);
            gauges::ran(&entry.runner.parts.metrics, job, &ran);
            drop(entry);
            drop(counted);
        });
    }
}

/// The place of a run among those under way. Its drop takes it out, and lets the runner look for what comes next.
struct Entry {
    runner: Arc<Runner>,
    job: JobName,
    fence: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut at_work = self.runner.at_work.lock();
        // A later run may have the place already, when this one lost its lease.
        if at_work
            .get(&self.job)
            .is_some_and(|work| work.granted.grant.fence == self.fence)
        {
            at_work.remove(&self.job);
        }
        drop(at_work);
        gauges::ended(&self.runner.parts.metrics, self.job);
        self.runner.ended.lock().push(self.job);
        self.runner.rings.notify_one();
    }
}
