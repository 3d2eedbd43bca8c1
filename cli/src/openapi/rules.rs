//! What an OpenAPI document of ours has to keep to, besides being one.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::reference::{references, resolved, target};
use super::{Operation, examples, operations};

/// A rule that is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Finding {
    /// The rule's name.
    pub(crate) rule: &'static str,
    /// Where.
    pub(crate) place: String,
    /// What is wrong there.
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn new(rule: &'static str, place: &str, message: impl Into<String>) -> Self {
        Self {
            rule,
            place: place.to_owned(),
            message: message.into(),
        }
    }
}

/// Everything that is wrong with a document.
pub(crate) fn findings(document: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    let version = document["openapi"].as_str().unwrap_or_default();
    if !version.starts_with("3.1") {
        findings.push(Finding::new("version", "#/openapi", "this is not OpenAPI 3.1"));
    }
    for (place, to) in references(document) {
        if target(document, &to).is_none() {
            findings.push(Finding::new(
                "ref-unresolved",
                &place,
                format!("{to} leads nowhere"),
            ));
        }
    }
    let mut ids = BTreeMap::new();
    for operation in operations(document) {
        check_id(&operation, &mut ids, &mut findings);
        check_security(document, &operation, &mut findings);
        check_descriptions(document, &operation, &mut findings);
        check_problems(document, &operation, &mut findings);
    }
    examples::check(document, &mut findings);
    findings
}

fn check_id<'a>(operation: &Operation<'a>, ids: &mut BTreeMap<&'a str, String>, findings: &mut Vec<Finding>) {
    let place = operation.place();
    match operation.body["operationId"].as_str() {
        None => findings.push(Finding::new("operation-id", &place, "there is no operationId")),
        Some(id) => {
            if let Some(other) = ids.insert(id, place.clone()) {
                let message = format!("{id} is the operationId of {other}, too");
                findings.push(Finding::new("operation-id", &place, message));
            }
        }
    }
}

fn check_security(document: &Value, operation: &Operation<'_>, findings: &mut Vec<Finding>) {
    let place = operation.place();
    let security = operation
        .body
        .get("security")
        .or_else(|| document.get("security"));
    let Some(alternatives) = security.and_then(Value::as_array) else {
        if operation.path.starts_with("/v1/") && !PUBLIC.contains(&operation.path) {
            findings.push(Finding::new(
                "security",
                &place,
                "it says nothing about tokens, and is not public",
            ));
        }
        return;
    };
    let schemes = &document["components"]["securitySchemes"];
    for name in alternatives
        .iter()
        .filter_map(Value::as_object)
        .flat_map(serde_json::Map::keys)
    {
        if schemes.get(name).is_none() {
            findings.push(Finding::new(
                "security",
                &place,
                format!("there is no scheme {name}"),
            ));
        }
    }
}

fn check_descriptions(document: &Value, operation: &Operation<'_>, findings: &mut Vec<Finding>) {
    let place = operation.place();
    let mut need = |holder: &Value, what: &str, member: &str| {
        if holder[member].as_str().is_none_or(str::is_empty) {
            findings.push(Finding::new(
                "description",
                &place,
                format!("{what} has no {member}"),
            ));
        }
    };
    need(operation.body, "the operation", "summary");
    need(operation.body, "the operation", "description");
    for parameter in operation.body["parameters"].as_array().into_iter().flatten() {
        let parameter = resolved(document, parameter);
        need(
            parameter,
            &format!("parameter {}", parameter["name"]),
            "description",
        );
    }
    for (status, response) in operation.body["responses"].as_object().into_iter().flatten() {
        need(
            resolved(document, response),
            &format!("response {status}"),
            "description",
        );
    }
}

fn check_problems(document: &Value, operation: &Operation<'_>, findings: &mut Vec<Finding>) {
    for (status, response) in operation.body["responses"].as_object().into_iter().flatten() {
        if !status.starts_with(['4', '5']) {
            continue;
        }
        let content = resolved(document, response)["content"].as_object();
        let kinds: Vec<_> = content
            .into_iter()
            .flatten()
            .map(|(kind, _)| kind.as_str())
            .collect();
        if kinds != ["application/problem+json"] {
            let place = format!("{}, {status}", operation.place());
            let message = "an error is application/problem+json and nothing else";
            findings.push(Finding::new("problem", &place, message));
        }
    }
}

/// What may be asked for without a token under `/v1/`.
const PUBLIC: [&str; 2] = ["/v1/info", "/v1/limits"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sound() -> Value {
        serde_json::to_value(chatctl_relay::http::openapi()).unwrap_or_default()
    }

    #[test]
    fn what_the_relay_generates_is_sound() {
        assert_eq!(findings(&sound()), []);
    }

    #[test]
    fn each_rule_finds_its_fault() {
        let info = "/paths/~1v1~1info/get";
        let claim = "/paths/~1v1~1keys~1claim/post";
        let cases = [
            ("version", "/openapi", json!("3.0.3")),
            (
                "ref-unresolved",
                "/paths/~1v1~1info/get/responses/200/content/application~1json/schema/$ref",
                json!("#/nowhere"),
            ),
            (
                "operation-id",
                "/paths/~1v1~1info/get/operationId",
                json!("readLimits"),
            ),
            ("security", "/paths/~1v1~1keys~1claim/post/security", Value::Null),
            (
                "security",
                "/paths/~1v1~1keys~1claim/post/security/0",
                json!({"other": []}),
            ),
            ("description", "/paths/~1v1~1info/get/description", json!("")),
            ("problem", "/paths/~1readyz/get/responses/503/content", json!({})),
            (
                "example-invalid",
                "/paths/~1v1~1info/get/responses/200/content/application~1json/example",
                json!({"name": 1}),
            ),
        ];
        for (rule, pointer, value) in cases {
            let mut document = sound();
            *document.pointer_mut(pointer).unwrap() = value;
            let found = findings(&document);
            assert!(
                found.iter().any(|finding| finding.rule == rule),
                "{rule}: {found:?}"
            );
        }
        let mut document = sound();
        for place in [info, claim] {
            document
                .pointer_mut(place)
                .unwrap()
                .as_object_mut()
                .unwrap()
                .remove("operationId");
        }
        assert_eq!(findings(&document).len(), 2);
    }
}
