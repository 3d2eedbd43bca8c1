//! The WebSocket protocol as an AsyncAPI 3.1 document, made of the schema, the codes and the limits.
//!
//! Owns the document's form. Must not know a frame of its own: messages and their words come from
//! `relay.proto`, examples from the golden frames, close codes from `protocol`.

mod golden;
mod schemas;

use std::sync::LazyLock;

use axum::http::HeaderMap;
use axum::response::Response;
use chatctl_protocol::schema::{self, Field, Kind, Message, Speaker};
use chatctl_protocol::{CloseCode, Code, Encoding, Limits};
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Doors;
use crate::http::fixed::Fixed;

pub use golden::{GOLDEN, Golden};

/// The document.
#[must_use]
pub fn document() -> Value {
    let frames = schema::frames();
    let messages: Map<_, _> = frames.iter().map(|frame| named(frame, message(frame))).collect();
    let in_channel = frames
        .iter()
        .map(|frame| named(frame, link("#/components/messages/", frame.json_name)));
    json!({
        "asyncapi": "3.1.0",
        "id": "urn:chatctl:v1:ws",
        "info": {
            "title": "chatctl: the WebSocket protocol",
            "version": "1",
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0" },
            "contact": { "name": "The chatctl project" },
            "tags": [{ "name": "session", "description": "What a device and its relay say to each other." }],
        },
        "defaultContentType": "application/json",
        "servers": { "relay": {
            "host": "127.0.0.1:8480",
            "protocol": "ws",
            "protocolVersion": "13",
            "description": "A relay on this machine. Elsewhere it is wss, behind a proxy that ends TLS.",
            "security": [{ "$ref": "#/components/securitySchemes/bearer" }],
        } },
        "channels": { "session": channel(in_channel.collect()) },
        "operations": operations(),
        "components": {
            "messages": messages,
            "schemas": schemas::all(),
            "securitySchemes": { "bearer": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "In `Authorization` on the upgrade, or in Hello. Never in the URL.",
            } },
        },
        "x-protobuf-schema": include_str!("../../../protocol/proto/chatctl/v1/relay.proto"),
    })
}

/// The document as it is committed: members in the order of their names, a newline at the end.
#[must_use]
pub fn canonical() -> String {
    // Printing a value cannot fail.
    serde_json::to_string_pretty(&document()).unwrap_or_default() + "\n"
}

/// The door of this file.
pub(super) fn router() -> OpenApiRouter<Doors> {
    OpenApiRouter::new().routes(routes!(answer))
}

/// The WebSocket protocol.
///
/// AsyncAPI 3.1: every frame, with examples; the close codes.
#[utoipa::path(
    get,
    path = "/asyncapi.json",
    operation_id = "describeProtocol",
    tag = "info",
    params(("If-None-Match" = Option<String>, Header, description = "Tags of descriptions that are known already",
        example = json!("\"1f0c9a1e5f0c9a1e\""))),
    responses(
        (status = 200, description = "The description", body = serde_json::Value, content_type = "application/json",
            headers(("ETag" = String, description = "Its tag")),
            example = json!({"asyncapi": "3.1.0", "info": {"title": "chatctl", "version": "0.1.0"}})),
        (status = 304, description = "It is known already", headers(("ETag" = String, description = "Its tag"))),
    ),
)]
async fn answer(headers: HeaderMap) -> Response {
    static DOCUMENT: LazyLock<Fixed> = LazyLock::new(|| Fixed::new("application/json", canonical()));
    DOCUMENT.answer(&headers)
}

fn channel(messages: Map<String, Value>) -> Value {
    json!({
        "address": "/v1/ws",
        "title": "A session",
        "summary": "One authenticated connection of one device.",
        "description": CHANNEL,
        "servers": [{ "$ref": "#/servers/relay" }],
        "messages": messages,
        "bindings": { "ws": {
            "method": "GET",
            "headers": { "type": "object", "required": ["Sec-WebSocket-Protocol"], "properties": {
                "Sec-WebSocket-Protocol": {
                    "type": "string",
                    "enum": Encoding::ALL.map(Encoding::subprotocol),
                    "description": "The encoding. The first that the relay knows is taken; none: 400 unsupported_protocol.",
                },
                "Authorization": {
                    "type": "string",
                    "description": "`Bearer` and the token. Who cannot set headers sends it in Hello.",
                },
            } },
            "bindingVersion": "0.1.0",
        } },
        "x-subprotocols": Encoding::ALL.map(subprotocol),
        "x-close-codes": CloseCode::ALL.map(close_code),
        "x-send-err-codes": send_err_codes(),
        "x-limits": Limits::default(),
    })
}

fn subprotocol(encoding: Encoding) -> Value {
    let (message, form) = match encoding {
        Encoding::Proto => ("binary", "the schema as protobuf: one chatctl.v1.Frame a message"),
        Encoding::Json => ("text", "the schema as proto3 JSON: one Frame object a message"),
    };
    json!({ "name": encoding.subprotocol(), "message": message, "form": form })
}

fn close_code(code: CloseCode) -> Value {
    json!({
        "code": code.number(),
        "name": code.name(),
        "meaning": code.meaning(),
        "reconnect": code.reconnect(),
    })
}

fn send_err_codes() -> Vec<Value> {
    let codes = Code::ALL.into_iter().filter(|code| code.answers_a_send());
    let described = codes.map(
        |code| json!({ "code": code.as_str(), "meaning": code.meaning(), "retryable": code.retryable() }),
    );
    described.collect()
}

fn message(frame: &Field) -> Value {
    let Kind::Message(name) = frame.kind else {
        return Value::Null;
    };
    let doc = Message::named(name).map_or("", |message| message.doc);
    let (summary, _) = doc.split_once('\n').unwrap_or((doc, ""));
    let golden = GOLDEN.iter().find(|golden| golden.name == frame.name);
    let payload = golden.and_then(|golden| serde_json::from_str::<Value>(golden.json).ok());
    json!({
        "name": frame.json_name,
        "title": name,
        "summary": summary,
        "description": doc,
        "contentType": "application/json",
        "payload": {
            "type": "object",
            "required": [frame.json_name],
            "properties": { frame.json_name: link("#/components/schemas/", name) },
        },
        "examples": [{ "name": "golden", "summary": "Every field set.", "payload": payload }],
        "x-protobuf": { "message": "chatctl.v1.Frame", "field": frame.number, "body": format!("chatctl.v1.{name}") },
        "x-protobuf-examples": [golden.map(|golden| golden.hex.trim_end())],
        "x-sent-by": speaker(frame),
    })
}

const fn speaker(frame: &Field) -> &'static str {
    match frame.speaker() {
        Speaker::Client => "client",
        Speaker::Relay => "relay",
    }
}

/// What the relay does: it receives what clients send, and answers some of it.
fn operations() -> Map<String, Value> {
    let answers: Vec<_> = schema::frames()
        .iter()
        .flat_map(|frame| replies(frame.name))
        .collect();
    let frames = schema::frames()
        .iter()
        .filter(|frame| !answers.contains(&&frame.json_name));
    frames.map(operation).collect()
}

fn operation(frame: &Field) -> (String, Value) {
    let action = match frame.speaker() {
        Speaker::Client => "receive",
        Speaker::Relay => "send",
    };
    let channel = json!({ "$ref": "#/channels/session" });
    let in_channel = |name: &str| link("#/channels/session/messages/", name);
    let Kind::Message(name) = frame.kind else {
        return (action.to_owned(), Value::Null);
    };
    let doc = Message::named(name).map_or("", |message| message.doc);
    let (summary, _) = doc.split_once('\n').unwrap_or((doc, ""));
    let mut operation = json!({
        "action": action,
        "channel": channel,
        "title": name,
        "summary": summary,
        "description": doc,
        "messages": [in_channel(frame.json_name)],
        "tags": [{ "name": "session" }],
    });
    let replies = replies(frame.name);
    if !replies.is_empty() {
        let messages: Vec<_> = replies.iter().map(|name| in_channel(name)).collect();
        operation["reply"] = json!({ "channel": channel, "messages": messages });
    }
    (format!("{action}{name}"), operation)
}

/// The frames that answer one, by their names in JSON.
fn replies(frame: &str) -> &'static [&'static str] {
    match frame {
        "hello" => &["helloOk"],
        "send" => &["sendOk", "sendErr"],
        "auth" => &["authOk"],
        "ping" => &["pong"],
        _ => &[],
    }
}

fn named(frame: &Field, value: Value) -> (String, Value) {
    (frame.json_name.to_owned(), value)
}

fn link(place: &str, name: &str) -> Value {
    json!({ "$ref": format!("{place}{name}") })
}

const ABOUT: &str = "What a device and its relay say to each other. Messages are described in their JSON form \
(subprotocol `chatctl.v1.json`); `x-protobuf` gives the number and type of each field in the protobuf form \
(`chatctl.v1.proto`), and `x-protobuf-schema` is the schema that both are made of. Every message is one \
`Frame` with one body. Fields that are zero, empty or false may be left out, and unknown ones are ignored. The rules \
of the conversation are in docs/protocol.md.";

const CHANNEL: &str = "The client's first frame is Hello, within `hello_timeout_ms`; the relay answers HelloOk. After \
that both speak whenever they like. A close that the relay chooses is announced by Goodbye, and `x-close-codes` says \
what each code asks of the client.";

#[cfg(test)]
mod tests;
