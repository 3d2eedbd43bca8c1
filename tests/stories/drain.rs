//! The way out: every session is told, what was accepted is answered, nothing is lost.

use std::time::Duration;

use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::{CloseCode, Encoding};
use serde_json::Value;

use crate::doors::answer;
use crate::letters::{letter, texts};
use crate::relay::{ALICE, BOB, CAROL, TestRelay, eventually, hello};

#[tokio::test]
async fn every_session_is_told_to_come_back_later() {
    for encoding in Encoding::ALL {
        let relay = TestRelay::start_for(&[ALICE, BOB]).await;
        let alice = relay.connect(ALICE, encoding).await;
        let bob = relay.connect(BOB, Encoding::Proto).await;
        relay.begin_to_stop();
        for session in [alice, bob] {
            let parting = session.ended().await;
            assert_eq!(parting.code, Some(CloseCode::Restart));
            let goodbye = parting.goodbye.unwrap();
            assert_eq!((goodbye.code, goodbye.reconnect), (1012, true));
            assert!(goodbye.retry_after_ms >= 1000, "{goodbye:?}");
        }
        relay.stop().await;
    }
}

#[tokio::test]
async fn sends_that_were_accepted_are_answered_first_and_their_mail_is_there_afterwards() {
    let relay = TestRelay::start_with(|config| config.mail.commit_interval = Duration::from_secs(1)).await;
    let relay = relay.for_these(&[ALICE, BOB]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    for number in 1..=20 {
        alice
            .send(Body::Send(letter(number, &[BOB], format!("{number}"))))
            .await;
    }
    eventually("all are accepted", || {
        relay.metrics().envelopes_accepted.get() == 20
    })
    .await;
    relay.begin_to_stop();
    for number in 1..=20 {
        alice.answer(number).await.unwrap();
    }
    assert_eq!(alice.ended().await.code, Some(CloseCode::Restart));
    let relay = relay.restart().await;
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    let mail = bob.mail(20).await;
    assert_eq!(texts(&mail)[19], ("20", 1));
    bob.ack(&mail).await;
    bob.settled().await;
    drop(bob);
    // An ack that waited for its delete is not lost either.
    let relay = relay.restart().await;
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    assert!(matches!(bob.settled().await[..], [Body::QueueEmpty(_)]));
    drop(bob);
    relay.stop().await;
}

#[tokio::test]
async fn nobody_new_is_taken_while_the_relay_drains() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    // Alice reads nothing, so the relay waits a moment for her to take her leave.
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    alice.settled().await;
    relay.begin_to_stop();
    let ready = loop {
        let ready = answer(relay.request("GET /readyz")).await;
        if ready.status != 200 {
            break ready;
        }
    };
    assert_eq!(ready.problem(), (503, "unavailable"));
    let upgrade = relay
        .request("GET /v1/ws")
        .header("sec-websocket-protocol", "chatctl.v1.proto")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
    assert_eq!(answer(upgrade).await.problem(), (503, "unavailable"));
    // Alive, and mail over HTTP still works.
    assert_eq!(answer(relay.request("GET /healthz")).await.status, 200);
    let look = relay.ask(BOB, "GET /v1/messages", &Value::Null).await;
    assert_eq!(look.status, 200);
    assert_eq!(alice.ended().await.code, Some(CloseCode::Restart));
    relay.stop().await;
}

#[tokio::test]
async fn a_socket_that_has_not_said_hello_does_not_hold_the_drain_up() {
    let relay = TestRelay::start_for(&[ALICE]).await;
    let silent = relay.ws(Encoding::Json).await;
    eventually("the socket is open", || relay.metrics().sessions.get() == 1).await;
    relay.begin_to_stop();
    assert_eq!(silent.ended().await.code, Some(CloseCode::Restart));
    relay.stop().await;
}

#[tokio::test]
async fn a_relay_takes_only_so_many_sessions() {
    let relay = TestRelay::start_with(|config| config.server.max_sessions = 1).await;
    let relay = relay.for_these(&[ALICE, CAROL]).await;
    let alice = relay.connect(ALICE, Encoding::Proto).await;
    let upgrade = || {
        relay
            .request("GET /v1/ws")
            .header("sec-websocket-protocol", "chatctl.v1.proto")
    };
    let refused = answer(upgrade()).await;
    assert_eq!(refused.problem(), (503, "unavailable"));
    assert_eq!(refused.header("retry-after"), "5");
    alice.leave().await;
    eventually("there is room", || relay.metrics().sessions.get() == 0).await;
    let mut carol = relay.ws(Encoding::Proto).await;
    carol.send(hello(relay.keys().token(CAROL))).await;
    assert!(matches!(carol.frame().await, Body::HelloOk(_)));
    drop(carol);
    relay.stop().await;
}
