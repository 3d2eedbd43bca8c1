//! `$ref`: what it points at.

use serde_json::Value;

/// What a value stands for: itself, or what it refers to. A reference that leads nowhere stands for itself.
pub(super) fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let mut value = value;
    // References to references are rare, and circles are faults.
    for _ in 0..8 {
        match value["$ref"].as_str().and_then(|to| target(document, to)) {
            Some(target) => value = target,
            None => break,
        }
    }
    value
}

/// What a local reference points at.
pub(super) fn target<'a>(document: &'a Value, reference: &str) -> Option<&'a Value> {
    document.pointer(reference.strip_prefix('#')?)
}

/// Every reference with its place, in order.
pub(super) fn references(value: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(value, "#", &mut found);
    found
}

fn collect(value: &Value, place: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let place = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
                match (name.as_str(), member.as_str()) {
                    ("$ref", Some(to)) => found.push((place, to.to_owned())),
                    // An example may hold anything, and none of it is a reference.
                    ("example" | "value", _) => {}
                    _ => collect(member, &place, found),
                }
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                collect(value, &format!("{place}/{index}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
