//! Facts that only the store on the disk has: its directory, its schema, its disk, its thread.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rusqlite::{Connection, ffi};
use tempfile::TempDir;

use super::{Embedded, OpenError, Options};
use crate::store::conformance::embedded::OnDisk;
use crate::store::conformance::keys::{claim, publish};
use crate::store::conformance::revocations::{issued, token};
use crate::store::conformance::{
    LATER, NOW, acks, address, batch, envelope, ids_of, installation, mailbox, posting,
};
use crate::store::{
    DeviceStore as _, Error, KeyStore as _, MailStore as _, Registered, RevocationStore as _, Uploaded,
};

fn small() -> Options {
    Options {
        disk_reserve: 0,
        idempotency_records: 3,
    }
}

fn open(directory: &Path) -> Arc<Embedded> {
    Embedded::open(directory, &small()).unwrap()
}

#[test]
fn a_directory_is_held_by_one_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let second = Embedded::open(directory.path(), &small());
    assert!(matches!(second, Err(OpenError::Held(path)) if path == directory.path()));
    drop(store);
    open(directory.path());
}

#[tokio::test]
async fn a_closed_store_lets_go_of_its_directory_and_leaves_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let bob = mailbox(&*store, "bob").await;
    store.commit(batch([envelope(1, bob, "x")])).await.unwrap();
    store.close().await.unwrap();
    let wal = fs::metadata(directory.path().join("chatctl.sqlite-wal"));
    assert_eq!(wal.map_or(0, |wal| wal.len()), 0);
    assert_eq!(ids_of(&*open(directory.path()), bob).await, [1]);
}

#[test]
fn only_its_owner_may_read_it() {
    let above = tempfile::tempdir().unwrap();
    let directory = above.path().join("a/b");
    let _store = open(&directory);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for name in [
        "chatctl.sqlite",
        "chatctl.sqlite-wal",
        "chatctl.sqlite-shm",
        "chatctl.lock",
    ] {
        assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
    }
}

/// Opens a store whose database something was done to.
fn reopen_after(sql: &str) -> Result<Arc<Embedded>, OpenError> {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let conn = Connection::open(directory.path().join("chatctl.sqlite")).unwrap();
    conn.execute_batch(sql).unwrap();
    drop(conn);
    Embedded::open(directory.path(), &small())
}

#[test]
fn a_newer_schema_is_refused() {
    let opened = reopen_after("PRAGMA user_version = 99");
    assert!(
        matches!(opened, Err(OpenError::Newer { found: 99, known: 3 })),
        "{opened:?}"
    );
}

#[test]
fn a_database_of_something_else_is_refused() {
    let opened = reopen_after("PRAGMA application_id = 7");
    assert!(matches!(opened, Err(OpenError::NotAStore)), "{opened:?}");
}

#[tokio::test]
async fn when_the_disk_fills_up_only_new_mail_and_keys_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let bob = mailbox(&*store, "bob").await;
    store.commit(batch([envelope(1, bob, "x")])).await.unwrap();
    store.upload(publish(bob, &["a"])).await.unwrap();
    store.set_disk_reserve(u64::MAX);

    let mut mixed = batch([envelope(2, bob, "y")]);
    mixed.deletions = acks(bob, [1]).deletions;
    let together = tokio::join!(
        store.commit(mixed.clone()),
        store.claim(claim(bob)),
        store.upload(publish(bob, &["b"])),
    );
    assert!(matches!(together.0, Err(Error::Full)));
    assert_eq!(together.1.unwrap()[0].items.len(), 1);
    assert!(matches!(together.2, Err(Error::Full)));
    assert_eq!(ids_of(&*store, bob).await, [1]);
    store.commit(acks(bob, [1])).await.unwrap();

    store.set_disk_reserve(0);
    store.commit(mixed).await.unwrap();
    assert_eq!(ids_of(&*store, bob).await, [2]);
}

#[tokio::test]
async fn a_disk_that_is_full_all_the_same_changes_nothing_and_recovers() {
    let disk = OnDisk::new();
    let store = &disk.store;
    let bob = mailbox(&**store, "bob").await;
    let cap = |pages: u32| async move {
        let limit = format!("PRAGMA max_page_count = {pages}");
        store
            .writer
            .run(move |tx| Ok(tx.conn.query_row(&limit, [], |row| row.get::<_, u32>(0))?))
            .await
            .unwrap()
    };
    // The database cannot get smaller than it is.
    cap(1).await;
    let big = batch((1..=9).map(|n| envelope(n, bob, vec![0; 60_000])));
    let full = store.commit(big.clone()).await;
    assert!(matches!(full, Err(Error::Full)), "{full:?}");
    assert!(!store.is_poisoned());
    assert_eq!(ids_of(&**store, bob).await, [0; 0]);
    cap(1_000_000).await;
    store.commit(big).await.unwrap();
    assert_eq!(ids_of(&**store, bob).await.len(), 9);
}

#[tokio::test]
async fn an_io_error_stops_the_store_for_good() {
    let mut disk = OnDisk::new();
    let store = Arc::clone(&disk.store);
    let bob = mailbox(&*store, "bob").await;
    store.commit(batch([envelope(1, bob, "x")])).await.unwrap();
    let fsync = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None);
    *store.shared.sabotage.lock() = Some(fsync.into());
    let failed = store.commit(batch([envelope(2, bob, "y")])).await;
    assert!(matches!(failed, Err(Error::Poisoned(_))), "{failed:?}");
    assert!(matches!(store.poisoned().await, Error::Poisoned(_)));
    // Every verb from now on, those that only read included.
    let next = store.commit(acks(bob, [1])).await;
    assert!(matches!(next, Err(Error::Poisoned(_))), "{next:?}");
    let usage = store.usage(bob).await;
    assert!(matches!(usage, Err(Error::Poisoned(_))), "{usage:?}");
    let devices = store.devices(&address("bob", "1").account).await;
    assert!(matches!(devices, Err(Error::Poisoned(_))), "{devices:?}");
    drop(store);
    crate::store::conformance::Subject::crash(&mut disk).await;
    assert_eq!(ids_of(&*disk.store, bob).await, [1]);
}

#[tokio::test]
async fn what_is_refused_does_not_undo_its_neighbours_in_the_group() {
    let disk = OnDisk::new();
    let store = &disk.store;
    let bob = mailbox(&**store, "bob").await;
    let uploads = (0..40).map(|number| async move {
        // Every other one is refused after it has written something.
        let items: &[&str] = if number % 2 == 0 { &["a", "b", "c"] } else { &[] };
        let mut upload = publish(bob, items);
        upload.max_items = 2;
        store.upload(upload).await
    });
    let commits = (1..=40).map(|number| store.commit(batch([envelope(number, bob, "x")])));
    let (uploads, commits) = tokio::join!(join_all(uploads), join_all(commits));
    let refused = uploads
        .iter()
        .filter(|upload| matches!(upload, Ok(Uploaded::TooMany { .. })));
    assert_eq!(refused.count(), 20);
    assert!(commits.into_iter().all(|committed| committed.is_ok()));
    assert_eq!(ids_of(&**store, bob).await, (1..=40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_device_removed_in_the_group_of_its_mail_leaves_none() {
    let mut disk = OnDisk::new();
    let store = Arc::clone(&disk.store);
    let bob = mailbox(&*store, "bob").await;
    let name = address("bob", "1");
    let mut sent = posting([envelope(2, bob, "y")]);
    sent.record.key.sender = bob;
    let key = sent.record.key.clone();
    let all = tokio::join!(
        store.commit(batch([envelope(1, bob, "x")])),
        store.commit(crate::store::Batch {
            postings: vec![sent],
            ..Default::default()
        }),
        store.remove_device(&name, NOW),
        store.register(&name, installation(7)),
    );
    assert_eq!(all.2.unwrap(), Some(bob));
    assert!(matches!(all.3.unwrap(), Registered::Created(_)));
    assert_eq!(ids_of(&*store, bob).await, [0; 0]);
    assert_eq!(store.sent(&key).await.unwrap(), None);
    drop(store);
    crate::store::conformance::Subject::crash(&mut disk).await;
    assert_eq!(disk.store.usage(bob).await.unwrap().envelopes, 0);
    assert_eq!(disk.store.sent(&key).await.unwrap(), None);
}

#[tokio::test]
async fn the_oldest_records_make_room() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let bob = mailbox(&*store, "bob").await;
    let sends: Vec<_> = (1..=5).map(|n| envelope(n, bob, "x")).collect();
    let keys: Vec<_> = sends.iter().map(|e| posting([e.clone()]).record.key).collect();
    store.commit(batch(sends[..1].to_vec())).await.unwrap();
    store.commit(batch(sends[1..].to_vec())).await.unwrap();
    let kept = async |store: &Embedded| {
        let found = join_all(keys.iter().map(|key| store.sent(key))).await;
        found
            .into_iter()
            .map(|record| record.unwrap().is_some())
            .collect::<Vec<_>>()
    };
    assert_eq!(kept(&store).await, [false, false, true, true, true]);
    drop(store);
    let store = open(directory.path());
    assert_eq!(kept(&store).await, [false, false, true, true, true]);
}

#[tokio::test]
async fn a_read_does_not_wait_for_the_writer() {
    let disk = OnDisk::new();
    let store = &disk.store;
    let bob = mailbox(&**store, "bob").await;
    store.commit(batch([envelope(1, bob, "x")])).await.unwrap();
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let busy = store.writer.run(move |_| {
        let _ = wait.recv_timeout(Duration::from_secs(30));
        Ok(())
    });
    let (done, ()) = tokio::join!(busy, async {
        assert_eq!(ids_of(&**store, bob).await, [1]);
        go.send(()).unwrap();
    });
    done.unwrap();
}

#[tokio::test]
async fn the_write_ahead_log_starts_over_and_the_file_is_cut_back() {
    let disk = OnDisk::new();
    let store = &disk.store;
    let bob = mailbox(&**store, "bob").await;
    let size = |name: &str| fs::metadata(disk.directory.path().join(name)).unwrap().len();
    for round in 0..40u64 {
        let mail = (1..=20).map(|n| envelope(round * 20 + n, bob, vec![0; 60_000]));
        store.commit(batch(mail)).await.unwrap();
    }
    assert!(size("chatctl.sqlite-wal") < 40 * 1024 * 1024);
    while !store.expire(LATER, 100).await.unwrap().done {}
    // 48 MB were in it. A little goes with each round, and 16 MiB stay for what comes next.
    for _ in 0..40 {
        assert!(store.expire(LATER, 100).await.unwrap().done);
    }
    store.close().await.unwrap();
    assert!(
        size("chatctl.sqlite") < 18 * 1024 * 1024,
        "{}",
        size("chatctl.sqlite")
    );
}

#[tokio::test]
async fn the_write_ahead_log_is_cut_early_when_the_disk_is_short() {
    let disk = OnDisk::new();
    let store = &disk.store;
    let bob = mailbox(&**store, "bob").await;
    let log = || {
        let path = disk.directory.path().join("chatctl.sqlite-wal");
        fs::metadata(path).unwrap().len()
    };
    let mail = (1..=30).map(|n| envelope(n, bob, vec![0; 60_000]));
    store.commit(batch(mail)).await.unwrap();
    assert!(log() > 1024 * 1024);
    store.set_disk_reserve(u64::MAX);
    store.commit(acks(bob, [1])).await.unwrap();
    // The log is cut after an answer, and before the next piece of work begins: after this ack, or after
    // the mail already, when the writer came to look only now. Then the ack's few pages are in it.
    store.commit(acks(bob, [1])).await.unwrap();
    assert!(log() < 64 * 1024, "{}", log());
    assert_eq!(ids_of(&**store, bob).await, (2..=30).collect::<Vec<_>>());
}

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
    let store = opens("store-v3").await;
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

async fn opens(written: &str) -> Arc<Embedded> {
    let directory = TempDir::new().unwrap();
    fs::copy(
        fixture(written).join("chatctl.sqlite"),
        directory.path().join("chatctl.sqlite"),
    )
    .unwrap();
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
    let directory = fixture("store-v3");
    fs::create_dir_all(&directory).unwrap();
    let scratch = TempDir::new().unwrap();
    let store = open(scratch.path());
    let bob = mailbox(&*store, "bob").await;
    let mut mail = batch([envelope(1, bob, "one"), envelope(2, bob, "two")]);
    mail.id_ceiling = Some(crate::store::conformance::id(1000));
    store.commit(mail).await.unwrap();
    store.upload(publish(bob, &["a", "b"])).await.unwrap();
    store.claim(claim(bob)).await.unwrap();
    for said in [issued("bob", Some("1"), NOW), token("a")] {
        store.revoke(&said).await.unwrap();
    }
    store.close().await.unwrap();
    fs::copy(
        scratch.path().join("chatctl.sqlite"),
        directory.join("chatctl.sqlite"),
    )
    .unwrap();
}
