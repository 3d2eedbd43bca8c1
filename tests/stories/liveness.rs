//! How long a session lasts: tokens that run out or are refreshed, and peers that fall silent.

use chatctl_protocol::v1::{Auth, AuthOk, TokenExpiring, frame::Body};
use chatctl_protocol::{CloseCode, Encoding};
use chatctl_relay::model::{Clock, UnixMs};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::keys::{claims, header, now};
use crate::letters::letter;
use crate::relay::{ALICE, BOB, TestRelay, hello, still_works};
use crate::socket::Parting;

#[track_caller]
fn assert_goodbye(parting: &Parting, code: CloseCode) {
    assert_eq!(parting.code, Some(code));
    let goodbye = parting.goodbye.as_ref().expect("a goodbye before the close");
    assert_eq!(goodbye.code, u32::from(code.number()));
}

/// Alice's token that ends at this second.
fn short(relay: &TestRelay, end: u64) -> String {
    let mut claims = claims(ALICE);
    claims["exp"] = json!(end);
    relay.keys().signed(&header("EdDSA"), &claims)
}

/// A clock that stands still shortly before a full second, and that second.
fn just_before_a_second() -> (Clock, u64) {
    let second = now() + 10;
    (Clock::manual(UnixMs(second * 1000 - 300)).0, second)
}

#[tokio::test]
async fn a_token_that_runs_out_is_warned_of_and_ends_the_session() {
    for encoding in Encoding::ALL {
        let (clock, second) = just_before_a_second();
        let relay = TestRelay::start_at(clock, |_| {}).await.for_these(&[ALICE]).await;
        let mut alice = relay.ws(encoding).await;
        alice.send(hello(short(&relay, second))).await;
        let in_ms = alice
            .find(|body| match body {
                Body::TokenExpiring(TokenExpiring { in_ms }) => Some(*in_ms),
                _ => None,
            })
            .await;
        assert!(in_ms <= 150, "{in_ms}");
        assert_goodbye(&alice.ended().await, CloseCode::Reauthenticate);
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_token_is_refreshed_in_place() {
    let (clock, second) = just_before_a_second();
    let relay = TestRelay::start_at(clock, |_| {}).await.for_these(&[ALICE]).await;
    let mut alice = relay.ws(Encoding::Json).await;
    alice.send(hello(short(&relay, second))).await;
    alice
        .find(|body| matches!(body, Body::TokenExpiring(_)).then_some(()))
        .await;
    let token = short(&relay, second + 60);
    alice.send(Body::Auth(Auth { token })).await;
    let ok = alice.find(|body| match body {
        Body::AuthOk(ok) => Some(*ok),
        _ => None,
    });
    let AuthOk { expires_in_ms } = ok.await;
    assert!((59_000..=61_300).contains(&expires_in_ms), "{expires_in_ms}");
    // The old token's end passes without an end of the session.
    let token = short(&relay, second);
    alice.send(Body::Auth(Auth { token })).await;
    alice
        .find(|body| matches!(body, Body::TokenExpiring(_)).then_some(()))
        .await;
    assert_goodbye(&alice.ended().await, CloseCode::Reauthenticate);
    relay.stop().await;
}

#[tokio::test]
async fn a_token_of_another_device_or_without_the_scope_refreshes_nothing() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let mut admin = claims(ALICE);
    admin["scope"] = json!("admin");
    let tokens = [
        relay.keys().token(BOB),
        relay.keys().signed(&header("EdDSA"), &admin),
    ];
    for token in tokens {
        let mut alice = relay.connect(ALICE, Encoding::Proto).await;
        alice.send(Body::Auth(Auth { token: token.clone() })).await;
        assert_goodbye(&alice.ended().await, CloseCode::Reauthenticate);
    }
    let mut alice = relay.ws(Encoding::Proto).await;
    alice
        .send(hello(relay.keys().signed(&header("EdDSA"), &admin)))
        .await;
    assert_goodbye(&alice.ended().await, CloseCode::Reauthenticate);
    relay.stop().await;
}

#[tokio::test]
async fn silence_is_broken_by_a_ping_and_whoever_answers_stays() {
    let relay = TestRelay::start_with(|config| config.limits.ping_interval_ms = 20).await;
    let relay = relay.for_these(&[ALICE]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    let mut pings = 0;
    while pings < 3 {
        if let Message::Ping(_) = alice.message().await {
            pings += 1;
        }
    }
    still_works(&mut alice).await;
    drop(alice);
    relay.stop().await;
}

#[tokio::test]
async fn a_peer_that_never_answers_is_given_up() {
    let relay = TestRelay::start_with(|config| {
        config.limits.ping_interval_ms = 20;
        config.limits.ping_timeout_ms = 50;
    })
    .await;
    let relay = relay.for_these(&[ALICE, BOB]).await;
    for encoding in Encoding::ALL {
        let alice = relay.connect(ALICE, encoding).await;
        assert_goodbye(&alice.ended_in_silence().await, CloseCode::GoingAway);
    }
    // With mail unacked it is a consumer that does not consume.
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    bob.post(letter(1, &[BOB], "to myself")).await;
    assert_goodbye(&bob.ended_in_silence().await, CloseCode::SlowConsumer);
    relay.stop().await;
}
