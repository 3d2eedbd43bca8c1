//! The model's jobs: a map of runs, and a lease for each job. What the contract says, as short as it can be said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::model::UnixMs;
use crate::store::jobs::horizon;
use crate::store::model::{Model, State};
use crate::store::{
    ATTEMPTS, Begin, Begun, Ended, Error, Grant, Held, JobState, JobStore, Outcome, Overlap, Run, RunId,
    RunQuery, TakenOver, Trigger, Work,
};

/// All jobs and their runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Jobs {
    by_name: BTreeMap<Arc<str>, Known>,
    runs: BTreeMap<RunId, Run>,
}

#[derive(Debug, Clone)]
struct Known {
    since: UnixMs,
    paused_until: Option<UnixMs>,
    fence: u64,
    lease: Option<Lease>,
    last_success: Option<UnixMs>,
    failures: u32,
}

#[derive(Debug, Clone)]
struct Lease {
    run: RunId,
    holder: Arc<str>,
    since: UnixMs,
    ends: Instant,
}

impl Lease {
    fn is_good(&self) -> bool {
        self.ends > Instant::now()
    }
}

impl Known {
    fn held(&self) -> Option<Held> {
        self.lease.as_ref().map(|lease| Held {
            run: lease.run.clone(),
            holder: Arc::clone(&lease.holder),
            fence: self.fence,
            since: lease.since,
            remaining: lease.ends.saturating_duration_since(Instant::now()),
        })
    }

    fn is_paused(&self, now: UnixMs) -> bool {
        self.paused_until.is_some_and(|until| until > now)
    }

    fn count(&mut self, outcome: Outcome, at: UnixMs) {
        if outcome == Outcome::Done {
            (self.failures, self.last_success) = (0, Some(at));
        }
        self.failures += u32::from(outcome.is_failure());
    }
}

impl Jobs {
    /// A process that was alone with the store has gone, and its leases with it.
    pub(super) fn crash(&mut self) {
        for known in self.by_name.values_mut() {
            known.lease = None;
        }
    }

    fn known(&mut self, job: &Arc<str>, now: UnixMs) -> &mut Known {
        self.by_name.entry(Arc::clone(job)).or_insert(Known {
            since: now,
            paused_until: None,
            fence: 0,
            lease: None,
            last_success: None,
            failures: 0,
        })
    }

    fn of(&self, job: &str) -> impl DoubleEndedIterator<Item = &Run> {
        let at = |tick, attempt| RunId {
            job: job.into(),
            tick,
            attempt,
        };
        let all = at(UnixMs(0), 0)..=at(UnixMs(u64::MAX), u32::MAX);
        self.runs.range(all).map(|(_, run)| run)
    }

    fn of_schedule(&self, job: &str) -> impl DoubleEndedIterator<Item = &Run> {
        self.of(job).filter(|run| run.trigger == Trigger::Schedule)
    }

    fn is_answered(&self, begin: &Begin) -> bool {
        if self.of(&begin.job).any(|run| run.id.tick == begin.tick) {
            return true;
        }
        let later = |run: &&Run| run.id.tick > begin.tick;
        begin.trigger == Trigger::Schedule
            && self.of_schedule(&begin.job).find(later).is_some_and(|run| {
                run.id.tick <= horizon(begin.now)
                    && (run.after < begin.tick || self.before(&begin.job, begin.tick).is_none())
            })
    }

    /// The last tick of the schedule before this one that has a run.
    fn before(&self, job: &str, tick: UnixMs) -> Option<UnixMs> {
        let earlier = |run: &&Run| run.id.tick < tick;
        self.of_schedule(job).rfind(earlier).map(|run| run.id.tick)
    }

    /// Marks what outlived its lease.
    fn bury(&mut self, job: &str, now: UnixMs) -> Vec<RunId> {
        let Some(known) = self.by_name.get_mut(job) else {
            return Vec::new();
        };
        if known.lease.as_ref().is_some_and(|lease| !lease.is_good()) {
            known.lease = None;
        }
        let alive = known.lease.as_ref().map(|lease| lease.run.clone());
        let mut crashed = Vec::new();
        for run in self.runs.values_mut() {
            if &*run.id.job == job && run.outcome == Outcome::Running && Some(&run.id) != alive.as_ref() {
                run.outcome = Outcome::Crashed;
                run.ended_at = Some(now);
                known.count(Outcome::Crashed, now);
                crashed.push(run.id.clone());
            }
        }
        crashed
    }

    fn note(&mut self, begin: &Begin, attempt: u32, outcome: Outcome) -> RunId {
        let id = RunId {
            job: Arc::clone(&begin.job),
            tick: begin.tick,
            attempt,
        };
        let ended_at = match outcome {
            Outcome::Running | Outcome::Queued => None,
            _ended => Some(begin.now),
        };
        let before = match begin.trigger {
            Trigger::Schedule => self.before(&begin.job, begin.tick),
            Trigger::Hand => None,
        };
        let run = Run {
            id: id.clone(),
            trigger: begin.trigger,
            after: begin.after.max(before.unwrap_or(begin.after)),
            holder: Arc::clone(&begin.holder),
            began_at: begin.now,
            ended_at,
            outcome,
            work: Work::default(),
            error: None,
        };
        self.runs.insert(id.clone(), run);
        id
    }

    fn grant(&mut self, begin: &Begin, attempt: u32) -> Grant {
        let run = self.note(begin, attempt, Outcome::Running);
        let known = self.known(&begin.job, begin.now);
        known.fence += 1;
        known.lease = Some(Lease {
            run: run.clone(),
            holder: Arc::clone(&begin.holder),
            since: begin.now,
            ends: Instant::now() + begin.term,
        });
        Grant {
            run,
            fence: known.fence,
        }
    }

    fn begin(&mut self, begin: &Begin) -> Begun {
        let paused = self.known(&begin.job, begin.now).is_paused(begin.now);
        self.bury(&begin.job, begin.now);
        if self.is_answered(begin) {
            return Begun::Answered;
        }
        if paused && begin.trigger == Trigger::Schedule {
            self.note(begin, 1, Outcome::Paused);
            return Begun::Paused;
        }
        let Some(held) = self.known(&begin.job, begin.now).held() else {
            return Begun::Granted(self.grant(begin, 1));
        };
        let is_queued = self.of(&begin.job).any(|run| run.outcome == Outcome::Queued);
        match (begin.trigger, begin.overlap) {
            (Trigger::Hand, _) => Begun::Held(held),
            (Trigger::Schedule, Overlap::QueueOne) if !is_queued => {
                self.note(begin, 1, Outcome::Queued);
                Begun::Queued
            }
            (Trigger::Schedule, Overlap::QueueOne | Overlap::Skip) => {
                self.note(begin, 1, Outcome::Skipped);
                Begun::Held(held)
            }
        }
    }

    fn take_over(&mut self, job: &str, holder: &Arc<str>, term: Duration, now: UnixMs) -> TakenOver {
        let crashed = self.bury(job, now);
        let free = self
            .by_name
            .get(job)
            .is_some_and(|known| known.lease.is_none() && !known.is_paused(now));
        let grant = free
            .then(|| self.left_of(job, now))
            .flatten()
            .map(|(run, attempt)| {
                let begin = Begin {
                    job: Arc::clone(&run.id.job),
                    tick: run.id.tick,
                    after: run.after,
                    trigger: run.trigger,
                    holder: Arc::clone(holder),
                    term,
                    overlap: Overlap::Skip,
                    now,
                };
                self.grant(&begin, attempt)
            });
        TakenOver { crashed, grant }
    }

    /// The run to do, and its attempt.
    fn left_of(&self, job: &str, now: UnixMs) -> Option<(Run, u32)> {
        if let Some(queued) = self.of(job).find(|run| run.outcome == Outcome::Queued) {
            return Some((queued.clone(), queued.id.attempt));
        }
        let is_a_run = |run: &&Run| run.outcome.is_over() && run.id.tick <= horizon(now);
        let last = self.of_schedule(job).rfind(is_a_run)?;
        let again = last.outcome.is_unfinished() && last.id.attempt < ATTEMPTS;
        again.then(|| (last.clone(), last.id.attempt + 1))
    }

    /// The job, if this grant is its lease still.
    fn holds(&mut self, grant: &Grant) -> Option<&mut Known> {
        let known = self.by_name.get_mut(&grant.run.job)?;
        let is_its = known.fence == grant.fence && known.lease.as_ref()?.run == grant.run;
        is_its.then_some(known)
    }

    fn renew(&mut self, grant: &Grant, term: Duration, work: &Work) -> bool {
        let Some(lease) = self.holds(grant).and_then(|known| known.lease.as_mut()) else {
            return false;
        };
        if !lease.is_good() {
            return false;
        }
        lease.ends = Instant::now() + term;
        if let Some(run) = self.runs.get_mut(&grant.run) {
            run.work = work.clone();
        }
        true
    }

    fn end(&mut self, grant: &Grant, ended: &Ended) -> bool {
        let Some(known) = self.holds(grant) else {
            let run = self.runs.get(&grant.run);
            return run.is_some_and(|run| run.outcome == ended.outcome && run.ended_at == Some(ended.at));
        };
        known.lease = None;
        known.count(ended.outcome, ended.at);
        if let Some(run) = self.runs.get_mut(&grant.run) {
            run.outcome = ended.outcome;
            run.ended_at = Some(ended.at);
            run.work = ended.work.clone();
            run.error.clone_from(&ended.error);
        }
        true
    }

    fn unlock(&mut self, job: &str, now: UnixMs) -> Option<Held> {
        let known = self.by_name.get_mut(job)?;
        let held = known.held()?;
        known.lease = None;
        known.count(Outcome::LeaseLost, now);
        if let Some(run) = self.runs.get_mut(&held.run) {
            run.outcome = Outcome::LeaseLost;
            run.ended_at = Some(now);
        }
        Some(held)
    }

    fn states(&self, now: UnixMs) -> Vec<JobState> {
        let state = |(job, known): (&Arc<str>, &Known)| JobState {
            job: Arc::clone(job),
            since: known.since,
            paused_until: known.paused_until.filter(|until| *until > now),
            held: known.held(),
            last_tick: self
                .of_schedule(job)
                .rfind(|run| run.id.tick <= horizon(now))
                .map(|run| run.id.tick),
            last_success: known.last_success,
            failures: known.failures,
            last_run: self
                .of(job)
                .filter(|run| run.outcome == Outcome::Running || run.outcome.is_over())
                .max_by_key(|run| (run.began_at, run.id.clone()))
                .cloned(),
        };
        self.by_name.iter().map(state).collect()
    }

    fn query(&self, query: &RunQuery) -> Vec<Run> {
        let is_wanted = |run: &&Run| {
            query.job.as_ref().is_none_or(|job| *job == run.id.job)
                && query.outcome.is_none_or(|outcome| outcome == run.outcome)
                && run.began_at >= query.since
        };
        let mut runs: Vec<_> = self.runs.values().filter(is_wanted).cloned().collect();
        runs.sort_by(|one, other| (other.began_at, &other.id).cmp(&(one.began_at, &one.id)));
        runs.truncate(query.limit);
        runs
    }

    /// The runs that may be forgotten, the oldest first.
    pub(super) fn old(&self, before: UnixMs, keep: usize) -> Vec<(UnixMs, RunId)> {
        let mut old = Vec::new();
        for job in self.by_name.keys() {
            let mut runs: Vec<&Run> = self.of(job).collect();
            runs.sort_by(|one, other| (other.began_at, &other.id).cmp(&(one.began_at, &one.id)));
            let newest = self.of_schedule(job).next_back().map(|run| run.id.clone());
            let runs = runs.into_iter().enumerate();
            let is_old = |(place, run): &(usize, &Run)| {
                (run.began_at < before || *place >= keep)
                    && run.ended_at.is_some()
                    && Some(&run.id) != newest.as_ref()
            };
            old.extend(runs.filter(is_old).map(|(_, run)| (run.began_at, run.id.clone())));
        }
        old.sort();
        old
    }
}

impl State {
    fn trim_runs(&mut self, before: UnixMs, keep: usize, limit: usize) -> usize {
        let mut old = self.jobs.old(before, keep);
        old.truncate(limit);
        for (_, id) in &old {
            self.jobs.runs.remove(id);
        }
        old.len()
    }
}

impl Model {
    fn with_jobs<T>(&self, verb: impl FnOnce(&mut State) -> T) -> Result<T, Error> {
        match &*self.jobs_trouble.lock() {
            Some(error) => Err(error.clone()),
            None => self.with(verb),
        }
    }
}

#[async_trait]
impl JobStore for Model {
    async fn introduce(&self, jobs: &[Arc<str>], now: UnixMs) -> Result<(), Error> {
        self.with_jobs(|state| {
            for job in jobs {
                state.jobs.known(job, now);
            }
        })
    }

    async fn begin(&self, begin: &Begin) -> Result<Begun, Error> {
        self.with_jobs(|state| state.jobs.begin(begin))
    }

    async fn take_over(
        &self,
        job: &str,
        holder: &Arc<str>,
        term: Duration,
        now: UnixMs,
    ) -> Result<TakenOver, Error> {
        self.with_jobs(|state| state.jobs.take_over(job, holder, term, now))
    }

    async fn renew(&self, grant: &Grant, term: Duration, work: &Work) -> Result<bool, Error> {
        self.with_jobs(|state| state.jobs.renew(grant, term, work))
    }

    async fn end(&self, grant: &Grant, ended: &Ended) -> Result<bool, Error> {
        self.with_jobs(|state| state.jobs.end(grant, ended))
    }

    async fn miss(&self, begin: &Begin) -> Result<(), Error> {
        self.with_jobs(|state| {
            state.jobs.known(&begin.job, begin.now);
            if !state.jobs.is_answered(begin) {
                state.jobs.note(begin, 1, Outcome::Missed);
            }
        })
    }

    async fn job_states(&self, now: UnixMs) -> Result<Vec<JobState>, Error> {
        self.with_jobs(|state| state.jobs.states(now))
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, Error> {
        self.with_jobs(|state| state.jobs.query(query))
    }

    async fn pause(&self, job: &str, until: Option<UnixMs>) -> Result<bool, Error> {
        self.with_jobs(|state| {
            let known = state.jobs.by_name.get_mut(job);
            known.map(|known| known.paused_until = until).is_some()
        })
    }

    async fn unlock(&self, job: &str, now: UnixMs) -> Result<Option<Held>, Error> {
        self.with_jobs(|state| state.jobs.unlock(job, now))
    }

    async fn trim_runs(&self, before: UnixMs, keep: usize, limit: usize) -> Result<usize, Error> {
        self.with_jobs(|state| state.trim_runs(before, keep, limit))
    }
}
