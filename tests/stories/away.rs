//! A store that does not answer for a while: who is told what, and that nothing is lost or left hanging.

use std::sync::Arc;

use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::{Code, Encoding};
use chatctl_relay::store::Error;
use chatctl_relay::store::model::Model;
use serde_json::{Value, json};

use crate::letters::{letter, texts};
use crate::relay::{ALICE, BOB, TestRelay, still_works};
use crate::store::Place;

fn away() -> Error {
    Error::Unavailable("nobody answers".into())
}

async fn start() -> (Arc<Model>, TestRelay) {
    let model = Model::new();
    let relay = TestRelay::start_on(Place::Memory(Arc::clone(&model)), |_| {}).await;
    (model, relay.for_these(&[ALICE, BOB]).await)
}

/// Waits until the relay is ready, or not.
async fn readiness(relay: &TestRelay, status: u16) -> Value {
    loop {
        let answer = relay.ask(ALICE, "GET /readyz", &Value::Null).await;
        if answer.status == status {
            return answer.body;
        }
    }
}

#[tokio::test]
async fn sends_are_refused_sockets_stay_and_the_relay_is_ready_again_by_itself() {
    let (model, relay) = start().await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    let mut bob = relay.connect(BOB, Encoding::Json).await;
    alice.post(letter(1, &[BOB], "before")).await;
    assert_eq!(texts(&bob.mail(1).await), [("before", 1)]);
    model.fail_commits(away());
    // The first one finds out, and is told within a bounded time; whoever comes then is told at once.
    let first = alice.try_post(letter(2, &[BOB], "during")).await.unwrap_err();
    assert_eq!(
        (first.code.as_str(), first.retryable),
        (Code::Unavailable.as_str(), true)
    );
    // It was on the tail already, as every envelope is before its commit.
    assert_eq!(texts(&bob.mail(1).await), [("during", 1)]);
    let second = alice.try_post(letter(3, &[BOB], "meanwhile")).await.unwrap_err();
    assert_eq!(
        (second.code.as_str(), second.retryable),
        (Code::Unavailable.as_str(), true)
    );
    let problem = readiness(&relay, 503).await;
    assert_eq!(problem["detail"], "The store does not answer.");
    let wish = json!({"messages": [{"device_id": "1", "registration_id": 22, "payload": "AA=="}],
        "client_msg_id": "aHR0cA=="});
    let refused = relay.ask(ALICE, "POST /v1/accounts/bob/messages", &wish).await;
    assert_eq!(refused.problem(), (503, "unavailable"));
    still_works(&mut alice).await;
    still_works(&mut bob).await;
    model.mend_commits();
    readiness(&relay, 200).await;
    alice.post(letter(3, &[BOB], "meanwhile")).await;
    alice.post(letter(4, &[BOB], "after")).await;
    assert_eq!(texts(&bob.mail(2).await), [("meanwhile", 1), ("after", 1)]);
    drop((alice, bob));
    relay.stop().await;
}

#[tokio::test]
async fn what_came_through_after_all_is_one_message() {
    let (model, relay) = start().await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    model.lose_answers();
    let unknown = alice.try_post(letter(1, &[BOB], "hello")).await.unwrap_err();
    assert_eq!(unknown.code, Code::Unavailable.as_str());
    let seen = bob.mail(1).await;
    assert_eq!(texts(&seen), [("hello", 1)]);
    model.mend_commits();
    readiness(&relay, 200).await;
    let again = alice.post(letter(1, &[BOB], "hello")).await;
    assert!(again.duplicate);
    assert_eq!(again.envelope_ids, [seen[0].id]);
    // It comes once, though he was asked to look.
    let rest = bob.settled().await;
    assert!(
        !rest.iter().any(|body| matches!(body, Body::Deliver(_))),
        "{rest:?}"
    );
    drop((alice, bob));
    relay.stop().await;
}
