//! Mail whose time is over, and mail that is never kept: what is lost is said, once it was heard.

use std::sync::atomic::Ordering;

use chatctl_protocol::Encoding;
use chatctl_protocol::v1::{Gap, GapReason, Hello, QueueEmpty, Send, frame::Body};
use chatctl_relay::config::jobs::JobName;
use chatctl_relay::model::{Clock, UnixMs};
use serde_json::{Value, json};

use crate::keys::now;
use crate::letters::{letter, texts};
use crate::relay::{ALICE, BOB, TestRelay};
use crate::socket::RawSocket;

const QUEUE_EMPTY: Body = Body::QueueEmpty(QueueEmpty {});

fn gap(dropped: u64) -> Body {
    Body::Gap(Gap {
        reason: GapReason::Ttl as i32,
        dropped,
    })
}

/// A clock that stories move by hand.
fn clock() -> (Clock, impl Fn(u64)) {
    let (clock, hand) = Clock::manual(UnixMs(now() * 1000));
    (clock, move |seconds| {
        hand.fetch_add(seconds * 1000, Ordering::Relaxed);
    })
}

/// The relay's housekeeping, now.
async fn keep_house(relay: &TestRelay) {
    relay.job(JobName::ExpireMail).await;
}

fn dying(number: u64, seconds: u32) -> Send {
    Send {
        ttl: seconds,
        ..letter(number, &[BOB], format!("{number}"))
    }
}

fn fleeting(number: u64) -> Send {
    Send {
        ephemeral: true,
        ..letter(number, &[BOB], format!("{number}"))
    }
}

/// A session that holds one envelope at a time.
async fn connect_narrow(relay: &TestRelay) -> RawSocket {
    let hello = Hello {
        token: relay.keys().token(BOB),
        window: 1,
        ..Hello::default()
    };
    relay.connect_with(hello, Encoding::Proto).await.0
}

#[tokio::test]
async fn expired_mail_is_a_gap_until_the_device_has_heard_of_it() {
    let (clock, pass) = clock();
    let relay = TestRelay::start_at(clock, |_| {})
        .await
        .for_these(&[ALICE, BOB])
        .await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    for number in 1..=3 {
        alice.post(dying(number, 60)).await;
    }
    alice.post(letter(4, &[BOB], "lasting")).await;
    pass(61);
    // Over is over, be it swept or not.
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    assert_eq!(texts(&bob.mail(1).await), [("lasting", 1)]);
    bob.leave().await;
    keep_house(&relay).await;
    assert!(
        relay
            .metrics_page()
            .await
            .contains("envelopes_dropped_total{reason=\"ttl\"} 3")
    );

    // The socket dies before the pong: nobody knows whether the gap was heard.
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    assert_eq!(bob.frame().await, gap(3));
    drop(bob);
    eventually_alone(&relay).await;
    let mut bob = relay.connect(BOB, Encoding::Json).await;
    assert_eq!(bob.frame().await, gap(3));
    let mail = bob.mail(1).await;
    assert_eq!(texts(&mail), [("lasting", 3)]);
    bob.ack(&mail).await;
    assert_eq!(bob.settled().await, [QUEUE_EMPTY]);
    bob.leave().await;
    // It was heard.
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    assert_eq!(bob.settled().await, [QUEUE_EMPTY]);
    drop((alice, bob));
    relay.stop().await;
}

/// Nobody but Alice is here.
async fn eventually_alone(relay: &TestRelay) {
    crate::relay::eventually("Bob is gone", || relay.metrics().sessions.get() == 1).await;
}

#[tokio::test]
async fn mail_that_was_acked_in_time_is_no_gap() {
    let (clock, pass) = clock();
    let relay = TestRelay::start_at(clock, |_| {})
        .await
        .for_these(&[ALICE, BOB])
        .await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    for number in 1..=3 {
        alice.post(dying(number, 60)).await;
    }
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    let mail = bob.mail(3).await;
    bob.ack(&mail[..2]).await;
    assert_eq!(bob.settled().await, []);
    // The ack has not reached the disk yet: it waits for a commit to ride on.
    pass(61);
    keep_house(&relay).await;
    assert_eq!(bob.frame().await, gap(1));
    assert!(
        relay
            .metrics_page()
            .await
            .contains("envelopes_dropped_total{reason=\"ttl\"} 1")
    );
    drop((alice, bob));
    relay.stop().await;
}

#[tokio::test]
async fn a_gap_is_told_to_a_live_session_and_so_is_the_next_one() {
    let (clock, pass) = clock();
    let relay = TestRelay::start_at(clock, |_| {})
        .await
        .for_these(&[ALICE, BOB])
        .await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    let mut bob = connect_narrow(&relay).await;
    alice.post(letter(1, &[BOB], "held")).await;
    let held = bob.mail(1).await;
    alice.post(dying(2, 60)).await;
    alice.post(dying(3, 120)).await;
    assert_eq!(bob.settled().await, [QUEUE_EMPTY]);
    pass(61);
    keep_house(&relay).await;
    assert_eq!(bob.frame().await, gap(1));
    // The second one while the first waits for its pong.
    pass(60);
    keep_house(&relay).await;
    assert_eq!(bob.find(|body| (*body == gap(1)).then_some(1)).await, 1);
    bob.ack(&held).await;
    assert_eq!(bob.settled().await, []);
    bob.leave().await;
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    assert_eq!(bob.settled().await, [QUEUE_EMPTY]);
    drop((alice, bob));
    relay.stop().await;
}

#[tokio::test]
async fn ephemeral_mail_is_live_or_nothing_and_never_stored() {
    let (clock, pass) = clock();
    let relay = TestRelay::start_at(clock, |_| {})
        .await
        .for_these(&[ALICE, BOB])
        .await;
    let mut alice = relay.connect(ALICE, Encoding::Json).await;
    // Away: gone, and the sender cannot tell.
    alice.post(fleeting(1)).await;
    let mut bob = connect_narrow(&relay).await;
    assert_eq!(bob.settled().await, [QUEUE_EMPTY]);
    // Here: delivered.
    let ok = alice.post(fleeting(2)).await;
    let mail = bob.mail(1).await;
    assert_eq!((texts(&mail), mail[0].ephemeral), (vec![("2", 1)], true));
    assert_eq!(mail[0].id, ok.envelope_ids[0]);
    // A retry is none either.
    assert!(alice.post(fleeting(2)).await.duplicate);
    // The window is full: it waits for ten seconds and no longer.
    alice.post(fleeting(3)).await;
    pass(11);
    alice.post(fleeting(4)).await;
    bob.ack(&mail).await;
    let mail = bob.mail(1).await;
    assert_eq!(texts(&mail), [("4", 1)]);
    bob.ack(&mail).await;
    assert_eq!(bob.settled().await, []);
    assert_eq!(relay.metrics().envelopes_stored.get(), 0);
    drop((alice, bob));
    relay.stop().await;
}

#[tokio::test]
async fn a_look_over_http_takes_no_ephemeral_mail_away() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    let mut bob = connect_narrow(&relay).await;
    alice.post(letter(1, &[BOB], "held")).await;
    let held = bob.mail(1).await;
    alice.post(fleeting(2)).await;
    let look = relay.ask(BOB, "GET /v1/messages", &Value::Null).await;
    assert_eq!(look.body["envelopes"].as_array().unwrap().len(), 1);
    let ids = json!({"ids": [(held[0].id + 1).to_string()]});
    relay.ask(BOB, "POST /v1/messages/ack", &ids).await;
    bob.ack(&held).await;
    assert_eq!(texts(&bob.mail(1).await), [("2", 1)]);
    drop((alice, bob));
    relay.stop().await;
}
