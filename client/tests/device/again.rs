//! Sends that the relay refuses for now, events as a stream, and where a device connects from.

use std::net::IpAddr;
use std::time::Duration;

use chatctl_client::{Device, Dial, Error, Event, Options, SendOutcome, Stop, Token};
use chatctl_protocol::{CloseCode, Code};
use futures_util::StreamExt as _;
use tokio::join;

use crate::relay::{Relay, envelope, goodbye};
use crate::{accepted, device, message, options, texts};

const LONG: Duration = Duration::from_secs(60);

fn code(outcome: &SendOutcome) -> Option<Code> {
    match outcome {
        SendOutcome::Refused(refusal) => refusal.code,
        SendOutcome::Accepted { .. } => None,
    }
}

#[tokio::test]
async fn what_is_refused_for_now_goes_again_as_the_same_message() {
    let relay = Relay::start().await;
    let script = async {
        let mut peer = relay.session().await;
        let first = peer.send().await;
        peer.refuse(&first, Code::MailboxFull, 1).await;
        let second = peer.send().await;
        // The session may break between two tries, too.
        peer.refuse(&second, Code::RateLimited, 0).await;
        drop(peer);
        let mut peer = relay.session().await;
        let third = peer.send().await;
        for again in [&second, &third] {
            assert_ne!(again.id, first.id);
            assert_eq!(again.client_msg_id, first.client_msg_id);
            assert_eq!(again.messages, first.messages);
        }
        peer.ok(&third, 5).await;
        peer
    };
    let story = async {
        let mut device = device(&relay);
        let outcome = device.deliver(message("one"), LONG).await.unwrap();
        assert_eq!(outcome, accepted(5));
        assert_eq!(device.unanswered(), 0);
    };
    join!(script, story);
}

#[tokio::test]
async fn a_refusal_for_good_is_the_answer() {
    let relay = Relay::start().await;
    let script = async {
        let mut peer = relay.session().await;
        let send = peer.send().await;
        peer.refuse(&send, Code::DeviceMismatch, 0).await;
        peer
    };
    let story = async {
        let mut device = device(&relay);
        let outcome = device.deliver(message("one"), LONG).await.unwrap();
        assert_eq!(code(&outcome), Some(Code::DeviceMismatch));
    };
    join!(script, story);
}

#[tokio::test]
async fn a_hint_beyond_the_apps_patience_is_not_waited_for() {
    let relay = Relay::start().await;
    let script = async {
        let mut peer = relay.session().await;
        let send = peer.send().await;
        peer.refuse(&send, Code::StorageFull, 3_600_000).await;
        peer
    };
    let story = async {
        let mut device = device(&relay);
        let outcome = device.deliver(message("one"), LONG).await.unwrap();
        assert_eq!(code(&outcome), Some(Code::StorageFull));
    };
    join!(script, story);
}

#[tokio::test]
async fn mail_that_comes_between_two_tries_waits_for_the_app() {
    let relay = Relay::start().await;
    let script = async {
        let mut peer = relay.session().await;
        let first = peer.send().await;
        peer.refuse(&first, Code::RateLimited, 0).await;
        peer.deliver([envelope(1, "a")]).await;
        let second = peer.send().await;
        peer.ok(&second, 5).await;
        peer
    };
    let story = async {
        let mut device = device(&relay);
        device.deliver(message("one"), LONG).await.unwrap();
        assert_eq!(texts(&crate::news(&mut device).await), [b"a"]);
    };
    join!(script, story);
}

#[tokio::test]
async fn events_are_a_stream_that_ends_with_the_reason() {
    let relay = Relay::start().await;
    let script = async {
        let mut peer = relay.session().await;
        peer.deliver([envelope(1, "a")]).await;
        peer.say(goodbye(CloseCode::DeviceRemoved, false, 0)).await;
        peer.close(CloseCode::DeviceRemoved).await;
    };
    let story = async {
        let mut device = device(&relay);
        let told: Vec<_> = device.by_ref().collect().await;
        let [connected, mail, goodbye, end] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert!(matches!(connected, Ok(Event::Connected(_))));
        assert_eq!(texts(mail.as_ref().unwrap()), [b"a"]);
        assert!(matches!(goodbye, Ok(Event::Goodbye(_))));
        assert!(matches!(end, Err(Error::Stopped(Stop { code: 4403, .. }))));
        assert!(device.next().await.is_none());
    };
    join!(script, story);
}

#[tokio::test]
async fn a_device_connects_from_where_it_is_told() {
    let relay = Relay::start().await;
    let local: IpAddr = "127.0.0.2".parse().unwrap();
    let mut device = Device::new(
        Options {
            dial: Dial::default().at(local),
            ..options(&relay)
        },
        Token::new("token"),
    );
    let (peer, event) = join!(relay.session(), device.next_event());
    assert!(matches!(event, Ok(Event::Connected(_))));
    assert_eq!(peer.from, local);
}
