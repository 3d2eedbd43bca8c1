//! Facts about backups, and about what is restored from them: a history, a backup somewhere in it, more history, and
//! none of that may come back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chatctl_protocol::{EnvelopeId, Suite};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tempfile::TempDir;

use super::*;
use crate::model::MailboxId;
use crate::store::conformance::keys::{claim, item, publish};
use crate::store::conformance::{LATER, NOW, acks, address, batch, envelope, id, ids_of, mailbox, posting};
use crate::store::embedded::Options;
use crate::store::{
    AccountStore as _, DeviceStore as _, Gap, GapReason, KeyStore as _, MailStore as _, RevocationStore as _,
    Uploaded,
};

const OPTIONS: Options = Options {
    disk_reserve: 0,
    idempotency_records: 1000,
};

fn open(directory: &Path) -> Arc<Embedded> {
    Embedded::open(directory, &OPTIONS).unwrap()
}

/// A folder for a store, a backup and a restored store.
struct House {
    folder: TempDir,
}

impl House {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn backup(&self, store: &Embedded) -> Contents {
        let mut snapshot = store.backup(NOW).await.unwrap();
        let mut bytes = Vec::new();
        snapshot.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, snapshot.bytes);
        fs::write(self.at("backup"), bytes).unwrap();
        snapshot.contents.clone()
    }

    fn order(&self, to: &str, replace: bool) -> Order {
        Order {
            backup: self.at("backup"),
            directory: self.at(to),
            at: LATER,
            replace,
        }
    }

    fn restore(&self, to: &str, replace: bool) -> Result<Restored, RestoreError> {
        restore(&self.order(to, replace), &|_| ControlFlow::Continue(()))
    }
}

use crate::store::backup::Contents;

/// What happened, as those outside remember it.
#[derive(Debug, Default)]
struct Outside {
    boxes: Vec<MailboxId>,
    /// Envelopes that were accepted and not acked, by mailbox.
    waiting: BTreeMap<MailboxId, BTreeSet<u64>>,
    accepted: Vec<u64>,
    uploaded: Vec<(MailboxId, String)>,
    claimed: BTreeSet<(MailboxId, String)>,
    last_id: u64,
}

impl Outside {
    async fn begin(store: &Embedded) -> Self {
        let mut outside = Self::default();
        for name in ["bob", "carol", "dave"] {
            outside.boxes.push(mailbox(store, name).await);
        }
        // As the minter has it: a lead ahead of the clock.
        outside.last_id = EnvelopeId::at(NOW.0, 0).as_u64();
        outside
    }

    async fn live(&mut self, store: &Embedded, dice: &mut SmallRng, steps: usize) {
        for _ in 0..steps {
            let of = self.boxes[dice.random_range(0..self.boxes.len())];
            match dice.random_range(0..5) {
                0 | 1 => self.send(store, of).await,
                2 => {
                    let waiting = self.waiting.entry(of).or_default();
                    if let Some(first) = waiting.pop_first() {
                        store.commit(acks(of, [first])).await.unwrap();
                    }
                }
                3 => {
                    let name = format!("k{}", self.uploaded.len());
                    let mut upload = publish(of, &[&name]);
                    upload.max_items = 1000;
                    store.upload(upload).await.unwrap();
                    self.uploaded.push((of, name));
                }
                _ => {
                    let claimed = store.claim(claim(of)).await.unwrap();
                    for item in claimed.into_iter().flat_map(|claimed| claimed.items).flatten() {
                        assert!(self.claimed.insert((of, item.id.to_string())));
                    }
                }
            }
        }
    }

    async fn send(&mut self, store: &Embedded, of: MailboxId) {
        self.last_id += 1;
        let mut batch = batch([envelope(self.last_id, of, vec![1; 300])]);
        batch.id_ceiling = Some(id(self.last_id + (60_000 << 22)));
        assert!(store.commit(batch).await.unwrap().refused.is_empty());
        self.waiting.entry(of).or_default().insert(self.last_id);
        self.accepted.push(self.last_id);
    }
}

async fn epoch(store: &Embedded) -> u64 {
    store.start().await.unwrap().epoch
}

/// The promises, one by one.
async fn assert_promises(
    store: &Embedded,
    (then, since): (&Outside, &Outside),
    knows_all_keys: bool,
    epochs: &[u64],
) {
    for of in &then.boxes {
        let waiting: Vec<u64> = then.waiting.get(of).into_iter().flatten().copied().collect();
        assert_eq!(ids_of(store, *of).await, waiting);
        let gap = Gap {
            reason: GapReason::Restore,
            dropped: 0,
        };
        assert_eq!(store.gaps(*of).await.unwrap(), [gap]);
        store.gaps_told(*of, &[gap]).await.unwrap();
        assert_eq!(store.gaps(*of).await.unwrap(), []);
    }
    for sent in &then.accepted {
        let record = posting([envelope(*sent, then.boxes[0], "")]).record;
        assert_eq!(store.sent(&record.key).await.unwrap(), Some(record));
    }
    let known: BTreeSet<_> = then.uploaded.iter().collect();
    for key in since
        .claimed
        .iter()
        .filter(|key| knows_all_keys || known.contains(key))
    {
        let again = store.upload(publish(key.0, &[&key.1])).await.unwrap();
        let Uploaded::Done { ignored, .. } = again else {
            panic!("{again:?}");
        };
        let ignored: Vec<_> = ignored.iter().map(|(_, id)| id.to_string()).collect();
        assert_eq!(ignored, std::slice::from_ref(&key.1), "{key:?}");
    }
    // What was published before and not claimed is burned as well: it may have been claimed unseen.
    for key in &known {
        store.upload(publish(key.0, &[&key.1])).await.unwrap();
    }
    for of in &then.boxes {
        let claimed = store.claim(claim(*of)).await.unwrap();
        assert!(
            claimed.iter().all(|claimed| claimed.items == [None]),
            "{claimed:?}"
        );
    }
    let start = store.start().await.unwrap();
    assert!(start.id_floor.as_u64() > since.last_id + (60_000 << 22));
    assert!(!epochs.contains(&start.epoch));
}

/// A history, a backup in it, more of it, and both ways to go back.
async fn go_back(seed: u64, before: usize, after: usize) {
    let (house, mut dice) = (House::new(), SmallRng::seed_from_u64(seed));
    let store = open(&house.at("store"));
    let mut outside = Outside::begin(&store).await;
    outside.live(&store, &mut dice, before).await;
    let contents = house.backup(&store).await;
    assert_eq!(
        check(&house.at("backup"), &|_| ControlFlow::Continue(())).unwrap(),
        contents
    );
    let waiting: usize = outside.waiting.values().map(BTreeSet::len).sum();
    assert_eq!((contents.devices, contents.envelopes), (3, waiting as u64));
    let then = Outside {
        boxes: outside.boxes.clone(),
        waiting: outside.waiting.clone(),
        accepted: outside.accepted.clone(),
        uploaded: outside.uploaded.clone(),
        claimed: outside.claimed.clone(),
        last_id: outside.last_id,
    };
    outside.live(&store, &mut dice, after).await;
    let first = epoch(&store).await;
    drop(store);

    let restored = house.restore("elsewhere", false).unwrap();
    assert_eq!(restored.burned, contents.one_time_keys);
    let store = open(&house.at("elsewhere"));
    let second = epoch(&store).await;
    assert_promises(&store, (&then, &outside), false, &[first]).await;
    drop(store);

    // Over the store itself, which knows what happened since.
    let restored = house.restore("store", true).unwrap();
    assert!(restored.carried.is_some() && restored.aside.is_some());
    let store = open(&house.at("store"));
    let knows_all = outside
        .claimed
        .iter()
        .all(|(of, _)| then.uploaded.iter().any(|(known, _)| known == of));
    assert_promises(&store, (&then, &outside), knows_all, &[first, second]).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_future_that_was_lost_comes_back(seed: u64, before in 0usize..60, after in 0usize..60) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(go_back(seed, before, after));
    }
}

#[tokio::test]
async fn what_comes_after_a_restore_is_new_to_everybody() {
    let house = House::new();
    let store = open(&house.at("store"));
    let bob = mailbox(&*store, "bob").await;
    store.upload(publish(bob, &["a"])).await.unwrap();
    house.backup(&store).await;
    // Lost: another device, another account, and what lists of devices said then.
    let carol = mailbox(&*store, "carol").await;
    drop(store);
    house.restore("elsewhere", false).unwrap();
    let store = open(&house.at("elsewhere"));
    let account = address("carol", "1").account;
    assert_eq!(store.devices(&account).await.unwrap().version, 0);
    let again = mailbox(&*store, "carol").await;
    assert!(again > carol);
    assert!(store.devices(&account).await.unwrap().version > 1 << 20);
    let fallback = store.keyset(bob, &Suite::Signal).await.unwrap().unwrap().counts;
    assert_eq!(fallback[0].count, 0);
    // New keys are handed out as ever.
    store.upload(publish(bob, &["b"])).await.unwrap();
    let claimed = store.claim(claim(bob)).await.unwrap();
    assert_eq!(claimed[0].items, [Some(item("b"))]);
}

#[tokio::test]
async fn a_backup_is_no_store_and_a_store_no_backup() {
    let house = House::new();
    let store = open(&house.at("store"));
    house.backup(&store).await;
    drop(store);
    let opened = house.at("opened");
    fs::create_dir(&opened).unwrap();
    fs::copy(house.at("backup"), opened.join("chatctl.sqlite")).unwrap();
    let refused = Embedded::open(&opened, &OPTIONS).unwrap_err();
    assert!(matches!(refused, OpenError::Backup), "{refused:?}");
    let database = house.at("store").join("chatctl.sqlite");
    let refused = check(&database, &|_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(refused, RestoreError::NoBackup(path) if path == database));
}

#[tokio::test]
async fn what_is_cut_or_changed_is_not_restored_and_nothing_is_left() {
    let house = House::new();
    let store = open(&house.at("store"));
    mailbox(&*store, "bob").await;
    house.backup(&store).await;
    let whole = fs::read(house.at("backup")).unwrap();
    let middle = whole.len() / 2;
    let mut other = whole.clone();
    other[middle] ^= 1;
    for bad in [&whole[..middle], &whole[..whole.len() - 1], &other, b""] {
        fs::write(house.at("backup"), bad).unwrap();
        let refused = house.restore("elsewhere", false).unwrap_err();
        assert!(
            matches!(refused, RestoreError::NoBackup(_) | RestoreError::Damaged(_)),
            "{refused:?}"
        );
        let left: Vec<_> = fs::read_dir(house.at("elsewhere"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["chatctl.lock"]);
    }
}

#[tokio::test]
async fn a_store_that_is_there_or_in_use_is_left_alone() {
    let house = House::new();
    let store = open(&house.at("store"));
    let bob = mailbox(&*store, "bob").await;
    house.backup(&store).await;
    let refused = house.restore("store", false).unwrap_err();
    assert!(matches!(refused, RestoreError::InTheWay(_)), "{refused:?}");
    for refused in [
        house.restore("store", true).unwrap_err(),
        look(&house.order("store", true)).unwrap_err(),
    ] {
        assert!(
            matches!(refused, RestoreError::Open(OpenError::Held(_))),
            "{refused:?}"
        );
    }
    store.commit(batch([envelope(1, bob, "x")])).await.unwrap();
    drop(store);
    look(&house.order("store", true)).unwrap();
    let aside = house.restore("store", true).unwrap().aside.unwrap();
    // The old store is whole under its new name.
    let old = house.at("old");
    fs::create_dir(&old).unwrap();
    fs::copy(aside, old.join("chatctl.sqlite")).unwrap();
    assert_eq!(ids_of(&*open(&old), bob).await, [1]);
    assert_eq!(ids_of(&*open(&house.at("store")), bob).await, [0; 0]);
}

#[tokio::test]
async fn a_store_that_cannot_be_read_makes_way_all_the_same() {
    let house = House::new();
    let store = open(&house.at("store"));
    house.backup(&store).await;
    drop(store);
    let database = house.at("store").join("chatctl.sqlite");
    fs::write(&database, "no database at all, but a file").unwrap();
    fs::write(house.at("store").join("chatctl.sqlite-wal"), "nor a log").unwrap();
    let restored = house.restore("store", true).unwrap();
    assert_eq!(restored.carried, None);
    let aside = restored.aside.unwrap();
    assert_eq!(fs::read(&aside).unwrap(), b"no database at all, but a file");
    let log = format!("{}-wal", aside.display());
    assert_eq!(fs::read(log).unwrap(), b"nor a log");
    open(&house.at("store"));
}

#[tokio::test]
async fn revocations_since_the_backup_are_taken_over_from_the_store_that_is_there() {
    use crate::store::conformance::revocations::token;
    let house = House::new();
    let store = open(&house.at("store"));
    house.backup(&store).await;
    store.revoke(&token("stolen")).await.unwrap();
    drop(store);
    house.restore("elsewhere", false).unwrap();
    assert_eq!(
        open(&house.at("elsewhere"))
            .revocations(0, 10)
            .await
            .unwrap()
            .len(),
        0
    );
    let restored = house.restore("store", true).unwrap();
    assert_eq!(restored.carried.unwrap().revocations, 1);
    assert_eq!(
        open(&house.at("store")).revocations(0, 10).await.unwrap().len(),
        1
    );
}

#[tokio::test]
async fn one_backup_at_a_time_until_it_is_read_or_given_up() {
    let house = House::new();
    let store = open(&house.at("store"));
    let first = store.backup(NOW).await.unwrap();
    let second = store.backup(NOW).await.unwrap_err();
    assert!(matches!(second, BackupError::Running), "{second:?}");
    drop(first);
    store.backup(NOW).await.unwrap();
}

#[tokio::test]
async fn a_backup_leaves_no_file_and_what_a_crash_has_left_is_removed() {
    let house = House::new();
    let store = open(&house.at("store"));
    let snapshot = store.backup(NOW).await.unwrap();
    let scratch = house.at("store").join("chatctl.backup.tmp");
    assert!(!scratch.exists());
    drop(snapshot);
    drop(store);
    fs::write(&scratch, "half").unwrap();
    open(&house.at("store"));
    assert!(!scratch.exists());
}

#[tokio::test]
async fn a_disk_without_room_is_said_and_senders_go_on() {
    let house = House::new();
    let store = open(&house.at("store"));
    let bob = mailbox(&*store, "bob").await;
    store.commit(batch([envelope(1, bob, "x")])).await.unwrap();
    store.set_disk_reserve(u64::MAX / 2);
    let refused = store.backup(NOW).await.unwrap_err();
    assert!(
        matches!(refused, BackupError::NoRoom { free: 0, .. }),
        "{refused:?}"
    );
    store.set_disk_reserve(0);
    store.commit(batch([envelope(2, bob, "x")])).await.unwrap();
    assert_eq!(house.backup(&store).await.envelopes, 2);
}

#[tokio::test]
async fn a_store_at_rest_is_copied_as_a_crash_has_left_it() {
    let house = House::new();
    let store = open(&house.at("store"));
    let bob = mailbox(&*store, "bob").await;
    store.commit(batch([envelope(1, bob, "x")])).await.unwrap();
    let held = offline(&house.at("store"), NOW, Box::new(|| false)).unwrap_err();
    assert!(matches!(held, OpenError::Held(_)), "{held:?}");
    // Without a word: its log is not copied.
    drop(store);
    let snapshot = offline(&house.at("store"), NOW, Box::new(|| false))
        .unwrap()
        .unwrap();
    assert_eq!(snapshot.contents.envelopes, 1);
    drop(snapshot);
    assert_eq!(ids_of(&*open(&house.at("store")), bob).await, [1]);
    let nothing = offline(&house.at("nowhere"), NOW, Box::new(|| false)).unwrap_err();
    assert!(matches!(nothing, OpenError::NotAStore), "{nothing:?}");
}

#[tokio::test]
async fn a_backup_of_an_older_schema_is_migrated_and_a_newer_one_refused() {
    let house = House::new();
    let old = house.at("old");
    fs::create_dir(&old).unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/store-v1/chatctl.sqlite");
    fs::copy(fixture, old.join("chatctl.sqlite")).unwrap();
    let mut snapshot = offline(&old, NOW, Box::new(|| false)).unwrap().unwrap();
    assert_eq!(snapshot.contents.schema, 1);
    let mut bytes = Vec::new();
    snapshot.read_to_end(&mut bytes).unwrap();
    fs::write(house.at("backup"), bytes).unwrap();
    house.restore("elsewhere", false).unwrap();
    let bob = address("bob", "1").account;
    let store = open(&house.at("elsewhere"));
    assert_eq!(store.account(&bob).await.unwrap(), None);
    drop(store);
    // A newer one, sealed as it would be.
    let newer = house.at("newer.sqlite");
    let whole = fs::read(house.at("backup")).unwrap();
    fs::write(&newer, &whole[..whole.len() - SEAL as usize]).unwrap();
    let conn = rusqlite::Connection::open(&newer).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let mut sealed = Vec::new();
    Sealing::new(File::open(&newer).unwrap())
        .read_to_end(&mut sealed)
        .unwrap();
    fs::write(house.at("backup"), sealed).unwrap();
    let refused = house.restore("later", false).unwrap_err();
    assert!(
        matches!(refused, RestoreError::Open(OpenError::Newer { found: 99, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_restored_store_is_its_owners_alone() {
    let house = House::new();
    house.backup(&open(&house.at("store"))).await;
    house.restore("elsewhere", false).unwrap();
    for name in ["", "chatctl.sqlite", "chatctl.lock"] {
        let mode = fs::metadata(house.at("elsewhere").join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}

/// What senders feel of a backup. By hand: `cargo test --release -- --ignored --nocapture commits_during_a_backup`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures"]
async fn commits_during_a_backup() {
    let house = House::new();
    let store = open(&house.at("store"));
    let bob = mailbox(&*store, "bob").await;
    let mut next = 1;
    let payload = bytes::Bytes::from(vec![7; 1000]);
    while next < 300_000 {
        let some = (next..next + 1000).map(|number| envelope(number, bob, payload.clone()));
        store.commit(batch(some)).await.unwrap();
        next += 1000;
    }
    for round in ["before", "during"] {
        let stop = Arc::new(AtomicBool::new(round == "before"));
        let copying = {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            tokio::task::spawn_blocking(move || {
                if stop.load(Ordering::Relaxed) {
                    return None;
                }
                let began = std::time::Instant::now();
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let snapshot = runtime.block_on(store.backup(NOW)).unwrap();
                stop.store(true, Ordering::Relaxed);
                Some((snapshot.bytes, began.elapsed()))
            })
        };
        let mut took = Vec::new();
        while took.len() < 300 || !stop.load(Ordering::Relaxed) {
            let began = std::time::Instant::now();
            let some = (next..next + 16).map(|number| envelope(number, bob, payload.clone()));
            store.commit(batch(some)).await.unwrap();
            next += 16;
            took.push(began.elapsed());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        took.sort();
        let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
        println!(
            "{round}: {} commits, p50 {:?}, p99 {:?}, max {:?}; copy {:?}",
            took.len(),
            at(0.5),
            at(0.99),
            at(1.0),
            copying.await.unwrap(),
        );
    }
}
