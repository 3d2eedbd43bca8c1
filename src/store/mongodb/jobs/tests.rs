//! Facts about leases whose answers were lost.

use super::*;
use crate::store::conformance::NOW;
use crate::store::conformance::mongodb::OnServer;
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
    let other = MongoDb::open(&subject.uri, &Default::default()).await.unwrap();
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
