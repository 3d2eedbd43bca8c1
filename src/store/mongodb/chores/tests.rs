//! Facts about cleaning up that only a database can break.

use mongodb::bson::{DateTime, doc};

use super::*;
use crate::store::conformance::mongodb::OnServer;
use crate::store::conformance::{
    LATER, NOW, SENDER, address, batch, device, envelope, mailbox, name, posting,
};
use crate::store::mongodb::documents::{binary, pair};
use crate::store::{DeviceStore as _, Due, MailStore as _, SendKey, SessionStore as _, Swept, Usage};

const DAY: u64 = 24 * 3600 * 1000;

fn day(number: u64) -> UnixMs {
    UnixMs(NOW.0 + number * DAY)
}

#[tokio::test]
async fn a_device_of_an_older_layout_is_not_idle_at_once() {
    let store = OnServer::new().await.store;
    let old = mailbox(&*store, "bob").await;
    let never_seen = mailbox(&*store, "carol").await;
    let devices = store.db.collection("devices");
    devices
        .update_one(doc! { "_id": old.0 as i64 }, doc! { "$unset": { "l": 1 } })
        .await
        .unwrap();
    // Nobody has noted when it was seen: from here on it counts.
    let removed = store.remove_idle(day(50), day(100), 10).await.unwrap();
    assert_eq!(removed, [(address("carol", "1"), never_seen)]);
    let litter = Litter::IdleDevices { before: day(101) };
    let due = Due {
        count: 1,
        bytes: 0,
        oldest: Some(day(100)),
    };
    assert_eq!(store.due(litter).await.unwrap(), due);
    assert_eq!(store.remove_idle(day(100), day(150), 10).await.unwrap(), []);
    let removed = store.remove_idle(day(101), day(150), 10).await.unwrap();
    assert_eq!(removed, [(address("bob", "1"), old)]);
    store.drop_database().await.unwrap();
}

#[tokio::test]
async fn idle_devices_go_the_longest_idle_first_and_as_others_do() {
    let store = OnServer::new().await.store;
    let mut mailboxes = Vec::new();
    for number in 1..=3 {
        mailboxes.push(device(&*store, "bob", &number.to_string(), 7).await.mailbox);
    }
    let mail = mailboxes
        .iter()
        .zip(1..)
        .map(|(mailbox, number)| envelope(number, *mailbox, "x"));
    store.commit(batch(mail)).await.unwrap();
    let nobody = MailboxId(999);
    let gone = store.seen(&[mailboxes[0], nobody], day(2)).await.unwrap();
    assert_eq!(gone, [nobody]);
    store.seen(&[mailboxes[2], mailboxes[0]], day(1)).await.unwrap();
    let (first, second) = (address("bob", "2"), address("bob", "3"));
    let removed = store.remove_idle(day(2), day(2), 1).await.unwrap();
    assert_eq!(removed, [(first, mailboxes[1])]);
    let removed = store.remove_idle(day(2), day(2), 10).await.unwrap();
    assert_eq!(removed, [(second, mailboxes[2])]);
    assert_eq!(store.usage(mailboxes[2]).await.unwrap(), Usage::default());
    let left = store.devices(&address("bob", "1").account).await.unwrap();
    assert_eq!((left.version, left.devices.len()), (5, 1));
    // It is noted as gone, as who leaves is.
    let litter = Litter::Departed { now: day(3) };
    assert_eq!(store.due(litter).await.unwrap().count, 2);
    store.drop_database().await.unwrap();
}

#[tokio::test]
async fn what_nobody_noted_is_found_noted_and_swept() {
    let store = OnServer::new().await.store;
    let bob = mailbox(&*store, "bob").await;
    store.commit(batch([envelope(1, bob, "x")])).await.unwrap();
    let lost = MailboxId(bob.0 + 70);
    for number in [1, 2] {
        let mail = doc! {
            "_id": binary(pair(lost.0, number)),
            "s": 1_i64,
            "e": DateTime::MAX,
            "h": binary([]),
            "p": binary([1]),
        };
        store.db.collection("mail").insert_one(mail).await.unwrap();
    }
    let alone = MailboxId(bob.0 + 80);
    store.sign_on(alone, NOW).await.unwrap();
    let swept = |mailboxes, things, done| Swept {
        mailboxes,
        things,
        done,
    };
    assert_eq!(store.sweep_departed(NOW, 10).await.unwrap(), swept(0, 0, true));
    assert_eq!(store.usage(lost).await.unwrap().envelopes, 2);
    assert!(!store.sweep_departed(day(1), 1).await.unwrap().done);
    let rest = store.sweep_departed(day(1), 10).await.unwrap();
    assert_eq!((rest.mailboxes, rest.done), (1, true));
    assert_eq!(store.usage(lost).await.unwrap(), Usage::default());
    assert_eq!(store.sweep_departed(day(2), 10).await.unwrap(), swept(0, 0, true));
    // What belongs to somebody is where it was.
    assert_eq!(store.usage(bob).await.unwrap().envelopes, 1);
    let sessions = store.db.collection("sessions");
    assert_eq!(sessions.count_documents(doc! {}).await.unwrap(), 0);
    store.drop_database().await.unwrap();
}

#[tokio::test]
async fn records_of_one_commit_go_together_and_are_counted() {
    let store = OnServer::new().await.store;
    let bob = mailbox(&*store, "bob").await;
    for first in [1, 11, 21] {
        let mail = (first..first + 5).map(|number| envelope(number, bob, "x"));
        store.commit(batch(mail)).await.unwrap();
    }
    let litter = Litter::Records { before: LATER };
    let due = Due {
        count: 15,
        bytes: 0,
        oldest: Some(NOW),
    };
    assert_eq!(store.due(litter).await.unwrap(), due);
    assert_eq!(store.forget_records(LATER, 0).await.unwrap(), 0);
    // Not fewer than wanted while there are more: that says that this was all.
    assert_eq!(store.forget_records(LATER, 7).await.unwrap(), 10);
    assert_eq!(store.forget_records(LATER, 7).await.unwrap(), 5);
    assert_eq!(store.forget_records(LATER, 7).await.unwrap(), 0);
    let key = SendKey {
        sender: SENDER,
        client_msg_id: name(1),
    };
    assert_eq!(store.sent(&key).await.unwrap(), None);
    let again = posting([envelope(1, bob, "x")]);
    assert_eq!(again.record.key, key);
    store.drop_database().await.unwrap();
}

#[tokio::test]
async fn the_server_says_how_large_the_database_is() {
    let store = OnServer::new().await.store;
    mailbox(&*store, "bob").await;
    let compacted = store.compact().await.unwrap();
    assert!(compacted.size > 0 && compacted.done, "{compacted:?}");
    assert_eq!(compacted.freed, 0);
    store.drop_database().await.unwrap();
}
