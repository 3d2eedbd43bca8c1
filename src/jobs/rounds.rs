//! The rounds of the runner: at each pulse, which ticks are due; now and then, what others left.
//!
//! Owns a cursor for each job and nothing that has to be exact: which ticks are answered is for the store to say. Must not
//! know how a run goes.
//!
//! # Why
//!
//! All ticks up to a job's cursor are answered. It moves when the store has said so for what is due, goes back with the
//! clock, and begins where the store's knowledge ends; so a pulse that comes late, a clock that jumps and a store that is
//! away lose nothing, and the store refuses what comes twice. A delay after each tick is a clock that goes behind by as
//! much. However far the clock jumps, only the newest tick is looked for, and one run answers all before it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;
use crate::config::jobs::{JobName, OnMissed};
use crate::config::schedule::Schedule;
use crate::jobs::doubt::{Doubt, Doubted};
use crate::jobs::plan::Plan;
use crate::jobs::run::{Granted, TERM, backoff};
use crate::jobs::runner::Runner;
use crate::jobs::{before, gauges};
use crate::model::UnixMs;
use crate::store::{Begin, Begun, Error, Held, JobState, Outcome, Overlap, RunId, Trigger};

/// What a runner remembers from pulse to pulse.
pub(super) struct Rounds {
    runner: Arc<Runner>,
    cursors: HashMap<JobName, Cursor>,
    /// The settings for which the cursors were last used.
    config: Option<Arc<Config>>,
    /// When others' work is looked for again.
    look_at: Instant,
    doubt: Doubt,
    /// A step of the clock is doubted: what deletes by age waits.
    is_doubted: bool,
    store: Patience,
}

/// How far the ticks of a job are answered.
struct Cursor {
    /// All ticks up to here.
    at: UnixMs,
    /// The tick after `at`, once it is known; `Some(None)` when there is none.
    next: Option<Option<UnixMs>>,
    patience: Patience,
}

/// Ticks that are due: the first one, and the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    first: UnixMs,
    newest: UnixMs,
}

/// When to ask again after a failure.
#[derive(Default)]
struct Patience {
    failed: u32,
    until: Option<Instant>,
}

impl Patience {
    fn is_over(&self) -> bool {
        self.until.is_none_or(|until| until <= Instant::now())
    }

    fn note<T>(&mut self, asked: &Result<T, Error>) {
        if asked.is_ok() {
            *self = Self::default();
            return;
        }
        self.until = Some(Instant::now() + backoff(self.failed, self.failed));
        self.failed = self.failed.saturating_add(1);
    }
}

impl Cursor {
    fn new(at: UnixMs) -> Self {
        Self {
            at,
            next: None,
            patience: Patience::default(),
        }
    }

    /// What is due up to now. Goes back with the clock.
    fn due(&mut self, schedule: &Schedule, now: UnixMs) -> Option<Due> {
        if now < self.at {
            (self.at, self.next) = (now, None);
        }
        let first = (*self.next.get_or_insert_with(|| schedule.next_after(self.at)))?;
        if first > now {
            self.at = now;
            return None;
        }
        let newest = schedule.previous_or_at(now).filter(|tick| *tick > first);
        Some(Due {
            first,
            newest: newest.unwrap_or(first),
        })
    }

    /// Everything up to now is answered, or none of our business.
    fn passes(&mut self, now: UnixMs) {
        (self.at, self.next) = (now, None);
        self.patience = Patience::default();
    }
}

impl Rounds {
    /// Before the first pulse.
    pub(super) fn new(runner: Arc<Runner>) -> Self {
        Self {
            doubt: Doubt::new(runner.parts.clock.clone()),
            is_doubted: false,
            runner,
            cursors: HashMap::new(),
            config: None,
            look_at: Instant::now(),
            store: Patience::default(),
        }
    }

    /// Begins what is due, and now and then what was left. The work is bounded, however long ago the last pulse was.
    pub(super) async fn pulse(&mut self) {
        if self.cursors.is_empty() && !self.set_out().await {
            return;
        }
        let settings = self.runner.settings();
        let is_new = |config: &Arc<Config>| !Arc::ptr_eq(config, &settings.config);
        if self.config.as_ref().is_none_or(is_new) {
            self.config = Some(Arc::clone(&settings.config));
            self.cursors.values_mut().for_each(|cursor| cursor.next = None);
        }
        self.look_at_the_clock();
        let external = settings.config.jobs.external;
        let is_time = self.look_at <= Instant::now();
        let states = match is_time {
            true => self.look().await,
            false => Vec::new(),
        };
        let ended = std::mem::take(&mut *self.runner.ended.lock());
        for (plan, delay) in settings.all.iter() {
            if self.runner.is_stopped() {
                return;
            }
            if self.is_doubted && plan.job.deletes() {
                // Its cursor stays: one run makes up for the ticks that come meanwhile.
                continue;
            }
            let has_queue = plan.overlap == Overlap::QueueOne;
            let is_looked_for = of(&states, plan).is_some_and(|state| has_queue || was_left(state))
                || (has_queue && ended.contains(&plan.job));
            if is_looked_for && !external && plan.schedule.is_some() {
                self.take_over(plan).await;
            }
            self.answer(plan, *delay, external).await;
        }
        if is_time {
            self.look_at = Instant::now() + LOOK;
            let (metrics, now) = (&self.runner.parts.metrics, self.runner.parts.clock.now());
            for (plan, _) in settings.all.iter() {
                gauges::refresh(metrics, plan, of(&states, plan), now);
            }
        }
    }

    /// Says when the clock is not believed, and when it is again.
    fn look_at_the_clock(&mut self) {
        let doubted = self.doubt.look();
        if let Some(Doubted { ahead, remaining }) = doubted.filter(|_| !self.is_doubted) {
            tracing::warn!(
                ahead_s = ahead.as_secs(),
                for_s = remaining.as_secs(),
                "the clock was set ahead: what is old by it is not deleted for a while"
            );
        }
        self.is_doubted = doubted.is_some();
    }

    /// Makes the jobs known, and learns how far each is. Whether that is done.
    async fn set_out(&mut self) -> bool {
        if !self.store.is_over() {
            return false;
        }
        let known = self.know().await;
        self.store.note(&known);
        match known {
            Ok(states) => {
                let now = self.runner.parts.clock.now();
                for job in JobName::ALL {
                    let state = states.iter().find(|state| &*state.job == job.as_str());
                    let at = state.map_or(now, |state| state.last_tick.unwrap_or(state.since));
                    self.cursors.insert(job, Cursor::new(at.min(now)));
                }
                true
            }
            Err(error) => {
                tracing::warn!(%error, "jobs wait for the store");
                false
            }
        }
    }

    async fn know(&self) -> Result<Vec<JobState>, Error> {
        let (store, now) = (&self.runner.parts.store, self.runner.parts.clock.now());
        store
            .introduce(&JobName::ALL.map(|job| job.as_str().into()), now)
            .await?;
        store.job_states(now).await
    }

    /// Answers what is due of one job.
    async fn answer(&mut self, plan: &Plan, delay: Duration, external: bool) {
        let now = before(self.runner.parts.clock.now(), delay);
        let Some(cursor) = self.cursors.get_mut(&plan.job) else {
            return;
        };
        let Some(schedule) = plan.schedule.as_ref().filter(|_| !external) else {
            cursor.passes(now);
            return;
        };
        let Some(due) = cursor.due(schedule, now) else {
            return;
        };
        if !cursor.patience.is_over() {
            return;
        }
        let after = cursor.at;
        let answered = self.ask(plan, schedule, after, due).await;
        let Some(cursor) = self.cursors.get_mut(&plan.job) else {
            return;
        };
        match answered {
            Ok(()) => cursor.passes(now),
            Err(error) => {
                // The cursor stays: what is due now is due at the next pulse, and what comes meanwhile with it.
                tracing::warn!(job = plan.job.as_str(), %error, "a tick waits for the store");
                cursor.patience.note(&Err::<(), _>(error));
            }
        }
    }

    /// Brings what is due before the store, as the plan wants it.
    async fn ask(&self, plan: &Plan, schedule: &Schedule, after: UnixMs, due: Due) -> Result<(), Error> {
        let mut begin = self.wish(plan, after, due.newest);
        if plan.missed == OnMissed::Skip {
            let store = &self.runner.parts.store;
            if begin.tick < before(begin.now, plan.jitter + GRACE) {
                return store.miss(&begin).await;
            }
            let older = schedule.previous_or_at(UnixMs(due.newest.0.saturating_sub(1)));
            if let Some(older) = older.filter(|older| *older >= due.first) {
                store.miss(&self.wish(plan, after, older)).await?;
                begin.after = older;
            }
        }
        self.begin(plan, &begin).await
    }

    async fn begin(&self, plan: &Plan, begin: &Begin) -> Result<(), Error> {
        let (parts, asked) = (&self.runner.parts, Instant::now());
        match parts.store.begin(begin).await? {
            Begun::Granted(grant) => self.launch(plan, Granted { grant, asked }),
            Begun::Held(held) => {
                tracing::debug!(
                    job = plan.job.as_str(),
                    holder = &*held.holder,
                    "a tick is skipped"
                );
                gauges::count(&parts.metrics, plan.job, Outcome::Skipped);
            }
            Begun::Paused => gauges::count(&parts.metrics, plan.job, Outcome::Paused),
            Begun::Answered | Begun::Queued => {}
        }
        Ok(())
    }

    fn wish(&self, plan: &Plan, after: UnixMs, tick: UnixMs) -> Begin {
        Begin {
            job: plan.job.as_str().into(),
            tick,
            after,
            trigger: Trigger::Schedule,
            holder: Arc::clone(&self.runner.parts.holder),
            term: TERM,
            overlap: plan.overlap,
            now: self.runner.parts.clock.now(),
        }
    }

    fn launch(&self, plan: &Plan, granted: Granted) {
        self.runner.launch(plan.job, granted, plan.timeout);
    }

    /// Looks for what somebody left of a job.
    async fn take_over(&self, plan: &Plan) {
        let (parts, asked) = (&self.runner.parts, Instant::now());
        let (job, now) = (plan.job.as_str(), parts.clock.now());
        match parts.store.take_over(job, &parts.holder, TERM, now).await {
            Ok(found) => {
                for RunId { tick, attempt, .. } in found.crashed {
                    tracing::warn!(job, tick = tick.rfc3339(), attempt, "a run has crashed");
                    gauges::count(&parts.metrics, plan.job, Outcome::Crashed);
                }
                if let Some(grant) = found.grant {
                    self.launch(plan, Granted { grant, asked });
                }
            }
            Err(error) => tracing::debug!(job, %error, "nobody can tell what was left of a job"),
        }
    }

    /// What is known of all jobs. Without an answer, nothing: nobody's work is looked for then, and gauges stay.
    async fn look(&self) -> Vec<JobState> {
        let parts = &self.runner.parts;
        let states = parts.store.job_states(parts.clock.now()).await;
        states.unwrap_or_default()
    }
}

fn of<'a>(states: &'a [JobState], plan: &Plan) -> Option<&'a JobState> {
    states.iter().find(|state| &*state.job == plan.job.as_str())
}

/// Whether it looks as if somebody had left work: then the store is asked to decide, which costs a transaction.
fn was_left(state: &JobState) -> bool {
    let is_over = |held: &Held| held.remaining.is_zero();
    let last = state.last_run.as_ref().map(|run| run.outcome);
    let is_alone = state.held.as_ref().is_none_or(is_over);
    is_alone && last.is_some_and(|last| last == Outcome::Running || last.is_unfinished())
}

/// Time between two looks for what others left.
const LOOK: Duration = Duration::from_secs(10);

/// How late a tick may be, beside its jitter, and not count as missed.
const GRACE: Duration = Duration::from_secs(60);
