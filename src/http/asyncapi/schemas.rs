//! The messages of `relay.proto` as JSON schemas, by the rules of proto3 JSON.

use chatctl_protocol::schema::{ENUMS, Enum, Field, Kind, MESSAGES, Message};
use serde_json::{Map, Value, json};

/// Every message but `Frame`, and every enum.
pub(super) fn all() -> Map<String, Value> {
    let messages = MESSAGES.iter().filter(|message| message.name != "Frame");
    let messages = messages.map(|message| (message.name.to_owned(), object(message)));
    let enums = ENUMS
        .iter()
        .map(|described| (described.name.to_owned(), words(described)));
    messages.chain(enums).collect()
}

fn object(message: &Message) -> Value {
    let properties: Map<_, _> = message
        .fields
        .iter()
        .map(|field| (field.json_name.to_owned(), property(field)))
        .collect();
    json!({
        "type": "object",
        "title": message.name,
        "description": message.doc,
        "properties": properties,
        "x-protobuf": { "message": format!("chatctl.v1.{}", message.name) },
    })
}

fn property(field: &Field) -> Value {
    let (mut one, kind) = single(field.kind);
    if field.repeated {
        one = json!({ "type": "array", "items": one });
    }
    let repeated = if field.repeated { "repeated " } else { "" };
    let about = json!({ "field": field.number, "name": field.name, "type": format!("{repeated}{kind}") });
    // What stands beside a reference is read since JSON Schema 2019-09 only: an allOf is read by everyone.
    if one.get("$ref").is_some() {
        one = json!({ "allOf": [one] });
    }
    if !field.doc.is_empty() {
        one["description"] = field.doc.into();
    }
    one["x-protobuf"] = about;
    one
}

fn single(kind: Kind) -> (Value, &'static str) {
    let reference = |name| json!({ "$ref": format!("#/components/schemas/{name}") });
    match kind {
        Kind::Bool => (json!({ "type": "boolean" }), "bool"),
        Kind::Uint32 => (
            json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
            "uint32",
        ),
        Kind::Uint64 => (json!({ "type": "string", "pattern": "^[0-9]{1,20}$" }), "uint64"),
        Kind::Int64 => (json!({ "type": "string", "pattern": "^-?[0-9]{1,19}$" }), "int64"),
        Kind::Fixed64 => (json!({ "type": "string", "pattern": "^[0-9]{1,20}$" }), "fixed64"),
        Kind::String => (json!({ "type": "string" }), "string"),
        Kind::Bytes => (json!({ "type": "string", "contentEncoding": "base64" }), "bytes"),
        Kind::Message(name) | Kind::Enum(name) => (reference(name), name),
    }
}

fn words(described: &Enum) -> Value {
    let values: Vec<_> = described.values.iter().map(|value| value.name).collect();
    let numbers: Map<_, _> = described
        .values
        .iter()
        .map(|value| {
            (
                value.name.to_owned(),
                json!({ "number": value.number, "description": value.doc }),
            )
        })
        .collect();
    json!({
        "type": "string",
        "title": described.name,
        "description": described.doc,
        "enum": values,
        "x-protobuf": { "enum": format!("chatctl.v1.{}", described.name), "values": numbers },
    })
}
