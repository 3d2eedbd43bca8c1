//! Random sequences of what is asked about jobs: every store answers as the model does.
//!
//! Leases are good for an hour or over at once, so that no clock decides.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::embedded::OnDisk;
use super::in_memory::InMemory;
use super::jobs::tick;
use super::mongodb::OnServer;
use super::{NOW, Subject, alone};
use crate::model::UnixMs;
use crate::store::model::Model;
use crate::store::{
    Begin, Begun, Ended, Grant, Held, JobState, Litter, Outcome, Overlap, RunId, RunQuery, Trigger, Work,
};

const JOBS: [&str; 2] = ["expire-mail", "sweep-departed"];
const HOLDERS: [&str; 2] = ["one:1", "two:2"];
/// Ticks that a sequence can name.
const TICKS: u64 = 8;

#[derive(Debug, Clone)]
enum Verb {
    Introduce(usize),
    Begin(Asked),
    Miss(Asked),
    TakeOver {
        job: usize,
        is_over: bool,
        now: u64,
    },
    /// With one of the grants, old ones among them.
    Renew {
        grant: usize,
        is_over: bool,
        affected: u64,
    },
    End {
        grant: usize,
        outcome: Outcome,
        at: u64,
    },
    Pause {
        job: usize,
        until: Option<u64>,
    },
    Unlock {
        job: usize,
        now: u64,
    },
    Trim {
        before: u64,
        keep: usize,
        limit: usize,
    },
}

#[derive(Debug, Clone)]
struct Asked {
    job: usize,
    tick: u64,
    after: u64,
    now: u64,
    is_by_hand: bool,
    waits: bool,
    is_over: bool,
    holder: usize,
}

impl Asked {
    fn begin(&self) -> Begin {
        let trigger = match self.is_by_hand {
            true => Trigger::Hand,
            false => Trigger::Schedule,
        };
        let overlap = match self.waits {
            true => Overlap::QueueOne,
            false => Overlap::Skip,
        };
        Begin {
            job: JOBS[self.job].into(),
            tick: tick(self.tick),
            after: tick(self.after.min(self.tick)),
            trigger,
            holder: HOLDERS[self.holder].into(),
            term: term(self.is_over),
            overlap,
            now: tick(self.now),
        }
    }
}

fn term(is_over: bool) -> Duration {
    match is_over {
        true => Duration::ZERO,
        false => Duration::from_secs(3600),
    }
}

fn verb() -> impl Strategy<Value = Verb> {
    let job = || 0..JOBS.len();
    // One tick lies days ahead.
    let at = || prop_oneof![9 => 1..=TICKS, 1 => Just(5000)];
    let now = || 1..=TICKS;
    let over = || prop::bool::weighted(0.3);
    let outcome = prop_oneof![
        2 => Just(Outcome::Done),
        2 => Just(Outcome::Stopped),
        1 => Just(Outcome::Failed),
        1 => Just(Outcome::Panicked),
    ];
    let asked = || {
        let flags = (prop::bool::weighted(0.2), any::<bool>(), over());
        (job(), at(), 0..=TICKS, now(), flags, 0..HOLDERS.len()).prop_map(
            |(job, tick, after, now, (is_by_hand, waits, is_over), holder)| Asked {
                job,
                tick,
                after,
                now,
                is_by_hand,
                waits,
                is_over,
                holder,
            },
        )
    };
    prop_oneof![
        1 => job().prop_map(Verb::Introduce),
        8 => asked().prop_map(Verb::Begin),
        1 => asked().prop_map(Verb::Miss),
        4 => (job(), over(), now()).prop_map(|(job, is_over, now)| Verb::TakeOver { job, is_over, now }),
        2 => (0..4usize, over(), 0..9u64)
            .prop_map(|(grant, is_over, affected)| Verb::Renew { grant, is_over, affected }),
        5 => (0..4usize, outcome, now()).prop_map(|(grant, outcome, at)| Verb::End { grant, outcome, at }),
        1 => (job(), prop::option::of(now())).prop_map(|(job, until)| Verb::Pause { job, until }),
        1 => (job(), now()).prop_map(|(job, now)| Verb::Unlock { job, now }),
        1 => (now(), 0..6usize, 0..4usize)
            .prop_map(|(before, keep, limit)| Verb::Trim { before, keep, limit }),
    ]
}

/// The model and a store that are asked the same.
struct Pair<S> {
    model: InMemory,
    subject: S,
    /// What was granted, the last one first.
    grants: Vec<Grant>,
}

/// Asks both, and compares the answers.
macro_rules! same {
    ($pair:expr, $verb:ident($($argument:expr),*)) => {{
        let model = $pair.model.store().$verb($($argument),*).await.unwrap();
        let subject = $pair.subject.store().$verb($($argument),*).await.unwrap();
        let (model, subject) = (Still::still(model), Still::still(subject));
        assert_eq!(model, subject, stringify!($verb));
        model
    }};
}

/// An answer without what the time changes: of a lease, only whether it is over.
trait Still {
    fn still(self) -> Self;
}

impl Still for Held {
    fn still(mut self) -> Self {
        self.remaining = term(self.remaining.is_zero());
        self
    }
}

impl Still for Begun {
    fn still(self) -> Self {
        match self {
            Self::Held(held) => Self::Held(held.still()),
            same => same,
        }
    }
}

impl Still for JobState {
    fn still(mut self) -> Self {
        self.held = self.held.still();
        self
    }
}

impl<T: Still> Still for Option<T> {
    fn still(self) -> Self {
        self.map(Still::still)
    }
}

impl<T: Still> Still for Vec<T> {
    fn still(self) -> Self {
        self.into_iter().map(Still::still).collect()
    }
}

macro_rules! still {
    ($($kind:ty),+) => {
        $(impl Still for $kind {
            fn still(self) -> Self {
                self
            }
        })+
    };
}

still!(
    (),
    bool,
    usize,
    crate::store::TakenOver,
    crate::store::Run,
    crate::store::Due
);

impl<S: Subject> Pair<S> {
    async fn step(&mut self, verb: Verb) {
        match verb {
            Verb::Introduce(job) => same!(self, introduce(&[JOBS[job].into()], NOW)),
            Verb::Begin(asked) => {
                if let Begun::Granted(grant) = same!(self, begin(&asked.begin())) {
                    self.grants.insert(0, grant);
                }
            }
            Verb::Miss(asked) => same!(self, miss(&asked.begin())),
            Verb::TakeOver { job, is_over, now } => {
                let holder: Arc<str> = HOLDERS[0].into();
                let taken = same!(self, take_over(JOBS[job], &holder, term(is_over), tick(now)));
                if let Some(grant) = taken.grant {
                    self.grants.insert(0, grant);
                }
            }
            Verb::Renew {
                grant,
                is_over,
                affected,
            } => {
                let work = Work {
                    affected,
                    ..Work::default()
                };
                same!(self, renew(&self.grant(grant), term(is_over), &work));
            }
            Verb::End { grant, outcome, at } => {
                let ended = Ended {
                    outcome,
                    at: tick(at),
                    work: Work::default(),
                    error: None,
                };
                same!(self, end(&self.grant(grant), &ended));
            }
            Verb::Pause { job, until } => {
                same!(self, pause(JOBS[job], until.map(tick)));
            }
            Verb::Unlock { job, now } => {
                same!(self, unlock(JOBS[job], tick(now)));
            }
            Verb::Trim { before, keep, limit } => {
                let litter = Litter::Runs {
                    before: tick(before),
                    keep,
                };
                same!(self, due(litter));
                same!(self, trim_runs(tick(before), keep, limit));
            }
        }
    }

    /// One of the last grants, or one that nobody ever had.
    fn grant(&self, place: usize) -> Grant {
        let never = || Grant {
            run: RunId {
                job: JOBS[0].into(),
                tick: tick(1),
                attempt: 9,
            },
            fence: 1,
        };
        self.grants.get(place).cloned().unwrap_or_else(never)
    }

    async fn compare(&self) {
        let all = RunQuery {
            job: None,
            outcome: None,
            since: UnixMs(0),
            limit: 1000,
        };
        same!(self, runs(&all));
        same!(self, job_states(tick(4)));
    }
}

/// Asks a store and the model the same, and compares what they hold after each verb.
async fn compare<S: Subject>(subject: S, verbs: Vec<Verb>) {
    let mut pair = Pair {
        model: InMemory(Model::new()),
        subject,
        grants: Vec::new(),
    };
    for verb in verbs {
        pair.step(verb).await;
        pair.compare().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_on_the_disk_answers_as_the_model_does(verbs in prop::collection::vec(verb(), 1..60)) {
        alone(async { compare(OnDisk::new(), verbs).await });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_store_on_mongodb_answers_as_the_model_does(verbs in prop::collection::vec(verb(), 1..40)) {
        alone(async { compare(OnServer::new().await, verbs).await });
    }
}
