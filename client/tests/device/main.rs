//! Stories of one device against a relay that follows a script over a real socket.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a story that goes wrong ends there"
)]

mod again;
mod relay;
mod tls;
mod tokens;

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use chatctl_client::{Backoff, Device, Error, Event, Message, Options, SendOutcome, Stop, Token, Why};
use chatctl_protocol::v1::{self, frame::Body};
use chatctl_protocol::{AccountId, CloseCode, Code, DeviceId, Encoding, EnvelopeId};
use tokio::join;
use tokio_tungstenite::tungstenite;

use crate::relay::{Relay, envelope, goodbye};

fn options(relay: &Relay) -> Options {
    Options {
        backoff: Backoff {
            base: Duration::from_millis(1),
            cap: Duration::from_millis(2),
            steady: Duration::from_secs(10),
        },
        ..Options::new(&relay.url())
    }
}

fn device(relay: &Relay) -> Device {
    Device::new(options(relay), Token::new("token"))
}

fn message(text: &'static str) -> Message {
    Message::new(AccountId::parse("bob").unwrap()).device(DeviceId::parse("1").unwrap(), 7, 0, text)
}

/// The next event that is not about the connection.
async fn news(device: &mut Device) -> Event {
    loop {
        match device.next_event().await.unwrap() {
            Event::Connected(_) | Event::Disconnected { .. } | Event::Goodbye(_) => {}
            event => return event,
        }
    }
}

async fn parting(device: &mut Device) -> (Why, Duration) {
    loop {
        if let Event::Disconnected { why, retry_in } = device.next_event().await.unwrap() {
            return (why, retry_in);
        }
    }
}

fn texts(event: &Event) -> Vec<&[u8]> {
    match event {
        Event::Mail(mail) => mail.iter().map(|mail| mail.payload.as_ref()).collect(),
        other => panic!("not mail: {other:?}"),
    }
}

fn accepted(id: u64) -> SendOutcome {
    SendOutcome::Accepted {
        envelope_ids: vec![EnvelopeId::from_u64(id)],
        duplicate: false,
    }
}

#[tokio::test]
async fn unanswered_sends_go_again_under_the_same_names_and_in_order() {
    let relay = Relay::start().await;
    let script = async {
        let mut first = relay.session().await;
        let (one, two, three) = (first.send().await, first.send().await, first.send().await);
        first.ok(&two, 22).await;
        drop(first);
        let mut second = relay.session().await;
        let again = [second.send().await, second.send().await];
        assert_eq!(again, [one, three], "the same frames, names and all");
        second.ok(&again[0], 21).await;
        second.ok(&again[1], 23).await;
        second
    };
    let story = async {
        let mut device = device(&relay);
        let ids = ["one", "two", "three"].map(|text| device.post(message(text)).unwrap());
        let mut answers = Vec::new();
        while answers.len() < 3 {
            if let Event::Sent { id, outcome } = news(&mut device).await {
                answers.push((id, outcome));
            }
        }
        assert_eq!(
            answers,
            [
                (ids[1], accepted(22)),
                (ids[0], accepted(21)),
                (ids[2], accepted(23))
            ]
        );
        assert_eq!(device.unanswered(), 0);
    };
    join!(script, story);
}

#[tokio::test]
async fn a_refused_token_is_never_tried_again() {
    let relay = Relay::start().await;
    let script = async {
        for expected in ["old", "new"] {
            let mut peer = relay.accept().await;
            assert_eq!(peer.hello().await.token, expected);
            peer.say(goodbye(CloseCode::Reauthenticate, false, 0)).await;
            peer.close(CloseCode::Reauthenticate).await;
        }
    };
    let story = async {
        let asked = Mutex::new(Vec::new());
        let source = move |refused: Option<Token>| {
            let mut asked = asked.lock().unwrap();
            asked.push(refused.map(|token| token.secret().to_owned()));
            // The second successor is the refused token itself.
            let token = Token::new(if asked.len() == 1 { "old" } else { "new" });
            async move { Ok(token) }
        };
        let mut device = Device::new(options(&relay), source);
        for _ in 0..2 {
            assert_eq!(parting(&mut device).await.0, Why::Closed(4401));
        }
        for _ in 0..2 {
            let stopped = device.next_event().await;
            assert!(
                matches!(stopped, Err(Error::Stopped(Stop { code: 4401, .. }))),
                "{stopped:?}"
            );
        }
    };
    join!(script, story);
}

#[tokio::test]
async fn a_displaced_device_waits_half_a_minute() {
    let relay = Relay::start().await;
    let script = async {
        relay.session().await.close(CloseCode::Displaced).await;
    };
    let story = async {
        let (why, retry_in) = parting(&mut device(&relay)).await;
        assert_eq!(why, Why::Closed(4409));
        assert!(retry_in >= Duration::from_secs(30), "{retry_in:?}");
    };
    join!(script, story);
}

#[tokio::test]
async fn a_restarting_relay_says_when_to_come_back() {
    let relay = Relay::start().await;
    let script = async {
        let mut peer = relay.session().await;
        peer.say(goodbye(CloseCode::Restart, true, 7000)).await;
        // The close frame gets lost.
    };
    let story = async {
        let (why, retry_in) = parting(&mut device(&relay)).await;
        assert_eq!(why, Why::Closed(1012));
        assert!(retry_in >= Duration::from_secs(7), "{retry_in:?}");
    };
    join!(script, story);
}

#[tokio::test]
async fn a_removed_device_stops_for_good() {
    let relay = Relay::start().await;
    let script = async {
        relay.session().await.close(CloseCode::DeviceRemoved).await;
    };
    let story = async {
        let mut device = device(&relay);
        assert!(matches!(device.next_event().await, Ok(Event::Connected(_))));
        for _ in 0..2 {
            assert!(matches!(
                device.next_event().await,
                Err(Error::Stopped(Stop { code: 4403, .. }))
            ));
        }
    };
    join!(script, story);
}

#[tokio::test]
async fn a_slow_consumer_comes_back_with_half_the_window() {
    let relay = Relay::start().await;
    let script = async {
        let mut peer = relay.accept().await;
        assert_eq!(peer.hello().await.window, 64);
        peer.welcome().await;
        peer.close(CloseCode::SlowConsumer).await;
        assert_eq!(relay.accept().await.hello().await.window, 32);
    };
    let story = async {
        let mut device = Device::new(
            Options {
                window: 64,
                ..options(&relay)
            },
            Token::new("token"),
        );
        loop {
            device.next_event().await.unwrap();
        }
    };
    tokio::select! {
        () = script => {}
        () = story => {}
    }
}

#[tokio::test]
async fn a_refusal_tells_all_it_knows() {
    let relay = Relay::start().await;
    let script = async {
        let mut peer = relay.session().await;
        let send = peer.send().await;
        peer.say(Body::SendErr(v1::SendErr {
            id: send.id,
            code: Code::DeviceMismatch.as_str().to_owned(),
            missing: vec!["2".to_owned()],
            stale: vec!["1".to_owned()],
            ..v1::SendErr::default()
        }))
        .await;
        peer
    };
    let story = async {
        let mut device = device(&relay);
        let SendOutcome::Refused(refusal) = device.send(message("one")).await.unwrap() else {
            panic!("accepted")
        };
        assert_eq!(refusal.code, Some(Code::DeviceMismatch));
        assert_eq!(
            (refusal.missing, refusal.stale),
            (vec!["2".to_owned()], vec!["1".to_owned()])
        );
        assert!(
            matches!(device.next_event().await, Ok(Event::Connected(_))),
            "waited meanwhile"
        );
    };
    join!(script, story);
}

#[tokio::test]
async fn mail_comes_once_and_each_copy_gets_its_ack() {
    let relay = Relay::start().await;
    let script = async {
        let mut first = relay.session().await;
        first.deliver([envelope(1, "a"), envelope(2, "b")]).await;
        drop(first);
        let mut second = relay.session().await;
        // `b` has a second copy: the relay crashed between delivery and commit.
        second
            .deliver([envelope(1, "a"), envelope(3, "b"), envelope(4, "c")])
            .await;
        assert_eq!(second.acks(3).await, [1, 3, 4]);
        drop(second);
        let mut third = relay.session().await;
        third.deliver([envelope(1, "a")]).await;
        assert_eq!(third.acks(1).await, [1], "acked by the app long ago");
    };
    let story = async {
        let mut device = device(&relay);
        assert_eq!(texts(&news(&mut device).await), [b"a", b"b"]);
        let last = news(&mut device).await;
        assert_eq!(texts(&last), [b"c"]);
        device.ack([1, 2, 4].map(EnvelopeId::from_u64));
        loop {
            news(&mut device).await;
        }
    };
    tokio::select! {
        () = script => {}
        () = story => {}
    }
}

#[tokio::test]
async fn garbage_is_an_error_and_the_next_session_works() {
    let relay = Relay::start().await;
    let garbage = || {
        let bad_sender = v1::Envelope {
            from: Some(v1::Address::default()),
            ..envelope(1, "a")
        };
        let frame = |body| relay::frame(Encoding::Proto, body);
        [
            tungstenite::Message::Binary(Bytes::from_static(b"\xff\xff\xff")),
            tungstenite::Message::Text("{}".into()),
            frame(Body::SendOk(v1::SendOk {
                id: 99,
                ..v1::SendOk::default()
            })),
            frame(Body::HelloOk(v1::HelloOk::default())),
            frame(Body::Ping(v1::Ping { id: 1 })),
            frame(Body::Deliver(v1::Deliver {
                envelopes: vec![bad_sender],
            })),
            frame(Body::Deliver(v1::Deliver {
                envelopes: (0..300).map(|id| envelope(id, "a")).collect(),
            })),
        ]
    };
    let script = async {
        for message in garbage() {
            relay.session().await.raw(message).await;
        }
        let mut peer = relay.session().await;
        // Nothing, and something of the future: both are skipped.
        peer.raw(tungstenite::Message::Binary(Bytes::new())).await;
        peer.raw(tungstenite::Message::Binary(Bytes::from_static(b"\xfa\x3f\x01x")))
            .await;
        peer.say(Body::QueueEmpty(v1::QueueEmpty {})).await;
        peer
    };
    let story = async {
        let mut device = device(&relay);
        let mut errors = Vec::new();
        loop {
            match device.next_event().await {
                Ok(Event::QueueEmpty) => break,
                Ok(_) => {}
                Err(error) => errors.push(error.to_string()),
            }
        }
        assert_eq!(
            errors,
            [
                "the relay sent something that is not a frame",
                "the relay sent the wrong kind of WebSocket message",
                "the relay broke the protocol: an answer to nothing",
                "the relay broke the protocol: a second HelloOk",
                "the relay broke the protocol: a frame that only clients send",
                "an envelope with a bad name",
                "the relay broke the protocol: more mail than the window",
            ]
        );
    };
    join!(script, story);
}

#[tokio::test]
async fn the_outbox_is_bounded() {
    let relay = Relay::start().await;
    let mut device = Device::new(
        Options {
            max_pending_sends: 1,
            ..options(&relay)
        },
        Token::new("token"),
    );
    device.post(message("one")).unwrap();
    assert!(matches!(device.post(message("two")), Err(Error::OutboxFull)));
}

#[tokio::test]
async fn json_says_the_same() {
    let relay = Relay::speaking(Encoding::Json).await;
    let script = async {
        let mut peer = relay.session().await;
        let send = peer.send().await;
        peer.ok(&send, 5).await;
        peer.deliver([envelope(u64::MAX >> 1, "a")]).await;
        assert_eq!(peer.acks(1).await, [u64::MAX >> 1]);
        peer.closed().await;
    };
    let story = async {
        let mut device = Device::new(
            Options {
                encoding: Encoding::Json,
                ..options(&relay)
            },
            Token::new("token"),
        );
        assert_eq!(device.send(message("one")).await.unwrap(), accepted(5));
        let mail = news(&mut device).await;
        assert_eq!(texts(&mail), [b"a"]);
        device.ack([EnvelopeId::from_u64(u64::MAX >> 1)]);
        device.close().await.unwrap();
    };
    join!(script, story);
}

#[tokio::test]
async fn a_wait_that_is_dropped_again_and_again_still_connects() {
    let relay = Relay::start().await;
    let script = async {
        let mut peer = relay.session().await;
        let send = peer.send().await;
        peer.ok(&send, 5).await;
        peer
    };
    let story = async {
        let mut device = device(&relay);
        let id = device.post(message("one")).unwrap();
        loop {
            tokio::select! {
                biased;
                event = device.next_event() => if let Event::Sent { id: answered, outcome } = event.unwrap() {
                    assert_eq!((answered, outcome), (id, accepted(5)));
                    break;
                },
                () = tokio::task::yield_now() => {}
            }
        }
    };
    join!(script, story);
}

#[tokio::test]
async fn a_new_token_goes_in_place() {
    let relay = Relay::start().await;
    let script = async {
        let mut peer = relay.session().await;
        peer.say(Body::TokenExpiring(v1::TokenExpiring { in_ms: 5 }))
            .await;
        assert_eq!(
            peer.next().await,
            Body::Auth(v1::Auth {
                token: "fresh".to_owned()
            })
        );
        peer.say(Body::AuthOk(v1::AuthOk { expires_in_ms: 9 })).await;
        drop(peer);
        assert_eq!(relay.accept().await.hello().await.token, "fresh");
    };
    let story = async {
        let mut device = device(&relay);
        assert_eq!(
            news(&mut device).await,
            Event::TokenExpiring(Duration::from_millis(5))
        );
        device.refresh(Token::new("fresh"));
        assert_eq!(
            news(&mut device).await,
            Event::TokenRefreshed(Duration::from_millis(9))
        );
        loop {
            device.next_event().await.unwrap();
        }
    };
    tokio::select! {
        () = script => {}
        () = story => {}
    }
}
