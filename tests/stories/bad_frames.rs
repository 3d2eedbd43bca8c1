//! Messages that are no frames: each ends its own socket with the right code, and nobody else's.

use bytes::Bytes;
use chatctl_protocol::v1::{HelloOk, Ping, Pong, frame::Body};
use chatctl_protocol::{CloseCode, Encoding, frame};
use tokio_tungstenite::tungstenite::Message;

use crate::relay::{ALICE, BOB, TestRelay, still_works};
use crate::socket::{Parting, RawSocket, text_of};

/// Sends a message on a socket that has not said hello, then on one that has; Bob looks on.
async fn ends(encoding: Encoding, message: Message, code: CloseCode) {
    let relay = TestRelay::start().await;
    relay.register(ALICE).await;
    relay.register(BOB).await;
    let mut bob = relay.connect(BOB, Encoding::Proto).await;

    let parting = relay.ws(encoding).await.ended_by(message.clone()).await;
    assert_parting(&parting, code, "before hello");
    still_works(&mut bob).await;

    let parting = relay.connect(ALICE, encoding).await.ended_by(message).await;
    assert_parting(&parting, code, "after hello");
    still_works(&mut bob).await;
    // And the device comes back as if nothing had been.
    still_works(&mut relay.connect(ALICE, encoding).await).await;
    drop(bob);
    relay.stop().await;
}

#[track_caller]
fn assert_parting(parting: &Parting, code: CloseCode, what: &str) {
    assert_eq!(parting.code, Some(code), "{what}");
    // Below 4000 the WebSocket itself is broken, and a last frame may not fit through.
    if code.number() >= 4000 {
        let goodbye = parting
            .goodbye
            .as_ref()
            .map(|goodbye| (goodbye.code, goodbye.reconnect));
        assert_eq!(
            goodbye,
            Some((u32::from(code.number()), code.reconnect())),
            "{what}"
        );
    }
}

#[tokio::test]
async fn an_empty_message_is_a_bad_frame() {
    ends(Encoding::Json, Message::text(""), CloseCode::BadFrame).await;
    ends(
        Encoding::Proto,
        Message::binary(Bytes::new()),
        CloseCode::BadFrame,
    )
    .await;
}

#[tokio::test]
async fn null_is_a_bad_frame() {
    ends(Encoding::Json, Message::text("null"), CloseCode::BadFrame).await;
}

#[tokio::test]
async fn json_that_is_no_frame_is_a_bad_frame() {
    for text in [
        "1",
        "[]",
        "{}",
        "{",
        r#"{"nope":{}}"#,
        r#"{"ack":{"ids":["x"]}}"#,
        r#"{"ping":null}"#,
    ] {
        ends(Encoding::Json, Message::text(text), CloseCode::BadFrame).await;
    }
}

#[tokio::test]
async fn binary_on_the_json_subprotocol_is_a_bad_frame() {
    let ping = frame::encode_proto(Body::Ping(Ping { id: 1 }));
    ends(Encoding::Json, Message::Binary(ping), CloseCode::BadFrame).await;
    ends(
        Encoding::Json,
        Message::binary(r#"{"ping":{"id":"1"}}"#),
        CloseCode::BadFrame,
    )
    .await;
}

#[tokio::test]
async fn text_on_the_proto_subprotocol_is_a_bad_frame() {
    ends(
        Encoding::Proto,
        Message::text(r#"{"ping":{"id":"1"}}"#),
        CloseCode::BadFrame,
    )
    .await;
}

#[tokio::test]
async fn truncated_protobuf_is_a_bad_frame() {
    let whole = frame::encode_proto(Body::Ping(Ping { id: 1 << 40 }));
    for length in 1..whole.len() {
        ends(
            Encoding::Proto,
            Message::Binary(whole.slice(..length)),
            CloseCode::BadFrame,
        )
        .await;
    }
}

#[tokio::test]
async fn a_frame_that_only_the_relay_sends_is_a_bad_frame() {
    let hello_ok = Body::HelloOk(HelloOk::default());
    ends(
        Encoding::Proto,
        Message::Binary(frame::encode_proto(hello_ok)),
        CloseCode::BadFrame,
    )
    .await;
}

#[tokio::test]
async fn ten_megabytes_are_too_large() {
    let ten_mebibytes = Message::binary(vec![0; 10 << 20]);
    ends(Encoding::Proto, ten_mebibytes, CloseCode::TooLarge).await;
    ends(
        Encoding::Json,
        Message::text(" ".repeat(10 << 20)),
        CloseCode::TooLarge,
    )
    .await;
}

#[tokio::test]
async fn text_that_is_not_utf8_has_its_own_code() {
    ends(
        Encoding::Json,
        text_of(b"{\"ping\":{\"id\":\"\xff\"}}"),
        CloseCode::NotUtf8,
    )
    .await;
    // An overlong encoding, and half of a surrogate pair.
    ends(Encoding::Json, text_of(b"\xc0\xaf"), CloseCode::NotUtf8).await;
    ends(Encoding::Json, text_of(b"\xed\xa0\x80"), CloseCode::NotUtf8).await;
}

#[tokio::test]
async fn deep_json_is_a_bad_frame() {
    let deep = "[".repeat(100_000);
    ends(Encoding::Json, Message::text(deep.clone()), CloseCode::BadFrame).await;
    let nested = format!(r#"{{"send":{{"messages":{deep}{}}}}}"#, "]".repeat(100_000));
    ends(Encoding::Json, Message::text(nested), CloseCode::BadFrame).await;
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let relay = TestRelay::start().await;
    relay.register(ALICE).await;
    let mut json = relay.connect(ALICE, Encoding::Json).await;
    let shallow = r#"{"ping":{"id":"7","new_field":[{"a":null}]},"other":1.5}"#;
    assert_eq!(pong(&mut json, Message::text(shallow)).await, Pong { id: 7 });
    // Skipped without recursion, so that depth costs nothing.
    let deep = format!(
        r#"{{"ping":{{"id":"7","x":{}{}}}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(pong(&mut json, Message::text(deep)).await, Pong { id: 7 });
    drop(json);

    let mut proto = relay.connect(ALICE, Encoding::Proto).await;
    // Ping { 1: 7, 99: "new" }, then a field 99 beside it.
    let bytes: &[u8] = b"\x32\x08\x08\x07\x9a\x06\x03new\x9a\x06\x03new";
    assert_eq!(
        pong(&mut proto, Message::binary(Bytes::from_static(bytes))).await,
        Pong { id: 7 }
    );
    drop(proto);
    relay.stop().await;
}

async fn pong(session: &mut RawSocket, ping: Message) -> Pong {
    session.send_raw(ping).await;
    loop {
        match session.frame().await {
            Body::Pong(pong) => return pong,
            Body::QueueEmpty(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_socket_that_never_says_hello_is_closed_in_time() {
    let relay = TestRelay::start_with(|config| config.limits.hello_timeout_ms = 200).await;
    relay.register(BOB).await;
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    for encoding in Encoding::ALL {
        let parting = relay.ws(encoding).await.ended().await;
        assert_parting(&parting, CloseCode::HelloTimeout, "no hello");
    }
    still_works(&mut bob).await;
    drop(bob);
    relay.stop().await;
}
