//! Facts about mail, records, expiry and gaps.

use std::sync::Arc;

use chatctl_protocol::EnvelopeId;
use futures_util::future::join_all;

use super::{
    EVERYTHING, LATER, NOW, SENDER, Subject, acks, address, batch, device, envelope, id, ids_of, mail_of,
    mailbox, name, posting,
};
use crate::model::{MailboxId, UnixMs};
use crate::store::{
    Batch, Committed, Error, Expired, ExpiredEnvelope, Gap, GapReason, Room, SendKey, Span, Usage,
};

pub(crate) async fn committed_mail_survives_a_crash_whole_and_in_order(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    let payloads = [vec![], vec![0], vec![0xff; 300], vec![0x5a; 96 * 1024]];
    let sent: Vec<_> = payloads
        .into_iter()
        .zip(1..)
        .map(|(payload, number)| envelope(number, bob, payload))
        .collect();
    // A later commit may bring an earlier id.
    subject.store().commit(batch(sent[1..].to_vec())).await.unwrap();
    subject.store().commit(batch([sent[0].clone()])).await.unwrap();
    let sent: Vec<_> = sent.into_iter().map(Arc::new).collect();
    assert_eq!(mail_of(subject.store(), bob).await, sent);
    subject.crash().await;
    assert_eq!(mail_of(subject.store(), bob).await, sent);
}

pub(crate) async fn pages_bring_every_envelope_once_while_others_come_and_go(subject: &mut dyn Subject) {
    let store = subject.store();
    let bob = mailbox(store, "bob").await;
    store
        .commit(batch((1..=50).map(|n| envelope(n, bob, "x"))))
        .await
        .unwrap();
    let room = Room {
        envelopes: 7,
        bytes: 1000,
    };
    let (mut after, mut seen, mut next) = (EnvelopeId::ZERO, Vec::new(), 51);
    loop {
        let page = store
            .read(
                bob,
                Span {
                    after,
                    up_to: EnvelopeId::MAX,
                    now: NOW,
                },
                room,
            )
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        after = last.id;
        seen.extend(page.iter().map(|envelope| envelope.id.as_u64()));
        // One comes for each page until the end, and what was read goes.
        let deletions = acks(bob, seen.iter().copied()).deletions;
        let arrivals = (next <= 60).then(|| envelope(next, bob, "y"));
        next += 1;
        let both = Batch {
            deletions,
            ..batch(arrivals)
        };
        store.commit(both).await.unwrap();
    }
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
    assert!(seen.len() >= 57, "{}", seen.len());
    assert_eq!(ids_of(store, bob).await, [0; 0]);
}

pub(crate) async fn what_was_committed_is_read_in_order_while_others_commit(subject: &mut dyn Subject) {
    let store = subject.store();
    let bob = mailbox(store, "bob").await;
    join_all((0..8).map(|putter| async move {
        for round in 0..20 {
            let number = round * 8 + putter + 1;
            store.commit(batch([envelope(number, bob, "x")])).await.unwrap();
            let ids = ids_of(store, bob).await;
            assert!(ids.contains(&number) && ids.is_sorted(), "{number} in {ids:?}");
        }
    }))
    .await;
    assert_eq!(ids_of(store, bob).await, (1..=160).collect::<Vec<_>>());
}

pub(crate) async fn a_read_brings_the_first_envelope_whatever_its_size(subject: &mut dyn Subject) {
    let store = subject.store();
    let bob = mailbox(store, "bob").await;
    let mail = [
        envelope(1, bob, vec![0; 100]),
        envelope(2, bob, vec![0; 10]),
        envelope(3, bob, ""),
    ];
    store.commit(batch(mail)).await.unwrap();
    let read = |after, up_to, envelopes, bytes| async move {
        let page = store
            .read(
                bob,
                Span {
                    after: id(after),
                    up_to: id(up_to),
                    now: NOW,
                },
                Room { envelopes, bytes },
            )
            .await;
        page.unwrap()
            .iter()
            .map(|envelope| envelope.id.as_u64())
            .collect::<Vec<_>>()
    };
    assert_eq!(read(0, 9, 9, 5).await, [1]);
    assert_eq!(read(0, 9, 9, 109).await, [1]);
    assert_eq!(read(0, 9, 9, 110).await, [1, 2, 3]);
    assert_eq!(read(1, 9, 9, 0).await, [2]);
    assert_eq!(read(0, 2, 9, 1000).await, [1, 2]);
    assert_eq!(read(0, 9, 2, 1000).await, [1, 2]);
    assert_eq!(read(3, 9, 9, 1000).await, [0; 0]);
}

pub(crate) async fn a_cursor_survives_everything_around_it(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    let mail = (1..=6).map(|n| envelope(n, bob, "x"));
    subject.store().commit(batch(mail)).await.unwrap();
    subject.store().commit(acks(bob, [1, 3])).await.unwrap();
    subject.crash().await;
    let page = subject
        .store()
        .read(
            bob,
            Span {
                after: id(3),
                up_to: EnvelopeId::MAX,
                now: NOW,
            },
            EVERYTHING,
        )
        .await
        .unwrap();
    assert_eq!(page.iter().map(|e| e.id.as_u64()).collect::<Vec<_>>(), [4, 5, 6]);
}

pub(crate) async fn a_deletion_takes_only_what_it_names(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    let carol = mailbox(subject.store(), "carol").await;
    let mail = [
        envelope(1, bob, "x"),
        envelope(2, carol, "y"),
        envelope(3, bob, "z"),
    ];
    subject.store().commit(batch(mail)).await.unwrap();
    for _ in 0..2 {
        // 2 is of another mailbox, and 77 never was.
        subject.store().commit(acks(bob, [1, 2, 77])).await.unwrap();
        assert_eq!(ids_of(subject.store(), bob).await, [3]);
        assert_eq!(ids_of(subject.store(), carol).await, [2]);
        subject.crash().await;
    }
}

pub(crate) async fn a_posting_committed_again_changes_nothing(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    let again = batch([envelope(1, bob, "x")]);
    subject.store().commit(again.clone()).await.unwrap();
    subject.store().commit(again.clone()).await.unwrap();
    assert_eq!(ids_of(subject.store(), bob).await, [1]);
    subject.store().commit(acks(bob, [1])).await.unwrap();
    // Not even when it was acked since, nor after a crash.
    subject.store().commit(again.clone()).await.unwrap();
    subject.crash().await;
    assert_eq!(subject.store().commit(again).await.unwrap(), Committed::default());
    assert_eq!(ids_of(subject.store(), bob).await, [0; 0]);
}

pub(crate) async fn many_commits_of_one_posting_store_one_copy(subject: &mut dyn Subject) {
    let store = subject.store();
    let bob = mailbox(store, "bob").await;
    let commits = (0..100).map(|_| store.commit(batch([envelope(1, bob, "x")])));
    for committed in join_all(commits).await {
        assert_eq!(committed.unwrap(), Committed::default());
    }
    assert_eq!(store.usage(bob).await.unwrap().envelopes, 1);
}

pub(crate) async fn a_different_send_under_an_old_name_takes_its_record_over(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    let old = posting([envelope(1, bob, "x")]);
    let mut new = posting([envelope(2, bob, "y")]);
    new.record.key = old.record.key.clone();
    for posting in [old, new.clone()] {
        let batch = Batch {
            postings: vec![posting],
            ..Batch::default()
        };
        subject.store().commit(batch).await.unwrap();
    }
    subject.crash().await;
    assert_eq!(ids_of(subject.store(), bob).await, [1, 2]);
    assert_eq!(
        subject.store().sent(&new.record.key).await.unwrap(),
        Some(new.record)
    );
}

pub(crate) async fn a_posting_to_a_gone_mailbox_is_refused_whole_and_alone(subject: &mut dyn Subject) {
    let store = subject.store();
    let bob = mailbox(store, "bob").await;
    let gone = mailbox(store, "gone").await;
    store.remove_device(&address("gone", "1"), NOW).await.unwrap();
    let refused = posting([envelope(1, bob, "x"), envelope(2, gone, "x")]);
    let batch = Batch {
        postings: vec![refused.clone(), posting([envelope(3, bob, "y")])],
        ..Batch::default()
    };
    assert_eq!(store.commit(batch).await.unwrap(), Committed { refused: vec![0] });
    assert_eq!(ids_of(store, bob).await, [3]);
    assert_eq!(store.sent(&refused.record.key).await.unwrap(), None);
    assert_eq!(mail_of(store, gone).await, []);
}

pub(crate) async fn mail_stored_and_deleted_in_one_batch_is_gone(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    let both = Batch {
        deletions: acks(bob, [1]).deletions,
        ..batch([envelope(1, bob, "x"), envelope(2, bob, "y")])
    };
    subject.store().commit(both).await.unwrap();
    assert_eq!(ids_of(subject.store(), bob).await, [2]);
    subject.crash().await;
    assert_eq!(ids_of(subject.store(), bob).await, [2]);
}

pub(crate) async fn the_extent_counts_the_mail_of_all_mailboxes(subject: &mut dyn Subject) {
    let store = subject.store();
    let (bob, carol) = (mailbox(store, "bob").await, mailbox(store, "carol").await);
    let before = store.extent().await.unwrap().envelopes.unwrap();
    let of_bob = (1..=3).map(|n| envelope(n, bob, vec![0; 8]));
    let of_carol = (4..=5).map(|n| envelope(n, carol, vec![0; 8]));
    store.commit(batch(of_bob.chain(of_carol))).await.unwrap();
    store.commit(acks(bob, [2])).await.unwrap();
    assert_eq!(store.extent().await.unwrap().envelopes, Some(before + 4));
    subject.crash().await;
    let store = subject.store();
    assert_eq!(store.extent().await.unwrap().envelopes, Some(before + 4));
    store.remove_device(&address("carol", "1"), NOW).await.unwrap();
    assert_eq!(store.extent().await.unwrap().envelopes, Some(before + 2));
}

pub(crate) async fn usage_is_the_sum_of_a_full_read(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    let mail = (1..=6).map(|n| {
        let mut envelope = envelope(n, bob, vec![0; n as usize]);
        envelope.sender = MailboxId(900 + n % 2);
        envelope
    });
    subject.store().commit(batch(mail)).await.unwrap();
    subject.store().commit(acks(bob, [2, 3])).await.unwrap();
    let usage = Usage {
        envelopes: 4,
        bytes: 16,
        senders: vec![(MailboxId(900), 2, 10), (MailboxId(901), 2, 6)],
    };
    assert_eq!(subject.store().usage(bob).await.unwrap(), usage);
    subject.crash().await;
    assert_eq!(subject.store().usage(bob).await.unwrap(), usage);
    assert_eq!(
        subject.store().usage(MailboxId(77)).await.unwrap(),
        Usage::default()
    );
}

pub(crate) async fn expired_mail_is_not_read_and_leaves_a_gap(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    let mut soon = envelope(1, bob, "x");
    soon.expires_at = UnixMs(NOW.0 + 1);
    subject
        .store()
        .commit(batch([soon, envelope(2, bob, "y")]))
        .await
        .unwrap();
    let at = UnixMs(NOW.0 + 1);
    let page = subject
        .store()
        .read(
            bob,
            Span {
                after: EnvelopeId::ZERO,
                up_to: EnvelopeId::MAX,
                now: at,
            },
            EVERYTHING,
        )
        .await;
    assert_eq!(page.unwrap().len(), 1);
    // Not removed yet: it still counts.
    assert_eq!(subject.store().usage(bob).await.unwrap().envelopes, 2);
    let expired = subject.store().expire(at, 10).await.unwrap();
    let removed = vec![ExpiredEnvelope {
        mailbox: bob,
        id: id(1),
        sender: SENDER,
        bytes: 1,
    }];
    assert_eq!(expired, Expired { removed, done: true });
    subject.crash().await;
    assert_eq!(ids_of(subject.store(), bob).await, [2]);
    let gap = Gap {
        reason: GapReason::Ttl,
        dropped: 1,
    };
    assert_eq!(subject.store().gaps(bob).await.unwrap(), [gap]);
}

pub(crate) async fn expiry_works_in_steps_and_spares_the_rest(subject: &mut dyn Subject) {
    let store = subject.store();
    let (bob, carol) = (mailbox(store, "bob").await, mailbox(store, "carol").await);
    let mail = (1..=40).map(|n| {
        let mut envelope = envelope(n, if n % 3 == 0 { carol } else { bob }, "x");
        envelope.expires_at = UnixMs(NOW.0 + n % 2);
        envelope
    });
    store.commit(batch(mail)).await.unwrap();
    let mut removed = Vec::new();
    for _ in 0..100 {
        let step = store.expire(NOW, 3).await.unwrap();
        assert!(step.removed.len() <= 3);
        removed.extend(step.removed.iter().map(|envelope| envelope.id.as_u64()));
        if step.done {
            break;
        }
    }
    removed.sort_unstable();
    assert_eq!(removed, (1..=40).filter(|n| n % 2 == 0).collect::<Vec<_>>());
    let left = store.usage(bob).await.unwrap().envelopes + store.usage(carol).await.unwrap().envelopes;
    assert_eq!(left, 20);
    // The next round begins at once.
    while !store.expire(LATER, 7).await.unwrap().done {}
    assert_eq!(store.usage(bob).await.unwrap(), Usage::default());
}

pub(crate) async fn gaps_are_told_by_the_count(subject: &mut dyn Subject) {
    let store = subject.store();
    let bob = mailbox(store, "bob").await;
    store
        .commit(batch((1..=5).map(|n| envelope(n, bob, "x"))))
        .await
        .unwrap();
    store.expire(LATER, 100).await.unwrap();
    let gap = |dropped| Gap {
        reason: GapReason::Ttl,
        dropped,
    };
    assert_eq!(store.gaps(bob).await.unwrap(), [gap(5)]);
    store.gaps_told(bob, &[gap(3)]).await.unwrap();
    assert_eq!(store.gaps(bob).await.unwrap(), [gap(2)]);
    store.gaps_told(bob, &[gap(9)]).await.unwrap();
    assert_eq!(store.gaps(bob).await.unwrap(), []);
}

pub(crate) async fn records_survive_a_crash_until_their_window_ends(subject: &mut dyn Subject) {
    let bob = mailbox(subject.store(), "bob").await;
    let many = posting([
        envelope(1, bob, "x"),
        envelope(5, bob, "y"),
        envelope(900, bob, "z"),
    ]);
    let key = many.record.key.clone();
    let batch = Batch {
        postings: vec![many.clone()],
        ..Batch::default()
    };
    subject.store().commit(batch).await.unwrap();
    subject.crash().await;
    assert_eq!(subject.store().sent(&key).await.unwrap(), Some(many.record));
    let other = SendKey {
        sender: MailboxId(901),
        client_msg_id: name(1),
    };
    assert_eq!(subject.store().sent(&other).await.unwrap(), None);
    // At its own time it is still inside.
    subject.store().forget_records(NOW, 10).await.unwrap();
    assert!(subject.store().sent(&key).await.unwrap().is_some());
    subject.store().forget_records(LATER, 10).await.unwrap();
    assert_eq!(subject.store().sent(&key).await.unwrap(), None);
    subject.crash().await;
    assert_eq!(subject.store().sent(&key).await.unwrap(), None);
    assert_eq!(ids_of(subject.store(), bob).await, [1, 5, 900]);
}

pub(crate) async fn ids_begin_above_everything_used(subject: &mut dyn Subject) {
    let first = subject.store().start().await.unwrap();
    assert_ne!(first.epoch, 0);
    let bob = mailbox(subject.store(), "bob").await;
    let with_ceiling = |ceiling: u64, number| Batch {
        id_ceiling: Some(id(ceiling)),
        ..batch([envelope(number, bob, "x")])
    };
    subject.store().commit(with_ceiling(100, 7)).await.unwrap();
    subject.crash().await;
    let start = subject.store().start().await.unwrap();
    // The ceiling binds who has the same number; what is stored binds everybody.
    let floor = match start.node == first.node {
        true => id(100),
        false => id(7),
    };
    assert_eq!((start.id_floor, start.epoch), (floor, first.epoch));
    // A lower ceiling does not lower it, and what is stored counts as well.
    subject.store().commit(with_ceiling(50, 120)).await.unwrap();
    subject.store().commit(acks(bob, [120])).await.unwrap();
    subject.crash().await;
    let start = subject.store().start().await.unwrap();
    assert_eq!(start.id_floor, id(120));
    assert!(start.node < 1024);
}

pub(crate) async fn a_closed_store_is_not_available(subject: &mut dyn Subject) {
    let store = subject.store();
    let bob = device(store, "bob", "1", 1).await.mailbox;
    store.close().await.unwrap();
    let read = store
        .read(
            bob,
            Span {
                after: EnvelopeId::ZERO,
                up_to: EnvelopeId::MAX,
                now: NOW,
            },
            EVERYTHING,
        )
        .await;
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    let usage = store.usage(bob).await;
    assert!(matches!(usage, Err(Error::Unavailable(_))), "{usage:?}");
    let committed = store.commit(acks(SENDER, [1])).await;
    assert!(matches!(committed, Err(Error::Unavailable(_))), "{committed:?}");
}
