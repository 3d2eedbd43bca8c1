//! Tokens that are taken back: who goes, who stays, and who cannot come in again.

use std::time::Duration;

use chatctl_protocol::v1::{Auth, frame::Body};
use chatctl_protocol::{CloseCode, Encoding};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::doors::{Answer, answer};
use crate::keys::{claims, header, now};
use crate::relay::{ALICE, BOB, BOBS_TABLET, Person, TestRelay, hello, still_works};
use crate::socket::RawSocket;
use crate::store::{Place, database};

const OPERATOR: Person = Person {
    account: "operator",
    device_id: "1",
    registration_id: 1,
};

impl TestRelay {
    /// A token with claims of its own.
    fn token_with(&self, person: Person, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = claims(person);
        change(&mut claims);
        self.keys().signed(&header("EdDSA"), &claims)
    }

    /// A token that is issued later than any `now` of this story.
    fn later_token(&self, person: Person) -> String {
        self.token_with(person, |claims| {
            claims["iat"] = (now() + 4).into();
            claims["jti"] = "later".into();
        })
    }

    /// A token that was issued before any `now` of this story.
    fn earlier_token(&self, person: Person) -> String {
        self.token_with(person, |claims| claims["iat"] = (now() - 60).into())
    }

    async fn as_operator(&self, what: &str, body: &Value) -> Answer {
        let token = self.token_with(OPERATOR, |claims| claims["scope"] = "admin".into());
        let request = self.request(what).bearer_auth(token);
        answer(match body {
            Value::Null => request,
            body => request.json(body),
        })
        .await
    }

    async fn revoke(&self, body: Value) -> u64 {
        let answer = self.as_operator("POST /v1/admin/revocations", &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["closed_sessions"].as_u64().unwrap()
    }

    /// How a session ends that begins with this token.
    async fn refused(&self, token: String) -> Option<CloseCode> {
        let mut socket = self.ws(Encoding::Proto).await;
        socket.send(hello(token)).await;
        socket.ended().await.code
    }
}

async fn goes(session: RawSocket) {
    let parting = session.ended().await;
    assert_eq!(parting.code, Some(CloseCode::Reauthenticate));
    let goodbye = parting.goodbye.unwrap();
    assert_eq!(
        (goodbye.reconnect, goodbye.reason.as_str()),
        (false, "the token was revoked")
    );
}

#[tokio::test]
async fn one_token_is_revoked_and_the_other_sessions_stay() {
    let relay = TestRelay::start_for(&[BOB, BOBS_TABLET]).await;
    let phone = relay.connect(BOB, Encoding::Proto).await;
    let mut tablet = relay.connect(BOBS_TABLET, Encoding::Json).await;
    assert_eq!(relay.revoke(json!({"jti": "bob-1"})).await, 1);
    goes(phone).await;
    still_works(&mut tablet).await;
    let token = relay.keys().token(BOB);
    assert_eq!(relay.refused(token).await, Some(CloseCode::Reauthenticate));
    let door = relay.ask(BOB, "GET /v1/keys/olm", &Value::Null).await;
    assert_eq!(door.problem(), (401, "unauthorized"));
    assert_eq!(door.body["detail"], "the token was revoked");
    // A token in place of another: the revoked one is refused.
    let revoked = relay.token_with(BOBS_TABLET, |claims| claims["jti"] = "bob-1".into());
    tablet.send(Body::Auth(Auth { token: revoked })).await;
    goes(tablet).await;
    relay.stop().await;
}

#[tokio::test]
async fn an_account_is_revoked_and_comes_back_with_a_token_of_later() {
    let relay = TestRelay::start_for(&[ALICE, BOB, BOBS_TABLET]).await;
    let phone = relay.connect(BOB, Encoding::Proto).await;
    let tablet = relay.connect(BOBS_TABLET, Encoding::Json).await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    let later = relay.later_token(BOB);
    assert_eq!(
        relay
            .revoke(json!({"account": "bob", "issued_before": "now"}))
            .await,
        2
    );
    goes(phone).await;
    goes(tablet).await;
    still_works(&mut alice).await;
    let refused = relay.refused(relay.earlier_token(BOBS_TABLET)).await;
    assert_eq!(refused, Some(CloseCode::Reauthenticate));
    let mut back = relay.ws(Encoding::Proto).await;
    back.send(hello(later)).await;
    assert!(matches!(back.frame().await, Body::HelloOk(_)));
    let page = relay.metrics_page().await;
    assert!(page.contains("chatctl_revocations 1"), "{page}");
    drop((back, alice));
    relay.stop().await;
}

#[tokio::test]
async fn a_device_is_revoked_alone_and_operators_see_what_is_said() {
    let relay = TestRelay::start_for(&[BOB, BOBS_TABLET]).await;
    let mut phone = relay.connect(BOB, Encoding::Proto).await;
    let tablet = relay.connect(BOBS_TABLET, Encoding::Json).await;
    let stolen = json!({"account": "bob", "device_id": "2", "reason": "stolen"});
    assert_eq!(relay.revoke(stolen).await, 1);
    goes(tablet).await;
    still_works(&mut phone).await;
    let list = relay.as_operator("GET /v1/admin/revocations", &Value::Null).await;
    let entry = &list.body["revocations"][0];
    assert_eq!(
        (&entry["account"], &entry["device_id"], &entry["reason"]),
        (&"bob".into(), &"2".into(), &"stolen".into())
    );
    let pruned = relay
        .as_operator("DELETE /v1/admin/revocations/expired", &Value::Null)
        .await;
    assert_eq!((pruned.status, pruned.body), (200, json!({"pruned": 0})));
    let account = relay
        .as_operator("GET /v1/admin/accounts/bob", &Value::Null)
        .await;
    assert_eq!(account.body["devices"][0]["is_here"], true, "{account:?}");
    assert_eq!(account.body["devices"][1]["waiting"], 0);
    let nobody = relay
        .as_operator("GET /v1/admin/accounts/nobody", &Value::Null)
        .await;
    assert_eq!(nobody.problem(), (404, "unknown_account"));
    drop(phone);
    relay.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_so_is_who_is_no_operator() {
    let relay = TestRelay::start_for(&[BOB]).await;
    let bad = [
        json!({}),
        json!({"jti": "a", "account": "bob"}),
        json!({"jti": ""}),
        json!({"jti": "a", "expires_at": "2001-01-01T00:00:00Z"}),
        json!({"account": "bob", "issued_before": "2901-01-01T00:00:00Z"}),
        json!({"account": "bob", "issued_before": "yesterday"}),
        json!({"account": "bob", "reason": "x".repeat(257)}),
    ];
    for body in bad {
        let answer = relay.as_operator("POST /v1/admin/revocations", &body).await;
        assert_eq!(answer.problem(), (400, "bad_request"), "{body}");
    }
    let forbidden = relay
        .ask(BOB, "POST /v1/admin/revocations", &json!({"jti": "a"}))
        .await;
    assert_eq!(forbidden.problem(), (403, "forbidden"));
    let nobody = answer(
        relay
            .request("GET /v1/admin/revocations")
            .header("x-admin-socket", "1"),
    )
    .await;
    assert_eq!(nobody.problem(), (401, "unauthorized"));
    relay.stop().await;
}

#[tokio::test]
async fn a_connection_that_has_not_said_hello_goes_too() {
    let relay = TestRelay::start_for(&[BOB]).await;
    let token = relay.keys().token(BOB);
    let waiting = RawSocket::open_as(relay.address(), Encoding::Proto, &token).await;
    assert_eq!(relay.revoke(json!({"jti": "bob-1"})).await, 1);
    goes(waiting).await;
    relay.stop().await;
}

#[tokio::test]
async fn a_revocation_outlives_the_relay() {
    let relay = TestRelay::start_for(&[BOB]).await;
    relay.revoke(json!({"account": "bob"})).await;
    let relay = relay.restart().await;
    let token = relay.earlier_token(BOB);
    assert_eq!(relay.refused(token).await, Some(CloseCode::Reauthenticate));
    relay.stop().await;
}

#[tokio::test]
async fn the_admin_socket_needs_no_token_and_goes_with_the_relay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let named = path.clone();
    let relay = TestRelay::start_with(|config| config.server.admin_socket = Some(named)).await;
    let mut socket = UnixStream::connect(&path).await.unwrap();
    let request = "GET /v1/admin/revocations HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut said = String::new();
    socket.read_to_string(&mut said).await.unwrap();
    assert!(
        said.starts_with("HTTP/1.1 200") && said.ends_with(r#"{"revocations":[]}"#),
        "{said}"
    );
    relay.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn another_relay_on_the_same_database_follows() {
    let place = Place::Database(database());
    let start = || TestRelay::start_on(place.clone(), |_| {});
    let [a, b] = [start().await, start().await];
    let a = a.for_these(&[BOB]).await;
    let session = b.connect(BOB, Encoding::Proto).await;
    assert_eq!(a.revoke(json!({"account": "bob"})).await, 0);
    let within = tokio::time::timeout(Duration::from_secs(10), goes(session));
    assert!(within.await.is_ok());
    assert_eq!(
        b.refused(b.earlier_token(BOB)).await,
        Some(CloseCode::Reauthenticate)
    );
    a.stop().await;
    b.stop().await;
}
