//! The conversation of `docs/protocol.md`, held with a relay.
//!
//! Ids, clocks and tokens in the document are examples: the story puts the real ones in their place, and
//! compares everything else.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::{CloseCode, Encoding, frame};
use chatctl_relay::config::jobs::JobName;
use chatctl_relay::model::{Clock, UnixMs};

use crate::keys::now;
use crate::relay::{ALICE, BOB, TestRelay};
use crate::socket::RawSocket;

/// A line of the conversation.
#[derive(Debug)]
enum Line {
    Says(String, Body),
    Hears(String, Body),
    Time,
}

fn lines() -> Vec<Line> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, talk) = text.split_once("\n## A whole conversation\n").unwrap();
    let mut lines = Vec::new();
    for (at, piece) in talk.split("\n```").enumerate() {
        let Some(block) = piece.strip_prefix("frame ").filter(|_| at % 2 == 1) else {
            if piece.contains("a minute passes") {
                lines.push(Line::Time);
            }
            continue;
        };
        let (way, body) = block.split_once('\n').unwrap();
        let is_hex = |line: &str| line.bytes().all(|byte| byte.is_ascii_hexdigit());
        let json: Vec<_> = body.lines().filter(|line| !is_hex(line)).collect();
        let body = frame::decode_json(&json.join("\n")).unwrap();
        lines.push(match way.split_once(" → ").unwrap() {
            ("relay", whom) => Line::Hears(whom.to_owned(), body),
            (who, _) => Line::Says(who.to_owned(), body),
        });
    }
    lines
}

/// Which envelope of the document is which of the relay.
#[derive(Debug, Default)]
struct Ids(HashMap<u64, u64>);

impl Ids {
    /// What the relay's frame would be if it said the document's examples.
    fn as_written(&mut self, heard: Body, written: &Body) -> Body {
        match (heard, written) {
            (Body::HelloOk(mut heard), Body::HelloOk(written)) => {
                heard.session_id.clone_from(&written.session_id);
                heard.server_time = written.server_time;
                heard.mailbox_epoch = written.mailbox_epoch;
                Body::HelloOk(heard)
            }
            (Body::SendOk(mut heard), Body::SendOk(written)) => {
                for (real, example) in heard.envelope_ids.iter_mut().zip(&written.envelope_ids) {
                    self.is_written(real, *example);
                }
                Body::SendOk(heard)
            }
            (Body::Deliver(mut heard), Body::Deliver(written)) => {
                for (real, example) in heard.envelopes.iter_mut().zip(&written.envelopes) {
                    self.is_written(&mut real.id, example.id);
                    real.accepted_at = example.accepted_at;
                }
                Body::Deliver(heard)
            }
            (heard, _) => heard,
        }
    }

    fn is_written(&mut self, real: &mut u64, example: u64) {
        if *self.0.entry(example).or_insert(*real) == *real {
            *real = example;
        }
    }
}

#[tokio::test]
async fn the_conversation_in_the_document_is_what_a_relay_says() {
    for encoding in Encoding::ALL {
        let (clock, hand) = Clock::manual(UnixMs(now() * 1000));
        let relay = TestRelay::start_at(clock, |_| {})
            .await
            .for_these(&[ALICE, BOB])
            .await;
        let (mut sockets, mut ids) = (HashMap::<String, RawSocket>::new(), Ids::default());
        let mut parted = None;
        for line in lines() {
            match line {
                Line::Time => {
                    hand.fetch_add(61_000, Ordering::Relaxed);
                    relay.job(JobName::ExpireMail).await;
                }
                Line::Says(who, mut body) => {
                    match &mut body {
                        Body::Hello(hello) => {
                            let person = if who == "alice" { ALICE } else { BOB };
                            hello.token = relay.keys().token(person);
                            sockets.insert(who.clone(), relay.ws(encoding).await);
                        }
                        Body::Ack(ack) => ack.ids.iter_mut().for_each(|id| *id = ids.0[id]),
                        _ => {}
                    }
                    sockets.get_mut(&who).unwrap().send(body).await;
                }
                Line::Hears(whom, Body::Goodbye(goodbye)) => {
                    let parting = sockets.remove(&whom).unwrap().ended().await;
                    assert_eq!(parting.goodbye, Some(goodbye));
                    parted = parting.code;
                }
                Line::Hears(whom, written) => {
                    let heard = sockets.get_mut(&whom).unwrap().frame().await;
                    assert_eq!(ids.as_written(heard, &written), written, "to {whom}");
                }
            }
        }
        assert_eq!(parted, Some(CloseCode::Displaced));
        assert_eq!(ids.0.len(), 3);
        drop(sockets);
        relay.stop().await;
    }
}
