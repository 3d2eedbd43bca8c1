//! Tokens that are not good: in a Hello they open nothing, in an Auth they end the session.

use chatctl_protocol::v1::{Auth, frame::Body};
use chatctl_protocol::{CloseCode, Encoding, frame};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::keys::{TestKeys, claims, header, now, unsigned};
use crate::relay::{ALICE, BOB, TestRelay, hello, still_works};
use crate::socket::Parting;

/// Alice tries a token, in a Hello and in an Auth; Bob looks on.
async fn refused(forge: impl Fn(&TestKeys) -> String) {
    let relay = TestRelay::start().await;
    relay.register(ALICE).await;
    relay.register(BOB).await;
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    let token = forge(relay.keys());

    let parting = relay
        .ws(Encoding::Proto)
        .await
        .ended_by(message(hello(token.clone())))
        .await;
    assert_reauthenticate(&parting);
    still_works(&mut bob).await;

    let alice = relay.connect(ALICE, Encoding::Proto).await;
    assert_reauthenticate(&alice.ended_by(message(Body::Auth(Auth { token }))).await);
    still_works(&mut bob).await;
    drop(bob);
    relay.stop().await;
}

/// Alice's claims with some of them replaced.
fn alice_but(other: &Value) -> Value {
    let mut claims = claims(ALICE);
    for (name, value) in other.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn message(body: Body) -> Message {
    Message::Binary(frame::encode_proto(body))
}

#[track_caller]
fn assert_reauthenticate(parting: &Parting) {
    assert_eq!(parting.code, Some(CloseCode::Reauthenticate));
    let goodbye = parting
        .goodbye
        .as_ref()
        .map(|goodbye| (goodbye.code, goodbye.reconnect));
    assert_eq!(goodbye, Some((4401, false)));
}

#[tokio::test]
async fn no_token_and_nonsense_are_refused() {
    for nonsense in ["", "x", "..", "a.b.c", "e30.e30.", "\u{0}"] {
        refused(|_| nonsense.to_owned()).await;
    }
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    refused(|keys| {
        let claims = alice_but(&json!({"iat": now() - 7200, "exp": now() - 3600}));
        keys.signed(&header("EdDSA"), &claims)
    })
    .await;
}

#[tokio::test]
async fn algorithm_none_is_refused() {
    for none in ["none", "None", "NONE", ""] {
        refused(|_| format!("{}.", unsigned(&header(none), &claims(ALICE)))).await;
        refused(|keys| keys.signed(&header(none), &claims(ALICE))).await;
    }
}

#[tokio::test]
async fn the_public_key_is_no_hmac_secret() {
    refused(|keys| keys.confused(&claims(ALICE))).await;
}

#[tokio::test]
async fn a_token_of_the_future_is_refused() {
    refused(|keys| keys.signed(&header("EdDSA"), &alice_but(&json!({"nbf": now() + 600})))).await;
}

#[tokio::test]
async fn a_token_that_counts_milliseconds_is_refused() {
    refused(|keys| {
        let claims = alice_but(&json!({"exp": (now() + 3600) * 1000}));
        keys.signed(&header("EdDSA"), &claims)
    })
    .await;
    refused(|keys| {
        let claims = alice_but(&json!({"iat": now() * 1000, "exp": (now() + 3600) * 1000}));
        keys.signed(&header("EdDSA"), &claims)
    })
    .await;
}

#[tokio::test]
async fn a_token_of_another_issuer_or_for_another_audience_is_refused() {
    for other in [json!({"iss": "somebody"}), json!({"aud": "somebody"})] {
        refused(|keys| keys.signed(&header("EdDSA"), &alice_but(&other))).await;
    }
}

#[tokio::test]
async fn a_signature_of_other_claims_is_refused() {
    refused(|keys| {
        let good = keys.token(BOB);
        let (_, signature) = good.rsplit_once('.').unwrap();
        format!("{}.{signature}", unsigned(&header("EdDSA"), &claims(ALICE)))
    })
    .await;
}

#[tokio::test]
async fn a_session_stays_with_its_device() {
    let relay = TestRelay::start().await;
    relay.register(ALICE).await;
    relay.register(BOB).await;
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    let alice = relay.connect(ALICE, Encoding::Proto).await;
    let auth = Body::Auth(Auth {
        token: relay.keys().token(BOB),
    });
    assert_reauthenticate(&alice.ended_by(message(auth)).await);
    still_works(&mut bob).await;
    drop(bob);
    relay.stop().await;
}
