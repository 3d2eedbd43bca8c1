//! Facts about cleaning up: what a look counts, and what a step removes and leaves.

use chatctl_protocol::{Address, Suite};

use super::devices::{assert_gone, furnish};
use super::keys::{claim, item, pool, publish};
use super::revocations::token;
use super::{LATER, NOW, Subject, address, batch, device, envelope, ids_of, mail_of, mailbox, posting};
use crate::model::{DeviceList, MailboxId, UnixMs};
use crate::store::{
    Batch, Begin, Begun, Due, Ended, Litter, LowPool, LowPools, Outcome, Overlap, SendKey, Store, Swept,
    Trigger, Work,
};

/// Before or after `NOW`.
const fn at(ms: i64) -> UnixMs {
    UnixMs(NOW.0.saturating_add_signed(ms))
}

async fn due(store: &dyn Store, litter: Litter) -> Due {
    store.due(litter).await.unwrap()
}

const fn counted(count: u64, oldest: UnixMs) -> Due {
    Due {
        count,
        bytes: 0,
        oldest: Some(oldest),
    }
}

/// A batch of sends, each of one envelope and at a time of its own.
fn sends(mailbox: MailboxId, times: impl IntoIterator<Item = i64>) -> Batch {
    let postings = times.into_iter().zip(1..).map(|(ms, number)| {
        let mut one = envelope(number, mailbox, vec![0; 10]);
        one.accepted_at = at(ms);
        one.expires_at = at(ms + 100);
        posting([one])
    });
    Batch {
        postings: postings.collect(),
        ..Batch::default()
    }
}

/// Commits sends one by one: what is committed together may be kept together. Their names.
async fn commit_each(store: &dyn Store, batch: Batch) -> Vec<SendKey> {
    let mut keys = Vec::new();
    for posting in batch.postings {
        keys.push(posting.record.key.clone());
        let alone = Batch {
            postings: vec![posting],
            ..Batch::default()
        };
        store.commit(alone).await.unwrap();
    }
    keys
}

pub(crate) async fn what_is_looked_at_is_what_a_step_removes(subject: &mut dyn Subject) {
    let store = subject.store();
    let bob = mailbox(store, "bob").await;
    commit_each(store, sends(bob, [1, 2, 3, 4])).await;
    store.upload(publish(bob, &["a", "b", "c"])).await.unwrap();
    for ms in [5, 6, 7] {
        let one = crate::store::Claim {
            now: at(ms),
            ..claim(bob)
        };
        store.claim(one).await.unwrap();
    }
    for jti in ["x", "y"] {
        store.revoke(&token(jti)).await.unwrap();
    }
    // Twice: looking changes nothing.
    for _ in 0..2 {
        let mail = Due {
            bytes: 30,
            ..counted(3, at(101))
        };
        assert_eq!(due(store, Litter::Mail { now: at(103) }).await, mail);
        let records = Litter::Records { before: at(3) };
        assert_eq!(due(store, records).await, counted(2, at(1)));
        let tombstones = Litter::Tombstones { before: at(7) };
        assert_eq!(due(store, tombstones).await, counted(2, at(5)));
        let revocations = Litter::Revocations { now: LATER };
        assert_eq!(due(store, revocations).await, counted(2, LATER));
    }
    assert_eq!(store.expire(at(103), 100).await.unwrap().removed.len(), 3);
    assert_eq!(store.forget_records(at(3), 100).await.unwrap(), 2);
    assert_eq!(store.forget_tombstones(at(7), 100).await.unwrap(), 2);
    assert_eq!(store.prune_revocations(LATER, 100).await.unwrap(), 2);
    for litter in [
        Litter::Mail { now: at(103) },
        Litter::Records { before: at(3) },
        Litter::Tombstones { before: at(7) },
        Litter::Revocations { now: LATER },
    ] {
        assert_eq!(due(store, litter).await, Due::default(), "{litter:?}");
    }
    let idle = Litter::IdleDevices { before: at(1) };
    assert_eq!(due(store, idle).await, counted(1, NOW));
    assert_eq!(
        store.remove_idle(at(1), NOW, 100).await.unwrap(),
        [(address("bob", "1"), bob)]
    );
    assert_eq!(due(store, idle).await, Due::default());
    runs_are_looked_at(store).await;
}

async fn runs_are_looked_at(store: &dyn Store) {
    for ms in [1, 2, 3] {
        let begin = Begin {
            job: "a".into(),
            tick: at(ms),
            after: at(ms - 1),
            trigger: Trigger::Schedule,
            holder: "relay".into(),
            term: std::time::Duration::from_secs(3600),
            overlap: Overlap::Skip,
            now: at(ms),
        };
        let Begun::Granted(grant) = store.begin(&begin).await.unwrap() else {
            panic!("nobody has it")
        };
        let ended = Ended {
            outcome: Outcome::Done,
            at: at(ms),
            work: Work::default(),
            error: None,
        };
        assert!(store.end(&grant, &ended).await.unwrap());
    }
    // Of every job the newest stays.
    let litter = Litter::Runs {
        before: LATER,
        keep: 10,
    };
    assert_eq!(due(store, litter).await, counted(2, at(1)));
    assert_eq!(store.trim_runs(LATER, 10, 100).await.unwrap(), 2);
    assert_eq!(due(store, litter).await, Due::default());
}

pub(crate) async fn what_has_no_device_is_looked_for_and_normally_not_found(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    furnish(subject.store(), bob).await;
    subject.crash().await;
    let litter = Litter::Departed { now: LATER };
    assert_eq!(due(subject.store(), litter).await, Due::default());
}

pub(crate) async fn records_are_forgotten_in_bounded_steps(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    let keys = commit_each(subject.store(), sends(bob, 1..=7)).await;
    let mut steps = Vec::new();
    for _ in 0..4 {
        // The sixth and the seventh are not old enough.
        steps.push(subject.store().forget_records(at(6), 2).await.unwrap());
        subject.crash().await;
    }
    assert_eq!(steps, [2, 2, 1, 0]);
    for (key, is_kept) in keys.iter().zip([false, false, false, false, false, true, true]) {
        let record = subject.store().sent(key).await.unwrap();
        assert_eq!(record.is_some(), is_kept, "{key:?}");
    }
    // Their mail is none of its business.
    assert_eq!(ids_of(subject.store(), bob).await, [1, 2, 3, 4, 5, 6, 7]);
}

pub(crate) async fn tombstones_go_after_their_time_and_not_before(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    subject
        .store()
        .upload(publish(bob, &["a", "b", "c"]))
        .await
        .unwrap();
    for ms in [1, 2, 3] {
        let one = crate::store::Claim {
            now: at(ms),
            ..claim(bob)
        };
        subject.store().claim(one).await.unwrap();
    }
    // At its own time an item is still remembered.
    assert_eq!(subject.store().forget_tombstones(at(1), 10).await.unwrap(), 0);
    assert_eq!(subject.store().forget_tombstones(at(3), 1).await.unwrap(), 1);
    assert_eq!(subject.store().forget_tombstones(at(3), 10).await.unwrap(), 1);
    subject.crash().await;
    assert_eq!(subject.store().forget_tombstones(at(3), 10).await.unwrap(), 0);
    // The third alone is known to have been handed out.
    let again = subject.store().upload(publish(bob, &["a", "b", "c"])).await;
    let crate::store::Uploaded::Done { ignored, .. } = again.unwrap() else {
        panic!("the upload is good")
    };
    assert_eq!(ignored, [(pool("ec"), "c".into())]);
}

pub(crate) async fn a_device_seen_again_is_not_idle(subject: &mut dyn Subject) {
    let (bob, carol) = (
        mailbox(subject.store(), "bob").await,
        mailbox(subject.store(), "carol").await,
    );
    assert_eq!(subject.store().seen(&[bob], at(50)).await.unwrap(), []);
    subject.crash().await;
    let store = subject.store();
    let litter = Litter::IdleDevices { before: at(50) };
    assert_eq!(due(store, litter).await, counted(1, NOW));
    assert_eq!(
        store.remove_idle(at(50), LATER, 10).await.unwrap(),
        [(address("carol", "1"), carol)]
    );
    assert_eq!(store.remove_idle(at(50), LATER, 10).await.unwrap(), []);
    let list = store.devices(&address("bob", "1").account).await.unwrap();
    assert_eq!(list.devices[0].mailbox, bob);
    // Which is over on the next day.
    assert_eq!(
        store.remove_idle(at(51), LATER, 10).await.unwrap(),
        [(address("bob", "1"), bob)]
    );
}

pub(crate) async fn an_earlier_day_changes_nothing(subject: &mut dyn Subject) {
    let store = subject.store();
    let bob = mailbox(store, "bob").await;
    // It was seen when it was registered.
    store.seen(&[bob], at(-50)).await.unwrap();
    assert_eq!(
        due(store, Litter::IdleDevices { before: NOW }).await,
        Due::default()
    );
    for day in [at(50), at(20), at(50)] {
        store.seen(&[bob], day).await.unwrap();
        let before = Litter::IdleDevices { before: at(50) };
        assert_eq!(due(store, before).await, Due::default());
    }
    let before = Litter::IdleDevices { before: at(51) };
    assert_eq!(due(store, before).await, counted(1, at(50)));
}

pub(crate) async fn who_is_seen_and_gone_is_told(subject: &mut dyn Subject) {
    let store = subject.store();
    let (bob, carol) = (mailbox(store, "bob").await, mailbox(store, "carol").await);
    store.remove_device(&address("bob", "1"), NOW).await.unwrap();
    let nobody = MailboxId(77);
    let gone = store.seen(&[nobody, carol, bob], at(50)).await.unwrap();
    assert_eq!(gone, [nobody, bob]);
    assert_eq!(store.seen(&[], at(50)).await.unwrap(), []);
    // Nobody came back with it.
    assert_eq!(
        due(store, Litter::IdleDevices { before: LATER }).await,
        counted(1, at(50))
    );
}

pub(crate) async fn idle_devices_go_with_everything_they_had(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    let second = device(subject.store(), "bob", "2", 7).await;
    furnish(subject.store(), bob).await;
    subject.store().seen(&[second.mailbox], at(9)).await.unwrap();
    let removed = subject.store().remove_idle(at(9), LATER, 10).await;
    assert_eq!(removed.unwrap(), [(address("bob", "1"), bob)]);
    for _ in 0..2 {
        assert_gone(subject.store(), bob).await;
        let list = DeviceList {
            version: 3,
            devices: vec![second.clone()],
        };
        let account = address("bob", "1").account;
        assert_eq!(subject.store().devices(&account).await.unwrap(), list);
        subject.crash().await;
    }
    // It comes back as any device that was removed does.
    let back = device(subject.store(), "bob", "1", 7).await;
    assert_eq!(back.incarnation, 2);
    assert!(back.mailbox > second.mailbox);
}

pub(crate) async fn the_longest_idle_go_first_and_no_more_than_asked_for(subject: &mut dyn Subject) {
    let store = subject.store();
    let mut mailboxes = Vec::<(Address, MailboxId)>::new();
    for (name, day) in [("a", 30), ("b", 10), ("c", 20), ("d", 10)] {
        let mailbox = mailbox(store, name).await;
        store.seen(&[mailbox], at(day)).await.unwrap();
        mailboxes.push((address(name, "1"), mailbox));
    }
    let [a, b, c, d] = mailboxes.try_into().unwrap();
    let mut first = store.remove_idle(at(30), LATER, 2).await.unwrap();
    first.sort();
    assert_eq!(first, [b, d]);
    assert_eq!(store.remove_idle(at(30), LATER, 2).await.unwrap(), [c]);
    assert_eq!(
        due(store, Litter::IdleDevices { before: LATER }).await,
        counted(1, at(30))
    );
    assert_eq!(store.remove_idle(LATER, LATER, 2).await.unwrap(), [a]);
}

pub(crate) async fn low_pools_are_found_page_by_page(subject: &mut dyn Subject) {
    let store = subject.store();
    let mut low = Vec::new();
    for (name, items) in [
        ("a", &["1", "2"][..]),
        ("b", &["1", "2", "3"]),
        ("c", &[]),
        ("d", &["1"]),
    ] {
        let mailbox = mailbox(store, name).await;
        let mut upload = publish(mailbox, items);
        upload.pools[0].1.fallback = items.is_empty().then(|| item("last"));
        store.upload(upload).await.unwrap();
        low.push(LowPool {
            mailbox,
            address: address(name, "1"),
            suite: Suite::Signal,
            pool: pool("ec"),
            count: u32::try_from(items.len()).unwrap(),
            fallback: items.is_empty(),
        });
    }
    // One without keys is not looked at.
    mailbox(store, "e").await;
    let [a, b, c, d] = &low[..] else {
        panic!("four queues")
    };
    let page = |low: &[&LowPool], looked, next: Option<&LowPool>| LowPools {
        low: low.iter().map(|low| (*low).clone()).collect(),
        looked,
        next: next.map(|last| last.mailbox),
    };
    let first = store.low_pools(2, MailboxId(0), 2).await.unwrap();
    assert_eq!(first, page(&[a], 2, Some(b)));
    let second = store.low_pools(2, b.mailbox, 2).await.unwrap();
    assert_eq!(second, page(&[c, d], 2, None));
    let whole = store.low_pools(3, MailboxId(0), 100).await.unwrap();
    assert_eq!(whole, page(&[a, b, c, d], 4, None));
    let after = store.low_pools(3, d.mailbox, 100).await.unwrap();
    assert_eq!(after, page(&[], 0, None));
    store.claim(claim(b.mailbox)).await.unwrap();
    let b = &LowPool {
        count: 2,
        ..b.clone()
    };
    let claimed = store.low_pools(2, a.mailbox, 1).await.unwrap();
    assert_eq!(claimed, page(&[b], 1, Some(b)));
}

pub(crate) async fn a_sweep_leaves_what_lives(subject: &mut dyn Subject) {
    let (bob, carol) = (
        mailbox(subject.store(), "bob").await,
        mailbox(subject.store(), "carol").await,
    );
    furnish(subject.store(), bob).await;
    furnish(subject.store(), carol).await;
    let gone = address("carol", "1");
    subject.store().remove_device(&gone, NOW).await.unwrap();
    let before = (
        mail_of(subject.store(), bob).await,
        subject.store().gaps(bob).await.unwrap(),
        subject.store().keyset(bob, &Suite::Signal).await.unwrap(),
    );
    // Long after carol has gone.
    let later = UnixMs(NOW.0 + 24 * 3600 * 1000);
    while !subject.store().sweep_departed(later, 1).await.unwrap().done {}
    let nothing = Swept {
        done: true,
        ..Swept::default()
    };
    assert_eq!(subject.store().sweep_departed(later, 1).await.unwrap(), nothing);
    subject.crash().await;
    let after = (
        mail_of(subject.store(), bob).await,
        subject.store().gaps(bob).await.unwrap(),
        subject.store().keyset(bob, &Suite::Signal).await.unwrap(),
    );
    assert_eq!(before, after);
    assert_eq!(before.0.len(), 1);
    assert_gone(subject.store(), carol).await;
}

pub(crate) async fn compaction_changes_no_row(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    let keep = (1..=5).map(|n| envelope(n * 100, bob, vec![7; 20_000]));
    let waste = (1..=60).filter(|n| n % 10 != 0).map(|n| {
        let mut over = envelope(n, bob, vec![0; 60_000]);
        over.expires_at = NOW;
        over
    });
    subject.store().commit(batch(waste)).await.unwrap();
    subject.store().commit(batch(keep)).await.unwrap();
    subject.store().upload(publish(bob, &["a", "b"])).await.unwrap();
    while !subject.store().expire(NOW, 10).await.unwrap().done {}
    let before = (
        mail_of(subject.store(), bob).await,
        subject.store().gaps(bob).await.unwrap(),
        subject.store().keyset(bob, &Suite::Signal).await.unwrap(),
    );
    assert_eq!(before.0.len(), 5);
    while !subject.store().compact().await.unwrap().done {}
    for _ in 0..2 {
        let after = (
            mail_of(subject.store(), bob).await,
            subject.store().gaps(bob).await.unwrap(),
            subject.store().keyset(bob, &Suite::Signal).await.unwrap(),
        );
        assert_eq!(before, after);
        subject.crash().await;
    }
}
