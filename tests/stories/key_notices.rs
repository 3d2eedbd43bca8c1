//! What the owner of keys hears of claims: that a pool runs low, that a fallback went out.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatctl_protocol::Encoding;
use chatctl_protocol::v1::{FallbackUsed, KeysLow, QueueEmpty, frame::Body};
use serde_json::{Value, json};

use crate::relay::{ALICE, BOB, TestRelay};

fn low(remaining: u32) -> Body {
    Body::KeysLow(KeysLow {
        suite: "x-test".to_owned(),
        pool: "pool".to_owned(),
        remaining,
    })
}

async fn claim(relay: &TestRelay) -> Value {
    let wish =
        json!({"suite": "x-test", "pools": ["pool"], "targets": [{"account": "bob", "devices": ["*"]}]});
    let answer = relay.ask(ALICE, "POST /v1/keys/claim", &wish).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["results"]["bob"]["devices"]["1"]["items"]["pool"]["id"].clone()
}

#[tokio::test]
async fn the_owner_hears_that_a_pool_runs_low_and_that_its_fallback_went_out() {
    for encoding in Encoding::ALL {
        let relay = TestRelay::start_with(|config| {
            config.directory.keys_low = 1;
            config.directory.keys_low_jitter = Duration::ZERO;
        })
        .await;
        let relay = relay.for_these(&[ALICE, BOB]).await;
        let mut bob = relay.connect(BOB, encoding).await;
        let item = |id: &str| json!({"id": id, "data": STANDARD.encode(id)});
        let keys = json!({"identity": "AAEC", "pools": {"pool": {
            "add": [item("a"), item("b"), item("c")],
            "fallback": item("last"),
        }}});
        let answer = relay.ask(BOB, "PUT /v1/keys/x-test", &keys).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(bob.settled().await, [Body::QueueEmpty(QueueEmpty {})]);

        assert_eq!(claim(&relay).await, "a");
        assert_eq!(bob.settled().await, []);
        assert_eq!(claim(&relay).await, "b");
        assert_eq!(bob.frame().await, low(1));
        assert_eq!(claim(&relay).await, "c");
        assert_eq!(bob.frame().await, low(0));
        assert_eq!(claim(&relay).await, "last");
        let used = Body::FallbackUsed(FallbackUsed {
            suite: "x-test".to_owned(),
            pool: "pool".to_owned(),
        });
        assert_eq!(bob.frame().await, used);
        assert_eq!(bob.frame().await, low(0));
        assert_eq!(claim(&relay).await, "last");
        assert_eq!(bob.settled().await, []);
        // Who was away hears it on the next session.
        bob.leave().await;
        let mut bob = relay.connect(BOB, encoding).await;
        let mut heard = bob.settled().await;
        heard.retain(|body| !matches!(body, Body::QueueEmpty(_)));
        assert_eq!(heard, [used, low(0)]);
        drop(bob);
        relay.stop().await;
    }
}
