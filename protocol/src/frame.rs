//! Frames to bytes and back, in the encoding that the socket negotiated.
//!
//! Must not know what a frame means. Decoding is safe on any input: bounded recursion, no panic, and
//! payloads come out as slices of the input, not as copies.

use bytes::Bytes;
use prost::Message as _;

use crate::v1::{Frame, frame::Body};

/// How frames are written on a socket, chosen by `Sec-WebSocket-Protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `chatctl.v1.proto`: protobuf in binary messages.
    Proto,
    /// `chatctl.v1.json`: proto3 JSON in text messages.
    Json,
}

impl Encoding {
    /// Every encoding, in the relay's order of preference.
    pub const ALL: [Self; 2] = [Self::Proto, Self::Json];

    /// The subprotocol name.
    #[must_use]
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Proto => "chatctl.v1.proto",
            Self::Json => "chatctl.v1.json",
        }
    }

    /// The first offered subprotocol that is spoken here. `offers` is the header's comma list.
    #[must_use]
    pub fn negotiate(offers: &str) -> Option<Self> {
        offers
            .split(',')
            .map(str::trim)
            .find_map(|offer| Self::ALL.into_iter().find(|known| known.subprotocol() == offer))
    }
}

/// A message that is not a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Not the schema's protobuf.
    #[error("not a protobuf frame")]
    Proto(#[source] prost::DecodeError),
    /// Not the schema's JSON.
    #[error("not a JSON frame")]
    Json(#[source] serde_json::Error),
    /// A frame of nothing, or of something that this version does not know.
    #[error("an empty or unknown frame")]
    Empty,
}

/// Decodes one protobuf frame. Byte fields share `bytes`.
///
/// # Errors
///
/// [`FrameError`] when it is not one.
pub fn decode_proto(bytes: Bytes) -> Result<Body, FrameError> {
    let frame = Frame::decode(bytes).map_err(FrameError::Proto)?;
    frame.body.ok_or(FrameError::Empty)
}

/// Decodes one JSON frame.
///
/// # Errors
///
/// [`FrameError`] when it is not one.
pub fn decode_json(text: &str) -> Result<Body, FrameError> {
    let frame: Frame = serde_json::from_str(text).map_err(FrameError::Json)?;
    frame.body.ok_or(FrameError::Empty)
}

/// Encodes one frame as protobuf, in one allocation of the right size.
#[must_use]
pub fn encode_proto(body: Body) -> Bytes {
    Bytes::from(Frame { body: Some(body) }.encode_to_vec())
}

/// Encodes one frame as proto3 JSON.
///
/// # Errors
///
/// [`FrameError::Json`] for a frame that JSON cannot say, such as an unknown enum number.
pub fn encode_json(body: Body) -> Result<String, FrameError> {
    serde_json::to_string(&Frame { body: Some(body) }).map_err(FrameError::Json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{Ack, DeviceMessage, Hello, Mode, Send};

    fn send() -> Body {
        Body::Send(Send {
            id: 1,
            to_account: "bob".into(),
            messages: vec![DeviceMessage {
                device_id: "1".into(),
                registration_id: 7,
                kind: 3,
                payload: Bytes::from_static(b"\x00\xff"),
            }],
            client_msg_id: Bytes::from_static(b"0123456789abcdef"),
            ttl: 60,
            urgent: true,
            ephemeral: false,
            sent_at: 1,
        })
    }

    #[test]
    fn both_encodings_round_trip() {
        assert_eq!(decode_proto(encode_proto(send())).unwrap(), send());
        assert_eq!(decode_json(&encode_json(send()).unwrap()).unwrap(), send());
    }

    #[test]
    fn json_is_proto3_json() {
        assert_eq!(
            encode_json(send()).unwrap(),
            r#"{"send":{"id":"1","toAccount":"bob","messages":[{"deviceId":"1","registrationId":7,"kind":3,"payload":"AP8="}],"clientMsgId":"MDEyMzQ1Njc4OWFiY2RlZg==","ttl":60,"urgent":true,"sentAt":"1"}}"#
        );
        let hello =
            decode_json(r#"{"hello":{"token":"t","window":64,"mode":"MODE_NOTIFY","new_field":[{}]}}"#);
        let Ok(Body::Hello(Hello { mode, window: 64, .. })) = hello else {
            panic!("{hello:?}")
        };
        assert_eq!(mode, Mode::Notify as i32);
    }

    #[test]
    fn payloads_are_slices_of_the_input() {
        let bytes = encode_proto(send());
        let range = bytes.as_ptr_range();
        let Ok(Body::Send(send)) = decode_proto(bytes.clone()) else {
            panic!("not a send")
        };
        assert!(range.contains(&send.messages[0].payload.as_ptr()));
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(matches!(decode_proto(Bytes::new()), Err(FrameError::Empty)));
        let whole = encode_proto(Body::Ack(Ack { ids: vec![1, 2, 3] }));
        assert!(decode_proto(whole.slice(..whole.len() - 1)).is_err());
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "null",
            "{}",
            "1",
            r#"{"nope":{}}"#,
            r#"{"ack":{"ids":["x"]}}"#,
            &deep,
        ] {
            assert!(decode_json(text).is_err(), "{text:.20}");
        }
        let nested = format!(r#"{{"hello":{{"x":{}{}}}}}"#, deep, "]".repeat(100_000));
        // Unknown fields are skipped without recursion; whatever the verdict, it returns.
        drop(decode_json(&nested));
    }

    #[test]
    fn the_first_known_offer_wins() {
        assert_eq!(
            Encoding::negotiate("x, chatctl.v1.json,chatctl.v1.proto"),
            Some(Encoding::Json)
        );
        assert_eq!(Encoding::negotiate("chatctl.v2.proto"), None);
    }
}
