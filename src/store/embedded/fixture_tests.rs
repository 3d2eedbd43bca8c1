//! Stores that older versions wrote: this one opens them, and they say what they said.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use super::Embedded;
use super::tests::open;
use crate::model::UnixMs;
use crate::store::conformance::keys::{claim, publish};
use crate::store::conformance::revocations::{issued, token};
use crate::store::conformance::{LATER, NOW, acks, address, batch, envelope, mailbox, posting};
use crate::store::{
    Begin, Begun, ChoreStore as _, DeviceStore as _, Ended, JobStore as _, KeyStore as _, MailStore as _,
    Outcome, Overlap, RevocationStore as _, Run, RunId, RunQuery, Store, Trigger, Uploaded, Work,
};

/// Where the stores of released versions stand.
fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

#[tokio::test]
async fn a_store_written_by_version_1_opens() {
    opens("store-v1").await;
}

#[tokio::test]
async fn a_store_written_by_version_2_opens() {
    opens("store-v2").await;
}

#[tokio::test]
async fn a_store_written_by_version_3_opens() {
    knows_revocations(&*opens("store-v3").await).await;
}

#[tokio::test]
async fn a_store_written_by_version_4_opens() {
    knows_runs(opens("store-v4").await).await;
}

#[tokio::test]
async fn a_store_written_by_version_5_opens_without_what_was_acked() {
    let directory = copy_of("store-v5");
    let conn = Connection::open(directory.path().join("chatctl.sqlite")).unwrap();
    let rows: i64 = conn
        .query_row("SELECT count(*) FROM mail", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 3);
    knows_runs(opens("store-v5").await).await;
}

async fn knows_runs(store: Arc<Embedded>) {
    knows_revocations(&*store).await;
    let [run] = &runs_of(&store).await[..] else {
        panic!("one run")
    };
    assert_eq!((run, run.outcome), (&finished(), Outcome::Done));
    let again = Begin {
        tick: LATER,
        ..beginning()
    };
    // The fence goes on from where it was.
    let Begun::Granted(grant) = store.begin(&again).await.unwrap() else {
        panic!("nobody has it")
    };
    assert_eq!(grant.fence, 2);
    assert_eq!(store.remove_idle(LATER, NOW, 10).await.unwrap(), []);
}

#[tokio::test]
async fn devices_of_an_older_store_count_as_seen_when_it_is_migrated() {
    let before = UnixMs(NOW.0 / 2);
    let directory = copy_of("store-v3");
    let old = Connection::open(directory.path().join("chatctl.sqlite")).unwrap();
    old.execute("UPDATE device SET registered_at = 1", []).unwrap();
    drop(old);
    let store = open(directory.path());
    assert_eq!(store.remove_idle(before, NOW, 10).await.unwrap(), []);
    let idle = store.remove_idle(UnixMs(u64::MAX), NOW, 10).await.unwrap();
    assert_eq!(idle.len(), 1);
}

async fn knows_revocations(store: &dyn Store) {
    // What is said now comes after them.
    assert_eq!(store.revoke(&token("b")).await.unwrap(), 3);
    assert_eq!(
        store.revocations(0, 9).await.unwrap(),
        [
            (1, issued("bob", Some("1"), NOW)),
            (2, token("a")),
            (3, token("b")),
        ]
    );
}

fn copy_of(written: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    let file = "chatctl.sqlite";
    fs::copy(fixture(written).join(file), directory.path().join(file)).unwrap();
    directory
}

async fn opens(written: &str) -> Arc<Embedded> {
    let directory = copy_of(written);
    let store = open(directory.path());
    let list = store.devices(&address("bob", "1").account).await.unwrap();
    let bob = list.devices[0].mailbox;
    assert_eq!((list.version, list.devices[0].incarnation), (1, 1));
    let mail = crate::store::conformance::mail_of(&*store, bob).await;
    assert_eq!(
        mail,
        [
            Arc::new(envelope(1, bob, "one")),
            Arc::new(envelope(2, bob, "two"))
        ]
    );
    let sent = posting([envelope(2, bob, "two")]).record;
    assert_eq!(store.sent(&sent.key).await.unwrap(), Some(sent));
    let claimed = store.claim(claim(bob)).await.unwrap();
    assert_eq!(
        claimed[0].items,
        [Some(crate::store::conformance::keys::item("b"))]
    );
    let again = store.upload(publish(bob, &["a"])).await.unwrap();
    assert!(matches!(again, Uploaded::Done { ignored, .. } if ignored.len() == 1));
    assert_eq!(store.start().await.unwrap().id_floor.as_u64(), 1000);
    store
}

#[tokio::test]
#[ignore = "writes the fixture of the present version: cargo test -- --ignored write_the_fixture"]
async fn write_the_fixture() {
    let directory = fixture("store-v5");
    fs::create_dir_all(&directory).unwrap();
    let scratch = TempDir::new().unwrap();
    let store = open(scratch.path());
    let bob = mailbox(&*store, "bob").await;
    let mut mail = batch([
        envelope(1, bob, "one"),
        envelope(2, bob, "two"),
        envelope(3, bob, "acked"),
    ]);
    mail.id_ceiling = Some(crate::store::conformance::id(1000));
    store.commit(mail).await.unwrap();
    store.commit(acks(bob, [3])).await.unwrap();
    store.upload(publish(bob, &["a", "b"])).await.unwrap();
    store.claim(claim(bob)).await.unwrap();
    for said in [issued("bob", Some("1"), NOW), token("a")] {
        store.revoke(&said).await.unwrap();
    }
    let Begun::Granted(grant) = store.begin(&beginning()).await.unwrap() else {
        panic!("nobody has it")
    };
    let Run { outcome, work, .. } = finished();
    let ended = Ended {
        outcome,
        at: LATER,
        work,
        error: None,
    };
    assert!(store.end(&grant, &ended).await.unwrap());
    store.seen(&[bob], LATER).await.unwrap();
    store.close().await.unwrap();
    fs::copy(
        scratch.path().join("chatctl.sqlite"),
        directory.join("chatctl.sqlite"),
    )
    .unwrap();
}

fn beginning() -> Begin {
    Begin {
        job: "expire-mail".into(),
        tick: NOW,
        after: UnixMs(NOW.0 - 1),
        trigger: Trigger::Schedule,
        holder: "relay:1".into(),
        term: Duration::from_secs(60),
        overlap: Overlap::Skip,
        now: NOW,
    }
}

/// The run that is in the fixture.
fn finished() -> Run {
    let begin = beginning();
    Run {
        id: RunId {
            job: begin.job,
            tick: begin.tick,
            attempt: 1,
        },
        trigger: begin.trigger,
        after: begin.after,
        holder: begin.holder,
        began_at: NOW,
        ended_at: Some(LATER),
        outcome: Outcome::Done,
        work: Work {
            affected: 7,
            counts: vec![("mail".into(), 7), ("gaps".into(), u64::MAX)],
            oldest: Some(NOW),
            retries: 1,
        },
        error: None,
    }
}

async fn runs_of(store: &Embedded) -> Vec<Run> {
    let all = RunQuery {
        job: None,
        outcome: None,
        since: UnixMs(0),
        limit: usize::MAX,
    };
    store.runs(&all).await.unwrap()
}
