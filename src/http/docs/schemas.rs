//! Schemas of the HTTP API: their types in words, their tables, and samples of them.

use serde_json::{Map, Value, json};

use crate::http::docs::html::Html;

/// The schema that a value is or refers to.
pub(super) fn resolve<'a>(api: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(target) => target
            .strip_prefix('#')
            .and_then(|pointer| api.pointer(pointer))
            .unwrap_or(schema),
        None => schema,
    }
}

/// The name that a schema refers to.
pub(super) fn name(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.rsplit('/').next()
}

/// A type in words, linked where it has a name.
pub(super) fn kind(html: &mut Html, schema: &Value) {
    if let Some(name) = name(schema) {
        let href = format!("#schema-{name}");
        return html.leaf("a", &[("href", &href)], name);
    }
    // What an allOf adds to its first schema narrows that.
    if let Some(first) = schema.get("allOf").and_then(|all| all.get(0)) {
        return kind(html, first);
    }
    if let Some(choices) = ["oneOf", "anyOf"]
        .iter()
        .find_map(|key| schema.get(key)?.as_array())
    {
        for (at, choice) in choices.iter().enumerate() {
            if at > 0 {
                html.text(" or ");
            }
            kind(html, choice);
        }
        return;
    }
    let words: Vec<&str> = match schema.get("type") {
        Some(Value::String(word)) => vec![word],
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => vec!["anything"],
    };
    for (at, word) in words.iter().enumerate() {
        if at > 0 {
            html.text(" or ");
        }
        let of = |key| schema.get(key).filter(|inner: &&Value| inner.is_object());
        match (*word, of("items"), of("additionalProperties")) {
            ("array", Some(items), _) => {
                html.text("list of ");
                kind(html, items);
            }
            ("object", _, Some(values)) => {
                html.text("map of ");
                kind(html, values);
            }
            ("string", ..) if schema.get("format").is_some_and(|format| format == "byte") => {
                html.text("base64")
            }
            _ => html.text(word),
        }
    }
}

/// Bounds of a value, in words.
pub(super) fn bounds(schema: &Value) -> String {
    const WORDS: [(&str, &str); 11] = [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("minLength", "length at least"),
        ("maxLength", "length at most"),
        ("minItems", "items at least"),
        ("maxItems", "items at most"),
        ("maxProperties", "members at most"),
        ("pattern", "matches"),
        ("const", "always"),
        ("enum", "one of"),
        ("default", "default"),
    ];
    let length = schema
        .get("minLength")
        .filter(|least| schema.get("maxLength") == Some(least));
    if let Some(length) = length {
        return format!("length {length}");
    }
    let bounds = WORDS
        .iter()
        .filter_map(|(key, word)| Some((schema.get(key)?, word)));
    let bounds = bounds.map(|(value, word)| match value {
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(plain).collect();
            format!("{word} {}", values.join(", "))
        }
        value => format!("{word} {}", plain(value)),
    });
    bounds.collect::<Vec<_>>().join("; ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Every schema of the API with its members.
pub(super) fn section(html: &mut Html, api: &Value) {
    let none = Map::new();
    let schemas = api
        .pointer("/components/schemas")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    for (name, schema) in schemas {
        html.tag(
            "article",
            &[("id", &format!("schema-{name}")), ("class", "schema")],
            |html| {
                html.leaf("h3", &[], name);
                html.prose(
                    schema
                        .get("description")
                        .and_then(Value::as_str)
                        .unwrap_or_default(),
                );
                members(html, name, schema);
            },
        );
    }
}

fn members(html: &mut Html, name: &str, schema: &Value) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return html.tag("p", &[], |html| {
            kind(html, schema);
            html.text(" ");
            html.text(&bounds(schema));
        });
    };
    let required = |name: &str| {
        let names = schema.get("required").and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|known| known == name))
    };
    html.table(
        &format!("Members of {name}"),
        &["member", "type", "meaning"],
        |html| {
            for (name, property) in properties {
                html.tag("tr", &[], |html| {
                    html.tag("th", &[("scope", "row")], |html| {
                        html.leaf("code", &[], name);
                        if !required(name) {
                            html.leaf("span", &[("class", "note")], "optional");
                        }
                    });
                    html.tag("td", &[], |html| kind(html, property));
                    html.tag("td", &[], |html| {
                        html.line(
                            property
                                .get("description")
                                .and_then(Value::as_str)
                                .unwrap_or_default(),
                        );
                        let bounds = bounds(property);
                        if !bounds.is_empty() {
                            html.leaf("span", &[("class", "note")], &bounds);
                        }
                    });
                });
            }
        },
    );
}

/// A value that fits a schema: its example, its default, or something of its type.
pub(super) fn sample(api: &Value, schema: &Value, depth: usize) -> Value {
    let schema = resolve(api, schema);
    let given = ["example", "const", "default"]
        .iter()
        .find_map(|key| schema.get(key));
    let given = given
        .or_else(|| schema.get("examples")?.get(0))
        .or_else(|| schema.get("enum")?.get(0));
    if let Some(given) = given {
        return given.clone();
    }
    let choice = ["oneOf", "anyOf", "allOf"].iter().find_map(|key| {
        let choices = schema.get(key)?.as_array()?;
        choices
            .iter()
            .find(|choice| choice.get("type").is_none_or(|word| word != "null"))
    });
    if let Some(choice) = choice {
        return sample(api, choice, depth);
    }
    let word = match schema.get("type") {
        Some(Value::Array(words)) => words.first().and_then(Value::as_str),
        word => word.and_then(Value::as_str),
    };
    match word {
        // Deeper than any of ours: a schema that holds itself must end somewhere.
        _ if depth > 8 => Value::Null,
        Some("object") => object(api, schema, depth),
        Some("array") => json!([sample(
            api,
            schema.get("items").unwrap_or(&Value::Null),
            depth + 1
        )]),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("boolean") => json!(false),
        Some("string") => json!("text"),
        _ => Value::Null,
    }
}

fn object(api: &Value, schema: &Value, depth: usize) -> Value {
    let none = Map::new();
    let properties = schema
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let mut object: Map<_, _> = properties
        .iter()
        .map(|(name, property)| (name.clone(), sample(api, property, depth + 1)))
        .collect();
    if let Some(values) = schema
        .get("additionalProperties")
        .filter(|values| values.is_object())
    {
        object.insert("name".to_owned(), sample(api, values, depth + 1));
    }
    Value::Object(object)
}
