//! Facts that only the store on the disk has: its directory, its schema, its disk, its thread.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rusqlite::{Connection, ffi};

use super::{Embedded, OpenError, Options};
use crate::store::conformance::embedded::OnDisk;
use crate::store::conformance::keys::{claim, publish};
use crate::store::conformance::{
    LATER, NOW, acks, address, batch, envelope, ids_of, installation, mailbox, posting,
};
use crate::store::{
    ChoreStore as _, Compacted, DeviceStore as _, Due, Error, KeyStore as _, Litter, MailStore as _,
    Registered, Uploaded,
};

fn small() -> Options {
    Options {
        disk_reserve: 0,
        idempotency_records: 3,
    }
}

pub(super) fn open(directory: &Path) -> Arc<Embedded> {
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
        matches!(opened, Err(OpenError::Newer { found: 99, known: 5 })),
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
    drop(store);
    crate::store::conformance::Subject::crash(&mut disk).await;
    assert_eq!(disk.store.usage(bob).await.unwrap().envelopes, 0);
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
    for round in 0..20u64 {
        let mail = (1..=1000).map(|n| envelope(round * 1000 + n, bob, vec![0; 1024]));
        store.commit(batch(mail)).await.unwrap();
    }
    assert!(size("chatctl.sqlite-wal") < 40 * 1024 * 1024);
    while !store.expire(LATER, 500).await.unwrap().done {}
    while store.forget_records(LATER, 500).await.unwrap() == 500 {}
    // 20 MB were in it. What holds nothing is there still, since nobody has asked.
    let before = size("chatctl.sqlite") + size("chatctl.sqlite-wal");
    assert!(before > 20 * 1024 * 1024, "{before}");
    let (mut freed, mut steps) = (0, 0);
    let last = loop {
        let step = store.compact().await.unwrap();
        // 64 pages, and those that knew where they were.
        assert!(step.freed <= 68 * 4096, "{step:?}");
        freed += step.freed;
        steps += 1;
        if step.done {
            break step;
        }
    };
    assert!(steps > 15 && freed > 20 * 1024 * 1024, "{steps} {freed}");
    // 1 MiB stays for what comes next, and both files have become short.
    assert_eq!(last.spare, 1024 * 1024);
    assert_eq!(size("chatctl.sqlite"), last.size);
    assert!(last.size < 2 * 1024 * 1024, "{last:?}");
    assert_eq!(size("chatctl.sqlite-wal"), 0);
    // Again, there is nothing to do.
    let again = store.compact().await.unwrap();
    assert_eq!(again, Compacted { freed: 0, ..last });
}

#[tokio::test]
async fn what_is_over_goes_in_the_order_of_time_over_all_mailboxes() {
    let disk = OnDisk::new();
    let store = &disk.store;
    let (bob, carol) = (mailbox(&**store, "bob").await, mailbox(&**store, "carol").await);
    let mail = (1..=9).map(|n| envelope(n, if n % 2 == 0 { bob } else { carol }, "x"));
    store.commit(batch(mail)).await.unwrap();
    let mut steps = Vec::new();
    for _ in 0..3 {
        let step = store.expire(LATER, 3).await.unwrap();
        let mut ids: Vec<_> = step.removed.iter().map(|e| e.id.as_u64()).collect();
        ids.sort_unstable();
        steps.push((ids, step.done));
        // What is acked between its gathering and its step is no loss.
        store.commit(acks(bob, [6])).await.unwrap();
    }
    assert_eq!(
        steps,
        [(vec![1, 2, 3], false), (vec![4, 5, 7], false), (vec![8, 9], true)]
    );
    assert_eq!(store.gaps(bob).await.unwrap()[0].dropped, 3);
    assert_eq!(store.gaps(carol).await.unwrap()[0].dropped, 5);
}

#[tokio::test]
async fn what_has_lost_its_device_is_found_and_swept_in_steps() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut mailboxes = Vec::new();
    for (name, number) in [("bob", 1), ("carol", 2), ("dave", 3)] {
        let mailbox = mailbox(&*store, name).await;
        store
            .commit(batch([envelope(number, mailbox, "xyz")]))
            .await
            .unwrap();
        store.upload(publish(mailbox, &["a", "b"])).await.unwrap();
        mailboxes.push(mailbox);
    }
    store.close().await.unwrap();
    let planted = Connection::open(directory.path().join("chatctl.sqlite")).unwrap();
    planted
        .execute_batch("DELETE FROM device WHERE account <> 'bob'; INSERT INTO gap VALUES (77, 1, 5);")
        .unwrap();
    drop(planted);
    let store = open(directory.path());
    let litter = Litter::Departed { now: NOW };
    let due = store.due(litter).await.unwrap();
    assert_eq!((due.count, due.bytes), (3, 6));
    let mut swept = Vec::new();
    for _ in 0..3 {
        let step = store.sweep_departed(NOW, 1).await.unwrap();
        swept.push((step.mailboxes, step.things, step.done));
    }
    assert_eq!(swept, [(1, 3, false), (1, 3, false), (1, 0, true)]);
    assert_eq!(store.due(litter).await.unwrap(), Due::default());
    store.close().await.unwrap();
    let left = Connection::open(directory.path().join("chatctl.sqlite")).unwrap();
    let count = |table: &str| {
        let sql = format!("SELECT count(*) FROM {table}");
        left.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    // Bob has what he had.
    let tables = ["mail", "gap", "keyset", "pool", "queue", "item_batch"];
    assert_eq!(tables.map(count), [1, 0, 1, 1, 1, 1]);
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

/// Rows of mail and lists of acks, as they are in the tables.
async fn rows_and_lists(store: &Embedded) -> (i64, i64) {
    let count = |conn: &Connection, table: &str| {
        let sql = format!("SELECT count(*) FROM {table}");
        conn.query_row(&sql, [], |row| row.get(0))
    };
    let counts = store
        .readers
        .run(move |conn| Ok((count(conn, "mail")?, count(conn, "acked")?)));
    counts.await.unwrap()
}

#[tokio::test]
async fn what_was_acked_stays_gone_over_crashes_while_its_rows_wait() {
    let mut disk = OnDisk::new();
    let bob = mailbox(&*disk.store, "bob").await;
    let carol = mailbox(&*disk.store, "carol").await;
    let of = |number: u64| if number.is_multiple_of(3) { carol } else { bob };
    let (mut put, mut waits) = (0, [Vec::new(), Vec::new()]);
    for round in 0..12u64 {
        let new: Vec<_> = (put + 1..=put + 7).collect();
        put += 7;
        disk.store
            .commit(batch(new.iter().map(|n| envelope(*n, of(*n), "x"))))
            .await
            .unwrap();
        new.iter()
            .for_each(|n| waits[usize::from(of(*n) == carol)].push(*n));
        // Bob acks what is new, carol what is old; one of bob's is never acked.
        let bobs: Vec<_> = waits[0].split_off(waits[0].len().min(1));
        let carols: Vec<_> = match round % 2 {
            0 => Vec::new(),
            _ => std::mem::take(&mut waits[1]),
        };
        disk.store.commit(acks(bob, bobs)).await.unwrap();
        // Twice, and once more for a neighbour.
        disk.store.commit(acks(carol, carols.clone())).await.unwrap();
        disk.store.commit(acks(carol, carols)).await.unwrap();
        crate::store::conformance::Subject::crash(&mut disk).await;
        assert_eq!(ids_of(&*disk.store, bob).await, waits[0], "round {round}");
        assert_eq!(ids_of(&*disk.store, carol).await, waits[1], "round {round}");
    }
    let store = &disk.store;
    let (rows, lists) = rows_and_lists(store).await;
    assert!(rows < 60 && lists > 0, "{rows} rows and {lists} lists of {put}");
    while !store.compact().await.unwrap().done {}
    assert_eq!(rows_and_lists(store).await, (1, 0));
    assert_eq!(ids_of(&**store, bob).await, [1]);
}

#[tokio::test]
async fn rows_of_what_was_acked_go_for_new_mail_and_not_before() {
    let disk = OnDisk::new();
    let store = &disk.store;
    let bob = mailbox(&**store, "bob").await;
    let commit = async |ids: std::ops::RangeInclusive<u64>| {
        let mail = batch(ids.map(|n| envelope(n, bob, "x")));
        store.commit(mail).await.unwrap();
    };
    commit(1..=4).await;
    commit(5..=8).await;
    commit(9..=9).await;
    store.commit(acks(bob, 1..=8)).await.unwrap();
    store.gaps_told(bob, &[]).await.unwrap();
    // What came before has taken all there was to take.
    let (rows, lists) = rows_and_lists(store).await;
    assert_eq!((rows, lists), (1, 0));
    commit(10..=12).await;
    assert_eq!(ids_of(&**store, bob).await, [9, 10, 11, 12]);
}

#[tokio::test]
async fn a_short_disk_has_rows_go_at_once() {
    let disk = OnDisk::new();
    let store = &disk.store;
    let bob = mailbox(&**store, "bob").await;
    store
        .commit(batch((1..=3).map(|n| envelope(n, bob, "x"))))
        .await
        .unwrap();
    store.commit(acks(bob, [1])).await.unwrap();
    assert_eq!(rows_and_lists(store).await, (3, 1));
    store.set_disk_reserve(u64::MAX);
    let refused = store.commit(batch([envelope(4, bob, "x")])).await;
    assert!(matches!(refused, Err(Error::Full)), "{refused:?}");
    store.commit(acks(bob, [2])).await.unwrap();
    assert_eq!(rows_and_lists(store).await, (1, 0));
}

#[tokio::test]
async fn a_device_that_goes_takes_what_it_has_just_acked_along() {
    let disk = OnDisk::new();
    let store = &disk.store;
    let bob = mailbox(&**store, "bob").await;
    store
        .commit(batch((1..=6).map(|n| envelope(n, bob, "x"))))
        .await
        .unwrap();
    let name = address("bob", "1");
    let (acked, removed) = tokio::join!(store.commit(acks(bob, [1, 2])), store.remove_device(&name, NOW));
    acked.unwrap();
    assert_eq!(removed.unwrap(), Some(bob));
    while !store.compact().await.unwrap().done {}
    assert_eq!(rows_and_lists(store).await, (0, 0));
    assert_eq!(store.extent().await.unwrap().envelopes, Some(0));
}

/// Waits until there are so many rows and lists.
async fn wait_for_rows_and_lists(store: &Embedded, wanted: (i64, i64)) {
    let arrived = tokio::time::timeout(Duration::from_secs(30), async {
        while rows_and_lists(store).await != wanted {
            tokio::task::yield_now().await;
        }
    });
    if arrived.await.is_err() {
        assert_eq!(rows_and_lists(store).await, wanted);
    }
}

#[tokio::test]
async fn what_was_acked_is_gone_after_two_ticks_where_nothing_else_happens() {
    let mut disk = OnDisk::new();
    let store = &disk.store;
    let bob = mailbox(&**store, "bob").await;
    store
        .commit(batch((1..=40).map(|n| envelope(n, bob, "x"))))
        .await
        .unwrap();
    // Neighbours of what lives: no new mail would ever take their places.
    let odd = |ids: std::ops::Range<u64>| acks(bob, ids.filter(|n| n % 2 == 1));
    store.commit(odd(1..25)).await.unwrap();
    store.writer.tick().await.unwrap();
    assert_eq!(rows_and_lists(store).await, (40, 1));
    store.commit(odd(25..29)).await.unwrap();
    store.writer.tick().await.unwrap();
    wait_for_rows_and_lists(store, (28, 1)).await;
    store.writer.tick().await.unwrap();
    wait_for_rows_and_lists(store, (26, 0)).await;
    // What was left by who went is gone after one.
    store.commit(odd(29..33)).await.unwrap();
    crate::store::conformance::Subject::crash(&mut disk).await;
    let store = &disk.store;
    assert_eq!(rows_and_lists(store).await, (26, 1));
    store.writer.tick().await.unwrap();
    wait_for_rows_and_lists(store, (24, 0)).await;
    let left: Vec<_> = (1..=40).filter(|n| n % 2 == 0 || *n > 32).collect();
    assert_eq!(ids_of(&**store, bob).await, left);
}
