//! Whether examples are what their schemas say.

use serde_json::{Map, Value, json};

use super::reference::resolved;
use super::{Finding, operations};

/// Findings about the examples of bodies and parameters: missing, or against their schema.
pub(super) fn check(document: &Value, findings: &mut Vec<Finding>) {
    for operation in operations(document) {
        let place = operation.place();
        let parameters = operation.body["parameters"].as_array().into_iter().flatten();
        for parameter in parameters.map(|parameter| resolved(document, parameter)) {
            let name = parameter["name"].as_str().unwrap_or_default();
            for example in of(parameter) {
                compare(
                    document,
                    &parameter["schema"],
                    example,
                    &format!("{place}, parameter {name}"),
                    findings,
                );
            }
        }
        let request = resolved(document, &operation.body["requestBody"]);
        bodies(document, request, &format!("{place}, request"), findings);
        let responses = operation.body["responses"].as_object().into_iter().flatten();
        for (status, response) in responses {
            bodies(
                document,
                resolved(document, response),
                &format!("{place}, {status}"),
                findings,
            );
        }
    }
    let schemas = document["components"]["schemas"]
        .as_object()
        .into_iter()
        .flatten();
    for (name, schema) in schemas {
        for example in schema["examples"]
            .as_array()
            .into_iter()
            .flatten()
            .chain(schema.get("example"))
        {
            compare(document, schema, example, &format!("schema {name}"), findings);
        }
    }
}

fn bodies(document: &Value, holder: &Value, place: &str, findings: &mut Vec<Finding>) {
    for (media_type, content) in holder["content"].as_object().into_iter().flatten() {
        let place = format!("{place}, {media_type}");
        let examples = of(content);
        if examples.is_empty() {
            findings.push(Finding::new("example-missing", &place, "there is no example"));
        }
        for example in examples {
            compare(document, &content["schema"], example, &place, findings);
        }
    }
}

/// The values of `example` and `examples`.
fn of(holder: &Value) -> Vec<&Value> {
    let named = holder["examples"]
        .as_object()
        .map(Map::values)
        .into_iter()
        .flatten();
    let named = named.filter_map(|example| example.get("value"));
    holder.get("example").into_iter().chain(named).collect()
}

fn compare(document: &Value, schema: &Value, example: &Value, place: &str, findings: &mut Vec<Finding>) {
    if schema.is_null() {
        return;
    }
    // The components come along, so that references lead somewhere.
    let whole = json!({ "allOf": [schema], "components": document["components"] });
    match jsonschema::draft202012::new(&whole) {
        Err(error) => findings.push(Finding::new("schema-invalid", place, error.to_string())),
        Ok(validator) => {
            for error in validator.iter_errors(example) {
                let text = format!("at {:?}: {error}", error.instance_path().to_string());
                findings.push(Finding::new("example-invalid", place, text));
            }
        }
    }
}
