//! Schemas side by side: what one takes or promises that the other does not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::changes::{Found, Severity};
use super::reference::resolved;

/// Which way a value travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the client: narrowing breaks.
    Request,
    /// To the client: widening breaks.
    Response,
}

impl Direction {
    const fn narrowed(self) -> Severity {
        match self {
            Self::Request => Severity::Breaking,
            Self::Response => Severity::Compatible,
        }
    }

    const fn widened(self) -> Severity {
        match self {
            Self::Request => Severity::Compatible,
            Self::Response => Severity::Breaking,
        }
    }
}

/// Two documents' schemas.
#[derive(Debug)]
pub(super) struct Shapes<'a> {
    old: &'a Value,
    new: &'a Value,
    direction: Direction,
    /// Pairs of references that are being compared: a schema may hold itself.
    open: Vec<(String, String)>,
}

/// A schema without its references and compositions of parts.
#[derive(Debug, Default)]
struct Shape {
    types: BTreeSet<String>,
    values: Option<BTreeSet<String>>,
    properties: BTreeMap<String, Value>,
    required: BTreeSet<String>,
    rest: Map<String, Value>,
}

impl<'a> Shapes<'a> {
    pub(super) const fn new(old: &'a Value, new: &'a Value, direction: Direction) -> Self {
        Self {
            old,
            new,
            direction,
            open: Vec::new(),
        }
    }

    pub(super) fn compare(&mut self, before: &Value, after: &Value, place: &str, found: &mut Found) {
        let names = (before["$ref"].to_string(), after["$ref"].to_string());
        let is_named = before.get("$ref").is_some() && after.get("$ref").is_some();
        if is_named && self.open.contains(&names) {
            return;
        }
        self.open.push(names);
        let (mut was, mut is) = (Shape::default(), Shape::default());
        was.take_in(self.old, before, 0);
        is.take_in(self.new, after, 0);
        self.types(&was, &is, place, found);
        self.values(&was, &is, place, found);
        self.bounds(&was, &is, place, found);
        self.properties(&was, &is, place, found);
        for member in ["items", "additionalProperties", "propertyNames"] {
            let (before, after) = (was.member(member), is.member(member));
            if before.is_object() && after.is_object() {
                self.compare(before, after, &format!("{place}, {member}"), found);
            } else if before != after {
                self.differs(member, [before, after], place, found);
            }
        }
        for member in [
            "format",
            "contentEncoding",
            "const",
            "oneOf",
            "anyOf",
            "not",
            "default",
            "uniqueItems",
        ] {
            if was.member(member) != is.member(member) {
                self.differs(member, [was.member(member), is.member(member)], place, found);
            }
        }
        self.open.pop();
    }

    fn types(&self, was: &Shape, is: &Shape, place: &str, found: &mut Found) {
        // No type means every type.
        let covers = |wide: &Shape, kind: &String| {
            wide.types.is_empty()
                || wide.types.contains(kind)
                || (kind == "integer" && wide.types.contains("number"))
        };
        let narrowed =
            was.types.is_empty() && !is.types.is_empty() || was.types.iter().any(|kind| !covers(is, kind));
        let widened =
            is.types.is_empty() && !was.types.is_empty() || is.types.iter().any(|kind| !covers(was, kind));
        let message = format!("{:?} is now {:?}", was.types, is.types);
        match (narrowed, widened) {
            (true, true) => found.add(Severity::Breaking, "type-changed", place, message),
            (true, false) => found.add(self.direction.narrowed(), "type-narrowed", place, message),
            (false, true) => found.add(self.direction.widened(), "type-widened", place, message),
            (false, false) => {}
        }
    }

    fn values(&self, was: &Shape, is: &Shape, place: &str, found: &mut Found) {
        let list = |values: BTreeSet<&String>| values.into_iter().cloned().collect::<Vec<_>>().join(", ");
        match (&was.values, &is.values) {
            (Some(was), Some(is)) => {
                let (lost, new) = (
                    list(was.difference(is).collect()),
                    list(is.difference(was).collect()),
                );
                if !lost.is_empty() {
                    found.add(
                        self.direction.narrowed(),
                        "enum-narrowed",
                        place,
                        format!("without {lost}"),
                    );
                }
                if !new.is_empty() {
                    found.add(
                        self.direction.widened(),
                        "enum-widened",
                        place,
                        format!("with {new}"),
                    );
                }
            }
            (None, Some(_)) => found.add(
                self.direction.narrowed(),
                "enum-narrowed",
                place,
                "only listed values now",
            ),
            (Some(_), None) => found.add(self.direction.widened(), "enum-widened", place, "any value now"),
            (None, None) => {}
        }
    }

    fn bounds(&self, was: &Shape, is: &Shape, place: &str, found: &mut Found) {
        let bounds = LOWER
            .iter()
            .map(|name| (name, true))
            .chain(UPPER.iter().map(|name| (name, false)));
        for (name, is_lower) in bounds {
            let (before, after) = (was.member(name).as_f64(), is.member(name).as_f64());
            if before == after {
                continue;
            }
            let tightened = match (before, after) {
                (None, _) => true,
                (_, None) => false,
                (Some(before), Some(after)) => (after > before) == is_lower,
            };
            let message = format!("{name} {} is now {}", was.member(name), is.member(name));
            match tightened {
                true => found.add(self.direction.narrowed(), "bound-tightened", place, message),
                false => found.add(self.direction.widened(), "bound-loosened", place, message),
            }
        }
        let (before, after) = (was.member("pattern"), is.member("pattern"));
        match (before.is_null(), after.is_null()) {
            (true, false) => found.add(
                self.direction.narrowed(),
                "pattern-added",
                place,
                after.to_string(),
            ),
            (false, true) => found.add(
                self.direction.widened(),
                "pattern-removed",
                place,
                before.to_string(),
            ),
            (false, false) if before != after => self.differs("pattern", [before, after], place, found),
            (true, true) | (false, false) => {}
        }
    }

    fn properties(&mut self, was: &Shape, is: &Shape, place: &str, found: &mut Found) {
        let to_client = self.direction == Direction::Response;
        for (name, before) in &was.properties {
            let place = format!("{place}, {name}");
            let required = was.required.contains(name);
            let Some(after) = is.properties.get(name) else {
                let severity = match (to_client, required) {
                    (true, true) => Severity::Breaking,
                    (true, false) | (false, _) => Severity::Unclassified,
                };
                found.add(severity, "field-removed", &place, "the field is gone");
                continue;
            };
            match (required, is.required.contains(name)) {
                (false, true) => found.add(
                    self.direction.narrowed(),
                    "field-required",
                    &place,
                    "it is required now",
                ),
                (true, false) => found.add(
                    self.direction.widened(),
                    "field-optional",
                    &place,
                    "it is optional now",
                ),
                (true, true) | (false, false) => {}
            }
            self.compare(before, after, &place, found);
        }
        for name in is
            .properties
            .keys()
            .filter(|name| !was.properties.contains_key(*name))
        {
            let place = format!("{place}, {name}");
            match is.required.contains(name) && !to_client {
                true => found.add(
                    Severity::Breaking,
                    "field-added-required",
                    &place,
                    "a new required field",
                ),
                false => found.add(Severity::Compatible, "field-added", &place, "a new field"),
            }
        }
    }

    fn differs(&self, what: &str, [before, after]: [&Value; 2], place: &str, found: &mut Found) {
        let message = format!("{what} {before} is now {after}");
        found.add(Severity::Unclassified, "schema-changed", place, message);
    }
}

impl Shape {
    /// Adds what a schema says; parts of an `allOf` add up, and a choice with null is the other with null.
    fn take_in(&mut self, document: &Value, schema: &Value, depth: usize) {
        let schema = resolved(document, schema);
        let Some(members) = schema.as_object().filter(|_| depth < MAX_PARTS) else {
            return;
        };
        for (name, member) in members {
            match (name.as_str(), member) {
                ("allOf", Value::Array(parts)) => {
                    parts
                        .iter()
                        .for_each(|part| self.take_in(document, part, depth + 1));
                }
                ("oneOf" | "anyOf", Value::Array(choices)) => match or_null(choices) {
                    Some(other) => {
                        self.take_in(document, other, depth + 1);
                        self.types.insert("null".to_owned());
                    }
                    None => drop(self.rest.insert(name.clone(), member.clone())),
                },
                ("type", Value::String(kind)) => drop(self.types.insert(kind.clone())),
                ("type", Value::Array(kinds)) => {
                    self.types
                        .extend(kinds.iter().filter_map(Value::as_str).map(str::to_owned));
                }
                ("enum", Value::Array(values)) => {
                    let values: BTreeSet<_> = values.iter().map(Value::to_string).collect();
                    self.values = Some(match self.values.take() {
                        Some(known) => known.intersection(&values).cloned().collect(),
                        None => values,
                    });
                }
                ("properties", Value::Object(properties)) => {
                    for (name, property) in properties {
                        self.add_property(name, property);
                    }
                }
                ("required", Value::Array(names)) => {
                    self.required
                        .extend(names.iter().filter_map(Value::as_str).map(str::to_owned));
                }
                _ => drop(self.rest.insert(name.clone(), member.clone())),
            }
        }
    }

    fn add_property(&mut self, name: &str, property: &Value) {
        let both = match self.properties.remove(name) {
            Some(known) => serde_json::json!({ "allOf": [known, property] }),
            None => property.clone(),
        };
        self.properties.insert(name.to_owned(), both);
    }

    fn member(&self, name: &str) -> &Value {
        self.rest.get(name).unwrap_or(&Value::Null)
    }
}

/// The one choice besides null.
fn or_null(choices: &[Value]) -> Option<&Value> {
    let is_null = |choice: &&Value| choice["type"] == "null";
    match choices {
        [first, second] if is_null(&first) => Some(second),
        [first, second] if is_null(&second) => Some(first),
        _ => None,
    }
}

const LOWER: [&str; 5] = [
    "minLength",
    "minimum",
    "exclusiveMinimum",
    "minItems",
    "minProperties",
];
const UPPER: [&str; 5] = [
    "maxLength",
    "maximum",
    "exclusiveMaximum",
    "maxItems",
    "maxProperties",
];

/// Parts within parts; more are a circle.
const MAX_PARTS: usize = 16;
