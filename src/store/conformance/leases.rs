//! Facts about leases: how they end, and what becomes of runs that somebody left.

use std::time::Duration;

use super::jobs::{
    JOB, LONG, OTHER, by_hand, due, end, ended, granted, held, id, list, outcomes, run, state, take_over,
    tick,
};
use super::{NOW, Subject};
use crate::model::UnixMs;
use crate::store::{Begin, Begun, Ended, Grant, Outcome, Run, Store, TakenOver, Work};

/// A lease that is over soon.
const SHORT: Duration = Duration::from_millis(200);

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
