//! Any text as a JSON frame: never a panic, and what decodes survives both encodings.

#![no_main]

use chatctl_protocol::frame::{decode_json, decode_proto, encode_json, encode_proto};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(body) = decode_json(text) else {
        return;
    };
    let again = encode_json(body.clone()).expect("what JSON said, JSON can say");
    assert_eq!(decode_json(&again).expect("our own JSON decodes"), body);
    assert_eq!(
        decode_proto(encode_proto(body.clone())).expect("our own protobuf decodes"),
        body
    );
});
