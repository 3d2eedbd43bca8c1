//! Any bytes as a protobuf frame: never a panic, and what decodes survives both encodings.

#![no_main]

use bytes::Bytes;
use chatctl_protocol::frame::{decode_json, decode_proto, encode_json, encode_proto};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(body) = decode_proto(Bytes::copy_from_slice(data)) else {
        return;
    };
    let again = decode_proto(encode_proto(body.clone())).expect("our own protobuf decodes");
    assert_eq!(again, body);
    // JSON has no word for an unknown enum number; everything else it must keep.
    if let Ok(text) = encode_json(body.clone()) {
        assert_eq!(decode_json(&text).expect("our own JSON decodes"), body);
    }
});
