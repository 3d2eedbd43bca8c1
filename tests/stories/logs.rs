//! What the log says of clients: that something was wrong, and never who or what it was.

use std::cell::RefCell;
use std::io;
use std::sync::Once;

use chatctl_protocol::v1::{Ack, frame::Body};
use chatctl_protocol::{CloseCode, Encoding};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

use crate::letters::letter;
use crate::relay::{Person, TestRelay, eventually, hello};

/// Where the log of a story's thread goes: its relay and its sockets run there, and nobody else's.
#[derive(Debug, Clone, Copy)]
struct OwnPage;

thread_local! {
    static PAGE: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

impl io::Write for OwnPage {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        PAGE.with_borrow_mut(|page| page.iter_mut().for_each(|page| page.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Listens to everything that relays log, once for all stories.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The stories' own HTTP client has a log too.
        let is_relay = filter_fn(|event| !event.target().starts_with("hyper_util::client"));
        let pages = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(|| OwnPage)
            .with_filter(is_relay);
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(pages)).unwrap();
    });
}

const ALICE: Person = Person {
    account: "alice-Xq7vKp",
    device_id: "device-Zk3mWr",
    registration_id: 480_115,
};
const BOB: Person = Person {
    account: "bob-Hn5tLd",
    device_id: "device-Vc8sGf",
    registration_id: 480_116,
};
const SECRET: &str = "payload-Ty6uJb";

/// Everybody does what must not be done. Returns how many sessions were broken off for it.
async fn misbehave(relay: &TestRelay) -> usize {
    let mut broken = 0;
    for (number, encoding) in (1..).zip(Encoding::ALL) {
        let mut bob = relay.connect(BOB, encoding).await;
        let mut alice = relay.connect(ALICE, encoding).await;
        let ok = alice.post(letter(number, &[BOB], SECRET)).await;
        alice.try_post(letter(number, &[BOB], "other")).await.unwrap_err();
        alice
            .try_post(letter(9, &[ALICE, ALICE], SECRET))
            .await
            .unwrap_err();
        assert_eq!(ok.envelope_ids, [bob.mail(1).await[0].id]);
        for bad in [
            Message::text(format!("{{\"{SECRET}\"}}")),
            Message::binary(SECRET),
            Message::text(format!(
                "{{\"hello\":{{\"token\":\"{}\"}}}}",
                relay.keys().token(ALICE)
            )),
        ] {
            let parting = relay.connect(ALICE, encoding).await.ended_by(bad).await;
            assert_eq!(parting.code, Some(CloseCode::BadFrame));
            broken += 1;
        }
        bob.send(Body::Ack(Ack { ids: ok.envelope_ids })).await;
        bob.leave().await;
        let mut forged = relay.ws(encoding).await;
        forged.send(hello(format!("{}x", relay.keys().token(BOB)))).await;
        assert_eq!(forged.ended().await.code, Some(CloseCode::Reauthenticate));
    }
    broken
}

#[tokio::test]
async fn no_line_names_anybody_and_each_broken_session_has_one() {
    PAGE.set(Some(Vec::new()));
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let broken = misbehave(&relay).await;
    relay
        .ask(
            ALICE,
            "POST /v1/accounts/bob-Hn5tLd/messages",
            &json!({"messages": SECRET}),
        )
        .await;
    relay
        .ask(BOB, "GET /v1/messages?limit=device-Vc8sGf", &Value::Null)
        .await;
    relay
        .ask(BOB, "PUT /v1/keys/x-Ty6uJb", &json!({"identity": SECRET}))
        .await;
    eventually("everybody is gone", || relay.metrics().sessions.get() == 0).await;
    assert_eq!(relay.metrics().envelopes_accepted.get(), 2);
    relay.stop().await;
    let log = String::from_utf8(PAGE.take().unwrap()).unwrap();
    let lines = |word: &str| log.lines().filter(|line| line.contains(word)).count();
    assert_eq!(lines("session broken off"), broken, "{log}");
    assert!(lines("listening") == 1 && lines("stopped") == 1, "{log}");
    for secret in [
        "Xq7vKp",
        "Zk3mWr",
        "Hn5tLd",
        "Vc8sGf",
        "Ty6uJb",
        "480115",
        "letter-0",
        "eyJ",
        "127.0.0.1:5",
    ] {
        assert_eq!(lines(secret), 0, "{secret}\n{log}");
    }
}
