//! Any body of `PUT /v1/keys/{suite}`: never a panic, and what parses can be written again.

#![no_main]

use libfuzzer_sys::fuzz_target;

/// The body as the door reads it.
type Upload = serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let Ok(upload) = serde_json::from_slice::<Upload>(body) else {
        return;
    };
    // Not compared for equality: a generic value may hold a float, and floats do not round-trip.
    let again = serde_json::to_vec(&upload).expect("what was parsed can be written");
    serde_json::from_slice::<Upload>(&again).expect("our own JSON parses");
});
