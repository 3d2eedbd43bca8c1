//! Devices, keys and the operator's pages over HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatctl_protocol::{CloseCode, Encoding, Limits};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::doors::answer;
use crate::relay::{ALICE, BOB, BOBS_TABLET, Person, TestRelay, eventually, hello};

#[tokio::test]
async fn a_relay_that_allows_it_tells_load_generators_so() {
    let relay = TestRelay::start_with(|config| config.server.allow_bench = true).await;
    let info = answer(relay.request("GET /v1/info")).await;
    assert_eq!(info.body["allows_bench"], true);
    relay.stop().await;
}

#[tokio::test]
async fn devices_are_registered_listed_and_removed() {
    let relay = TestRelay::start_with(|config| config.limits.max_devices = 2).await;
    let register = |person: Person, attributes: Value| {
        let body = json!({"registration_id": person.registration_id, "attributes": attributes});
        let what = format!("PUT /v1/devices/{}", person.device_id);
        let relay = &relay;
        async move { relay.ask(person, &what, &body).await }
    };
    let created = register(BOB, json!({"name": "phone"})).await;
    let device =
        json!({"device_id": "1", "registration_id": 22, "incarnation": 1, "attributes": {"name": "phone"}});
    assert_eq!((created.status, created.body), (201, device.clone()));
    let again = register(BOB, json!({"name": "phone"})).await;
    assert_eq!((again.status, again.body), (200, device));
    let reinstalled = Person {
        registration_id: 99,
        ..BOB
    };
    let replaced = register(reinstalled, Value::Null).await;
    assert_eq!((replaced.status, &replaced.body["incarnation"]), (201, &2.into()));
    assert_eq!(register(BOBS_TABLET, Value::Null).await.status, 201);
    let third = Person {
        device_id: "3",
        ..BOB
    };
    assert_eq!(
        register(third, Value::Null).await.problem(),
        (422, "limit_exceeded")
    );
    let another = relay
        .ask(BOB, "PUT /v1/devices/2", &json!({"registration_id": 1}))
        .await;
    assert_eq!(another.problem(), (403, "forbidden"));
    let large = register(BOB, json!({"name": "x".repeat(1024)})).await;
    assert_eq!(large.problem(), (422, "limit_exceeded"));
    let huge = register(BOB, json!({"name": "x".repeat(64 * 1024)})).await;
    assert_eq!(huge.problem(), (413, "payload_too_large"));
    relay.stop().await;
}

#[tokio::test]
async fn a_list_of_devices_is_answered_once_until_it_changes() {
    let relay = TestRelay::start_for(&[ALICE, BOB, BOBS_TABLET]).await;
    let list = relay
        .ask(ALICE, "GET /v1/accounts/bob/devices", &Value::Null)
        .await;
    let devices = json!([
        {"device_id": "1", "registration_id": 22},
        {"device_id": "2", "registration_id": 23},
    ]);
    assert_eq!((list.status, &list.body["devices"]), (200, &devices));
    let tag = list.header("etag");
    let conditional = || {
        let request = relay.request("GET /v1/accounts/bob/devices");
        answer(
            request
                .bearer_auth(relay.keys().token(ALICE))
                .header("if-none-match", tag),
        )
    };
    let same = conditional().await;
    assert_eq!(
        (same.status, &same.body, same.header("etag")),
        (304, &Value::Null, tag)
    );
    let removed = relay.ask(BOB, "DELETE /v1/devices/2", &Value::Null).await;
    assert_eq!((removed.status, removed.body), (204, Value::Null));
    let changed = conditional().await;
    assert_eq!(changed.status, 200);
    assert!(changed.body["version"].as_u64() > list.body["version"].as_u64());
    let gone = relay.ask(BOB, "DELETE /v1/devices/2", &Value::Null).await;
    assert_eq!(gone.problem(), (404, "not_found"));
    let nobody = relay
        .ask(ALICE, "GET /v1/accounts/nobody/devices", &Value::Null)
        .await;
    assert_eq!(nobody.problem(), (404, "unknown_account"));
    relay.stop().await;
}

#[tokio::test]
async fn keys_are_published_counted_and_claimed_and_never_queued_again() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let item = |id: &str| json!({"id": id, "data": STANDARD.encode(id)});
    let keys = json!({"identity": "AAEC", "statement": "AwQF", "pools": {"pool": {
        "add": [item("a"), item("b")],
        "fallback": item("last"),
    }}});
    let counts =
        |count: u32, used: bool| json!({"pool": {"count": count, "fallback": true, "fallback_used": used}});
    let published = relay.ask(BOB, "PUT /v1/keys/x-test", &keys).await;
    assert_eq!(published.status, 200, "{published:?}");
    assert_eq!(
        published.body,
        json!({"pools": counts(2, false), "ignored": [], "identity_version": 1})
    );
    let before = relay.ask(BOB, "GET /v1/keys/x-test", &Value::Null).await;
    assert_eq!(before.body["pools"], counts(2, false));
    assert_eq!(
        STANDARD
            .decode(before.body["digest"].as_str().unwrap())
            .unwrap()
            .len(),
        32
    );

    let wish = json!({"suite": "x-test", "pools": ["pool"], "targets": [
        {"account": "bob", "devices": ["*"]},
        {"account": "nobody", "devices": ["*"]},
    ]});
    for id in ["a", "b", "last", "last"] {
        let claimed = relay.ask(ALICE, "POST /v1/keys/claim", &wish).await;
        assert_eq!(claimed.status, 200, "{claimed:?}");
        let device = json!({
            "registration_id": 22,
            "identity": "AAEC",
            "statement": "AwQF",
            "items": {"pool": item(id)},
        });
        assert_eq!(claimed.body["results"]["bob"]["devices"]["1"], device);
        assert_eq!(claimed.body["missing"], json!([{"account": "nobody"}]));
    }
    // What was handed out comes back to no queue.
    let again = relay.ask(BOB, "PUT /v1/keys/x-test", &keys).await;
    assert_eq!(again.body["pools"], counts(0, true));
    assert_eq!(
        again.body["ignored"],
        json!([{"pool": "pool", "id": "a"}, {"pool": "pool", "id": "b"}])
    );
    relay.stop().await;
}

#[tokio::test]
async fn queues_are_dropped_ids_are_unique_and_identities_are_logged() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let item = |id: &str| json!({"id": id, "data": STANDARD.encode(id)});
    let first = json!({"identity": "AAEC", "pools": {"pool": {"fallback": item("last")}}});
    relay.ask(BOB, "PUT /v1/keys/x-test", &first).await;
    let before = relay.ask(BOB, "GET /v1/keys/x-test", &Value::Null).await;
    let fresh = json!({"pools": {"pool": {"add": [item("c")]}}});
    relay.ask(BOB, "PUT /v1/keys/x-test", &fresh).await;
    let other_bytes = json!({"pools": {"pool": {"add": [{"id": "c", "data": "AAAA"}]}}});
    let conflict = relay.ask(BOB, "PUT /v1/keys/x-test", &other_bytes).await;
    assert_eq!(conflict.problem(), (409, "item_id_conflict"));
    let dropped = relay.ask(BOB, "DELETE /v1/keys/x-test/pool", &Value::Null).await;
    assert_eq!(dropped.status, 204);
    let after = relay.ask(BOB, "GET /v1/keys/x-test", &Value::Null).await;
    assert_eq!(after.body["pools"], before.body["pools"]);
    assert_eq!(after.body["digest"], before.body["digest"]);

    let new_identity = relay
        .ask(BOB, "PUT /v1/keys/x-test", &json!({"identity": "BBBB"}))
        .await;
    assert_eq!(new_identity.body["identity_version"], 2);
    let log = relay
        .ask(ALICE, "GET /v1/accounts/bob/keylog", &Value::Null)
        .await;
    let entries = log.body["entries"].as_array().unwrap();
    assert_eq!(
        entries
            .iter()
            .map(|entry| entry["seq"].clone())
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert_ne!(entries[0]["hash"], entries[1]["hash"]);
    let bad_suite = relay.ask(BOB, "GET /v1/keys/no-such", &Value::Null).await;
    assert_eq!(bad_suite.problem(), (400, "bad_request"));
    relay.stop().await;
}

#[tokio::test]
async fn a_relay_says_what_it_is_to_anybody() {
    let relay = TestRelay::start_for(&[ALICE]).await;
    let limits = answer(relay.request("GET /v1/limits")).await;
    let limits: Limits = serde_json::from_value(limits.body).unwrap();
    let (alice, hello_ok) = relay
        .connect_with(
            chatctl_protocol::v1::Hello {
                token: relay.keys().token(ALICE),
                ..Default::default()
            },
            Encoding::Json,
        )
        .await;
    assert_eq!(hello_ok.limits, Some((&limits).into()));
    let info = answer(relay.request("GET /v1/info")).await;
    assert_eq!(info.body["name"], "chatctl");
    assert_eq!(
        info.body["protocols"],
        json!(["chatctl.v1.proto", "chatctl.v1.json"])
    );
    assert_eq!(info.body["allows_bench"], false);
    let jwks = answer(relay.request("GET /.well-known/jwks.json")).await;
    let key = &jwks.body["keys"][0];
    assert_eq!((&key["kid"], &key["d"]), (&"stories".into(), &Value::Null));
    for (page, status) in [("GET /healthz", "alive"), ("GET /readyz", "ready")] {
        let answer = answer(relay.request(page)).await;
        assert_eq!((answer.status, &answer.body["status"]), (200, &status.into()));
    }
    drop(alice);
    relay.stop().await;
}

#[tokio::test]
async fn metrics_count_bad_frames_by_what_was_wrong_and_sessions_by_how_they_ended() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    for bad in ["null", "{}", "{"] {
        let alice = relay.connect(ALICE, Encoding::Json).await;
        assert_eq!(
            alice.ended_by(Message::text(bad)).await.code,
            Some(CloseCode::BadFrame)
        );
    }
    let mut twice = relay.connect(ALICE, Encoding::Proto).await;
    twice.send(hello(relay.keys().token(ALICE))).await;
    assert_eq!(twice.ended().await.code, Some(CloseCode::BadFrame));
    let mut stranger = relay.ws(Encoding::Proto).await;
    stranger.send(hello("nonsense".to_owned())).await;
    assert_eq!(stranger.ended().await.code, Some(CloseCode::Reauthenticate));
    let old = relay.connect(BOB, Encoding::Proto).await;
    let bob = relay.connect(BOB, Encoding::Proto).await;
    assert_eq!(old.ended().await.code, Some(CloseCode::Displaced));
    bob.leave().await;
    eventually("everybody is gone", || relay.metrics().sessions.get() == 0).await;
    let page = relay.metrics_page().await;
    for (count, line) in [
        (2, "frames_bad_total{reason=\"json\"}"),
        (1, "frames_bad_total{reason=\"empty\"}"),
        (1, "frames_bad_total{reason=\"bad_frame\"}"),
        (4, "sessions_closed_total{reason=\"bad_frame\"}"),
        (1, "sessions_closed_total{reason=\"reauthenticate\"}"),
        (1, "sessions_closed_total{reason=\"displaced\"}"),
        (1, "sessions_closed_total{reason=\"normal\"}"),
    ] {
        assert!(
            page.contains(&format!("chatctl_{line} {count}\n")),
            "{line} {count}\n{page}"
        );
    }
    // Only what was no frame is a bad frame.
    let bad = page
        .lines()
        .filter(|line| line.starts_with("chatctl_frames_bad_total"));
    assert_eq!(bad.count(), 3, "{page}");
    relay.stop().await;
}
