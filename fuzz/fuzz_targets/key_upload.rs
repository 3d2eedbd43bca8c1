//! Any body of `PUT /v1/keys/{suite}`: never a panic, and what is good is good again.
//!
//! The first byte chooses the suite; the rest is the body.

#![no_main]

use chatctl_protocol::Suite;
use chatctl_relay::directory::KeyUpload;
use chatctl_relay::http::keys::KeysRequest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, body)) = input.split_first() else {
        return;
    };
    let suites = ["signal", "olm", "mls", "x-test"];
    let suite = Suite::parse(suites[usize::from(choice) % suites.len()]).expect("a suite");
    let Ok(request) = serde_json::from_slice::<KeysRequest>(body) else {
        return;
    };
    let upload = KeyUpload::from(request);
    let said = upload.check(&suite).map_err(|error| error.to_string());
    assert_eq!(upload.check(&suite).map_err(|error| error.to_string()), said);
    if said.is_ok() {
        let items = upload.pools.values().flat_map(|pool| {
            let queue = pool.add.iter().chain(pool.replace.iter().flatten());
            queue.chain(&pool.fallback)
        });
        for item in items {
            assert!(!item.data.is_empty() && item.data.len() <= 24 * 1024);
        }
    }
    // What stands in a log must not be a key.
    let shown = format!("{upload:?}");
    assert!(shown.len() < 4096 + 8 * body.len(), "a key is printed");
});
