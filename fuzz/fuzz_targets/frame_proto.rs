//! Any bytes as a protobuf frame: never a panic, what decodes survives both encodings, and what is read without the
//! schema's structures is what prost reads.

#![no_main]

use bytes::Bytes;
use chatctl_protocol::frame::{decode_json, decode_proto, encode_json, encode_proto};
use chatctl_protocol::spoken::read_proto;
use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::{SendRef, Spoken};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let decoded = decode_proto(Bytes::copy_from_slice(data));
    match (read_proto(data), &decoded) {
        (Ok(Spoken::Send(ours)), Ok(Body::Send(theirs))) => assert!(ours == SendRef::from(theirs)),
        (Ok(Spoken::Ack(ours)), Ok(Body::Ack(theirs))) => assert_eq!(ours[..], theirs.ids),
        (Ok(Spoken::Other(ours)), Ok(theirs)) => assert_eq!(&ours, theirs),
        (Err(_), Err(_)) => {}
        (ours, theirs) => panic!("{ours:?}, but prost says {theirs:?}"),
    }
    let Ok(body) = decoded else { return };
    let again = decode_proto(encode_proto(body.clone())).expect("our own protobuf decodes");
    assert_eq!(again, body);
    // JSON has no word for an unknown enum number; everything else it must keep.
    if let Ok(text) = encode_json(body.clone()) {
        assert_eq!(decode_json(&text).expect("our own JSON decodes"), body);
    }
});
