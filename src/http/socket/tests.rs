//! The wire over pipes: whatever pieces a stream comes in, the messages are the same.

use std::pin::pin;

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data};

use super::*;

const MOST: usize = 100_000;

/// A message that may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    Text(String),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    Ping,
    Close,
}

impl From<Message<'_>> for Kept {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.to_owned()),
            Message::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Message::Pong(mark) => Self::Pong(mark.to_vec()),
            Message::Ping => Self::Ping,
            Message::Close => Self::Close,
        }
    }
}

/// A client's frame.
fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mask = [0x6d, 0xb6, 0xb2, 0x80];
    let header = tokio_tungstenite::tungstenite::protocol::frame::FrameHeader {
        is_final,
        opcode,
        mask: Some(mask),
        ..Default::default()
    };
    let mut frame = Vec::new();
    header.format(payload.len() as u64, &mut frame).unwrap();
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

const CONTINUE: OpCode = OpCode::Data(Data::Continue);
const PING: OpCode = OpCode::Control(Control::Ping);
const PONG: OpCode = OpCode::Control(Control::Pong);
const CLOSE: OpCode = OpCode::Control(Control::Close);

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(test)
}

fn wire() -> (Wire<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(1 << 20);
    (Wire::new(ours, &[], MOST), theirs)
}

/// What is heard of a stream in pieces. Between two of them everything that is there is heard, and the wire waits.
async fn heard(pieces: &[&[u8]]) -> (Vec<Kept>, Ended) {
    let (mut wire, mut client) = wire();
    let mut all = Vec::new();
    for piece in pieces {
        client.write_all(piece).await.unwrap();
        loop {
            match futures_util::poll!(pin!(wire.hear())) {
                Poll::Ready(Ok(message)) => all.push(message.into()),
                Poll::Ready(Err(ended)) => return (all, ended),
                Poll::Pending => break,
            }
        }
    }
    drop(client);
    match wire.hear().await {
        Err(ended) => (all, ended),
        Ok(message) => panic!("{message:?} after everything"),
    }
}

fn breach_of(stream: &[u8]) -> CloseCode {
    match run(heard(&[stream])).1 {
        Ended::Broken(leave, _) => leave.code,
        Ended::Gone => CloseCode::Normal,
    }
}

#[test]
fn a_stream_cut_in_two_anywhere_says_the_same() {
    let stream = [
        frame(TEXT, true, "Grüße".as_bytes()),
        frame(TEXT, false, &"ü".as_bytes()[..1]),
        frame(PING, true, b"are you there"),
        frame(CONTINUE, false, b""),
        frame(CONTINUE, true, &"ü".as_bytes()[1..]),
        frame(BINARY, true, &[7; 300]),
        frame(PONG, true, b"mark"),
        frame(BINARY, true, b""),
    ]
    .concat();
    let expected = vec![
        Kept::Text("Grüße".to_owned()),
        Kept::Ping,
        Kept::Text("ü".to_owned()),
        Kept::Binary(vec![7; 300]),
        Kept::Pong(b"mark".to_vec()),
        Kept::Binary(Vec::new()),
    ];
    for at in 0..=stream.len() {
        let (one, other) = stream.split_at(at);
        let (messages, ended) = run(heard(&[one, other]));
        assert_eq!(messages, expected, "cut at {at}");
        assert!(matches!(ended, Ended::Gone), "{ended:?}");
    }
}

#[test]
fn what_came_with_the_upgrade_is_heard_first() {
    let stream = [frame(BINARY, true, b"one"), frame(BINARY, true, b"two")].concat();
    let (ours, mut theirs) = duplex(64);
    let mut wire = Wire::new(ours, &stream[..12], MOST);
    run(async {
        theirs.write_all(&stream[12..]).await.unwrap();
        assert_eq!(wire.hear().await.unwrap(), Message::Binary(b"one"));
        assert_eq!(wire.take().unwrap(), None);
        assert_eq!(wire.hear().await.unwrap(), Message::Binary(b"two"));
    });
}

#[test]
fn every_ping_is_answered_in_order_and_before_what_is_said() {
    let (mut wire, mut client) = wire();
    run(async {
        let pings = [frame(PING, true, b"1"), frame(PING, true, b"2")].concat();
        client.write_all(&pings).await.unwrap();
        assert_eq!(wire.hear().await.unwrap(), Message::Ping);
        assert_eq!(wire.take().unwrap(), Some(Message::Ping));
        wire.send(BINARY, b"x").await.unwrap();
        let mut answer = [0; 9];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"\x8a\x011\x8a\x012\x82\x01x");
    });
}

#[test]
fn pings_of_a_client_that_reads_nothing_are_forgotten() {
    run(async {
        let (ours, mut client) = duplex(256);
        let mut wire = Wire::new(ours, &[], MOST);
        let pings = frame(PING, true, &[7; 125]).repeat(2_000);
        let flood = async { client.write_all(&pings).await.unwrap() };
        let listen = async {
            for _ in 0..2_000 {
                assert_eq!(Kept::from(wire.hear().await.unwrap()), Kept::Ping);
            }
        };
        tokio::join!(flood, listen);
        let unwritten = wire.bytes_unwritten();
        assert!((60_000..70_000).contains(&unwritten), "{unwritten}");
    });
}

#[test]
fn a_wire_that_waits_owns_no_buffer() {
    let (mut wire, mut client) = wire();
    run(async {
        for length in [10, 20_000, 50_000] {
            client
                .write_all(&frame(BINARY, true, &vec![1; length]))
                .await
                .unwrap();
            let Message::Binary(bytes) = wire.hear().await.unwrap() else {
                panic!("not what was sent")
            };
            assert_eq!(bytes.len(), length);
            assert!(futures_util::poll!(pin!(wire.hear())).is_pending());
            assert_eq!(wire.bytes_held(), 0);
        }
        // A part of a frame costs what has come of it, whatever its header says.
        client
            .write_all(&frame(BINARY, true, &[1; 99_999])[..30])
            .await
            .unwrap();
        assert!(futures_util::poll!(pin!(wire.hear())).is_pending());
        assert_eq!(wire.bytes_held(), 30);
    });
}

#[test]
fn a_close_is_answered_with_its_code() {
    for (said, answered) in [
        (&b"\x03\xe8bye"[..], &b"\x88\x05\x03\xe8bye"[..]),
        (b"", b"\x88\x00"),
        // Nobody may say 1005.
        (b"\x03\xed", b"\x88\x02\x03\xea"),
    ] {
        let (mut wire, mut client) = wire();
        run(async {
            client.write_all(&frame(CLOSE, true, said)).await.unwrap();
            assert_eq!(wire.hear().await.unwrap(), Message::Close);
            assert!(matches!(wire.hear().await, Err(Ended::Gone)));
            wire.part().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, answered);
        });
    }
}

#[test]
fn who_closes_hears_the_answer_or_the_end() {
    for answer in [frame(CLOSE, true, b"\x03\xe9"), Vec::new()] {
        let (mut wire, mut client) = wire();
        run(async {
            client.write_all(&frame(BINARY, true, b"late")).await.unwrap();
            client.write_all(&answer).await.unwrap();
            client.shutdown().await.unwrap();
            wire.close(CloseCode::GoingAway, "bye").await;
            drop(wire);
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"\x88\x05\x03\xe9bye");
        });
    }
}

#[test]
fn a_client_that_broke_the_protocol_is_told_and_read_dry() {
    let (mut wire, mut client) = wire();
    run(async {
        client.write_all(&[0xff; 40_000]).await.unwrap();
        assert!(matches!(wire.hear().await, Err(Ended::Broken(..))));
        let closing = async {
            wire.close(CloseCode::ProtocolError, "no").await;
        };
        let client = async {
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.unwrap();
            client.write_all(&[0; 40_000]).await.unwrap();
            drop(client);
            heard
        };
        let ((), heard) = tokio::join!(closing, client);
        assert_eq!(heard, b"\x88\x04\x03\xeano");
    });
}

#[test]
fn what_breaks_the_rules_has_its_code() {
    let mut unmasked = frame(BINARY, true, b"x");
    unmasked[1] &= 0x7f;
    let mut reserved = frame(BINARY, true, b"x");
    reserved[0] |= 0x40;
    let long_ping = frame(PING, true, &[0; 126]);
    let opcode = frame(OpCode::Data(Data::Reserved(3)), true, b"");
    let start = frame(TEXT, false, b"a");
    for (what, stream) in [
        ("no mask", unmasked),
        ("a reserved bit", reserved),
        ("a control frame too long", long_ping),
        ("a control frame in pieces", frame(PING, false, b"")),
        ("an unknown opcode", opcode),
        ("a continuation of nothing", frame(CONTINUE, true, b"")),
        (
            "two beginnings",
            [start.clone(), frame(TEXT, true, b"b")].concat(),
        ),
        ("half a close code", frame(CLOSE, true, b"x")),
    ] {
        assert_eq!(breach_of(&stream), CloseCode::ProtocolError, "{what}");
    }
    let bad_text = b"\xed\xa0\x80";
    for stream in [
        frame(TEXT, true, bad_text),
        frame(TEXT, false, bad_text),
        [start.clone(), frame(CONTINUE, true, &"ü".as_bytes()[..1])].concat(),
        frame(CLOSE, true, b"\x03\xe8\xff"),
    ] {
        assert_eq!(breach_of(&stream), CloseCode::NotUtf8, "{stream:02x?}");
    }
    // A header is enough.
    let whole = frame(BINARY, true, &vec![0; MOST + 1]);
    let joined = [start, frame(CONTINUE, false, &vec![b'a'; MOST])].concat();
    for stream in [&whole[..14], &joined[..30]] {
        assert_eq!(breach_of(stream), CloseCode::TooLarge);
    }
}

/// A message, the fragments it is cut into, and what is said between them.
fn fragments() -> impl Strategy<Value = (Vec<u8>, Vec<Kept>)> {
    let text = "\\PC{0,40}".prop_map(Kept::Text);
    let bytes = prop_oneof![
        9 => vec(any::<u8>(), 0..400),
        1 => (0..MOST, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ];
    let message = prop_oneof![text, bytes.prop_map(Kept::Binary)];
    let cuts = vec((any::<prop::sample::Index>(), 0..3), 0..4);
    (message, cuts).prop_map(|(message, cuts)| {
        let (opcode, payload) = match &message {
            Kept::Text(text) => (TEXT, text.as_bytes()),
            Kept::Binary(bytes) => (BINARY, &bytes[..]),
            other => panic!("{other:?} is not cut"),
        };
        let mut at: Vec<_> = cuts.iter().map(|(cut, _)| cut.index(payload.len() + 1)).collect();
        at.sort_unstable();
        let (mut stream, mut expected, mut from, mut opcode) = (Vec::new(), Vec::new(), 0, opcode);
        for (to, (_, between)) in at.iter().zip(&cuts) {
            stream.extend(frame(opcode, false, &payload[from..*to]));
            (from, opcode) = (*to, CONTINUE);
            match between {
                0 => {}
                1 => {
                    stream.extend(frame(PING, true, b"?"));
                    expected.push(Kept::Ping);
                }
                _ => {
                    stream.extend(frame(PONG, true, b"!"));
                    expected.push(Kept::Pong(b"!".to_vec()));
                }
            }
        }
        stream.extend(frame(opcode, true, &payload[from..]));
        expected.push(message);
        (stream, expected)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn however_a_stream_is_cut_the_messages_are_the_same(
        messages in vec(fragments(), 1..6),
        cuts in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (streams, expected): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
        let stream = streams.concat();
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        at.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for to in at {
            pieces.push(&stream[from..to]);
            from = to;
        }
        pieces.push(&stream[from..]);
        let (messages, ended) = run(heard(&pieces));
        prop_assert_eq!(messages, expected.concat());
        prop_assert!(matches!(ended, Ended::Gone));
    }

    #[test]
    fn any_bytes_have_an_end(bytes in vec(any::<u8>(), 0..200)) {
        let (_, ended) = run(heard(&[&bytes]));
        prop_assert!(matches!(ended, Ended::Gone | Ended::Broken(..)));
    }

    #[test]
    fn masks_are_taken_off_byte_by_byte(payload in vec(any::<u8>(), 0..40)) {
        let (messages, _) = run(heard(&[&frame(BINARY, true, &payload)]));
        prop_assert_eq!(messages, vec![Kept::Binary(payload)]);
    }
}
