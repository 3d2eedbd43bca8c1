//! The status for operators: who may see it, and what moves in it.

use chatctl_protocol::Encoding;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::doors::answer;
use crate::keys::{claims, header};
use crate::letters::letter;
use crate::relay::{ALICE, BOB, Person, TestRelay, eventually};

const OPERATOR: Person = Person {
    account: "operator",
    device_id: "1",
    registration_id: 1,
};

impl TestRelay {
    async fn status(&self) -> Value {
        let mut claims = claims(OPERATOR);
        claims["scope"] = "admin".into();
        let token = self.keys().signed(&header("EdDSA"), &claims);
        let answer = answer(self.request("GET /v1/admin/status").bearer_auth(token)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }
}

#[tokio::test]
async fn the_status_is_for_operators() {
    let relay = TestRelay::start_for(&[BOB]).await;
    let forbidden = relay.ask(BOB, "GET /v1/admin/status", &Value::Null).await;
    assert_eq!(forbidden.problem(), (403, "forbidden"));
    let nobody = answer(relay.request("GET /v1/admin/status")).await;
    assert_eq!(nobody.problem(), (401, "unauthorized"));
    let status = relay.status().await;
    assert_eq!(
        (&status["ready"], &status["not_ready"], &status["draining"]),
        (&true.into(), &Value::Null, &false.into())
    );
    assert_eq!(
        status["listeners"],
        json!([{"address": relay.address().to_string(), "kind": "tcp", "tls": false, "inherited": false}])
    );
    assert_eq!(status["http"]["forbidden"], 1);
    assert_eq!(status["pid"], std::process::id());
    relay.stop().await;
}

#[tokio::test]
async fn the_admin_socket_shows_it_without_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let named = path.clone();
    let relay = TestRelay::start_with(|config| config.server.admin_socket = Some(named)).await;
    let mut socket = UnixStream::connect(&path).await.unwrap();
    let request = "GET /v1/admin/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut said = String::new();
    socket.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    let (_, body) = said.split_once("\r\n\r\n").unwrap();
    let status: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        status["listeners"][1],
        json!({"address": path, "kind": "unix", "tls": false, "inherited": false})
    );
    relay.stop().await;
}

#[tokio::test]
async fn the_numbers_follow_the_mail() {
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    alice.post(letter(1, &[BOB], "waits")).await;
    // The first look: what the store says is kept for a moment.
    let before = relay.status().await;
    assert_eq!(
        (&before["mail"]["waiting"], &before["mail"]["stored"]),
        (&1.into(), &1.into())
    );
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    let mail = bob.mail(1).await;
    bob.ack(&mail).await;
    eventually("the ack is counted", || {
        relay.metrics().envelopes_acked.get() == 1
    })
    .await;
    let after = relay.status().await;
    let mail = |status: &Value| {
        let numbers = ["accepted", "delivered", "acked", "dropped", "refused"];
        numbers.map(|name| status["mail"][name].as_u64().unwrap())
    };
    assert_eq!((mail(&before), mail(&after)), ([1, 0, 0, 0, 0], [1, 1, 1, 0, 0]));
    let sessions = |status: &Value| {
        let numbers = ["open", "opened", "closed"];
        numbers.map(|name| status["sessions"][name].as_u64().unwrap())
    };
    assert_eq!((sessions(&before), sessions(&after)), ([1, 1, 0], [2, 2, 0]));
    let commits = &after["mail"]["commit_seconds"];
    assert!(commits["count"].as_u64().unwrap() >= 1, "{commits}");
    assert!(
        commits["p50"].as_f64().unwrap() <= commits["p99"].as_f64().unwrap(),
        "{commits}"
    );
    assert!(
        after["up_seconds"].as_f64().unwrap() > before["up_seconds"].as_f64().unwrap(),
        "{after}"
    );
    let text = after.to_string();
    assert!(!text.contains("alice") && !text.contains("bob"), "{text}");
    drop((alice, bob));
    relay.stop().await;
}
