//! What the description promises, against the code that keeps it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use chatctl_protocol as names;
use serde_json::{Value, json};

use super::*;

fn described_now() -> Value {
    serde_json::to_value(openapi()).unwrap()
}

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    all.collect()
}

/// `200, 400 bad_request, …` of an operation.
fn answers(operation: &Value) -> String {
    let responses = operation["responses"].as_object().unwrap().iter();
    let words =
        responses.map(|(status, response)| {
            let codes = &response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]
                ["code"]["enum"];
            let codes = codes.as_array().into_iter().flatten();
            let codes = codes.map(|code| format!(" {}", code.as_str().unwrap()));
            format!("{status}{}", codes.collect::<String>())
        });
    words.collect::<Vec<_>>().join(", ")
}

const CALLER: &str = "401 unauthorized, 403 forbidden";
const DEVICE: &str = "401 unauthorized, 403 forbidden device_not_registered";
const BODY: &str = "413 payload_too_large, 415 bad_request";
const READ: &str = "500 internal, 503 unavailable";

const WRITE: &str = "500 internal, 503 unavailable, 507 storage_full";

/// Every route, and what it answers.
#[expect(clippy::too_many_lines, reason = "a table, a row for each route")]
fn promised() -> Vec<(&'static str, String)> {
    vec![
        (
            "delete /v1/devices/{device_id}",
            format!("204, 400 bad_request, {CALLER}, 404 not_found, {WRITE}"),
        ),
        (
            "delete /v1/keys/{suite}/{pool}",
            format!("204, 400 bad_request, {DEVICE}, 404 not_found, {WRITE}"),
        ),
        (
            "delete /v1/admin/revocations/expired",
            format!("200, {CALLER}, {WRITE}"),
        ),
        (
            "delete /v1/admin/jobs/{job}/lease",
            format!("200, 400 bad_request, {CALLER}, 404 not_found, {WRITE}"),
        ),
        (
            "delete /v1/admin/jobs/{job}/pause",
            format!("200, 400 bad_request, {CALLER}, 404 not_found, {WRITE}"),
        ),
        (
            "delete /v1/admin/jobs/{job}/run",
            format!("202, 400 bad_request, {CALLER}, 404 not_found"),
        ),
        ("get /.well-known/jwks.json", "200".into()),
        ("get /asyncapi.json", "200, 304".into()),
        ("get /healthz", "200".into()),
        ("get /metrics", "200, 404 not_found, 500 internal".into()),
        ("get /openapi.json", "200".into()),
        ("get /readyz", "200, 503 unavailable".into()),
        (
            "get /v1/accounts/{account}/devices",
            format!("200, 304, 400 bad_request, {CALLER}, 404 unknown_account, {READ}"),
        ),
        (
            "get /v1/accounts/{account}/keylog",
            format!("200, 400 bad_request, {CALLER}, {READ}"),
        ),
        (
            "get /v1/admin/accounts/{account}",
            format!("200, 400 bad_request, {CALLER}, 404 unknown_account, {READ}"),
        ),
        ("get /v1/admin/jobs", format!("200, {CALLER}, {READ}")),
        ("get /v1/admin/status", format!("200, {CALLER}")),
        (
            "get /v1/admin/jobs/runs",
            format!("200, 400 bad_request, {CALLER}, {READ}"),
        ),
        (
            "get /v1/admin/jobs/{job}",
            format!("200, 400 bad_request, {CALLER}, 404 not_found, {READ}"),
        ),
        (
            "get /v1/admin/jobs/{job}/look",
            format!("200, 400 bad_request, {CALLER}, 404 not_found, {READ}"),
        ),
        (
            "get /v1/admin/revocations",
            format!("200, 400 bad_request, {CALLER}, {READ}"),
        ),
        ("get /v1/info", "200".into()),
        (
            "get /v1/keys/{suite}",
            format!("200, 400 bad_request, {DEVICE}, {READ}"),
        ),
        ("get /v1/limits", "200".into()),
        (
            "get /v1/messages",
            format!("200, 400 bad_request, {DEVICE}, {READ}"),
        ),
        (
            "get /v1/ws",
            "101, 400 bad_request unsupported_protocol, 401 unauthorized, 429 rate_limited, 503 unavailable"
                .into(),
        ),
        (
            "post /v1/accounts/{account}/messages",
            format!(
                "200, 400 bad_request, {DEVICE}, 404 unknown_account, 409 device_mismatch conflict, {BODY}, \
             429 rate_limited, 500 internal, 503 unavailable, 507 storage_full mailbox_full"
            ),
        ),
        (
            "post /v1/admin/backup",
            format!("200, {CALLER}, 404 not_found, 409 job_running, {WRITE}"),
        ),
        (
            "post /v1/admin/jobs/{job}/runs",
            format!("202, 400 bad_request, {CALLER}, 404 not_found, 409 job_running, {BODY}, {WRITE}"),
        ),
        (
            "post /v1/admin/reload",
            format!("200, {CALLER}, 404 not_found, 422 bad_request, 500 internal"),
        ),
        (
            "post /v1/admin/revocations",
            format!("200, 400 bad_request, {CALLER}, {BODY}, {WRITE}"),
        ),
        (
            "post /v1/keys/claim",
            format!("200, 400 bad_request, {DEVICE}, {BODY}, 422 limit_exceeded, 429 rate_limited, {WRITE}"),
        ),
        (
            "post /v1/messages/ack",
            format!("200, 400 bad_request, {DEVICE}, {BODY}, {WRITE}"),
        ),
        (
            "put /v1/admin/jobs/{job}/pause",
            format!("200, 400 bad_request, {CALLER}, 404 not_found, {BODY}, {WRITE}"),
        ),
        (
            "put /v1/devices/{device_id}",
            format!("200, 201, 400 bad_request, {CALLER}, {BODY}, 422 limit_exceeded, {WRITE}"),
        ),
        (
            "put /v1/keys/{suite}",
            format!(
                "200, 400 bad_request, {DEVICE}, 409 item_id_conflict, {BODY}, 422 bad_signature limit_exceeded, {WRITE}"
            ),
        ),
    ]
}

#[test]
fn every_route_names_its_statuses_and_codes() {
    let document = described_now();
    let mut described: Vec<_> = operations(&document)
        .into_iter()
        .map(|(route, operation)| (route, answers(operation)))
        .collect();
    described.sort();
    let mut expected: Vec<_> = promised()
        .into_iter()
        .map(|(route, answers)| (route.to_owned(), answers))
        .collect();
    expected.sort();
    assert_eq!(described, expected);
}

#[test]
fn routes_are_registered_with_their_description_or_not_at_all() {
    // A bare one would serve what the description does not know.
    fn visit(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
                continue;
            }
            // The pages for people are no part of the API.
            if path.ends_with("tests.rs") || path.ends_with("docs/mod.rs") {
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            let served = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
            if served.contains(concat!(".ro", "ute(")) {
                found.push(path.display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    visit(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http"),
        &mut found,
    );
    assert_eq!(found, [""; 0]);
}

#[test]
fn operations_have_names_tags_and_a_say_on_tokens() {
    let document = described_now();
    let tags: BTreeSet<_> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| &tag["name"])
        .map(Value::to_string)
        .collect();
    let mut ids = BTreeSet::new();
    for (route, operation) in operations(&document) {
        assert!(ids.insert(operation["operationId"].to_string()), "{route}");
        assert!(tags.contains(&operation["tags"][0].to_string()), "{route}");
        assert!(operation["description"].is_string(), "{route}");
        let asks = answers(operation).contains("401");
        assert_eq!(operation["security"].is_array(), asks, "{route}");
    }
}

#[test]
fn a_relay_describes_its_own_limits() {
    let limits = Limits {
        max_payload_bytes: 3,
        ..Limits::default()
    };
    let document = serde_json::to_value(with_limits(&limits)).unwrap();
    assert_eq!(document["components"]["schemas"]["Payload"]["maxLength"], 4);
    let default = described_now();
    assert_eq!(
        default["components"]["schemas"]["Payload"]["maxLength"],
        128 * 1024
    );
}

#[test]
fn names_are_described_as_they_are_parsed() {
    let document = described_now();
    let schema = |name: &str| document["components"]["schemas"][name].clone();
    for (name, parse) in [
        (
            "AccountId",
            (|text| names::AccountId::parse(text).is_ok()) as fn(&str) -> bool,
        ),
        ("DeviceId", |text| names::DeviceId::parse(text).is_ok()),
        ("PoolName", |text| names::PoolName::parse(text).is_ok()),
        ("Suite", |text| names::Suite::parse(text).is_ok()),
    ] {
        let schema = schema(name);
        let longest = usize::try_from(schema["maxLength"].as_u64().unwrap()).unwrap();
        let prefix = if name == "Suite" { "x-" } else { "" };
        let text = |length: usize| format!("{prefix}{}", "a".repeat(length - prefix.len()));
        assert!(parse(&text(longest)) && !parse(&text(longest + 1)), "{name}");
        let shortest = usize::try_from(schema["minLength"].as_u64().unwrap()).unwrap();
        assert!(
            parse(&text(shortest)) && !parse(&text(shortest)[..shortest - 1]),
            "{name}"
        );
        // The class of characters, of which the last pair of brackets tells.
        let pattern = schema["pattern"].as_str().unwrap();
        let class = pattern.rsplit_once('[').unwrap().1.split_once(']').unwrap().0;
        for byte in 1..=127_u8 {
            let is_in_class = match byte {
                b'A'..=b'Z' => class.contains("A-Z"),
                b'a'..=b'z' => class.contains("a-z"),
                b'0'..=b'9' => class.contains("0-9"),
                other => {
                    class.ends_with('-') && other == b'-'
                        || other != b'-' && class.contains(char::from(other))
                }
            };
            let text = format!("{prefix}{}", char::from(byte));
            assert_eq!(parse(&text), is_in_class, "{name} {text:?}");
        }
    }
}

#[test]
fn bytes_have_the_length_of_their_base64() {
    let document = described_now();
    for (name, bounds) in [
        ("ClientMsgId", json!([2, 44])),
        ("Identity", json!([2, 5464])),
        ("Sha256", json!([43, 44])),
    ] {
        let schema = &document["components"]["schemas"][name];
        assert_eq!(
            json!([schema["minLength"], schema["maxLength"]]),
            bounds,
            "{name}"
        );
    }
}

#[test]
fn the_committed_description_is_the_code_s() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    let is = fs::read_to_string(&committed).unwrap_or_default();
    let wanted = canonical(&described_now());
    let differs = is.lines().zip(wanted.lines()).find(|(is, wanted)| is != wanted);
    assert!(
        is == wanted,
        "openapi/openapi.json is not what the code says, first at {differs:?}; write it anew with \
         `cargo run -p chatctl -- openapi generate --force -o openapi/openapi.json`"
    );
}
