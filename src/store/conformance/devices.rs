//! Facts about devices and their incarnations.

use super::{NOW, Subject, address, batch, device, envelope, installation, mail_of, mailbox, name, posting};
use crate::model::{Device, DeviceList, MailboxId, UnixMs};
use crate::store::conformance::keys::{claim, publish};
use crate::store::{Batch, Committed, Registered, Registration, SendKey, Store, Uploaded, Usage};
use chatctl_protocol::{AccountId, Suite};

fn bob() -> AccountId {
    AccountId::parse("bob").unwrap()
}

pub(crate) async fn a_registration_again_changes_nothing(subject: &mut dyn Subject) {
    let first = device(subject.store(), "bob", "1", 7).await;
    let expected = Device {
        device_id: address("bob", "1").device_id,
        mailbox: first.mailbox,
        registration_id: 7,
        incarnation: 1,
        attributes: None,
        registered_at: NOW,
    };
    assert_eq!(first, expected);
    subject.crash().await;
    let later = Registration {
        now: UnixMs(NOW.0 + 9),
        ..installation(7)
    };
    let again = subject
        .store()
        .register(&address("bob", "1"), later)
        .await
        .unwrap();
    assert_eq!(again, Registered::Updated(first.clone()));
    let list = DeviceList {
        version: 1,
        devices: vec![first],
    };
    assert_eq!(subject.store().devices(&bob()).await.unwrap(), list);
}

pub(crate) async fn changed_attributes_raise_the_version(subject: &mut dyn Subject) {
    let first = device(subject.store(), "bob", "1", 7).await;
    let renamed = Registration {
        attributes: Some("{\"name\":\"b\"}".into()),
        ..installation(7)
    };
    let device = Device {
        attributes: renamed.attributes.clone(),
        ..first
    };
    for _ in 0..2 {
        let updated = subject
            .store()
            .register(&address("bob", "1"), renamed.clone())
            .await
            .unwrap();
        assert_eq!(updated, Registered::Updated(device.clone()));
        subject.crash().await;
    }
    let list = DeviceList {
        version: 2,
        devices: vec![device],
    };
    assert_eq!(subject.store().devices(&bob()).await.unwrap(), list);
}

/// Gives a mailbox mail, a record, a gap and keys.
pub(crate) async fn furnish(store: &dyn Store, mailbox: MailboxId) {
    let mut over = envelope(1, mailbox, "x");
    over.expires_at = NOW;
    let mut sent = posting([envelope(2, mailbox, "y")]);
    sent.record.key = SendKey {
        sender: mailbox,
        client_msg_id: name(5),
    };
    let batch = Batch {
        postings: vec![posting([over]), sent],
        ..Batch::default()
    };
    store.commit(batch).await.unwrap();
    store.expire(NOW, 10).await.unwrap();
    store.upload(publish(mailbox, &["a", "b"])).await.unwrap();
}

/// Asserts that nothing of a mailbox is left, and that nothing reaches it.
pub(crate) async fn assert_gone(store: &dyn Store, mailbox: MailboxId) {
    assert_eq!(mail_of(store, mailbox).await, []);
    assert_eq!(store.usage(mailbox).await.unwrap(), Usage::default());
    assert_eq!(store.gaps(mailbox).await.unwrap(), []);
    assert_eq!(store.suites(mailbox).await.unwrap(), []);
    assert_eq!(store.keyset(mailbox, &Suite::Signal).await.unwrap(), None);
    assert_eq!(store.claim(claim(mailbox)).await.unwrap(), []);
    assert_eq!(
        store.upload(publish(mailbox, &["c"])).await.unwrap(),
        Uploaded::NoDevice
    );
    let refused = store
        .commit(batch([envelope(50, mailbox, "late")]))
        .await
        .unwrap();
    assert_eq!(refused, Committed { refused: vec![0] });
}

pub(crate) async fn another_installation_gets_a_mailbox_that_nothing_old_reaches(subject: &mut dyn Subject) {
    let old = mailbox(subject.store(), "bob").await;
    furnish(subject.store(), old).await;
    let again = subject
        .store()
        .register(&address("bob", "1"), installation(8))
        .await
        .unwrap();
    let Registered::Replaced {
        device,
        old: replaced,
    } = again
    else {
        panic!("{again:?}")
    };
    assert_eq!(
        (replaced, device.incarnation, device.registration_id),
        (old, 2, 8)
    );
    assert!(device.mailbox > old);
    assert_gone(subject.store(), old).await;
    assert_eq!(mail_of(subject.store(), device.mailbox).await, []);
    subject.crash().await;
    assert_gone(subject.store(), old).await;
    let list = DeviceList {
        version: 2,
        devices: vec![device],
    };
    assert_eq!(subject.store().devices(&bob()).await.unwrap(), list);
}

pub(crate) async fn a_removed_device_leaves_nothing_but_the_version(subject: &mut dyn Subject) {
    let old = mailbox(subject.store(), "bob").await;
    furnish(subject.store(), old).await;
    let removed = subject.store().remove_device(&address("bob", "1"), NOW).await;
    assert_eq!(removed.unwrap(), Some(old));
    subject.crash().await;
    assert_gone(subject.store(), old).await;
    let list = DeviceList {
        version: 2,
        devices: vec![],
    };
    assert_eq!(subject.store().devices(&bob()).await.unwrap(), list);
    let removed = subject.store().remove_device(&address("bob", "1"), NOW).await;
    assert_eq!(removed.unwrap(), None);
    // What is known of the device id goes on counting.
    let back = device(subject.store(), "bob", "1", 7).await;
    assert_eq!(back.incarnation, 2);
    assert_eq!(subject.store().devices(&bob()).await.unwrap().version, 3);
}

pub(crate) async fn a_mailbox_number_is_never_used_again(subject: &mut dyn Subject) {
    let mut last = MailboxId(0);
    for round in 0..4 {
        let mailbox = device(subject.store(), "bob", "1", round).await.mailbox;
        assert!(mailbox > last);
        last = mailbox;
        if round % 2 == 0 {
            subject
                .store()
                .remove_device(&address("bob", "1"), NOW)
                .await
                .unwrap();
        }
        subject.crash().await;
    }
}

pub(crate) async fn an_account_has_only_so_many_devices(subject: &mut dyn Subject) {
    let store = subject.store();
    for name in ["1", "2", "3"] {
        device(store, "bob", name, 7).await;
    }
    let fourth = store
        .register(&address("bob", "4"), installation(7))
        .await
        .unwrap();
    assert_eq!(fourth, Registered::TooMany);
    // One that is there may come again, and may be replaced.
    device(store, "bob", "3", 7).await;
    device(store, "bob", "3", 8).await;
    let list = store.devices(&bob()).await.unwrap();
    assert_eq!((list.version, list.devices.len()), (4, 3));
    // A refused registration is not a version, of nobody's list.
    let other = Registration {
        max_devices: 0,
        ..installation(1)
    };
    let refused = store.register(&address("carol", "1"), other).await.unwrap();
    assert_eq!(refused, Registered::TooMany);
    let carol = AccountId::parse("carol").unwrap();
    assert_eq!(store.devices(&carol).await.unwrap(), DeviceList::default());
}

pub(crate) async fn devices_are_listed_in_the_order_of_their_ids(subject: &mut dyn Subject) {
    let store = subject.store();
    for name in ["b", "a", "10"] {
        device(store, "bob", name, 7).await;
    }
    let list = store.devices(&bob()).await.unwrap();
    let names: Vec<_> = list
        .devices
        .iter()
        .map(|device| device.device_id.as_str())
        .collect();
    assert_eq!(names, ["10", "a", "b"]);
}
