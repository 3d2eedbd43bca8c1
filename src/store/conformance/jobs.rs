//! Facts about ticks, leases and runs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{NOW, Subject};
use crate::model::UnixMs;
use crate::store::{
    AHEAD, Begin, Begun, Ended, FOREVER, Grant, Held, JobState, Outcome, Overlap, Run, RunId, RunQuery,
    Store, TakenOver, Trigger, Work,
};

const JOB: &str = "expire-mail";
const OTHER: &str = "sweep-departed";
/// A lease that does not end by itself.
const LONG: Duration = Duration::from_secs(3600);
/// A lease that is over soon.
const SHORT: Duration = Duration::from_millis(200);

pub(crate) fn tick(number: u64) -> UnixMs {
    UnixMs(NOW.0 + number * 60_000)
}

fn id(number: u64, attempt: u32) -> RunId {
    RunId {
        job: JOB.into(),
        tick: tick(number),
        attempt,
    }
}

/// A tick of the schedule, asked for when it is due.
fn due(number: u64) -> Begin {
    Begin {
        job: JOB.into(),
        tick: tick(number),
        after: tick(number - 1),
        trigger: Trigger::Schedule,
        holder: "one:1".into(),
        term: LONG,
        overlap: Overlap::Skip,
        now: tick(number),
    }
}

fn by_hand(number: u64) -> Begin {
    Begin {
        after: tick(number),
        trigger: Trigger::Hand,
        holder: "two:2".into(),
        ..due(number)
    }
}

fn ended(outcome: Outcome, number: u64) -> Ended {
    Ended {
        outcome,
        at: UnixMs(tick(number).0 + 5),
        work: Work::default(),
        error: None,
    }
}

async fn granted(store: &dyn Store, begin: &Begin) -> Grant {
    match store.begin(begin).await.unwrap() {
        Begun::Granted(grant) => grant,
        other => panic!("{other:?}"),
    }
}

async fn held(store: &dyn Store, begin: &Begin) -> Held {
    match store.begin(begin).await.unwrap() {
        Begun::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

async fn end(store: &dyn Store, grant: &Grant, outcome: Outcome, number: u64) {
    assert!(store.end(grant, &ended(outcome, number)).await.unwrap());
}

async fn take_over(store: &dyn Store, now: UnixMs) -> TakenOver {
    store.take_over(JOB, &"two:2".into(), LONG, now).await.unwrap()
}

/// Asks until what ran is found crashed.
async fn crashed(store: &dyn Store, job: &str, now: UnixMs) -> TakenOver {
    let found = async {
        loop {
            let taken = store.take_over(job, &"two:2".into(), LONG, now).await.unwrap();
            if !taken.crashed.is_empty() {
                return taken;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found)
        .await
        .expect("the lease ends")
}

async fn list(store: &dyn Store, job: Option<&str>) -> Vec<Run> {
    let query = RunQuery {
        job: job.map(Arc::from),
        outcome: None,
        since: UnixMs(0),
        limit: 100,
    };
    store.runs(&query).await.unwrap()
}

/// Tick, attempt and outcome of every run, the newest first.
async fn outcomes(store: &dyn Store) -> Vec<(u64, u32, Outcome)> {
    let number = |at: UnixMs| (at.0 - NOW.0) / 60_000;
    let runs = list(store, None).await.into_iter();
    runs.map(|run| (number(run.id.tick), run.id.attempt, run.outcome))
        .collect()
}

async fn state(store: &dyn Store, now: UnixMs) -> JobState {
    let mut states = store.job_states(now).await.unwrap();
    assert_eq!(states.len(), 1, "{states:?}");
    states.remove(0)
}

/// A run as it was begun by [`due`], and ended by [`ended`] at the same tick.
fn run(number: u64, outcome: Outcome) -> Run {
    Run {
        id: id(number, 1),
        trigger: Trigger::Schedule,
        after: tick(number - 1),
        holder: "one:1".into(),
        began_at: tick(number),
        ended_at: match outcome {
            Outcome::Running | Outcome::Queued => None,
            Outcome::Skipped | Outcome::Paused | Outcome::Missed => Some(tick(number)),
            _over => Some(UnixMs(tick(number).0 + 5)),
        },
        outcome,
        work: Work::default(),
        error: None,
    }
}

pub(crate) async fn a_tick_is_answered_once_whoever_asks(subject: &mut dyn Subject) {
    let store = subject.store();
    for number in 1..4 {
        let asking = (0..8).map(|relay| async move {
            let begin = Begin {
                holder: format!("relay:{relay}").into(),
                ..due(number)
            };
            store.begin(&begin).await.unwrap()
        });
        let mut grants = Vec::new();
        for begun in join_all(asking).await {
            match begun {
                Begun::Granted(grant) => grants.push(grant),
                other => assert_eq!(other, Begun::Answered),
            }
        }
        let [grant] = &grants[..] else {
            panic!("{grants:?}");
        };
        assert_eq!((&grant.run, grant.fence), (&id(number, 1), number));
        end(store, grant, Outcome::Done, number).await;
        assert_eq!(store.begin(&due(number)).await.unwrap(), Begun::Answered);
    }
}

pub(crate) async fn a_run_answers_the_ticks_that_it_covers(subject: &mut dyn Subject) {
    let store = subject.store();
    let all = Begin {
        after: tick(1),
        ..due(5)
    };
    let grant = granted(store, &all).await;
    end(store, &grant, Outcome::Done, 5).await;
    for number in 2..=5 {
        let late = Begin {
            now: tick(6),
            ..due(number)
        };
        assert_eq!(store.begin(&late).await.unwrap(), Begun::Answered, "{number}");
    }
    // It does not answer what was before it, nor what somebody asks for by hand.
    for begin in [due(1), by_hand(3), due(6)] {
        let grant = granted(store, &begin).await;
        end(store, &grant, Outcome::Done, 6).await;
    }
}

pub(crate) async fn a_tick_far_ahead_answers_only_itself(subject: &mut dyn Subject) {
    let store = subject.store();
    let far = UnixMs(tick(0).0 + 2 * AHEAD.as_millis() as u64);
    let wrong = Begin {
        tick: far,
        after: tick(0),
        now: far,
        ..due(1)
    };
    let grant = granted(store, &wrong).await;
    end(store, &grant, Outcome::Done, 1).await;
    let grant = granted(store, &due(1)).await;
    end(store, &grant, Outcome::Done, 1).await;
    assert_eq!(store.begin(&wrong).await.unwrap(), Begun::Answered);
    // Once it is near, it does what it says.
    let near = Begin {
        now: UnixMs(far.0 - AHEAD.as_millis() as u64),
        ..due(2)
    };
    assert_eq!(store.begin(&near).await.unwrap(), Begun::Answered);
    let not_near = Begin {
        now: UnixMs(near.now.0 - 1),
        ..near
    };
    granted(store, &not_near).await;
}

pub(crate) async fn while_one_runs_ticks_are_skipped_or_one_waits(subject: &mut dyn Subject) {
    let store = subject.store();
    let first = granted(store, &due(1)).await;
    let mut who = held(store, &due(2)).await;
    assert!(who.remaining > LONG / 2 && who.remaining <= LONG, "{who:?}");
    who.remaining = LONG;
    let expected = Held {
        run: id(1, 1),
        holder: "one:1".into(),
        fence: 1,
        since: tick(1),
        remaining: LONG,
    };
    assert_eq!(who, expected);
    let waiting = |number| Begin {
        overlap: Overlap::QueueOne,
        ..due(number)
    };
    assert_eq!(store.begin(&waiting(3)).await.unwrap(), Begun::Queued);
    assert_eq!(held(store, &waiting(4)).await.run, id(1, 1));
    assert_eq!(store.begin(&waiting(3)).await.unwrap(), Begun::Answered);
    assert_eq!(take_over(store, tick(4)).await, TakenOver::default());
    end(store, &first, Outcome::Done, 1).await;
    let taken = take_over(store, tick(4)).await;
    let next = Grant {
        run: id(3, 1),
        fence: 2,
    };
    assert_eq!(
        taken,
        TakenOver {
            crashed: vec![],
            grant: Some(next.clone())
        }
    );
    assert_eq!(take_over(store, tick(4)).await, TakenOver::default());
    end(store, &next, Outcome::Done, 4).await;
    let all = [
        (4, 1, Outcome::Skipped),
        (3, 1, Outcome::Done),
        (2, 1, Outcome::Skipped),
        (1, 1, Outcome::Done),
    ];
    assert_eq!(outcomes(store).await, all);
}

pub(crate) async fn a_lease_that_is_over_leaves_a_crashed_run(subject: &mut dyn Subject) {
    let store = subject.store();
    let short = Begin {
        term: SHORT,
        ..due(1)
    };
    let lost = granted(store, &short).await;
    let taken = crashed(store, JOB, tick(2)).await;
    let again = Grant {
        run: id(1, 2),
        fence: 2,
    };
    let expected = TakenOver {
        crashed: vec![id(1, 1)],
        grant: Some(again.clone()),
    };
    assert_eq!(taken, expected);
    assert!(!store.renew(&lost, LONG, &Work::default()).await.unwrap());
    assert!(!store.end(&lost, &ended(Outcome::Done, 1)).await.unwrap());
    end(store, &again, Outcome::Done, 2).await;
    // A lease that nobody looked at ends no later, for who asks for the next tick.
    let over = Begin {
        term: Duration::ZERO,
        ..due(3)
    };
    granted(store, &over).await;
    assert!(!store.renew(&again, LONG, &Work::default()).await.unwrap());
    granted(store, &due(4)).await;
    let all = [
        (4, 1, Outcome::Running),
        (3, 1, Outcome::Crashed),
        (1, 2, Outcome::Done),
        (1, 1, Outcome::Crashed),
    ];
    assert_eq!(outcomes(store).await, all);
}

pub(crate) async fn a_renewed_lease_goes_on(subject: &mut dyn Subject) {
    let store = subject.store();
    let short = Begin {
        term: SHORT,
        ..due(1)
    };
    let grant = granted(store, &short).await;
    let work = Work {
        affected: 3,
        counts: vec![("envelopes".into(), 2), ("gaps".into(), u64::MAX)],
        oldest: Some(NOW),
        retries: 1,
    };
    assert!(store.renew(&grant, LONG, &work).await.unwrap());
    let who = held(store, &due(2)).await;
    assert!(who.remaining > SHORT, "{who:?}");
    let running = Run {
        work: work.clone(),
        ..run(1, Outcome::Running)
    };
    assert_eq!(list(store, None).await[1], running);
    // One that is over cannot be renewed, but its run may still end as long as nobody has taken over.
    assert!(store.renew(&grant, Duration::ZERO, &work).await.unwrap());
    assert!(!store.renew(&grant, LONG, &work).await.unwrap());
    assert_eq!(state(store, NOW).await.held.unwrap().remaining, Duration::ZERO);
    end(store, &grant, Outcome::Done, 1).await;
}

pub(crate) async fn what_was_left_is_made_up_for_three_times_at_most(subject: &mut dyn Subject) {
    let store = subject.store();
    let mut grant = granted(store, &due(1)).await;
    for attempt in 2..=3 {
        end(store, &grant, Outcome::Stopped, 1).await;
        grant = take_over(store, tick(1)).await.grant.unwrap();
        assert_eq!(grant.run, id(1, attempt));
    }
    end(store, &grant, Outcome::Stopped, 1).await;
    assert_eq!(take_over(store, tick(1)).await, TakenOver::default());
    // What has failed waits for its next tick, and so does what somebody wanted by hand.
    let grant = granted(store, &due(2)).await;
    end(store, &grant, Outcome::Failed, 2).await;
    assert_eq!(take_over(store, tick(2)).await, TakenOver::default());
    let over = Begin {
        term: Duration::ZERO,
        ..by_hand(3)
    };
    granted(store, &over).await;
    let crashed = TakenOver {
        crashed: vec![id(3, 1)],
        grant: None,
    };
    assert_eq!(take_over(store, tick(3)).await, crashed);
    let unknown = store.take_over(OTHER, &"two:2".into(), LONG, NOW).await.unwrap();
    assert_eq!(unknown, TakenOver::default());
}

pub(crate) async fn a_lower_fence_renews_and_ends_nothing(subject: &mut dyn Subject) {
    let store = subject.store();
    let over = Begin {
        term: Duration::ZERO,
        ..due(1)
    };
    let lower = granted(store, &over).await;
    let higher = granted(store, &due(2)).await;
    assert!(higher.fence > lower.fence);
    assert!(!store.renew(&lower, LONG, &Work::default()).await.unwrap());
    assert!(!store.end(&lower, &ended(Outcome::Done, 1)).await.unwrap());
    assert!(store.renew(&higher, LONG, &Work::default()).await.unwrap());
    let how = Ended {
        error: Some("the disk is full".into()),
        ..ended(Outcome::Failed, 2)
    };
    assert!(store.end(&higher, &how).await.unwrap());
    // The same end again is the same; another one comes too late.
    assert!(store.end(&higher, &how).await.unwrap());
    assert!(!store.end(&higher, &ended(Outcome::Done, 2)).await.unwrap());
    let failed = Run {
        error: how.error,
        ..run(2, Outcome::Failed)
    };
    let crashed = Run {
        ended_at: Some(tick(2)),
        ..run(1, Outcome::Crashed)
    };
    assert_eq!(list(store, None).await, [failed, crashed]);
    assert_eq!(state(store, NOW).await.failures, 2);
}

pub(crate) async fn a_paused_job_notes_its_ticks(subject: &mut dyn Subject) {
    let store = subject.store();
    assert!(!store.pause(JOB, Some(FOREVER)).await.unwrap());
    store.introduce(&[JOB.into()], NOW).await.unwrap();
    let grant = granted(store, &due(1)).await;
    assert!(store.pause(JOB, Some(FOREVER)).await.unwrap());
    // What runs goes on; what it leaves is not made up for.
    assert!(store.renew(&grant, LONG, &Work::default()).await.unwrap());
    end(store, &grant, Outcome::Stopped, 1).await;
    assert_eq!(take_over(store, tick(1)).await, TakenOver::default());
    assert_eq!(store.begin(&due(2)).await.unwrap(), Begun::Paused);
    assert_eq!(store.begin(&due(2)).await.unwrap(), Begun::Answered);
    let grant = granted(store, &by_hand(3)).await;
    end(store, &grant, Outcome::Done, 3).await;
    assert_eq!(state(store, tick(3)).await.paused_until, Some(FOREVER));
    assert!(store.pause(JOB, None).await.unwrap());
    assert_eq!(state(store, tick(3)).await.paused_until, None);
    let grant = granted(store, &due(4)).await;
    end(store, &grant, Outcome::Done, 4).await;
    // Until a time: then it goes on by itself.
    assert!(store.pause(JOB, Some(tick(6))).await.unwrap());
    assert_eq!(store.begin(&due(5)).await.unwrap(), Begun::Paused);
    granted(store, &due(6)).await;
    assert_eq!(state(store, tick(6)).await.paused_until, None);
}

pub(crate) async fn by_hand_is_refused_while_it_runs_and_never_noted(subject: &mut dyn Subject) {
    let store = subject.store();
    let grant = granted(store, &due(1)).await;
    let wish = Begin {
        overlap: Overlap::QueueOne,
        ..by_hand(2)
    };
    assert_eq!(held(store, &wish).await.run, id(1, 1));
    assert_eq!(outcomes(store).await, [(1, 1, Outcome::Running)]);
    end(store, &grant, Outcome::Done, 1).await;
    let grant = granted(store, &wish).await;
    assert_eq!(held(store, &due(3)).await.holder, "two:2".into());
    end(store, &grant, Outcome::Done, 2).await;
    // The very same wish was answered, and one that a tick has answered as well.
    for begin in [&wish, &by_hand(1)] {
        assert_eq!(store.begin(begin).await.unwrap(), Begun::Answered);
    }
    let all = [
        (3, 1, Outcome::Skipped),
        (2, 1, Outcome::Done),
        (1, 1, Outcome::Done),
    ];
    assert_eq!(outcomes(store).await, all);
    let state = state(store, tick(3)).await;
    assert_eq!(state.last_tick, Some(tick(3)));
    let by_hand = Run {
        trigger: Trigger::Hand,
        after: tick(2),
        holder: "two:2".into(),
        ..run(2, Outcome::Done)
    };
    assert_eq!(state.last_run, Some(by_hand));
}

pub(crate) async fn unlock_breaks_the_lease_and_the_holder_learns_it(subject: &mut dyn Subject) {
    let store = subject.store();
    assert_eq!(store.unlock(JOB, NOW).await.unwrap(), None);
    let grant = granted(store, &due(1)).await;
    let broken = store.unlock(JOB, UnixMs(tick(1).0 + 5)).await.unwrap().unwrap();
    assert_eq!((&broken.run, broken.fence), (&grant.run, grant.fence));
    assert_eq!(store.unlock(JOB, tick(2)).await.unwrap(), None);
    assert!(!store.renew(&grant, LONG, &Work::default()).await.unwrap());
    assert!(!store.end(&grant, &ended(Outcome::Done, 1)).await.unwrap());
    assert_eq!(list(store, None).await, [run(1, Outcome::LeaseLost)]);
    assert_eq!(state(store, NOW).await.failures, 1);
    let again = take_over(store, tick(2)).await.grant.unwrap();
    assert_eq!((again.run, again.fence), (id(1, 2), 2));
}

pub(crate) async fn missed_ticks_are_noted_unless_they_are_answered(subject: &mut dyn Subject) {
    let store = subject.store();
    let all = Begin {
        after: tick(0),
        ..due(3)
    };
    store.miss(&all).await.unwrap();
    store.miss(&all).await.unwrap();
    store.miss(&due(2)).await.unwrap();
    let missed = Run {
        after: tick(0),
        ..run(3, Outcome::Missed)
    };
    assert_eq!(list(store, None).await, [missed]);
    assert_eq!(store.begin(&due(2)).await.unwrap(), Begun::Answered);
    assert_eq!(store.begin(&due(3)).await.unwrap(), Begun::Answered);
    // It is none that is made up for.
    assert_eq!(take_over(store, tick(3)).await, TakenOver::default());
    assert_eq!(state(store, tick(3)).await.last_tick, Some(tick(3)));
}

pub(crate) async fn runs_are_listed_and_trimmed_and_the_newest_stays(subject: &mut dyn Subject) {
    let store = subject.store();
    for number in 1..=6 {
        let grant = granted(store, &due(number)).await;
        let outcome = if number % 2 == 0 {
            Outcome::Failed
        } else {
            Outcome::Done
        };
        end(store, &grant, outcome, number).await;
    }
    let other = Begin {
        job: OTHER.into(),
        ..due(1)
    };
    granted(store, &other).await;
    let asked = async |outcome, since, limit| {
        let query = RunQuery {
            job: Some(JOB.into()),
            outcome,
            since,
            limit,
        };
        let runs = store.runs(&query).await.unwrap();
        runs.into_iter()
            .map(|run| (run.id.tick.0 - NOW.0) / 60_000)
            .collect::<Vec<_>>()
    };
    assert_eq!(asked(None, NOW, 100).await, [6, 5, 4, 3, 2, 1]);
    assert_eq!(asked(Some(Outcome::Failed), NOW, 100).await, [6, 4, 2]);
    assert_eq!(asked(None, tick(4), 2).await, [6, 5]);
    assert_eq!(asked(None, tick(7), 100).await, [0; 0]);
    assert_eq!(asked(None, NOW, 0).await, [0; 0]);
    // Of two that began at once, the one whose name is later comes first.
    let both = list(store, None).await;
    assert_eq!((both.len(), &both[5].id.job), (7, &OTHER.into()));

    assert_eq!(store.trim_runs(tick(3), 100, 1).await.unwrap(), 1);
    assert_eq!(asked(None, NOW, 100).await, [6, 5, 4, 3, 2]);
    assert_eq!(store.trim_runs(tick(3), 100, 100).await.unwrap(), 1);
    assert_eq!(store.trim_runs(NOW, 3, 100).await.unwrap(), 1);
    assert_eq!(asked(None, NOW, 100).await, [6, 5, 4]);
    assert_eq!(store.trim_runs(NOW, 3, 100).await.unwrap(), 0);
    assert_eq!(store.trim_runs(FOREVER, 0, 0).await.unwrap(), 0);
    // The last tick is known for ever, and what runs is not forgotten.
    assert_eq!(store.trim_runs(FOREVER, 0, 100).await.unwrap(), 2);
    assert_eq!(asked(None, NOW, 100).await, [6]);
    assert_eq!(list(store, Some(OTHER)).await.len(), 1);
    assert_eq!(store.begin(&due(6)).await.unwrap(), Begun::Answered);
}

pub(crate) async fn states_say_who_runs_since_when_and_what_came_of_it(subject: &mut dyn Subject) {
    let store = subject.store();
    store.introduce(&[OTHER.into(), JOB.into()], NOW).await.unwrap();
    store.introduce(&[JOB.into()], tick(1)).await.unwrap();
    let fresh = |job: &str| JobState {
        job: job.into(),
        since: NOW,
        paused_until: None,
        held: None,
        last_tick: None,
        last_success: None,
        failures: 0,
        last_run: None,
    };
    let states = store.job_states(NOW).await.unwrap();
    assert_eq!(states, [fresh(JOB), fresh(OTHER)]);
    let grant = granted(store, &due(1)).await;
    let mut state = store.job_states(NOW).await.unwrap().remove(0);
    let who = state.held.take().unwrap();
    assert_eq!((who.run, &*who.holder, who.since), (id(1, 1), "one:1", tick(1)));
    let running = JobState {
        last_tick: Some(tick(1)),
        last_run: Some(run(1, Outcome::Running)),
        ..fresh(JOB)
    };
    assert_eq!(state, running);
    held(store, &due(2)).await;
    end(store, &grant, Outcome::Done, 2).await;
    for (number, outcome) in [
        (3, Outcome::Failed),
        (4, Outcome::Stopped),
        (5, Outcome::TimedOut),
    ] {
        let grant = granted(store, &due(number)).await;
        end(store, &grant, outcome, number).await;
    }
    let state = store.job_states(NOW).await.unwrap().remove(0);
    let failing = JobState {
        last_tick: Some(tick(5)),
        last_success: Some(UnixMs(tick(2).0 + 5)),
        failures: 2,
        last_run: Some(run(5, Outcome::TimedOut)),
        ..fresh(JOB)
    };
    assert_eq!(state, failing);
    let grant = granted(store, &due(6)).await;
    end(store, &grant, Outcome::Done, 6).await;
    let state = store.job_states(NOW).await.unwrap().remove(0);
    assert_eq!(state.failures, 0);
}

pub(crate) async fn runs_survive_a_crash(subject: &mut dyn Subject) {
    let store = subject.store();
    let grant = granted(store, &due(1)).await;
    let how = Ended {
        work: Work {
            affected: u64::MAX,
            counts: vec![("gaps".into(), 2), ("envelopes".into(), 1)],
            oldest: Some(NOW),
            retries: 7,
        },
        error: Some("broken".into()),
        ..ended(Outcome::Failed, 1)
    };
    assert!(store.end(&grant, &how).await.unwrap());
    store.miss(&due(2)).await.unwrap();
    store.pause(JOB, Some(tick(9))).await.unwrap();
    let other = Begin {
        job: OTHER.into(),
        term: SHORT,
        ..due(3)
    };
    let lost = granted(store, &other).await;
    let (runs, known) = (list(store, Some(JOB)).await, store.job_states(NOW).await.unwrap());
    subject.crash().await;

    let store = subject.store();
    assert_eq!(list(store, Some(JOB)).await, runs);
    assert_eq!(store.job_states(NOW).await.unwrap()[0], known[0]);
    let taken = crashed(store, OTHER, tick(3)).await;
    assert_eq!(taken.crashed, std::slice::from_ref(&lost.run));
    let again = taken.grant.unwrap();
    assert_eq!((again.run.tick, again.run.attempt), (tick(3), 2));
    assert!(again.fence > lost.fence);
    assert_eq!(store.begin(&due(1)).await.unwrap(), Begun::Answered);
}
