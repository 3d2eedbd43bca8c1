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

pub(super) const JOB: &str = "expire-mail";
pub(super) const OTHER: &str = "sweep-departed";
/// A lease that does not end by itself.
pub(super) const LONG: Duration = Duration::from_secs(3600);

pub(crate) fn tick(number: u64) -> UnixMs {
    UnixMs(NOW.0 + number * 60_000)
}

pub(super) fn id(number: u64, attempt: u32) -> RunId {
    RunId {
        job: JOB.into(),
        tick: tick(number),
        attempt,
    }
}

/// A tick of the schedule, asked for when it is due.
pub(super) fn due(number: u64) -> Begin {
    Begin {
        job: JOB.into(),
        tick: tick(number),
        after: UnixMs(tick(number).0 - 60_000),
        trigger: Trigger::Schedule,
        holder: "one:1".into(),
        term: LONG,
        overlap: Overlap::Skip,
        now: tick(number),
    }
}

pub(super) fn by_hand(number: u64) -> Begin {
    Begin {
        after: tick(number),
        trigger: Trigger::Hand,
        holder: "two:2".into(),
        ..due(number)
    }
}

pub(super) fn ended(outcome: Outcome, number: u64) -> Ended {
    Ended {
        outcome,
        at: UnixMs(tick(number).0 + 5),
        work: Work::default(),
        error: None,
    }
}

pub(super) async fn granted(store: &dyn Store, begin: &Begin) -> Grant {
    match store.begin(begin).await.unwrap() {
        Begun::Granted(grant) => grant,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn held(store: &dyn Store, begin: &Begin) -> Held {
    match store.begin(begin).await.unwrap() {
        Begun::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn end(store: &dyn Store, grant: &Grant, outcome: Outcome, number: u64) {
    assert!(store.end(grant, &ended(outcome, number)).await.unwrap());
}

pub(super) async fn take_over(store: &dyn Store, now: UnixMs) -> TakenOver {
    store.take_over(JOB, &"two:2".into(), LONG, now).await.unwrap()
}

pub(super) async fn list(store: &dyn Store, job: Option<&str>) -> Vec<Run> {
    let query = RunQuery {
        job: job.map(Arc::from),
        outcome: None,
        since: UnixMs(0),
        limit: 100,
    };
    store.runs(&query).await.unwrap()
}

/// Tick, attempt and outcome of every run, the newest first.
pub(super) async fn outcomes(store: &dyn Store) -> Vec<(u64, u32, Outcome)> {
    let number = |at: UnixMs| (at.0 - NOW.0) / 60_000;
    let runs = list(store, None).await.into_iter();
    runs.map(|run| (number(run.id.tick), run.id.attempt, run.outcome))
        .collect()
}

pub(super) async fn state(store: &dyn Store, now: UnixMs) -> JobState {
    let mut states = store.job_states(now).await.unwrap();
    assert_eq!(states.len(), 1, "{states:?}");
    states.remove(0)
}

/// A run as it was begun by [`due`], and ended by [`ended`] at the same tick.
pub(super) fn run(number: u64, outcome: Outcome) -> Run {
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
        after: tick(2),
        ..due(5)
    };
    for begin in [&due(1), &all] {
        let grant = granted(store, begin).await;
        end(store, &grant, Outcome::Done, 5).await;
    }
    for number in [3, 4, 5] {
        let late = Begin {
            now: tick(6),
            ..due(number)
        };
        assert_eq!(store.begin(&late).await.unwrap(), Begun::Answered, "{number}");
    }
    // What was before all that is remembered was forgotten, not left out.
    assert_eq!(store.begin(&due(1)).await.unwrap(), Begun::Answered);
    // It does not answer what somebody asks for by hand, nor what is later. Who was away asks for more than is left.
    let from_far_back = Begin {
        after: tick(0),
        ..due(8)
    };
    for begin in [by_hand(3), due(6), from_far_back] {
        let grant = granted(store, &begin).await;
        end(store, &grant, Outcome::Done, 6).await;
    }
}

pub(crate) async fn what_runs_answer_never_overlaps(subject: &mut dyn Subject) {
    let store = subject.store();
    let from_the_beginning = |number| Begin {
        after: UnixMs(0),
        ..due(number)
    };
    let grant = granted(store, &from_the_beginning(3)).await;
    held(store, &from_the_beginning(5)).await;
    end(store, &grant, Outcome::Done, 3).await;
    store.miss(&from_the_beginning(8)).await.unwrap();
    // A wish by hand answers nothing but itself, and is in nobody's way.
    let wish = Begin {
        tick: UnixMs(tick(9).0 + 1),
        ..by_hand(9)
    };
    let grant = granted(store, &wish).await;
    end(store, &grant, Outcome::Done, 9).await;
    granted(store, &from_the_beginning(10)).await;
    let runs = list(store, None).await;
    let of_schedule = runs.iter().filter(|run| run.trigger == Trigger::Schedule);
    let ranges: Vec<_> = of_schedule.map(|run| (run.after, run.id.tick)).collect();
    let expected = [
        (tick(8), tick(10)),
        (tick(5), tick(8)),
        (tick(3), tick(5)),
        (UnixMs(0), tick(3)),
    ];
    assert_eq!(ranges, expected);
}

pub(crate) async fn a_tick_far_ahead_answers_only_itself(subject: &mut dyn Subject) {
    let store = subject.store();
    let ahead = AHEAD.as_millis() as u64;
    let far = UnixMs(tick(0).0 + 2 * ahead);
    let wrong = Begin {
        tick: far,
        after: tick(0),
        now: far,
        ..due(1)
    };
    let grant = granted(store, &wrong).await;
    end(store, &grant, Outcome::Stopped, 1).await;
    assert_eq!(take_over(store, tick(1)).await, TakenOver::default());
    assert_eq!(state(store, tick(1)).await.last_tick, None);
    let grant = granted(store, &due(1)).await;
    end(store, &grant, Outcome::Stopped, 1).await;
    // It is not the last one for those whose clock is right.
    assert_eq!(state(store, tick(1)).await.last_tick, Some(tick(1)));
    let again = take_over(store, tick(1)).await.grant.unwrap();
    assert_eq!(again.run, id(1, 2));
    end(store, &again, Outcome::Done, 1).await;
    assert_eq!(store.begin(&wrong).await.unwrap(), Begun::Answered);
    assert_eq!(state(store, tick(1)).await.last_tick, Some(tick(1)));
    // Once it is near, it does what it says.
    let near = Begin {
        now: UnixMs(far.0 - ahead),
        ..due(2)
    };
    assert_eq!(store.begin(&near).await.unwrap(), Begun::Answered);
    assert_eq!(state(store, near.now).await.last_tick, Some(far));
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
