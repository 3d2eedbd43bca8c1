//! An app on the client library, against a whole relay: mail both ways, acks, tokens, in both encodings.

use std::time::Duration;

use chatctl_client::{Device, Event, Mail, Message, Options, SendOutcome, Token};
use chatctl_protocol::{AccountId, Code, DeviceId, Encoding};
use futures_util::StreamExt as _;
use serde_json::json;

use crate::keys::{claims, header, now};
use crate::relay::{ALICE, BOB, Person, TestRelay};

fn options(relay: &TestRelay, encoding: Encoding) -> Options {
    Options {
        encoding,
        ..Options::new(&format!("ws://{}/v1/ws", relay.address()))
    }
}

fn device(relay: &TestRelay, person: Person, encoding: Encoding) -> Device {
    let token = Token::new(&relay.keys().token(person));
    Device::new(options(relay, encoding), token)
}

fn to_bob(text: &'static str) -> Message {
    to_bob_as(BOB.registration_id, text)
}

fn to_bob_as(registration_id: u32, text: &'static str) -> Message {
    let account = AccountId::parse(BOB.account).unwrap();
    let device = DeviceId::parse(BOB.device_id).unwrap();
    Message::new(account).device(device, registration_id, 3, text)
}

/// So many messages, however the relay packs them.
async fn mail(device: &mut Device, count: usize) -> Vec<Mail> {
    let mut all = Vec::new();
    while all.len() < count {
        if let Event::Mail(mail) = device.next().await.unwrap().unwrap() {
            all.extend(mail);
        }
    }
    all
}

fn texts(mail: &[Mail]) -> Vec<&[u8]> {
    mail.iter().map(|mail| mail.payload.as_ref()).collect()
}

async fn settled(device: &mut Device) {
    while device.next_event().await.unwrap() != Event::QueueEmpty {}
}

#[tokio::test]
async fn mail_that_is_not_acked_comes_again_and_what_is_acked_does_not() {
    for encoding in Encoding::ALL {
        let relay = TestRelay::start_for(&[ALICE, BOB]).await;
        let mut alice = device(&relay, ALICE, encoding);
        for text in ["one", "two"] {
            alice.post(to_bob(text)).unwrap();
        }
        let last = alice.deliver(to_bob("three"), Duration::ZERO).await.unwrap();
        assert!(matches!(last, SendOutcome::Accepted { duplicate: false, .. }));
        alice.close().await.unwrap();

        let mut bob = device(&relay, BOB, encoding);
        let first = mail(&mut bob, 3).await;
        assert_eq!(texts(&first), [b"one".as_slice(), b"two", b"three"]);
        assert_eq!((first[0].kind, first[0].attempt), (3, 1));
        assert_eq!(first[0].from.as_ref().unwrap().account.as_str(), ALICE.account);
        bob.ack([first[0].id]);
        bob.close().await.unwrap();

        // The app starts anew and remembers nothing.
        let mut bob = device(&relay, BOB, encoding);
        let again = mail(&mut bob, 2).await;
        assert_eq!(texts(&again), [b"two".as_slice(), b"three"]);
        assert_eq!(again[0].message_id, first[1].message_id);
        bob.ack(again.iter().map(|mail| mail.id));
        settled(&mut bob).await;
        bob.close().await.unwrap();
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_message_for_another_installation_is_refused_for_good() {
    for encoding in Encoding::ALL {
        let relay = TestRelay::start_for(&[ALICE, BOB]).await;
        let mut alice = device(&relay, ALICE, encoding);
        let message = to_bob_as(BOB.registration_id + 1, "one");
        let outcome = alice.deliver(message, Duration::from_secs(60)).await.unwrap();
        let SendOutcome::Refused(refusal) = outcome else {
            panic!("accepted")
        };
        assert_eq!(refusal.code, Some(Code::DeviceMismatch));
        assert_eq!(
            (refusal.stale, refusal.retryable),
            (vec![BOB.device_id.to_owned()], false)
        );
        alice.close().await.unwrap();
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_token_that_ends_is_renewed_and_the_session_goes_on() {
    let relay = TestRelay::start_for(&[BOB]).await;
    let mut short = claims(BOB);
    short["exp"] = json!(now() + 4);
    short["jti"] = json!("short");
    let short = Token::new(&relay.keys().signed(&header("EdDSA"), &short));
    let long = Token::new(&relay.keys().token(BOB));
    let login = move |spent: Option<Token>| {
        let token = if spent.is_some() {
            long.clone()
        } else {
            short.clone()
        };
        async move { Ok(token) }
    };
    let mut bob = Device::new(options(&relay, Encoding::Proto), login);
    assert!(matches!(bob.next_event().await, Ok(Event::Connected(_))));
    assert_eq!(bob.next_event().await.unwrap(), Event::QueueEmpty);
    assert!(
        matches!(bob.next_event().await, Ok(Event::TokenExpiring(left)) if left <= Duration::from_secs(4))
    );
    match bob.next_event().await.unwrap() {
        Event::TokenRefreshed(life) => assert!(life > Duration::from_secs(3000), "{life:?}"),
        other => panic!("{other:?}"),
    }
    bob.close().await.unwrap();
    relay.stop().await;
}
