//! Who has the session: the newest consumer, watchers beside it, and nobody without a device.

use chatctl_protocol::v1::{Ack, DevicesChanged, Goodbye, Hello, MailWaiting, Mode, QueueEmpty, frame::Body};
use chatctl_protocol::{CloseCode, Encoding};
use serde_json::Value;

use crate::letters::{letter, texts};
use crate::relay::{ALICE, BOB, BOBS_TABLET, Person, TestRelay, hello, still_works};
use crate::socket::{Parting, RawSocket};

const QUEUE_EMPTY: Body = Body::QueueEmpty(QueueEmpty {});

#[track_caller]
fn assert_goodbye(parting: &Parting, code: CloseCode) -> Goodbye {
    assert_eq!(parting.code, Some(code));
    let goodbye = parting.goodbye.clone().expect("a goodbye before the close");
    assert_eq!(
        (goodbye.code, goodbye.reconnect),
        (u32::from(code.number()), code.reconnect())
    );
    goodbye
}

async fn watch(relay: &TestRelay, person: Person, encoding: Encoding) -> RawSocket {
    let hello = Hello {
        token: relay.keys().token(person),
        mode: Mode::Notify as i32,
        ..Hello::default()
    };
    relay.connect_with(hello, encoding).await.0
}

#[tokio::test]
async fn the_newest_session_wins_and_the_displaced_one_is_asked_to_wait() {
    for encoding in Encoding::ALL {
        let relay = TestRelay::start_for(&[ALICE, BOB]).await;
        let old = relay.connect(BOB, encoding).await;
        let mut new = relay.connect(BOB, encoding).await;
        let goodbye = assert_goodbye(&old.ended().await, CloseCode::Displaced);
        assert!(goodbye.retry_after_ms >= 30_000, "{goodbye:?}");
        still_works(&mut new).await;
        drop(new);
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_displaced_session_that_leaves_late_signs_off_only_itself() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    alice.post(letter(1, &[BOB], "waited")).await;
    let mut old = relay.connect(BOB, Encoding::Proto).await;
    let mail = old.mail(1).await;
    let mut new = relay.connect(BOB, Encoding::Proto).await;
    new.mail(1).await;
    // The old one has not read its goodbye, acks as if nothing were, and goes.
    old.send(Body::Ack(Ack {
        ids: vec![mail[0].id],
    }))
    .await;
    assert_goodbye(&old.ended().await, CloseCode::Displaced);
    alice.post(letter(2, &[BOB], "live")).await;
    assert_eq!(texts(&new.mail(1).await), [("live", 1)]);
    drop((alice, new));
    relay.stop().await;
}

#[tokio::test]
async fn a_watcher_hears_that_mail_waits_takes_nothing_and_displaces_nobody() {
    for encoding in Encoding::ALL {
        let relay = TestRelay::start_for(&[ALICE, BOB]).await;
        let mut alice = relay.connect(ALICE, Encoding::Proto).await;
        let mut bob = relay.connect(BOB, Encoding::Proto).await;
        let mut watcher = watch(&relay, BOB, encoding).await;
        assert_eq!(watcher.settled().await, []);
        alice.post(letter(1, &[BOB], "1")).await;
        let waiting = |pending| Body::MailWaiting(MailWaiting { pending });
        assert_eq!(watcher.frame().await, waiting(1));
        let mail = bob.mail(1).await;
        // A watcher's ack is nobody's ack.
        watcher.ack(&mail).await;
        assert_eq!(watcher.settled().await, []);
        assert_eq!(bob.settled().await, [QUEUE_EMPTY]);
        bob.leave().await;
        let mut late = watch(&relay, BOB, encoding).await;
        assert_eq!(late.frame().await, waiting(1));
        let mut bob = relay.connect(BOB, Encoding::Proto).await;
        assert_eq!(texts(&bob.mail(1).await), [("1", 2)]);
        still_works(&mut watcher).await;
        drop((alice, bob, watcher, late));
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_removed_device_is_told_so_live_and_when_it_comes_back() {
    for encoding in Encoding::ALL {
        let relay = TestRelay::start_for(&[ALICE, BOB]).await;
        let bob = relay.connect(BOB, encoding).await;
        let watcher = watch(&relay, BOB, encoding).await;
        let removed = relay.ask(BOB, "DELETE /v1/devices/1", &Value::Null).await;
        assert_eq!(removed.status, 204);
        assert_goodbye(&bob.ended().await, CloseCode::DeviceRemoved);
        assert_goodbye(&watcher.ended().await, CloseCode::DeviceRemoved);
        let mut again = relay.ws(encoding).await;
        again.send(hello(relay.keys().token(BOB))).await;
        assert_goodbye(&again.ended().await, CloseCode::DeviceRemoved);
        // A device that never was is treated the same.
        let mut stranger = relay.ws(encoding).await;
        stranger.send(hello(relay.keys().token(BOBS_TABLET))).await;
        assert_goodbye(&stranger.ended().await, CloseCode::DeviceRemoved);
        relay.stop().await;
    }
}

#[tokio::test]
async fn another_installation_ends_the_old_session_and_sees_none_of_its_mail() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    alice.post(letter(1, &[BOB], "for the old one")).await;
    let (bob, old) = relay.connect_with(hello_of(&relay, BOB), Encoding::Json).await;
    assert_eq!(old.pending, 1);
    // The same installation again is no news.
    relay.register(BOB).await;
    let mut bob = bob;
    still_works_with_mail(&mut bob).await;
    let reinstalled = Person {
        registration_id: 99,
        ..BOB
    };
    relay.register(reinstalled).await;
    assert_goodbye(&bob.ended().await, CloseCode::Reregistered);
    let (mut bob, new) = relay.connect_with(hello_of(&relay, BOB), Encoding::Json).await;
    assert_eq!(new.pending, 0);
    assert_ne!(new.mailbox_epoch, old.mailbox_epoch);
    assert_eq!(bob.settled().await, [QUEUE_EMPTY]);
    let stale = alice.try_post(letter(2, &[BOB], "x")).await.unwrap_err();
    assert_eq!(
        (stale.code.as_str(), stale.stale),
        ("device_mismatch", vec!["1".to_owned()])
    );
    alice.post(letter(2, &[reinstalled], "for the new one")).await;
    assert_eq!(texts(&bob.mail(1).await), [("for the new one", 1)]);
    drop((alice, bob));
    relay.stop().await;
}

fn hello_of(relay: &TestRelay, person: Person) -> Hello {
    Hello {
        token: relay.keys().token(person),
        ..Hello::default()
    }
}

async fn still_works_with_mail(session: &mut RawSocket) {
    let heard = session.settled().await;
    assert!(matches!(&heard[..], [Body::Deliver(_)]), "{heard:?}");
}

#[tokio::test]
async fn the_other_devices_hear_that_the_list_has_changed() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    let mut phone = relay.connect(BOB, Encoding::Json).await;
    let changed = || {
        Body::DevicesChanged(DevicesChanged {
            account: "bob".to_owned(),
        })
    };
    let heard = |body: &Body| (*body == changed()).then_some(());
    relay.register(BOBS_TABLET).await;
    phone.find(heard).await;
    let mut tablet = relay.connect(BOBS_TABLET, Encoding::Proto).await;
    relay.ask(BOB, "DELETE /v1/devices/1", &Value::Null).await;
    tablet.find(heard).await;
    assert_goodbye(&phone.ended().await, CloseCode::DeviceRemoved);
    assert_eq!(alice.settled().await, [QUEUE_EMPTY]);
    drop((alice, tablet));
    relay.stop().await;
}

#[tokio::test]
async fn hello_is_said_once_and_first() {
    let relay = TestRelay::start_for(&[ALICE]).await;
    for encoding in Encoding::ALL {
        let mut alice = relay.connect(ALICE, encoding).await;
        alice.send(hello(relay.keys().token(ALICE))).await;
        assert_goodbye(&alice.ended().await, CloseCode::BadFrame);
        let mut alice = relay.ws(encoding).await;
        alice.send(Body::Ack(Ack { ids: vec![1] })).await;
        assert_goodbye(&alice.ended().await, CloseCode::BadFrame);
    }
    relay.stop().await;
}

#[tokio::test]
async fn a_hello_that_asks_for_what_cannot_be_is_a_bad_frame() {
    let relay = TestRelay::start_for(&[ALICE]).await;
    let good = hello_of(&relay, ALICE);
    let largest_payload = 96 * 1024;
    for bad in [
        Hello {
            mode: 7,
            ..good.clone()
        },
        // The largest payload would not fit, at least not as JSON.
        Hello {
            max_frame: 1,
            ..good.clone()
        },
        Hello {
            max_frame: largest_payload + 2048,
            ..good.clone()
        },
    ] {
        let mut alice = relay.ws(Encoding::Proto).await;
        alice.send(Body::Hello(bad)).await;
        assert_goodbye(&alice.ended().await, CloseCode::BadFrame);
    }
    relay.stop().await;
}
