//! Mail over HTTP: the same verbs as the frames, and problems that say what is wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatctl_protocol::Encoding;
use chatctl_protocol::v1::SendOk;
use serde_json::{Value, json};

use crate::doors::{Answer, answer};
use crate::keys::{claims, header};
use crate::letters::{letter, name, texts};
use crate::relay::{ALICE, BOB, BOBS_TABLET, Person, TestRelay};

const TO_BOB: &str = "POST /v1/accounts/bob/messages";

/// The letter of this number, as a body.
fn body(number: u64, to: &[Person], text: &str) -> Value {
    let message = |to: &Person| {
        json!({
            "device_id": to.device_id,
            "registration_id": to.registration_id,
            "kind": 7,
            "payload": STANDARD.encode(text),
        })
    };
    json!({
        "messages": to.iter().map(message).collect::<Vec<_>>(),
        "client_msg_id": STANDARD.encode(name(number)),
        "sent_at": 1000,
    })
}

fn sent(answer: &Answer) -> (Vec<u64>, bool) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let ids = answer.body["envelope_ids"].as_array().unwrap().iter();
    let ids = ids.map(|id| id.as_str().unwrap().parse().unwrap());
    (ids.collect(), answer.body["duplicate"].as_bool().unwrap())
}

#[tokio::test]
async fn a_posted_message_is_safe_when_it_is_answered_and_the_same_as_a_frame() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let (ids, is_duplicate) = sent(&relay.ask(ALICE, TO_BOB, &body(1, &[BOB], "hello")).await);
    assert!(!is_duplicate);
    assert_eq!(relay.metrics().envelopes_stored.get(), 1);
    // The same message again, by either way in, is a retry.
    let again = sent(&relay.ask(ALICE, TO_BOB, &body(1, &[BOB], "hello")).await);
    assert_eq!(again, (ids.clone(), true));
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    let by_frame = SendOk {
        id: 1,
        envelope_ids: ids.clone(),
        duplicate: true,
    };
    assert_eq!(alice.post(letter(1, &[BOB], "hello")).await, by_frame);
    let other = relay.ask(ALICE, TO_BOB, &body(1, &[BOB], "other")).await;
    assert_eq!(other.problem(), (409, "conflict"));
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    let mail = bob.mail(1).await;
    assert_eq!(
        (texts(&mail), mail[0].id, mail[0].kind),
        (vec![("hello", 1)], ids[0], 7)
    );
    drop((alice, bob));
    relay.stop().await;
}

#[tokio::test]
async fn a_look_takes_nothing_and_an_ack_removes_what_it_names() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let mut ids = Vec::new();
    for number in 1..=3 {
        let answer = relay
            .ask(ALICE, TO_BOB, &body(number, &[BOB], &format!("{number}")))
            .await;
        ids.extend(sent(&answer).0);
    }
    let look = relay.ask(BOB, "GET /v1/messages?limit=2", &Value::Null).await;
    let envelope = |place: usize, text: &str| {
        json!({
            "id": ids[place].to_string(),
            "from": {"account": "alice", "device_id": "1"},
            "kind": 7,
            "client_msg_id": STANDARD.encode(name(place as u64 + 1)),
            "sent_at": 1000,
            "accepted_at": look.body["envelopes"][place]["accepted_at"],
            "attempt": 1,
            "urgent": false,
            "payload": STANDARD.encode(text),
        })
    };
    let page = json!({"envelopes": [envelope(0, "1"), envelope(1, "2")], "more": true});
    assert_eq!((look.status, &look.body), (200, &page));
    let again = relay.ask(BOB, "GET /v1/messages?limit=2", &Value::Null).await;
    assert_eq!(again.body, page);

    let ack = |ids: &[u64]| json!({"ids": ids.iter().map(u64::to_string).collect::<Vec<_>>()});
    // Not Alice's to ack.
    let none = relay.ask(ALICE, "POST /v1/messages/ack", &ack(&ids)).await;
    assert_eq!(none.body, json!({"acked": 0}));
    let acked = relay
        .ask(
            BOB,
            "POST /v1/messages/ack",
            &ack(&[ids[0], ids[0], ids[1], 12345]),
        )
        .await;
    assert_eq!(acked.body, json!({"acked": 2}));
    let again = relay.ask(BOB, "POST /v1/messages/ack", &ack(&ids[..2])).await;
    assert_eq!(again.body, json!({"acked": 0}));
    let left = relay.ask(BOB, "GET /v1/messages", &Value::Null).await;
    assert_eq!(
        (left.body["envelopes"][0]["id"].clone(), left.body["more"].clone()),
        (ids[2].to_string().into(), false.into())
    );
    let mut bob = relay.connect(BOB, Encoding::Json).await;
    assert_eq!(texts(&bob.mail(1).await), [("3", 1)]);
    drop(bob);
    relay.stop().await;
}

#[tokio::test]
async fn a_send_that_is_refused_is_a_problem_with_its_code() {
    let relay = TestRelay::start_with(|config| config.limits.mailbox_envelopes = 4).await;
    let relay = relay.for_these(&[ALICE, BOB, BOBS_TABLET]).await;
    let all = [BOB, BOBS_TABLET];
    let mismatch = relay.ask(ALICE, TO_BOB, &body(1, &[BOB], "x")).await;
    assert_eq!(mismatch.problem(), (409, "device_mismatch"));
    assert_eq!(mismatch.body["missing"], json!(["2"]));
    let to_nobody = relay
        .ask(ALICE, "POST /v1/accounts/nobody/messages", &body(1, &[BOB], "x"))
        .await;
    assert_eq!(to_nobody.problem(), (404, "unknown_account"));
    let to_a_bad_name = relay
        .ask(ALICE, "POST /v1/accounts/b%20b/messages", &body(1, &[BOB], "x"))
        .await;
    assert_eq!(to_a_bad_name.problem(), (400, "bad_request"));
    let large = "x".repeat(96 * 1024 + 1);
    let too_large = relay.ask(ALICE, TO_BOB, &body(1, &all, &large)).await;
    assert_eq!(too_large.problem(), (413, "payload_too_large"));
    let body_too_large = relay
        .ask(ALICE, TO_BOB, &body(1, &all, &"x".repeat(2 << 20)))
        .await;
    assert_eq!(body_too_large.problem(), (413, "payload_too_large"));
    let mut to_a_crowd = body(1, &[BOB; 65], "x");
    for (number, message) in to_a_crowd["messages"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .enumerate()
    {
        message["device_id"] = number.to_string().into();
    }
    let too_many = relay.ask(ALICE, TO_BOB, &to_a_crowd).await;
    assert_eq!(too_many.problem(), (400, "bad_request"));
    let mut unnamed = body(1, &all, "x");
    unnamed["client_msg_id"] = "".into();
    assert_eq!(
        relay.ask(ALICE, TO_BOB, &unnamed).await.problem(),
        (400, "bad_request")
    );
    assert_eq!(
        relay.ask(ALICE, TO_BOB, &json!({})).await.problem(),
        (400, "bad_request")
    );
    for number in 1..=2 {
        sent(&relay.ask(ALICE, TO_BOB, &body(number, &all, "x")).await);
    }
    let full = relay.ask(ALICE, TO_BOB, &body(3, &all, "x")).await;
    assert_eq!(full.problem(), (507, "mailbox_full"));
    assert_eq!(full.header("retry-after"), full.body["retry_after"].to_string());
    let ack = relay
        .ask(BOB, "POST /v1/messages/ack", &json!({"ids": ["x"]}))
        .await;
    assert_eq!(ack.problem(), (400, "bad_request"));
    let look = relay.ask(BOB, "GET /v1/messages?limit=x", &Value::Null).await;
    assert_eq!(look.problem(), (400, "bad_request"));
    relay.stop().await;
}

#[tokio::test]
async fn a_sender_over_its_rate_is_told_when_to_come_back() {
    let relay =
        TestRelay::start_with(|config| (config.mail.send_rate, config.mail.send_burst) = (1, 1)).await;
    let relay = relay.for_these(&[ALICE, BOB]).await;
    sent(&relay.ask(ALICE, TO_BOB, &body(1, &[BOB], "x")).await);
    let refused = relay.ask(ALICE, TO_BOB, &body(2, &[BOB], "x")).await;
    assert_eq!(refused.problem(), (429, "rate_limited"));
    assert_eq!(refused.header("retry-after"), "1");
    relay.stop().await;
}

#[tokio::test]
async fn nobody_comes_in_without_a_good_token_and_a_device() {
    let relay = TestRelay::start_for(&[BOB]).await;
    let doors = [
        TO_BOB,
        "GET /v1/messages",
        "POST /v1/messages/ack",
        "PUT /v1/devices/1",
        "DELETE /v1/devices/1",
        "GET /v1/accounts/bob/devices",
        "PUT /v1/keys/x-test",
        "GET /v1/keys/x-test",
        "DELETE /v1/keys/x-test/pool",
        "POST /v1/keys/claim",
        "GET /v1/accounts/bob/keylog",
    ];
    let mut admin = claims(ALICE);
    admin["scope"] = "admin".into();
    let admin = relay.keys().signed(&header("EdDSA"), &admin);
    for door in doors {
        let bare = answer(relay.request(door)).await;
        assert_eq!(bare.problem(), (401, "unauthorized"), "{door}");
        assert_eq!(bare.header("www-authenticate"), "Bearer");
        let bad = answer(relay.request(door).bearer_auth("a.b.c")).await;
        assert_eq!(bad.problem(), (401, "unauthorized"), "{door}");
        let in_the_url = format!("{door}?access_token={}", relay.keys().token(BOB));
        assert_eq!(
            answer(relay.request(&in_the_url)).await.problem(),
            (401, "unauthorized"),
            "{door}"
        );
        let forbidden = answer(relay.request(door).bearer_auth(&admin)).await;
        assert_eq!(forbidden.problem(), (403, "forbidden"), "{door}");
    }
    // A good token of a device that is not registered.
    for (door, body) in [
        (TO_BOB, body(1, &[BOB], "x")),
        ("GET /v1/messages", Value::Null),
        ("POST /v1/messages/ack", json!({"ids": []})),
        ("GET /v1/keys/x-test", Value::Null),
        ("PUT /v1/keys/x-test", json!({"identity": "AAEC"})),
        (
            "POST /v1/keys/claim",
            json!({"suite": "x-test", "pools": ["p"], "targets": [{"account": "bob", "devices": ["*"]}]}),
        ),
    ] {
        let stranger = relay.ask(ALICE, door, &body).await;
        assert_eq!(stranger.problem(), (403, "device_not_registered"), "{door}");
    }
    relay.stop().await;
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_read_are_problems_too() {
    let relay = TestRelay::start_for(&[ALICE]).await;
    let nowhere = relay.ask(ALICE, "GET /v1/nowhere", &Value::Null).await;
    assert_eq!(nowhere.problem(), (404, "not_found"));
    let method = relay.ask(ALICE, "DELETE /v1/messages", &Value::Null).await;
    assert_eq!(method.problem(), (405, "method_not_allowed"));
    assert!(method.header("allow").contains("GET"), "{method:?}");
    let token = relay.keys().token(ALICE);
    let text = relay
        .request(TO_BOB)
        .bearer_auth(&token)
        .header("content-type", "text/plain");
    assert_eq!(answer(text.body("{}")).await.problem(), (415, "bad_request"));
    let broken = relay
        .request(TO_BOB)
        .bearer_auth(&token)
        .header("content-type", "application/json");
    assert_eq!(answer(broken.body("{")).await.problem(), (400, "bad_request"));
    let upgrade = answer(relay.request("GET /v1/ws")).await;
    assert_eq!(upgrade.problem(), (400, "unsupported_protocol"));
    let plain = relay
        .request("GET /v1/ws")
        .header("sec-websocket-protocol", "chatctl.v1.json");
    assert_eq!(answer(plain).await.problem(), (400, "bad_request"));
    relay.stop().await;
}
