//! Jobs on the disk answer as the model's do, whatever is asked, over crashes and while time passes.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::model::UnixMs;
use crate::store::conformance::embedded::OnDisk;
use crate::store::conformance::{NOW, Subject as _};
use crate::store::model::Model;
use crate::store::{
    Begin, Begun, ChoreStore as _, Ended, Error, Grant, JobStore as _, Litter, Outcome, Overlap, RunQuery,
    TakenOver, Trigger, Work,
};

const JOBS: [&str; 2] = ["expire-mail", "trim-history"];

#[derive(Debug, Clone)]
enum Verb {
    Begin {
        job: usize,
        tick: u64,
        width: u64,
        by_hand: bool,
        queue: bool,
    },
    TakeOver(usize),
    Renew(usize),
    End(usize, Outcome),
    Miss(usize, u64),
    Pause(usize, Option<u64>),
    Unlock(usize),
    Trim(u64, usize, usize),
    Wait(u64),
    Crash,
}

fn verb() -> impl Strategy<Value = Verb> {
    let job = || 0..JOBS.len();
    let is_over = |outcome: &Outcome| outcome.is_over();
    let over: Vec<_> = Outcome::ALL.into_iter().filter(is_over).collect();
    prop_oneof![
        6 => (job(), 0..20u64, 0..6u64, any::<bool>(), any::<bool>())
            .prop_map(|(job, tick, width, by_hand, queue)| Verb::Begin { job, tick, width, by_hand, queue }),
        3 => job().prop_map(Verb::TakeOver),
        2 => (0..9usize).prop_map(Verb::Renew),
        4 => (0..9usize, prop::sample::select(over)).prop_map(|(grant, outcome)| Verb::End(grant, outcome)),
        1 => (job(), 0..20u64).prop_map(|(job, tick)| Verb::Miss(job, tick)),
        1 => (job(), prop::option::of(0..40u64)).prop_map(|(job, until)| Verb::Pause(job, until)),
        1 => job().prop_map(Verb::Unlock),
        1 => (0..20u64, 0..5usize, 0..5usize).prop_map(|(before, keep, limit)| Verb::Trim(before, keep, limit)),
        2 => (0..60u64).prop_map(Verb::Wait),
        1 => Just(Verb::Crash),
    ]
}

struct Pair {
    model: Arc<Model>,
    disk: OnDisk,
    grants: Vec<Grant>,
    now: u64,
}

/// Asks both, and compares the answers.
macro_rules! same {
    ($pair:expr, $verb:ident($($argument:expr),*)) => {{
        let model = $pair.model.$verb($($argument),*).await.unwrap();
        let disk = $pair.disk.store.$verb($($argument),*).await.unwrap();
        assert_eq!(model, disk, stringify!($verb));
        model
    }};
}

const TERM: Duration = Duration::from_secs(30);

fn at(tick: u64) -> UnixMs {
    UnixMs(NOW.0 + tick)
}

impl Pair {
    fn wish(&mut self, job: usize, tick: u64, width: u64) -> Begin {
        self.now += 1;
        Begin {
            job: JOBS[job].into(),
            tick: at(tick),
            after: at(tick.saturating_sub(width)),
            trigger: Trigger::Schedule,
            holder: "relay:1".into(),
            term: TERM,
            overlap: Overlap::Skip,
            now: at(self.now),
        }
    }

    async fn step(&mut self, verb: Verb) {
        match verb {
            Verb::Begin {
                job,
                tick,
                width,
                by_hand,
                queue,
            } => {
                let mut wish = self.wish(job, tick, width);
                if by_hand {
                    wish.trigger = Trigger::Hand;
                }
                if queue {
                    wish.overlap = Overlap::QueueOne;
                }
                self.begin(&wish).await;
            }
            Verb::TakeOver(job) => {
                let wish = self.wish(job, 0, 0);
                let TakenOver { grant, .. } = same!(self, take_over(&wish.job, &wish.holder, TERM, wish.now));
                self.grants.extend(grant);
            }
            Verb::Renew(grant) => self.renew(grant).await,
            Verb::End(grant, outcome) => self.end(grant, outcome).await,
            Verb::Miss(job, tick) => {
                let wish = self.wish(job, tick, 3);
                same!(self, miss(&wish));
            }
            Verb::Pause(job, until) => {
                same!(self, pause(JOBS[job], until.map(at)));
            }
            Verb::Unlock(job) => {
                same!(self, unlock(JOBS[job], at(self.now)));
            }
            Verb::Trim(before, keep, limit) => {
                let before = at(before);
                same!(self, due(Litter::Runs { before, keep }));
                same!(self, trim_runs(before, keep, limit));
            }
            Verb::Wait(seconds) => tokio::time::advance(Duration::from_secs(seconds)).await,
            Verb::Crash => {
                self.model = self.model.reopen();
                self.disk.crash().await;
            }
        }
        self.compare().await;
    }

    async fn begin(&mut self, wish: &Begin) {
        if let Begun::Granted(grant) = same!(self, begin(wish)) {
            self.grants.push(grant);
        }
    }

    async fn renew(&self, grant: usize) {
        let work = Work {
            affected: self.now,
            counts: vec![("things".into(), self.now)],
            oldest: Some(NOW),
            retries: 1,
        };
        if let Some(grant) = self.grants.get(grant) {
            same!(self, renew(grant, TERM, &work));
        }
    }

    async fn end(&self, grant: usize, outcome: Outcome) {
        let ended = Ended {
            outcome,
            at: at(self.now),
            work: Work::default(),
            error: Some("it did not work".into()),
        };
        if let Some(grant) = self.grants.get(grant) {
            same!(self, end(grant, &ended));
        }
    }

    async fn compare(&self) {
        same!(self, job_states(at(self.now)));
        let all = RunQuery {
            job: None,
            outcome: None,
            since: UnixMs(0),
            limit: usize::MAX,
        };
        same!(self, runs(&all));
        let some = RunQuery {
            outcome: Some(Outcome::Skipped),
            limit: 2,
            ..all.clone()
        };
        same!(self, runs(&some));
        let some = RunQuery {
            job: Some(JOBS[0].into()),
            since: at(10),
            limit: 2,
            ..all
        };
        same!(self, runs(&some));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn jobs_on_the_disk_answer_as_the_models_do(verbs in prop::collection::vec(verb(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (model, disk) = (Model::new(), OnDisk::new());
            let mut pair = Pair { model, disk, grants: Vec::new(), now: 0 };
            for verb in verbs {
                pair.step(verb).await;
            }
        });
    }
}

#[tokio::test]
async fn a_lease_is_not_given_when_its_transaction_fails() {
    let disk = OnDisk::new();
    let store = &disk.store;
    let wish = Begin {
        job: JOBS[0].into(),
        tick: NOW,
        after: NOW,
        trigger: Trigger::Schedule,
        holder: "relay:1".into(),
        term: TERM,
        overlap: Overlap::Skip,
        now: NOW,
    };
    *store.shared.sabotage.lock() = Some(Error::Unavailable("a test".into()));
    assert!(store.begin(&wish).await.is_err());
    assert!(store.shared.leases.lock().of(JOBS[0]).is_none());
    let Begun::Granted(grant) = store.begin(&wish).await.unwrap() else {
        panic!("nobody has it")
    };
    let ended = Ended {
        outcome: Outcome::Done,
        at: NOW,
        work: Work::default(),
        error: None,
    };
    // And it is not taken back when that fails.
    *store.shared.sabotage.lock() = Some(Error::Unavailable("a test".into()));
    assert!(store.end(&grant, &ended).await.is_err());
    assert!(store.renew(&grant, TERM, &Work::default()).await.unwrap());
    assert!(store.end(&grant, &ended).await.unwrap());
    // The answer may have been lost.
    assert!(store.end(&grant, &ended).await.unwrap());
    assert!(!store.renew(&grant, TERM, &Work::default()).await.unwrap());
}
