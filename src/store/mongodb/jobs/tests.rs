//! Facts about leases whose answers were lost.

use futures_util::future::join_all;

use super::*;
use crate::store::conformance::NOW;
use crate::store::conformance::mongodb::OnServer;
use crate::store::mongodb::Options;
use crate::store::{Outcome, Overlap, Trigger};

const TERM: Duration = Duration::from_secs(3600);

fn due(tick: u64) -> Begin {
    Begin {
        job: "sweep".into(),
        tick: UnixMs(NOW.0 + tick),
        after: UnixMs(NOW.0 + tick - 1),
        trigger: Trigger::Schedule,
        holder: "one:1".into(),
        term: TERM,
        overlap: Overlap::Skip,
        now: UnixMs(NOW.0 + tick),
    }
}

/// Takes a lease as if the answer had not come.
async fn lose(store: &MongoDb, begin: &Begin) -> Grant {
    let doubt = store.doubts.take(&begin.job);
    let begun = answers::begin(&store.db, begin, doubt.mark).await.unwrap();
    store.doubts.keep(doubt, true);
    let Begun::Granted(grant) = begun else {
        panic!("{begun:?}");
    };
    grant
}

#[tokio::test]
async fn who_did_not_hear_the_answer_is_granted_the_same_once() {
    let subject = OnServer::new().await;
    let store = &subject.store;
    let lost = lose(store, &due(1)).await;
    // Another relay that calls itself the same is not meant.
    let other = MongoDb::open(&subject.uri, &Options::default()).await.unwrap();
    assert_eq!(other.begin(&due(1)).await.unwrap(), Begun::Answered);
    let begun = store.begin(&due(1)).await.unwrap();
    assert_eq!(begun, Begun::Granted(lost.clone()));
    assert_eq!(store.begin(&due(1)).await.unwrap(), Begun::Answered);
    assert_eq!(store.runs(&all()).await.unwrap().len(), 1);
    store.drop_database().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_nobody_knows_of_is_found_by_who_looks_for_what_was_left() {
    let store = OnServer::new().await.store;
    let lost = lose(&store, &due(1)).await;
    assert!(matches!(store.begin(&due(2)).await.unwrap(), Begun::Held(_)));
    let taken = store
        .take_over("sweep", &"one:1".into(), TERM, NOW)
        .await
        .unwrap();
    assert_eq!((taken.crashed, taken.grant), (vec![], Some(lost.clone())));
    let taken = store
        .take_over("sweep", &"one:1".into(), TERM, NOW)
        .await
        .unwrap();
    assert_eq!(taken, TakenOver::default());
    assert!(store.renew(&lost, TERM, &Work::default()).await.unwrap());
    store.drop_database().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_nobody_knows_of_ends_as_any_other() {
    let store = OnServer::new().await.store;
    let short = Begin {
        term: Duration::ZERO,
        ..due(1)
    };
    let lost = lose(&store, &short).await;
    let taken = store
        .take_over("sweep", &"one:1".into(), TERM, NOW)
        .await
        .unwrap();
    assert_eq!(taken.crashed, [lost.run]);
    assert_eq!(taken.grant.unwrap().run.attempt, 2);
    let crashed = RunQuery {
        outcome: Some(Outcome::Crashed),
        ..all()
    };
    assert_eq!(store.runs(&crashed).await.unwrap().len(), 1);
    store.drop_database().await.unwrap();
}

fn all() -> RunQuery {
    RunQuery {
        job: None,
        outcome: None,
        since: UnixMs(0),
        limit: 100,
    }
}

#[tokio::test]
async fn of_relays_that_look_for_what_was_left_one_takes_it() {
    let subject = OnServer::new().await;
    let options = Options::default();
    let relays: Vec<_> = join_all((0..4).map(|_| MongoDb::open(&subject.uri, &options))).await;
    let relays: Vec<_> = relays.into_iter().map(Result::unwrap).collect();
    let short = Begin {
        term: Duration::ZERO,
        ..due(1)
    };
    subject.store.begin(&short).await.unwrap();
    let holder = "one:1".into();
    let taking = relays
        .iter()
        .map(|relay| relay.take_over("sweep", &holder, TERM, NOW));
    let taken: Vec<_> = join_all(taking).await.into_iter().map(Result::unwrap).collect();
    let crashed: Vec<_> = taken.iter().flat_map(|taken| &taken.crashed).collect();
    assert_eq!(crashed.len(), 1);
    let grants: Vec<_> = taken.iter().filter_map(|taken| taken.grant.as_ref()).collect();
    let [grant] = &grants[..] else {
        panic!("{grants:?}");
    };
    assert_eq!((grant.run.attempt, grant.fence), (2, 2));
    // Nor do two of them answer one tick.
    let end = Ended {
        outcome: Outcome::Done,
        at: NOW,
        work: Work::default(),
        error: None,
    };
    assert!(relays[0].end(grant, &end).await.unwrap());
    let next = due(2);
    let asking = relays.iter().map(|relay| relay.begin(&next));
    let begun = join_all(asking).await.into_iter().map(Result::unwrap);
    let granted = begun.filter(|begun| matches!(begun, Begun::Granted(_)));
    assert_eq!(granted.count(), 1);
    subject.store.drop_database().await.unwrap();
}
