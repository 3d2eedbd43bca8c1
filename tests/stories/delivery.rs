//! Delivery: what waits, what is live, what comes again, and when a device has caught up.

use std::time::Duration;

use chatctl_protocol::Encoding;
use chatctl_protocol::v1::{Address, Envelope, QueueEmpty, SendOk, frame::Body};

use crate::letters::{letter, name, texts};
use crate::relay::{ALICE, BOB, TestRelay};

const QUEUE_EMPTY: Body = Body::QueueEmpty(QueueEmpty {});

#[tokio::test]
async fn mail_for_a_device_that_is_away_waits_in_order_and_the_queue_is_empty_after_its_last_ack() {
    for encoding in Encoding::ALL {
        let relay = TestRelay::start_for(&[ALICE, BOB]).await;
        let mut alice = relay.connect(ALICE, encoding).await;
        let mut ids = Vec::new();
        for number in 1..=5 {
            let ok = alice.post(letter(number, &[BOB], format!("{number}"))).await;
            assert!(!ok.duplicate);
            ids.extend(ok.envelope_ids);
        }
        let mut bob = relay.connect(BOB, encoding).await;
        let mail = bob.mail(5).await;
        let first = Envelope {
            id: ids[0],
            from: Some(Address {
                account: "alice".into(),
                device_id: "1".into(),
            }),
            kind: 7,
            client_msg_id: name(1),
            sent_at: 1000,
            accepted_at: mail[0].accepted_at,
            attempt: 1,
            payload: "1".into(),
            urgent: false,
            ephemeral: false,
        };
        assert_eq!(mail[0], first);
        assert_eq!(texts(&mail), [("1", 1), ("2", 1), ("3", 1), ("4", 1), ("5", 1)]);
        assert_eq!(mail.iter().map(|envelope| envelope.id).collect::<Vec<_>>(), ids);
        assert!(ids.is_sorted());

        bob.ack(&mail[..4]).await;
        assert_eq!(bob.settled().await, []);
        bob.ack(&mail[4..]).await;
        assert_eq!(bob.settled().await, [QUEUE_EMPTY]);
        drop((alice, bob));
        relay.stop().await;
    }
}

#[tokio::test]
async fn an_empty_queue_is_said_at_once_and_live_mail_goes_both_ways() {
    for encoding in Encoding::ALL {
        let relay = TestRelay::start_for(&[ALICE, BOB]).await;
        let mut alice = relay.connect(ALICE, encoding).await;
        let mut bob = relay.connect(BOB, Encoding::Proto).await;
        assert_eq!(alice.settled().await, [QUEUE_EMPTY]);
        assert_eq!(bob.settled().await, [QUEUE_EMPTY]);

        alice.post(letter(1, &[BOB], "ping")).await;
        let mail = bob.mail(1).await;
        assert_eq!(texts(&mail), [("ping", 1)]);
        bob.ack(&mail).await;
        bob.post(letter(1, &[ALICE], "pong")).await;
        let mail = alice.mail(1).await;
        assert_eq!(texts(&mail), [("pong", 1)]);
        alice.ack(&mail).await;
        // Live mail is no backlog: nothing is said of the queue again.
        assert_eq!(alice.settled().await, []);
        assert_eq!(bob.settled().await, []);
        drop((alice, bob));
        relay.stop().await;
    }
}

#[tokio::test]
async fn what_was_not_acked_comes_again_and_says_so() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    for number in 1..=3 {
        alice.post(letter(number, &[BOB], format!("{number}"))).await;
    }
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    let mail = bob.mail(3).await;
    bob.ack(&mail[1..2]).await;
    bob.leave().await;

    let mut bob = relay.connect(BOB, Encoding::Json).await;
    let mail = bob.mail(2).await;
    assert_eq!(texts(&mail), [("1", 2), ("3", 2)]);
    bob.leave().await;
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    let mail = bob.mail(2).await;
    assert_eq!(texts(&mail), [("1", 3), ("3", 3)]);
    bob.ack(&mail).await;
    assert_eq!(bob.settled().await, [QUEUE_EMPTY]);
    bob.leave().await;
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    assert_eq!(bob.settled().await, [QUEUE_EMPTY]);
    drop((alice, bob));
    relay.stop().await;
}

#[tokio::test]
async fn an_ack_of_what_was_not_delivered_here_removes_nothing() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    alice.post(letter(1, &[BOB], "for bob")).await;
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    let mail = bob.mail(1).await;
    // Somebody else's id, and ids that never were.
    alice.ack(&mail).await;
    let mut others = vec![mail[0].clone(), mail[0].clone(), mail[0].clone()];
    (others[0].id, others[1].id, others[2].id) = (0, u64::MAX, mail[0].id + 1);
    bob.ack(&others).await;
    assert_eq!(alice.settled().await, [QUEUE_EMPTY]);
    assert_eq!(bob.settled().await, []);
    bob.leave().await;
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    assert_eq!(texts(&bob.mail(1).await), [("for bob", 2)]);
    drop((alice, bob));
    relay.stop().await;
}

#[tokio::test]
async fn live_mail_is_delivered_before_the_disk_has_it_and_its_ok_waits_for_the_commit() {
    let relay = TestRelay::start_with(|config| config.mail.commit_interval = Duration::from_secs(1)).await;
    let relay = relay.for_these(&[ALICE, BOB]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    alice.send(Body::Send(letter(1, &[BOB], "kept"))).await;
    alice.send(Body::Send(letter(2, &[BOB], "acked in time"))).await;
    let mail = bob.mail(2).await;
    let counted = || {
        let metrics = relay.metrics();
        (metrics.envelopes_stored.get(), metrics.envelopes_elided.get())
    };
    assert_eq!(counted(), (0, 0));
    bob.ack(&mail[1..]).await;
    bob.settled().await;
    assert_eq!(counted(), (0, 1));
    for (number, envelope) in [1, 2].into_iter().zip(&mail) {
        let ok = SendOk {
            id: number,
            envelope_ids: vec![envelope.id],
            duplicate: false,
        };
        assert_eq!(alice.answer(number).await, Ok(ok));
        // One batch, one answer: its time does not tell who was online.
        assert_eq!(counted(), (1, 1));
    }
    drop((alice, bob));
    relay.stop().await;
}
