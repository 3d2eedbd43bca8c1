//! What the log says of clients: that something was wrong, and never who or what it was.

use std::io;
use std::sync::{Arc, Mutex};

use chatctl_protocol::v1::{Ack, frame::Body};
use chatctl_protocol::{CloseCode, Encoding};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tracing_subscriber::fmt::MakeWriter;

use crate::letters::letter;
use crate::relay::{Person, TestRelay, eventually, hello};

/// A log in memory.
#[derive(Debug, Clone, Default)]
struct Pages(Arc<Mutex<Vec<u8>>>);

impl io::Write for Pages {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Pages {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
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

#[tokio::test]
async fn no_line_names_anybody_and_each_broken_session_has_one() {
    let pages = Pages::default();
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(pages.clone())
        .finish();
    // The stories' relays run on the story's own thread, and so does all that they log.
    let logging = tracing::subscriber::set_default(log);
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let mut broken = 0;
    for encoding in Encoding::ALL {
        let mut bob = relay.connect(BOB, encoding).await;
        let mut alice = relay.connect(ALICE, encoding).await;
        let ok = alice.post(letter(1, &[BOB], SECRET)).await;
        alice.try_post(letter(1, &[BOB], "other")).await.unwrap_err();
        alice
            .try_post(letter(2, &[ALICE, ALICE], SECRET))
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
    let ids = relay.metrics().envelopes_accepted.get();
    assert_eq!(ids, 1);
    relay.stop().await;
    drop(logging);

    let log = String::from_utf8(pages.0.lock().unwrap().clone()).unwrap();
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
