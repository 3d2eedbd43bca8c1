//! Facts about keysets, claims and the key log.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use chatctl_protocol::{AccountId, PoolName, Suite};
use futures_util::future::join_all;

use super::{NOW, Subject, address, device, mailbox};
use crate::model::{MailboxId, UnixMs};
use crate::store::{
    Claim, ClaimTarget, Claimed, Item, Keyset, PoolCount, PoolUpload, Store, Upload, Uploaded, digest,
};

pub(crate) fn pool(name: &str) -> PoolName {
    PoolName::parse(name).unwrap()
}

/// An item named after its key.
pub(crate) fn item(name: &str) -> Item {
    Item {
        id: name.into(),
        data: Bytes::from(format!("key {name} \0\u{ff}")),
        signature: name.contains('s').then(|| Bytes::from_static(b"signature")),
    }
}

fn items(names: &[&str]) -> Vec<Item> {
    names.iter().map(|name| item(name)).collect()
}

/// An upload of one-time items to the pool `ec`, with an identity.
pub(crate) fn publish(mailbox: MailboxId, names: &[&str]) -> Upload {
    let add = PoolUpload {
        add: items(names),
        ..PoolUpload::default()
    };
    Upload {
        mailbox,
        suite: Suite::Signal,
        identity: Some(Bytes::from_static(b"identity")),
        statement: Some(Bytes::from_static(b"statement")),
        pools: vec![(pool("ec"), add)],
        max_items: 10,
        now: NOW,
    }
}

fn publish_fallback(mailbox: MailboxId, name: &str) -> Upload {
    let mut upload = publish(mailbox, &[]);
    upload.pools[0].1.fallback = Some(item(name));
    upload
}

/// A claim of one item of the pool `ec`.
pub(crate) fn claim(mailbox: MailboxId) -> Claim {
    Claim {
        suite: Suite::Signal,
        pools: vec![pool("ec")],
        targets: vec![ClaimTarget {
            mailbox,
            spare_queue: false,
        }],
        now: NOW,
    }
}

fn count(name: &str, count: u32, fallback: bool, fallback_used: bool) -> PoolCount {
    PoolCount {
        pool: pool(name),
        count,
        fallback,
        fallback_used,
    }
}

fn done(counts: Vec<PoolCount>, ignored: &[&str]) -> Uploaded {
    Uploaded::Done {
        counts,
        ignored: ignored
            .iter()
            .map(|name| (pool("ec"), Arc::from(*name)))
            .collect(),
        identity_version: 1,
        identity_changed: false,
    }
}

/// Claims one item; its name.
async fn take(store: &dyn Store, mailbox: MailboxId) -> Option<String> {
    let claimed = store.claim(claim(mailbox)).await.unwrap();
    let taken = claimed[0].items[0].clone()?;
    assert_eq!(taken, item(&taken.id));
    Some(taken.id.to_string())
}

async fn counts(store: &dyn Store, mailbox: MailboxId) -> Vec<PoolCount> {
    store
        .keyset(mailbox, &Suite::Signal)
        .await
        .unwrap()
        .unwrap()
        .counts
}

pub(crate) async fn items_leave_in_upload_order_over_crashes(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    subject
        .store()
        .upload(publish(bob, &["z", "s1", "m"]))
        .await
        .unwrap();
    subject.store().upload(publish(bob, &["a", "s0"])).await.unwrap();
    let mut taken = Vec::new();
    while let Some(name) = take(subject.store(), bob).await {
        taken.push(name);
        subject.crash().await;
    }
    assert_eq!(taken, ["z", "s1", "m", "a", "s0"]);
}

pub(crate) async fn an_item_is_claimed_once_under_contention(subject: &mut dyn Subject) {
    let store = subject.store();
    let bob = mailbox(store, "bob").await;
    let names: Vec<_> = (0..20).map(|number| format!("k{number}")).collect();
    for chunk in names.chunks(7) {
        let chunk: Vec<_> = chunk.iter().map(String::as_str).collect();
        let mut upload = publish(bob, &chunk);
        upload.max_items = 100;
        store.upload(upload).await.unwrap();
    }
    let taken = join_all((0..32).map(|_| take(store, bob))).await;
    let distinct: BTreeSet<_> = taken.iter().flatten().cloned().collect();
    assert_eq!(taken.iter().flatten().count(), 20);
    assert_eq!(distinct, names.into_iter().collect());
}

pub(crate) async fn an_item_queued_under_two_names_is_handed_out_once(subject: &mut dyn Subject) {
    let store = subject.store();
    let bob = mailbox(store, "bob").await;
    let mut upload = publish(bob, &["a", "b"]);
    upload.pools[0].1.add[1].data = item("a").data;
    store.upload(upload).await.unwrap();
    assert_eq!(take(store, bob).await.as_deref(), Some("a"));
    assert_eq!(take(store, bob).await, None);
}

pub(crate) async fn a_claim_takes_the_queue_then_the_fallback_then_nothing(subject: &mut dyn Subject) {
    let store = subject.store();
    let bob = mailbox(store, "bob").await;
    let mut upload = publish_fallback(bob, "last");
    upload.pools[0].1.add = items(&["a"]);
    upload.pools.push((pool("kem"), PoolUpload::default()));
    let uploaded = store.upload(upload).await.unwrap();
    let all = vec![count("ec", 1, true, false), count("kem", 0, false, false)];
    let first = Uploaded::Done {
        counts: all,
        ignored: vec![],
        identity_version: 1,
        identity_changed: true,
    };
    assert_eq!(uploaded, first);
    let pools = ["kem", "ec", "ec", "other"].map(pool).to_vec();
    let claimed = store.claim(Claim { pools, ..claim(bob) }).await.unwrap();
    let expected = Claimed {
        mailbox: bob,
        identity: Bytes::from_static(b"identity"),
        statement: Some(Bytes::from_static(b"statement")),
        items: vec![None, Some(item("a")), Some(item("last")), None],
        touched: vec![count("ec", 0, true, true)],
    };
    assert_eq!(claimed, [expected]);
    // A fallback is never used up.
    assert_eq!(take(store, bob).await.as_deref(), Some("last"));
    // The same one again is as used as it was; another one is new.
    store.upload(publish_fallback(bob, "last")).await.unwrap();
    assert_eq!(counts(store, bob).await[0], count("ec", 0, true, true));
    store.upload(publish_fallback(bob, "newer")).await.unwrap();
    assert_eq!(counts(store, bob).await[0], count("ec", 0, true, false));
}

pub(crate) async fn a_claim_may_spare_the_queue(subject: &mut dyn Subject) {
    let store = subject.store();
    let bob = mailbox(store, "bob").await;
    store.upload(publish(bob, &["a", "b"])).await.unwrap();
    let mut sparing = claim(bob);
    sparing.targets[0].spare_queue = true;
    let claimed = store.claim(sparing.clone()).await.unwrap();
    assert_eq!(claimed[0].items, [None]);
    store.upload(publish_fallback(bob, "last")).await.unwrap();
    let claimed = store.claim(sparing).await.unwrap();
    assert_eq!(claimed[0].items, [Some(item("last"))]);
    assert_eq!(counts(store, bob).await, [count("ec", 2, true, true)]);
}

pub(crate) async fn a_claim_leaves_out_devices_without_a_keyset(subject: &mut dyn Subject) {
    let store = subject.store();
    let (bob, carol) = (mailbox(store, "bob").await, mailbox(store, "carol").await);
    store.upload(publish(bob, &["a"])).await.unwrap();
    let targets = [carol, bob, MailboxId(77)].map(|mailbox| ClaimTarget {
        mailbox,
        spare_queue: false,
    });
    let both = Claim {
        targets: targets.to_vec(),
        ..claim(bob)
    };
    let claimed = store.claim(both).await.unwrap();
    assert_eq!(claimed.iter().map(|one| one.mailbox).collect::<Vec<_>>(), [bob]);
    let olm = Claim {
        suite: Suite::Olm,
        ..claim(bob)
    };
    assert_eq!(store.claim(olm).await.unwrap(), []);
}

pub(crate) async fn an_upload_again_changes_nothing(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    let mut upload = publish(bob, &["a", "b"]);
    subject.store().upload(upload.clone()).await.unwrap();
    subject.crash().await;
    let again = subject.store().upload(upload.clone()).await.unwrap();
    assert_eq!(again, done(vec![count("ec", 2, false, false)], &[]));
    assert_eq!(take(subject.store(), bob).await.as_deref(), Some("a"));
    // Also when it was claimed from meanwhile, and without what it says again.
    upload.identity = None;
    upload.statement = None;
    let again = subject.store().upload(upload).await.unwrap();
    assert_eq!(again, done(vec![count("ec", 1, false, false)], &["a"]));
    let keyset = subject
        .store()
        .keyset(bob, &Suite::Signal)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(keyset.statement, Some(Bytes::from_static(b"statement")));
    assert_eq!(subject.store().suites(bob).await.unwrap(), [Suite::Signal]);
}

pub(crate) async fn a_refused_upload_changes_nothing(subject: &mut dyn Subject) {
    let store = subject.store();
    let bob = mailbox(store, "bob").await;
    let mut nameless = publish(bob, &["a"]);
    nameless.identity = None;
    assert_eq!(store.upload(nameless).await.unwrap(), Uploaded::NoIdentity);
    assert_eq!(store.keyset(bob, &Suite::Signal).await.unwrap(), None);
    assert_eq!(
        store.upload(publish(MailboxId(77), &[])).await.unwrap(),
        Uploaded::NoDevice
    );

    store.upload(publish(bob, &["a"])).await.unwrap();
    let before = store.keyset(bob, &Suite::Signal).await.unwrap();
    let mut clash = publish(bob, &["b", "a"]);
    clash.pools[0].1.add[1].data = Bytes::from_static(b"other");
    clash.identity = Some(Bytes::from_static(b"another"));
    let conflict = Uploaded::Conflict {
        pool: pool("ec"),
        item: "a".into(),
    };
    assert_eq!(store.upload(clash).await.unwrap(), conflict);
    let mut twice = publish(bob, &["c", "c"]);
    twice.pools[0].1.add[1].signature = Some(Bytes::from_static(b"other"));
    let conflict = Uploaded::Conflict {
        pool: pool("ec"),
        item: "c".into(),
    };
    assert_eq!(store.upload(twice).await.unwrap(), conflict);
    let mut many = publish(bob, &["d", "e"]);
    many.max_items = 2;
    many.pools.insert(0, (pool("new"), PoolUpload::default()));
    assert_eq!(
        store.upload(many).await.unwrap(),
        Uploaded::TooMany { pool: pool("ec") }
    );
    assert_eq!(store.keyset(bob, &Suite::Signal).await.unwrap(), before);
    let account = AccountId::parse("bob").unwrap();
    assert_eq!(store.key_log(&account, 0, 10).await.unwrap().len(), 1);
}

pub(crate) async fn a_handed_out_item_is_ignored_for_ninety_days(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    subject.store().upload(publish(bob, &["a"])).await.unwrap();
    assert_eq!(take(subject.store(), bob).await.as_deref(), Some("a"));
    subject.crash().await;
    // Under another id as well: it is the key that must not come twice.
    let mut late = publish(bob, &["b"]);
    late.pools[0].1.add[0].data = item("a").data;
    late.now = UnixMs(NOW.0 + digest::TOMBSTONE_SECONDS * 1000 - 1);
    let ignored = subject.store().upload(late.clone()).await.unwrap();
    assert_eq!(ignored, done(vec![count("ec", 0, false, false)], &["b"]));
    late.now = UnixMs(late.now.0 + 1);
    let taken = subject.store().upload(late).await.unwrap();
    assert_eq!(taken, done(vec![count("ec", 1, false, false)], &[]));
}

pub(crate) async fn a_replacement_takes_the_place_of_the_queue(subject: &mut dyn Subject) {
    let store = subject.store();
    let bob = mailbox(store, "bob").await;
    store.upload(publish(bob, &["a", "b", "c"])).await.unwrap();
    assert_eq!(take(store, bob).await.as_deref(), Some("a"));
    let mut upload = publish(bob, &[]);
    // b with other bytes is no conflict: the old one goes. a was handed out.
    let mut other = item("b");
    other.signature = Some(Bytes::from_static(b"other"));
    upload.pools[0].1.replace = Some(vec![item("x"), other.clone(), item("a")]);
    for _ in 0..2 {
        let uploaded = store.upload(upload.clone()).await.unwrap();
        assert_eq!(uploaded, done(vec![count("ec", 2, false, false)], &["a"]));
    }
    assert_eq!(take(store, bob).await.as_deref(), Some("x"));
    assert_eq!(store.claim(claim(bob)).await.unwrap()[0].items, [Some(other)]);
}

pub(crate) async fn a_dropped_queue_keeps_its_fallback(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    let mut upload = publish_fallback(bob, "last");
    upload.pools[0].1.add = items(&["a", "b"]);
    subject.store().upload(upload).await.unwrap();
    let drop_queue = |name| subject.store().drop_queue(bob, &Suite::Signal, name);
    let (ec, other) = (pool("ec"), pool("other"));
    assert!(drop_queue(&ec).await.unwrap());
    assert!(!drop_queue(&other).await.unwrap());
    subject.crash().await;
    assert_eq!(counts(subject.store(), bob).await, [count("ec", 0, true, false)]);
    // They were not handed out, so they may come again.
    let again = subject.store().upload(publish(bob, &["a"])).await.unwrap();
    assert_eq!(again, done(vec![count("ec", 1, true, false)], &[]));
}

pub(crate) async fn a_changed_identity_is_logged_and_the_log_outlives_the_device(subject: &mut dyn Subject) {
    let phone = device(subject.store(), "bob", "phone", 1).await;
    let first = publish(phone.mailbox, &[]);
    let second = Upload {
        identity: Some(Bytes::from_static(b"another")),
        now: UnixMs(NOW.0 + 5),
        ..first.clone()
    };
    subject.store().upload(first).await.unwrap();
    let changed = subject.store().upload(second.clone()).await.unwrap();
    let expected = Uploaded::Done {
        counts: vec![count("ec", 0, false, false)],
        ignored: vec![],
        identity_version: 2,
        identity_changed: true,
    };
    assert_eq!(changed, expected);
    subject.store().upload(second).await.unwrap();
    subject
        .store()
        .remove_device(&address("bob", "phone"), NOW)
        .await
        .unwrap();
    subject.crash().await;
    let tablet = device(subject.store(), "bob", "tablet", 1).await;
    let olm = Upload {
        suite: Suite::Olm,
        ..publish(tablet.mailbox, &[])
    };
    subject.store().upload(olm).await.unwrap();

    let name = phone.device_id;
    let one = digest::key_log_entry(None, NOW, &name, &Suite::Signal, b"identity");
    let at = UnixMs(NOW.0 + 5);
    let two = digest::key_log_entry(Some((1, one.hash)), at, &name, &Suite::Signal, b"another");
    let three = digest::key_log_entry(
        Some((2, two.hash)),
        NOW,
        &tablet.device_id,
        &Suite::Olm,
        b"identity",
    );
    let account = AccountId::parse("bob").unwrap();
    let log = subject.store().key_log(&account, 0, 10).await.unwrap();
    assert_eq!(log, [one, two.clone(), three]);
    assert_eq!(subject.store().key_log(&account, 1, 1).await.unwrap(), [two]);
}

pub(crate) async fn the_digest_is_over_identity_and_fallbacks(subject: &mut dyn Subject) {
    let store = subject.store();
    let bob = mailbox(store, "bob").await;
    let mut upload = publish_fallback(bob, "last");
    let kem = PoolUpload {
        fallback: Some(item("kems")),
        ..PoolUpload::default()
    };
    upload.pools.insert(0, (pool("kem"), kem));
    upload.pools.push((pool("a"), PoolUpload::default()));
    upload.pools[1].1.add = items(&["x"]);
    store.upload(upload).await.unwrap();
    let fallbacks = [(pool("ec"), item("last")), (pool("kem"), item("kems"))];
    let keyset = Keyset {
        identity: Bytes::from_static(b"identity"),
        statement: Some(Bytes::from_static(b"statement")),
        identity_version: 1,
        counts: vec![
            count("a", 0, false, false),
            count("ec", 1, true, false),
            count("kem", 0, true, false),
        ],
        digest: digest::keyset(b"identity", fallbacks.iter().map(|(name, item)| (name, item))),
    };
    assert_eq!(store.keyset(bob, &Suite::Signal).await.unwrap(), Some(keyset));
}
