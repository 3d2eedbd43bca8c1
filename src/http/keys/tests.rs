//! The doors of devices and keys, over a store in memory.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use chatctl_protocol::{AccountId, Address, DeviceId};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;

use crate::auth::{Grant, Keyset, Signer};
use crate::config::{Config, DirectoryConfig};
use crate::http::trial::{self, NOW};
use crate::http::{answers, devices, keys};
use crate::store::model::Model;

/// The doors, and somebody who issues tokens.
struct House {
    router: Router,
    signer: Signer,
    config: Config,
}

async fn house(directory: DirectoryConfig) -> House {
    let config = Config {
        directory,
        ..Config::default()
    };
    let keyset = Keyset::generate(&mut rand::rng(), NOW).unwrap();
    let signer = Signer::new(&keyset).unwrap();
    let doors = trial::doors(Model::new(), &config, keyset).await;
    let metrics = doors.metrics.clone();
    let (router, _) = devices::router().merge(keys::router()).split_for_parts();
    House {
        router: answers::finish(router, metrics).with_state(doors),
        signer,
        config,
    }
}

/// An answer: its status, its headers, its body as JSON (null without one).
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    /// The status and the problem's code.
    fn problem(&self) -> (u16, &str) {
        (
            self.status.as_u16(),
            self.body["code"].as_str().unwrap_or_default(),
        )
    }
}

impl House {
    fn token(&self, account: &str, device: &str) -> String {
        let grant = Grant {
            issuer: self.config.auth.issuer.clone(),
            audience: self.config.auth.audience.clone(),
            address: Address {
                account: AccountId::parse(account).unwrap(),
                device_id: DeviceId::parse(device).unwrap(),
            },
            scope: None,
            life: Duration::from_secs(60),
            extra: Map::new(),
        };
        self.signer.issue(&grant, &mut rand::rng(), NOW).unwrap().token
    }

    /// A request of `account/device`, such as `PUT /v1/devices/1`.
    async fn ask(&self, who: &str, what: &str, body: Value) -> Answer {
        self.ask_with(who, what, body, &[]).await
    }

    async fn ask_with(&self, who: &str, what: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
        let (account, device) = who.split_once('/').unwrap();
        let (method, path) = what.split_once(' ').unwrap();
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header(
                header::AUTHORIZATION,
                format!("Bearer {}", self.token(account, device)),
            )
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
        }
    }

    async fn register(&self, who: &str) {
        let (_, device) = who.split_once('/').unwrap();
        let what = format!("PUT /v1/devices/{device}");
        let answer = self.ask(who, &what, json!({"registration_id": 7})).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    }
}

fn fixture() -> Value {
    serde_json::from_str(include_str!("../../../fixtures/signal_bundle.json")).unwrap()
}

#[tokio::test]
async fn a_device_is_registered_updated_and_taken_over() {
    let house = house(DirectoryConfig::default()).await;
    let put = async |body| house.ask("alice/1", "PUT /v1/devices/1", body).await;
    let first = put(json!({"registration_id": 7, "attributes": {"v": 4}, "unknown": 1})).await;
    assert_eq!(first.status, StatusCode::CREATED);
    let device = json!({"device_id": "1", "registration_id": 7, "incarnation": 1, "attributes": {"v": 4}});
    assert_eq!(first.body, device);
    let again = put(json!({"registration_id": 7})).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(
        again.body,
        json!({"device_id": "1", "registration_id": 7, "incarnation": 1})
    );
    let other = put(json!({"registration_id": 8})).await;
    assert_eq!(other.status, StatusCode::CREATED);
    assert_eq!(other.body["incarnation"], 2);
    let foreign = house
        .ask("alice/2", "PUT /v1/devices/1", json!({"registration_id": 7}))
        .await;
    assert_eq!(foreign.problem(), (403, "forbidden"));
    let long = put(json!({"registration_id": 8, "attributes": {"x": "x".repeat(1024)}})).await;
    assert_eq!(long.problem(), (422, "limit_exceeded"));
    for bad in [
        json!({}),
        json!({"registration_id": -1}),
        json!({"registration_id": 7, "attributes": "x"}),
    ] {
        assert_eq!(put(bad).await.problem(), (400, "bad_request"));
    }
}

#[tokio::test]
async fn an_account_has_so_many_devices_and_any_of_them_may_remove_another() {
    let house = house(DirectoryConfig::default()).await;
    for device in 0..house.config.limits.max_devices {
        house.register(&format!("alice/{device}")).await;
    }
    let one_more = json!({"registration_id": 7});
    let refused = house
        .ask("alice/99", "PUT /v1/devices/99", one_more.clone())
        .await;
    assert_eq!(refused.problem(), (422, "limit_exceeded"));
    let foreign = house.ask("bob/1", "DELETE /v1/devices/1", Value::Null).await;
    assert_eq!(foreign.problem(), (404, "not_found"));
    let removed = house.ask("alice/99", "DELETE /v1/devices/1", Value::Null).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    let again = house.ask("alice/99", "DELETE /v1/devices/1", Value::Null).await;
    assert_eq!(again.problem(), (404, "not_found"));
    let added = house.ask("alice/99", "PUT /v1/devices/99", one_more).await;
    assert_eq!(added.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_list_has_a_tag_that_changes_with_what_it_shows() {
    let house = house(DirectoryConfig {
        key_lint: false,
        ..DirectoryConfig::default()
    })
    .await;
    let path = "GET /v1/accounts/alice/devices?suite=olm";
    assert_eq!(
        house.ask("bob/1", path, Value::Null).await.problem(),
        (404, "unknown_account")
    );
    house.register("alice/1").await;
    let first = house.ask("bob/1", path, Value::Null).await;
    let device = json!({"device_id": "1", "registration_id": 7});
    assert_eq!(
        first.body,
        json!({"account": "alice", "version": 1, "devices": [device]})
    );
    let tag = first.headers[header::ETAG].to_str().unwrap().to_owned();
    let weak = format!("\"other\", W/{tag}");
    for known in [tag.as_str(), weak.as_str(), "*"] {
        let same = house
            .ask_with("bob/1", path, Value::Null, &[("if-none-match", known)])
            .await;
        assert_eq!((same.status, same.body), (StatusCode::NOT_MODIFIED, Value::Null));
        assert_eq!(same.headers[header::ETAG], tag.as_str());
    }
    let keys = json!({"identity": "-_8", "statement": "AAAA"});
    house.ask("alice/1", "PUT /v1/keys/olm", keys).await;
    let changed = house
        .ask_with("bob/1", path, Value::Null, &[("if-none-match", &tag)])
        .await;
    assert_eq!(changed.status, StatusCode::OK);
    let shown = json!({
        "device_id": "1", "registration_id": 7,
        "identity": "+/8=", "identity_version": 1, "statement": "AAAA",
    });
    assert_eq!(changed.body["devices"], json!([shown]));
    let plain = house
        .ask("bob/1", "GET /v1/accounts/alice/devices", Value::Null)
        .await;
    assert_eq!(plain.body["devices"], json!([device]));
    let bad = house
        .ask("bob/1", "GET /v1/accounts/alice/devices?suite=what", Value::Null)
        .await;
    assert_eq!(bad.problem(), (400, "bad_request"));
}

#[tokio::test]
async fn a_bundle_of_signals_own_client_comes_out_as_it_went_in() {
    let house = house(DirectoryConfig::default()).await;
    house.register("alice/1").await;
    house.register("bob/1").await;
    let keys = &fixture()["keys"];
    let published = house.ask("bob/1", "PUT /v1/keys/signal", keys.clone()).await;
    let pool = |count: u32, fallback: bool, used: bool| json!({"count": count, "fallback": fallback, "fallback_used": used});
    let expected = json!({
        "pools": {"ec": pool(3, false, false), "kem": pool(3, true, false), "spk": pool(0, true, false)},
        "ignored": [], "identity_version": 1,
    });
    assert_eq!((published.status, published.body), (StatusCode::OK, expected));
    let claim = json!({
        "suite": "signal", "pools": ["spk", "ec", "kem"],
        "targets": [{"account": "bob", "devices": ["*"]}, {"account": "nobody", "devices": ["1"]}],
    });
    let claimed = house.ask("alice/1", "POST /v1/keys/claim", claim.clone()).await;
    let pools = &keys["pools"];
    let device = json!({
        "registration_id": 7, "identity": keys["identity"],
        "items": {"spk": pools["spk"]["fallback"], "ec": pools["ec"]["add"][0], "kem": pools["kem"]["add"][0]},
    });
    let expected = json!({
        "results": {"bob": {"list_version": 1, "devices": {"1": device}}},
        "missing": [{"account": "nobody"}],
    });
    assert_eq!(claimed.body, expected);
    for _ in 0..3 {
        house.ask("alice/1", "POST /v1/keys/claim", claim.clone()).await;
    }
    let exhausted = house.ask("alice/1", "POST /v1/keys/claim", claim).await;
    let items = &exhausted.body["results"]["bob"]["devices"]["1"]["items"];
    // Nothing tells the fallback from a one-time item.
    let expected = json!({"spk": pools["spk"]["fallback"], "ec": null, "kem": pools["kem"]["fallback"]});
    assert_eq!(*items, expected);
    let counts = house.ask("bob/1", "GET /v1/keys/signal", Value::Null).await;
    assert_eq!(
        counts.body["pools"],
        json!({"ec": pool(0, false, false), "kem": pool(0, true, true), "spk": pool(0, true, true)})
    );
    assert_eq!(counts.body["digest"].as_str().map(str::len), Some(44));
    let again = house.ask("bob/1", "PUT /v1/keys/signal", keys.clone()).await;
    assert_eq!(again.body["ignored"].as_array().map(Vec::len), Some(6));
}

#[tokio::test]
async fn keys_that_do_not_fit_are_refused_with_a_word() {
    let house = house(DirectoryConfig::default()).await;
    let keys = fixture()["keys"].clone();
    let put = async |keys: &Value| {
        let answer = house.ask("bob/1", "PUT /v1/keys/signal", keys.clone()).await;
        (
            answer.status.as_u16(),
            answer.body["code"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(put(&keys).await, (403, "device_not_registered".into()));
    house.register("bob/1").await;
    let mut nameless = keys.clone();
    nameless["identity"] = Value::Null;
    assert_eq!(put(&nameless).await, (400, "bad_request".into()));
    let mut tampered = keys.clone();
    tampered["pools"]["spk"]["fallback"]["data"] = keys["pools"]["ec"]["add"][0]["data"].clone();
    assert_eq!(put(&tampered).await, (422, "bad_signature".into()));
    assert_eq!(put(&keys).await, (200, String::new()));
    let mut twice = keys.clone();
    twice["pools"]["ec"]["add"][0]["data"] = keys["pools"]["ec"]["add"][1]["data"].clone();
    assert_eq!(put(&twice).await, (409, "item_id_conflict".into()));
    let large = json!({"identity": keys["identity"], "statement": "A".repeat(1024 * 1024)});
    assert_eq!(put(&large).await, (413, "payload_too_large".into()));
    let long = json!({"identity": keys["identity"], "statement": "A".repeat(32 * 1024)});
    assert_eq!(put(&long).await, (422, "limit_exceeded".into()));
}

#[tokio::test]
async fn counts_begin_at_zero_and_a_queue_can_be_dropped() {
    let house = house(DirectoryConfig {
        key_lint: false,
        ..DirectoryConfig::default()
    })
    .await;
    house.register("bob/1").await;
    let zero = json!({"count": 0, "fallback": false, "fallback_used": false});
    let counts = house.ask("bob/1", "GET /v1/keys/olm", Value::Null).await;
    assert_eq!(
        counts.body,
        json!({"pools": {"otk": zero}, "identity_version": 0})
    );
    let drop = "DELETE /v1/keys/mls/kp:0001";
    assert_eq!(
        house.ask("bob/1", drop, Value::Null).await.problem(),
        (404, "not_found")
    );
    let packages = json!({"identity": "AA", "pools": {"kp:0001": {"add": [{"data": "cGFja2FnZQ"}]}}});
    house.ask("bob/1", "PUT /v1/keys/mls", packages.clone()).await;
    let again = house.ask("bob/1", "PUT /v1/keys/mls", packages).await;
    assert_eq!(again.body["pools"]["kp:0001"]["count"], 1);
    let dropped = house.ask("bob/1", drop, Value::Null).await;
    assert_eq!(dropped.status, StatusCode::NO_CONTENT);
    let counts = house.ask("bob/1", "GET /v1/keys/mls", Value::Null).await;
    assert_eq!(counts.body["pools"], json!({"kp:0001": zero}));
    assert_eq!(
        house
            .ask("bob/1", "GET /v1/keys/what", Value::Null)
            .await
            .problem(),
        (400, "bad_request")
    );
}

#[tokio::test]
async fn a_caller_over_its_budget_is_told_when_to_come_back() {
    let house = house(DirectoryConfig {
        claim_caller_minute: 1,
        ..DirectoryConfig::default()
    })
    .await;
    house.register("alice/1").await;
    let targets = json!([{"account": "bob", "devices": ["*"]}]);
    let claim = json!({"suite": "olm", "pools": ["otk"], "targets": targets});
    let first = house.ask("alice/1", "POST /v1/keys/claim", claim.clone()).await;
    assert_eq!(
        first.body,
        json!({"results": {}, "missing": [{"account": "bob"}]})
    );
    let second = house.ask("alice/1", "POST /v1/keys/claim", claim).await;
    assert_eq!(second.problem(), (429, "rate_limited"));
    let wait: u64 = second.headers[header::RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
}

#[tokio::test]
async fn the_key_log_is_read_in_parts() {
    let house = house(DirectoryConfig {
        key_lint: false,
        ..DirectoryConfig::default()
    })
    .await;
    house.register("bob/1").await;
    for identity in ["AAAA", "AAAB", "AAAC"] {
        house
            .ask("bob/1", "PUT /v1/keys/x-mine", json!({"identity": identity}))
            .await;
    }
    let log = house
        .ask(
            "alice/1",
            "GET /v1/accounts/bob/keylog?after=1&limit=1",
            Value::Null,
        )
        .await;
    let entry = &log.body["entries"][0];
    assert_eq!(log.body["entries"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&entry["seq"], &entry["device_id"], &entry["suite"]),
        (&json!(2), &json!("1"), &json!("x-mine"))
    );
    let rest = house
        .ask("alice/1", "GET /v1/accounts/bob/keylog?after=1", Value::Null)
        .await;
    assert_eq!(rest.body["entries"].as_array().map(Vec::len), Some(2));
    let none = house
        .ask("alice/1", "GET /v1/accounts/nobody/keylog", Value::Null)
        .await;
    assert_eq!(none.body, json!({"entries": []}));
    let bad = house
        .ask("alice/1", "GET /v1/accounts/bob/keylog?after=x", Value::Null)
        .await;
    assert_eq!(bad.problem(), (400, "bad_request"));
}

#[test]
fn every_route_is_described_with_its_token() {
    let (_, api) = devices::router().merge(keys::router()).split_for_parts();
    let api = serde_json::to_value(api).unwrap();
    let mut routes = Vec::new();
    for (path, methods) in api["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert_eq!(
                operation["security"],
                json!([{"bearer": ["chat"]}]),
                "{method} {path}"
            );
            routes.push(format!("{method} {path}"));
        }
    }
    routes.sort();
    let expected = [
        "delete /v1/devices/{device_id}",
        "delete /v1/keys/{suite}/{pool}",
        "get /v1/accounts/{account}/devices",
        "get /v1/accounts/{account}/keylog",
        "get /v1/keys/{suite}",
        "post /v1/keys/claim",
        "put /v1/devices/{device_id}",
        "put /v1/keys/{suite}",
    ];
    assert_eq!(routes, expected);
}
