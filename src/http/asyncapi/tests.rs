use std::path::Path;

use bytes::Bytes;
use chatctl_protocol::frame::{decode_json, decode_proto};

use super::*;

#[test]
fn every_frame_is_a_message_whose_examples_are_one_frame_in_both_encodings() {
    let document = document();
    for frame in schema::frames() {
        let message = &document["components"]["messages"][frame.json_name];
        let examples = message["examples"].as_array().unwrap();
        let protobuf = message["x-protobuf-examples"].as_array().unwrap();
        assert_eq!((examples.len(), protobuf.len()), (1, 1), "{}", frame.name);
        for (example, hex) in examples.iter().zip(protobuf) {
            let hex = hex.as_str().unwrap();
            let bytes: Vec<u8> = (0..hex.len() / 2)
                .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            let body = decode_proto(Bytes::from(bytes)).unwrap();
            let payload = &example["payload"];
            assert_eq!(decode_json(&payload.to_string()).unwrap(), body, "{}", frame.name);
            assert!(payload.get(frame.json_name).is_some(), "{}", frame.name);
        }
    }
}

#[test]
fn every_frame_is_in_one_operation_or_its_reply() {
    let document = document();
    let mut said: Vec<String> = Vec::new();
    for operation in document["operations"].as_object().unwrap().values() {
        let reply = operation["reply"]["messages"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let messages = operation["messages"].as_array().unwrap().iter().chain(&reply);
        said.extend(messages.map(|message| {
            message["$ref"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap()
                .to_owned()
        }));
    }
    let mut known: Vec<_> = schema::frames()
        .iter()
        .map(|frame| frame.json_name.to_owned())
        .collect();
    said.sort();
    known.sort();
    assert_eq!(said, known);
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &Value, root: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    let pointer = target.strip_prefix('#').unwrap();
                    assert!(
                        root.pointer(pointer).is_some_and(|found| !found.is_null()),
                        "{target}"
                    );
                }
                members.values().for_each(|member| walk(member, root));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, root)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = document();
    walk(&document, &document);
}

#[test]
fn the_committed_document_is_the_one_that_the_code_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/asyncapi.json");
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == canonical(),
        "openapi/asyncapi.json is not what the code makes: `cargo run -- asyncapi generate --force -o openapi/asyncapi.json`"
    );
}
