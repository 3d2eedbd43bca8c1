//! What differs between two documents, and whom it breaks.
//!
//! # Why
//!
//! The categories are oasdiff's, which is no crate. What a client sends may be asked for less strictly and never
//! more; what it is answered may be promised more strictly and never less.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::reference::resolved;
use super::shapes::{Direction, Shapes};
use super::{Operation, operations};

/// Whom a change breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Clients that keep to the old document.
    Breaking,
    /// Nobody can tell from the documents.
    Unclassified,
    /// Nobody.
    Compatible,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub(crate) struct Change {
    /// Whom it breaks.
    pub(crate) severity: Severity,
    /// The kind of change.
    pub(crate) kind: &'static str,
    /// Where.
    pub(crate) place: String,
    /// What was before and what is now.
    pub(crate) message: String,
}

/// Where changes are gathered.
#[derive(Debug, Default)]
pub(super) struct Found(Vec<Change>);

impl Found {
    pub(super) fn add(
        &mut self,
        severity: Severity,
        kind: &'static str,
        place: &str,
        message: impl Into<String>,
    ) {
        self.0.push(Change {
            severity,
            kind,
            place: place.to_owned(),
            message: message.into(),
        });
    }
}

/// The changes from one document to another, breaking ones first. Texts for people are not looked at.
pub(crate) fn changes(old: &Value, new: &Value) -> Vec<Change> {
    let mut found = Found::default();
    let by_place = |document| -> BTreeMap<String, Operation<'_>> {
        let operations = operations(document).into_iter();
        operations
            .map(|operation| (operation.place(), operation))
            .collect()
    };
    let (before, after) = (by_place(old), by_place(new));
    for (place, operation) in &before {
        match after.get(place) {
            Some(now) => Pair { old, new, place }.compare(operation.body, now.body, &mut found),
            None if new["paths"].get(operation.path).is_none() => {
                found.add(Severity::Breaking, "path-removed", place, "the path is gone");
            }
            None => found.add(
                Severity::Breaking,
                "operation-removed",
                place,
                "the operation is gone",
            ),
        }
    }
    for place in after.keys().filter(|place| !before.contains_key(*place)) {
        found.add(Severity::Compatible, "operation-added", place, "a new operation");
    }
    found.0.sort();
    found.0.dedup();
    found.0
}

/// An operation in two documents.
#[derive(Debug, Clone, Copy)]
struct Pair<'a> {
    old: &'a Value,
    new: &'a Value,
    place: &'a str,
}

impl Pair<'_> {
    fn compare(self, before: &Value, after: &Value, found: &mut Found) {
        let (id, new_id) = (&before["operationId"], &after["operationId"]);
        if id != new_id {
            let message = format!("{id} is now {new_id}: generated clients call it otherwise");
            found.add(Severity::Breaking, "operation-id-changed", self.place, message);
        }
        self.security(before, after, found);
        self.parameters(before, after, found);
        self.request(&before["requestBody"], &after["requestBody"], found);
        self.responses(before, after, found);
    }

    /// Alternatives of which a client fulfils one: a lost one breaks those who used it.
    fn security(self, before: &Value, after: &Value, found: &mut Found) {
        let alternatives = |operation: &Value, document: &Value| -> BTreeSet<String> {
            let security = operation.get("security").or_else(|| document.get("security"));
            let list = security.and_then(Value::as_array);
            match list {
                Some(list) if !list.is_empty() => list.iter().map(Value::to_string).collect(),
                Some(_) | None => BTreeSet::from(["{}".to_owned()]),
            }
        };
        let (before, after) = (alternatives(before, self.old), alternatives(after, self.new));
        // Where nothing was asked for, everything fulfils.
        if after.contains("{}") && before != after {
            return found.add(
                Severity::Compatible,
                "security-removed",
                self.place,
                "no token is needed now",
            );
        }
        for lost in before.difference(&after) {
            let kind = if lost == "{}" {
                "security-added"
            } else {
                "security-changed"
            };
            let message = format!("{lost} is no longer enough");
            found.add(Severity::Breaking, kind, self.place, message);
        }
        for new in after.difference(&before).filter(|_| before.is_subset(&after)) {
            found.add(
                Severity::Compatible,
                "security-alternative-added",
                self.place,
                new.clone(),
            );
        }
    }

    fn parameters(self, before: &Value, after: &Value, found: &mut Found) {
        let (before, after) = (named(self.old, before), named(self.new, after));
        for (name, parameter) in &before {
            let place = format!("{}, {name}", self.place);
            let Some(now) = after.get(name) else {
                found.add(
                    Severity::Breaking,
                    "parameter-removed",
                    &place,
                    "the parameter is gone",
                );
                continue;
            };
            match (is_required(parameter), is_required(now)) {
                (false, true) => found.add(
                    Severity::Breaking,
                    "parameter-required",
                    &place,
                    "it is required now",
                ),
                (true, false) => found.add(
                    Severity::Compatible,
                    "parameter-optional",
                    &place,
                    "it is optional now",
                ),
                (true, true) | (false, false) => {}
            }
            self.shapes(
                Direction::Request,
                [&parameter["schema"], &now["schema"]],
                &place,
                found,
            );
        }
        for (name, parameter) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
            let place = format!("{}, {name}", self.place);
            match is_required(parameter) {
                true => found.add(
                    Severity::Breaking,
                    "parameter-added-required",
                    &place,
                    "a new required parameter",
                ),
                false => found.add(
                    Severity::Compatible,
                    "parameter-added",
                    &place,
                    "a new optional parameter",
                ),
            }
        }
    }

    fn request(self, before: &Value, after: &Value, found: &mut Found) {
        let (before, after) = (resolved(self.old, before), resolved(self.new, after));
        let place = format!("{}, request", self.place);
        match (before.is_object(), after.is_object()) {
            (true, false) => found.add(
                Severity::Unclassified,
                "request-removed",
                &place,
                "no body is read now",
            ),
            (false, true) if is_required(after) => {
                found.add(
                    Severity::Breaking,
                    "request-added-required",
                    &place,
                    "a body is needed now",
                );
            }
            (false, true) => found.add(
                Severity::Compatible,
                "request-added",
                &place,
                "a body may be sent now",
            ),
            (true, true) if !is_required(before) && is_required(after) => {
                found.add(
                    Severity::Breaking,
                    "request-required",
                    &place,
                    "the body is needed now",
                );
            }
            (true, true) | (false, false) => {}
        }
        self.content(Direction::Request, [before, after], &place, found);
    }

    fn responses(self, before: &Value, after: &Value, found: &mut Found) {
        let empty = serde_json::Map::new();
        let all = |operation: &Value| operation["responses"].as_object().unwrap_or(&empty).clone();
        let (before, after) = (all(before), all(after));
        for (status, response) in &before {
            let place = format!("{}, {status}", self.place);
            let Some(now) = after.get(status) else {
                found.add(
                    Severity::Breaking,
                    "response-removed",
                    &place,
                    "the status is gone",
                );
                continue;
            };
            let (response, now) = (resolved(self.old, response), resolved(self.new, now));
            for (name, _) in response["headers"].as_object().into_iter().flatten() {
                if now["headers"].get(name).is_none() {
                    let message = format!("the header {name} is gone");
                    found.add(Severity::Breaking, "response-header-removed", &place, message);
                }
            }
            self.content(Direction::Response, [response, now], &place, found);
        }
        for status in after.keys().filter(|status| !before.contains_key(*status)) {
            let place = format!("{}, {status}", self.place);
            found.add(Severity::Compatible, "response-added", &place, "a new status");
        }
    }

    fn content(self, direction: Direction, [before, after]: [&Value; 2], place: &str, found: &mut Found) {
        for (kind, content) in before["content"].as_object().into_iter().flatten() {
            let place = format!("{place}, {kind}");
            match after["content"].get(kind) {
                Some(now) => self.shapes(direction, [&content["schema"], &now["schema"]], &place, found),
                None if after.is_object() => {
                    found.add(
                        Severity::Breaking,
                        "media-type-removed",
                        &place,
                        "the media type is gone",
                    );
                }
                None => {}
            }
        }
        for (kind, _) in after["content"].as_object().into_iter().flatten() {
            if before.is_object() && before["content"].get(kind).is_none() {
                let place = format!("{place}, {kind}");
                found.add(
                    Severity::Compatible,
                    "media-type-added",
                    &place,
                    "a new media type",
                );
            }
        }
    }

    fn shapes(self, direction: Direction, [before, after]: [&Value; 2], place: &str, found: &mut Found) {
        let mut shapes = Shapes::new(self.old, self.new, direction);
        shapes.compare(before, after, place, found);
    }
}

/// Parameters by place and name: `query limit`.
fn named<'a>(document: &'a Value, operation: &'a Value) -> BTreeMap<String, &'a Value> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let parameters = parameters.map(|parameter| {
        let parameter = resolved(document, parameter);
        let text = |member: &str| parameter[member].as_str().unwrap_or_default();
        (format!("{} {}", text("in"), text("name")), parameter)
    });
    parameters.collect()
}

fn is_required(holder: &Value) -> bool {
    holder["required"].as_bool().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7396.
    fn patch(target: &mut Value, by: &Value) {
        let Value::Object(members) = by else {
            *target = by.clone();
            return;
        };
        if !target.is_object() {
            *target = serde_json::json!({});
        }
        let object = target.as_object_mut().unwrap();
        for (name, member) in members {
            match member {
                Value::Null => drop(object.remove(name)),
                member => patch(object.entry(name).or_insert(Value::Null), member),
            }
        }
    }

    #[test]
    fn each_kind_of_change_is_told_and_weighed() {
        let old: Value =
            serde_json::from_str(include_str!("../../../fixtures/openapi-diff/old.json")).unwrap();
        let cases: Value =
            serde_json::from_str(include_str!("../../../fixtures/openapi-diff/cases.json")).unwrap();
        for case in cases.as_array().unwrap() {
            let mut new = old.clone();
            patch(&mut new, &case["patch"]);
            let found = changes(&old, &new);
            let told: Vec<_> = found
                .iter()
                .map(|change| (change.severity, change.kind))
                .collect();
            assert_eq!(
                serde_json::to_value(told).unwrap(),
                case["changes"],
                "{}: {found:?}",
                case["name"]
            );
        }
    }

    #[test]
    fn a_description_does_not_differ_from_itself() {
        let document = serde_json::to_value(chatctl_relay::http::openapi()).unwrap();
        assert_eq!(changes(&document, &document), []);
    }
}
