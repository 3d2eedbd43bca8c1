//! What a store promises about scheduled jobs: each tick once, one run of a job at a time, and what came of it.
//!
//! Must not know what a job does or when it is due. Who asks brings the names, the ticks and the words.
//!
//! # Promises
//!
//! - A tick of a job is answered by one run, whichever relay asks first; over crashes, restarts and clocks that step.
//! - One lease for each job. Whoever takes it has a fence that is higher than every one before; who holds a lower
//!   one renews nothing and ends nothing.
//! - A lease ends by the clock of the store, never by that of who asks. A store that one process has for itself
//!   keeps leases in memory, and a run that outlived its process is a crashed one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::{Overlap, UnixMs};
use crate::store::Error;

/// Names a run for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId {
    /// Whose run it is.
    pub job: Arc<str>,
    /// When it was due; for a run by hand, when somebody asked for it.
    pub tick: UnixMs,
    /// 1, and one more for each time that the run before was left unfinished.
    pub attempt: u32,
}

/// Why there is a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// It was due.
    Schedule,
    /// Somebody asked for it.
    Hand,
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It runs, or ran when its process ended.
    Running,
    /// It waits for the one before.
    Queued,
    /// It did all there was to do.
    Done,
    /// It could not, and has given up.
    Failed,
    /// It took too long.
    TimedOut,
    /// It panicked.
    Panicked,
    /// It was told to stop: a relay that goes, or somebody who asked for it.
    Stopped,
    /// Its process went away.
    Crashed,
    /// Somebody else has the lease, since it was not renewed in time or was broken.
    LeaseLost,
    /// It was due while another one ran.
    Skipped,
    /// It was due while the job was paused.
    Paused,
    /// It was due while nobody was there, and is not made up for.
    Missed,
}

impl Outcome {
    /// Every one of them.
    pub const ALL: [Self; 12] = [
        Self::Running,
        Self::Queued,
        Self::Done,
        Self::Failed,
        Self::TimedOut,
        Self::Panicked,
        Self::Stopped,
        Self::Crashed,
        Self::LeaseLost,
        Self::Skipped,
        Self::Paused,
        Self::Missed,
    ];

    /// The word for it, as stores write it down and people read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Queued => "queued",
            Self::Done => "ok",
            Self::Failed => "failed",
            Self::TimedOut => "timeout",
            Self::Panicked => "panicked",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::LeaseLost => "lease-lost",
            Self::Skipped => "skipped-overlap",
            Self::Paused => "paused",
            Self::Missed => "missed",
        }
    }

    /// The outcome of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }

    /// Whether the job's work was begun and has ended, well or not.
    #[must_use]
    pub const fn is_over(self) -> bool {
        match self {
            Self::Done
            | Self::Failed
            | Self::TimedOut
            | Self::Panicked
            | Self::Stopped
            | Self::Crashed
            | Self::LeaseLost => true,
            Self::Running | Self::Queued | Self::Skipped | Self::Paused | Self::Missed => false,
        }
    }

    /// Whether it counts as one more failure in a row. A run that was told to stop is none.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Failed | Self::TimedOut | Self::Panicked | Self::Crashed | Self::LeaseLost => true,
            Self::Done
            | Self::Stopped
            | Self::Running
            | Self::Queued
            | Self::Skipped
            | Self::Paused
            | Self::Missed => false,
        }
    }

    /// Whether work was left that somebody else should do at once, without waiting for the next tick.
    #[must_use]
    pub const fn is_unfinished(self) -> bool {
        matches!(self, Self::Stopped | Self::Crashed | Self::LeaseLost)
    }
}

/// What a run has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    /// Things that it removed or, for one that only looks, found.
    pub affected: u64,
    /// The same by kind, and what else is worth a number; at most 16, each name at most 32 bytes.
    pub counts: Vec<(Arc<str>, u64)>,
    /// Since when the oldest of them was due.
    pub oldest: Option<UnixMs>,
    /// Times that a step failed and was tried again.
    pub retries: u32,
}

/// A run, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// Why it is there.
    pub trigger: Trigger,
    /// It answers every tick later than this one, up to its own. Ranges of runs of the schedule never overlap, but for
    /// those that [`AHEAD`] is about; another attempt at a tick has its range again.
    pub after: UnixMs,
    /// Who runs it: host and process.
    pub holder: Arc<str>,
    /// When it began, or was noted.
    pub began_at: UnixMs,
    /// When it ended; nothing while it runs or waits.
    pub ended_at: Option<UnixMs>,
    /// What became of it.
    pub outcome: Outcome,
    /// What it has done; of a run that runs, as of the last renewal.
    pub work: Work,
    /// Why it failed, in words without anybody's name; at most 512 bytes.
    pub error: Option<Arc<str>>,
}

/// A tick that somebody wants to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// Whose tick.
    pub job: Arc<str>,
    /// When it was due.
    pub tick: UnixMs,
    /// The run answers every tick later than this one, too. Not later than `tick`. Where another run of the schedule
    /// answered a tick between the two (who asks was away and does not know), it is raised to the last such tick.
    pub after: UnixMs,
    /// Why.
    pub trigger: Trigger,
    /// Who asks.
    pub holder: Arc<str>,
    /// How long the lease is good without a renewal.
    pub term: Duration,
    /// What happens while another one runs. A run by hand is refused, whatever this says.
    pub overlap: Overlap,
    /// Now, on the clock of who asks.
    pub now: UnixMs,
}

/// The right to run a job for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The run.
    pub run: RunId,
    /// Higher than every one before it of this job.
    pub fence: u64,
}

/// Who has a job's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The run.
    pub run: RunId,
    /// Who.
    pub holder: Arc<str>,
    /// Its fence.
    pub fence: u64,
    /// Since when.
    pub since: UnixMs,
    /// For how long it is good without a renewal, from the moment of the answer; zero when it is over.
    pub remaining: Duration,
}

/// What became of a wish to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The lease is taken; run it.
    Granted(Grant),
    /// Somebody has answered this tick.
    Answered,
    /// Another run has the lease. A tick of a schedule is noted as skipped; a wish by hand is not noted.
    Held(Held),
    /// Another run has the lease, and this one is noted as the next.
    Queued,
    /// The job is paused. A tick of a schedule is noted; a wish by hand is granted instead.
    Paused,
}

/// What was found of runs that somebody left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenOver {
    /// Runs that were `running` and whose lease was over: they are crashed now.
    pub crashed: Vec<RunId>,
    /// The run to do now, if there is one.
    pub grant: Option<Grant>,
}

/// What is known of a job as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobState {
    /// Which job.
    pub job: Arc<str>,
    /// When the store first heard of it.
    pub since: UnixMs,
    /// Until when it is paused; `None` when it is not, or the time is over. [`FOREVER`] without an end.
    pub paused_until: Option<UnixMs>,
    /// Who has the lease, if somebody does.
    pub held: Option<Held>,
    /// The last tick of the schedule that was answered, in whatever way; of those at most [`AHEAD`] ahead of the clock.
    pub last_tick: Option<UnixMs>,
    /// When a run last ended well.
    pub last_success: Option<UnixMs>,
    /// Runs since then that did not.
    pub failures: u32,
    /// The last run that began, whatever became of it; ticks that were only noted are not runs.
    pub last_run: Option<Run>,
}

/// Which runs are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunQuery {
    /// Of this job alone.
    pub job: Option<Arc<str>>,
    /// With this outcome alone.
    pub outcome: Option<Outcome>,
    /// That began at this time or later.
    pub since: UnixMs,
    /// At most so many.
    pub limit: usize,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What became of it: one that [`Outcome::is_over`].
    pub outcome: Outcome,
    /// When, on the clock of who ran it.
    pub at: UnixMs,
    /// What it did.
    pub work: Work,
    /// Why it failed.
    pub error: Option<Arc<str>>,
}

/// Paused without an end: the end of the year 9999.
pub const FOREVER: UnixMs = UnixMs(253_402_300_799_000);

/// How far ahead of the clock a remembered tick may lie and still answer those before it. One that lies further
/// ahead was noted by a clock that was wrong, and answers only itself.
pub const AHEAD: Duration = Duration::from_secs(24 * 3600);

/// The last tick that is no work of a clock that was wrong.
pub(super) fn horizon(now: UnixMs) -> UnixMs {
    let ahead = u64::try_from(AHEAD.as_millis()).unwrap_or(u64::MAX);
    UnixMs(now.0.saturating_add(ahead))
}

/// How often a run that was left unfinished is begun again before the job waits for its next tick.
pub const ATTEMPTS: u32 = 3;

/// Who this process is: host, process and a mark that no other process has, as in `relay-2:4711/e829feab`.
#[must_use]
pub fn holder() -> Arc<str> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "unnamed",
        name => name,
    };
    let (process, mark) = (std::process::id(), rand::random::<u32>());
    format!("{host}:{process}/{mark:08x}").into()
}

/// Scheduled jobs.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Makes jobs known that are not yet. Idempotent.
    async fn introduce(&self, jobs: &[Arc<str>], now: UnixMs) -> Result<(), Error>;

    /// Answers a tick, atomically: at most one caller is granted it, or notes it.
    ///
    /// `Answered` when there is a run with this very tick. And for a tick of the schedule, when the first run of the
    /// schedule with a later tick is not more than [`AHEAD`] of `now`, and either answers this one too (`after < tick`) or is
    /// the first that is remembered at all: what was before it has been forgotten, not left out.
    ///
    /// What is granted or noted has its `after` raised to the tick of the run of the schedule before it, if that is later.
    /// A run whose lease is over is marked as crashed on the way. A job that was never introduced is.
    ///
    /// After [`Error::Unavailable`] nobody knows whether the lease was taken. Asked again, by this or by
    /// [`Self::take_over`], a store may grant to the same process what it took; if not, the lease is over after its
    /// term, and the run is crashed and made up for.
    async fn begin(&self, begin: &Begin) -> Result<Begun, Error>;

    /// Looks for what was left of a job, atomically: marks runs as crashed whose lease is over, and when nobody has
    /// the lease and the job is not paused, takes it for the run that is queued, or else makes up for the last
    /// run of the schedule (by tick, then attempt, of those that are over and at most [`AHEAD`] of `now`) if that
    /// [`is unfinished`](Outcome::is_unfinished): the same tick and range, one attempt more, up to [`ATTEMPTS`].
    async fn take_over(
        &self,
        job: &str,
        holder: &Arc<str>,
        term: Duration,
        now: UnixMs,
    ) -> Result<TakenOver, Error>;

    /// Extends the lease and notes what was done so far. `false` when somebody else has it, or nobody: stop.
    async fn renew(&self, grant: &Grant, term: Duration, work: &Work) -> Result<bool, Error>;

    /// Ends a run and gives the lease back. `false`, and nothing changed, when the lease was lost before.
    /// Again after [`Error::Unavailable`] it answers as if it were the first time.
    async fn end(&self, grant: &Grant, ended: &Ended) -> Result<bool, Error>;

    /// Notes that ticks were missed and are not made up for: those after `begin.after`, up to `begin.tick`.
    /// Nothing when that tick is answered; `after` is raised as by [`JobStore::begin`].
    async fn miss(&self, begin: &Begin) -> Result<(), Error>;

    /// What is known of all jobs, in the order of their names.
    async fn job_states(&self, now: UnixMs) -> Result<Vec<JobState>, Error>;

    /// Runs, the one that began last first.
    async fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, Error>;

    /// Pauses a job until a time, or resumes it. A run that runs goes on. `false` for a job that nobody knows.
    async fn pause(&self, job: &str, until: Option<UnixMs>) -> Result<bool, Error>;

    /// Breaks a job's lease, whoever has it: its run is lost-lease. What was broken, if there was a lease.
    async fn unlock(&self, job: &str, now: UnixMs) -> Result<Option<Held>, Error>;

    /// Forgets runs that began before a time, and those beyond the newest `keep` of their job; at most `limit`, the
    /// oldest first. Never one that runs or waits, and of every job the newest run of the schedule stays. How many.
    async fn trim_runs(&self, before: UnixMs, keep: usize, limit: usize) -> Result<usize, Error>;
}
