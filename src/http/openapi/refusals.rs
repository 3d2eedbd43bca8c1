//! Which problems a route can answer: the description of every status from 400.
//!
//! Owns the grouping of [`Code`]s by status and what is said of each. A route names its codes once, by
//! `refusals!`; the statuses are those of [`problem::status`].

use std::collections::BTreeMap;

use chatctl_protocol::Code;
use serde_json::{Value, json};
use utoipa::ToSchema as _;
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};

use crate::http::problem::{self, Problem};

/// A code under its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    status: u16,
    code: &'static str,
    meaning: &'static str,
}

impl Refusal {
    /// A code under the status that it always has.
    pub const fn of(code: Code) -> Self {
        Self {
            status: problem::status(code).as_u16(),
            code: code.as_str(),
            meaning: meaning(code),
        }
    }
}

/// What every route answers that asks for a device's token.
pub const CALLER: &[Refusal] = &[Refusal::of(Code::Unauthorized), Refusal::of(Code::Forbidden)];

/// What every route answers that asks for an operator.
pub const OPERATOR: &[Refusal] = &[Refusal::of(Code::Unauthorized), Refusal::of(Code::Forbidden)];

/// What a route answers that reads the configuration.
pub const CONFIGURATION: &[Refusal] = &[
    Refusal {
        status: 422,
        code: Code::BadRequest.as_str(),
        meaning: "the configuration is not good and the old one is kept; `problems` has every reason",
    },
    Refusal::of(Code::Internal),
];

/// What every route answers that asks for a registered device.
pub const DEVICE: &[Refusal] = &[Refusal::of(Code::DeviceNotRegistered)];

/// What every route answers that reads a name or a query.
pub const PARAMETERS: &[Refusal] = &[Refusal::of(Code::BadRequest)];

/// What every route answers that reads a body.
pub const BODY: &[Refusal] = &[
    Refusal::of(Code::BadRequest),
    Refusal::of(Code::PayloadTooLarge),
    Refusal {
        status: 415,
        code: Code::BadRequest.as_str(),
        meaning: "the body is not `application/json`",
    },
];

/// What every route answers that reads from the store.
pub const READS: &[Refusal] = &[Refusal::of(Code::Unavailable), Refusal::of(Code::Internal)];

/// What every route answers that writes to the store.
pub const WRITES: &[Refusal] = &[
    Refusal::of(Code::StorageFull),
    Refusal::of(Code::Unavailable),
    Refusal::of(Code::Internal),
];

/// Makes a type that stands for what a route can answer besides success: sets of refusals, then codes of its own.
macro_rules! refusals {
    ($(#[doc = $doc:literal])+ $name:ident: $($set:ident)* $(, $code:ident)* $(,)?) => {
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub enum $name {}

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                use $crate::http::openapi::refusals::{Refusal, responses};
                const OWN: &[Refusal] = &[$(Refusal::of(chatctl_protocol::Code::$code)),*];
                responses(&[$($crate::http::openapi::refusals::$set,)* OWN])
            }
        }
    };
}
pub(in crate::http) use refusals;

/// A response for each status.
pub fn responses(sets: &[&[Refusal]]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<Refusal>> = BTreeMap::new();
    for refusal in sets.iter().copied().flatten() {
        let known = by_status.entry(refusal.status).or_default();
        if !known.contains(refusal) {
            known.push(*refusal);
        }
    }
    let responses = by_status.into_iter();
    let responses =
        responses.map(|(status, refusals)| (status.to_string(), response(status, &refusals).into()));
    responses.collect()
}

fn response(status: u16, refusals: &[Refusal]) -> Response {
    let lines = refusals
        .iter()
        .map(|refusal| format!("`{}`: {}.", refusal.code, refusal.meaning));
    let codes = refusals.iter().map(|refusal| refusal.code);
    let narrowed = ObjectBuilder::new()
        .property(
            "status",
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .enum_values(Some([status])),
        )
        .property(
            "code",
            ObjectBuilder::new()
                .schema_type(Type::String)
                .enum_values(Some(codes)),
        );
    let schema = AllOfBuilder::new()
        .item(Ref::from_schema_name(Problem::name()))
        .item(narrowed);
    let mut content = ContentBuilder::new().schema(Some(Schema::AllOf(schema.build())));
    for refusal in refusals {
        let example = utoipa::openapi::example::ExampleBuilder::new()
            .summary(refusal.meaning)
            .value(Some(example(*refusal)));
        content = content.examples_from_iter([(refusal.code, example.build())]);
    }
    let mut response = ResponseBuilder::new()
        .description(lines.collect::<Vec<_>>().join(" "))
        .content("application/problem+json", content.build());
    if status == 401 {
        response = response.header(
            "WWW-Authenticate",
            header(Type::String, "`Bearer`", "Bearer".into()),
        );
    }
    if [429, 503, 507].contains(&status) {
        let about = "Seconds after which the same request may succeed";
        response = response.header("Retry-After", header(Type::Integer, about, 5.into()));
    }
    response.build()
}

/// A header's description.
pub fn header(kind: Type, about: &str, example: Value) -> utoipa::openapi::Header {
    let mut schema = ObjectBuilder::new().schema_type(kind.clone());
    if kind == Type::Integer {
        schema = schema.minimum(Some(0));
    }
    HeaderBuilder::new()
        .schema(Some(schema))
        .description(Some(about))
        .example(Some(example))
        .build()
}

fn example(refusal: Refusal) -> Value {
    let mut title = refusal.meaning.to_owned();
    title[..1].make_ascii_uppercase();
    let mut problem = json!({
        "type": format!("{}{}", problem::TYPES, refusal.code),
        "status": refusal.status,
        "title": title + ".",
        "code": refusal.code,
    });
    if [429, 503, 507].contains(&refusal.status) {
        problem["retry_after"] = 5.into();
    }
    if refusal.code == Code::DeviceMismatch.as_str() {
        problem["missing"] = json!(["2"]);
        problem["stale"] = json!(["1"]);
    }
    if refusal.code == Code::JobRunning.as_str() {
        problem["held"] = json!({
            "run": "expire-mail/1795348800000/1", "holder": "relay-2:4711", "fence": 7,
            "since": "2026-11-22T12:00:00Z", "remaining_ms": 41_000,
        });
    }
    problem
}

/// A code in words, the same wherever it is answered.
const fn meaning(code: Code) -> &'static str {
    match code {
        Code::BadRequest => "a name, a parameter or the body breaks its rule; `detail` says which",
        Code::Unauthorized => "there is no token, or it is not good",
        Code::Forbidden => "the token does not allow this: its scope, or its device",
        Code::NotFound => "there is no such thing",
        Code::MethodNotAllowed => "the resource does not have this method",
        Code::DeviceNotRegistered => "the token's device is not registered",
        Code::UnknownAccount => "the account does not exist or has no devices",
        Code::DeviceMismatch => {
            "the devices of the send are not the account's; see `missing`, `extra` and `stale`"
        }
        Code::Conflict => "the same `client_msg_id` was used for another message",
        Code::ItemIdConflict => "an item id is taken by other bytes",
        Code::JobRunning => "the job is running already; `held` says where and since when",
        Code::BadSignature => "a signature does not verify",
        Code::PayloadTooLarge => "the body or a payload is larger than the limits allow",
        Code::LimitExceeded => "a bound of the limits would be crossed; `detail` says which",
        Code::MailboxFull => "the recipient's mailbox has no room",
        Code::RateLimited => "too much, too fast",
        Code::StorageFull => "the relay's disk has no room",
        Code::Unavailable => "the relay cannot tell now, the outcome may be unknown; retry the same request",
        Code::UnsupportedProtocol => "none of the offered subprotocols is spoken here",
        Code::Internal => "the relay failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_one_status_share_a_response() {
        let responses = responses(&[DEVICE, CALLER, BODY, PARAMETERS]);
        let statuses: Vec<_> = responses.keys().map(String::as_str).collect();
        assert_eq!(statuses, ["400", "401", "403", "413", "415"]);
        let forbidden = serde_json::to_value(&responses["403"]).unwrap();
        let content = &forbidden["content"]["application/problem+json"];
        assert_eq!(
            content["schema"]["allOf"][1]["properties"]["code"]["enum"],
            json!(["device_not_registered", "forbidden"])
        );
        assert_eq!(
            content["examples"]["forbidden"]["value"],
            json!({
                "type": "urn:chatctl:problem:forbidden", "status": 403, "code": "forbidden",
                "title": "The token does not allow this: its scope, or its device.",
            })
        );
        let unauthorized = serde_json::to_value(&responses["401"]).unwrap();
        assert_eq!(
            unauthorized["headers"]["WWW-Authenticate"]["example"],
            json!("Bearer")
        );
    }
}
