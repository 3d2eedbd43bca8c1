//! The page of the WebSocket protocol: a conversation, every frame, codes and limits.

use serde_json::{Map, Value};

use crate::http::docs::conversation::{self, Frame, Part};
use crate::http::docs::html::Html;

/// The sections of the page, for its table of contents.
pub(super) const SECTIONS: [(&str, &str); 7] = [
    ("ws-connect", "Connecting"),
    ("ws-conversation", "A conversation"),
    ("ws-client", "Frames of the client"),
    ("ws-relay", "Frames of the relay"),
    ("ws-types", "Shared types"),
    ("ws-close", "Close codes"),
    ("ws-limits", "Send errors and limits"),
];

/// Everything between the page's heading and its foot.
pub(super) fn content(html: &mut Html, api: &Value) {
    let channel = api.pointer("/channels/session").unwrap_or(&Value::Null);
    let [connect, talk, client, relay, types, close, limits] = SECTIONS;
    section(html, connect, |html| connecting(html, api, channel));
    section(html, talk, |html| {
        conversation::parts().iter().for_each(|part| match part {
            Part::Words(words) => html.prose(words),
            Part::Frame(frame) => spoken(html, frame),
        });
    });
    section(html, client, |html| frames(html, api, "client"));
    section(html, relay, |html| frames(html, api, "relay"));
    section(html, types, |html| shared(html, api));
    section(html, close, |html| {
        html.prose("A close that the relay chooses is announced by a `goodbye` with the same code.");
        close_codes(html, channel);
    });
    section(html, limits, |html| {
        send_err_codes(html, channel);
        limit_table(html, api, channel);
    });
}

fn section(html: &mut Html, (id, title): (&str, &str), inner: impl FnOnce(&mut Html)) {
    html.tag("section", &[("id", id)], |html| {
        html.leaf("h2", &[], title);
        inner(html);
    });
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn members<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value
        .pointer(pointer)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

fn connecting(html: &mut Html, api: &Value, channel: &Value) {
    html.prose(
        api.pointer("/info/description")
            .and_then(Value::as_str)
            .unwrap_or_default(),
    );
    html.prose(word(channel, "description"));
    html.block("The upgrade", |html| html.text(UPGRADE));
    html.table("Subprotocols", &["subprotocol", "messages", "each is"], |html| {
        for protocol in items(channel, "x-subprotocols") {
            html.tag("tr", &[], |html| {
                html.tag("th", &[("scope", "row")], |html| {
                    html.leaf("code", &[], word(protocol, "name"))
                });
                html.leaf("td", &[], word(protocol, "message"));
                html.leaf("td", &[], word(protocol, "form"));
            });
        }
    });
    html.table("Headers of the upgrade", &["header", "meaning"], |html| {
        for (name, header) in members(channel, "/bindings/ws/headers/properties") {
            html.tag("tr", &[], |html| {
                html.tag("th", &[("scope", "row")], |html| html.leaf("code", &[], name));
                html.tag("td", &[], |html| html.line(word(header, "description")));
            });
        }
    });
}

/// A frame in both encodings, side by side.
fn spoken(html: &mut Html, frame: &Frame) {
    let class = match frame.way.starts_with("relay") {
        true => "spoken from-relay",
        false => "spoken from-client",
    };
    html.tag("figure", &[("class", class)], |html| {
        html.tag("figcaption", &[], |html| {
            html.leaf("span", &[("class", "way")], &frame.way);
            let kind = frame.json.as_object().and_then(|frame| frame.keys().next());
            let kind = kind.map_or("", String::as_str);
            html.leaf("a", &[("href", &format!("#frame-{kind}"))], kind);
        });
        both(html, &frame.way, &frame.json, &frame.hex);
    });
}

/// A frame as JSON and as protobuf.
fn both(html: &mut Html, label: &str, json: &Value, hex: &str) {
    let digits: String = hex.split_whitespace().collect();
    // Words of four bytes: they break at the same places in every width, and `xxd -r -p` reads them.
    let words: Vec<_> = digits.as_bytes().chunks(8).map(String::from_utf8_lossy).collect();
    html.tag("div", &[("class", "both")], |html| {
        html.tag("div", &[], |html| {
            html.leaf("p", &[("class", "form")], "JSON");
            html.block(&format!("{label} as JSON"), |html| html.json(json));
        });
        html.tag("div", &[], |html| {
            let form = format!("protobuf, {} bytes", digits.len() / 2);
            html.leaf("p", &[("class", "form")], &form);
            html.block(&format!("{label} as protobuf"), |html| {
                html.leaf("span", &[("class", "hex")], &words.join(" "));
            });
        });
    });
}

/// The frames of one side, in the order of their numbers.
fn of_side<'a>(api: &'a Value, speaker: &str) -> Vec<(&'a String, &'a Value)> {
    let mut frames: Vec<_> = members(api, "/components/messages")
        .filter(|(_, message)| word(message, "x-sent-by") == speaker)
        .collect();
    frames.sort_by_key(|(_, message)| message.pointer("/x-protobuf/field").and_then(Value::as_u64));
    frames
}

/// The frames of one side for the contents: where each stands, and its name.
pub(super) fn entries(api: &Value, speaker: &str) -> Vec<(String, String)> {
    let frames = of_side(api, speaker).into_iter();
    frames
        .map(|(name, _)| (format!("frame-{name}"), name.clone()))
        .collect()
}

fn frames(html: &mut Html, api: &Value, speaker: &str) {
    for (name, message) in of_side(api, speaker) {
        html.tag(
            "article",
            &[("id", &format!("frame-{name}")), ("class", "frame")],
            |html| {
                html.tag("h3", &[], |html| {
                    html.leaf("code", &[], name);
                    let number = message
                        .pointer("/x-protobuf/field")
                        .map(Value::to_string)
                        .unwrap_or_default();
                    html.leaf("span", &[("class", "note")], &format!("field {number} of Frame"));
                });
                html.prose(word(message, "description"));
                let schema = format!("/components/schemas/{}", word(message, "title"));
                fields(html, name, api.pointer(&schema).unwrap_or(&Value::Null));
                let examples = items(message, "examples")
                    .iter()
                    .zip(items(message, "x-protobuf-examples"));
                for (example, hex) in examples {
                    html.tag("details", &[], |html| {
                        html.leaf("summary", &[], "With every field set");
                        let json = example.get("payload").unwrap_or(&Value::Null);
                        both(html, name, json, hex.as_str().unwrap_or_default());
                    });
                }
            },
        );
    }
}

/// Messages that are parts of others, and enums.
fn shared(html: &mut Html, api: &Value) {
    let bodies: Vec<_> = members(api, "/components/messages")
        .map(|(_, message)| word(message, "title"))
        .collect();
    let shared = members(api, "/components/schemas").filter(|(name, _)| !bodies.contains(&name.as_str()));
    for (name, schema) in shared.filter(|(_, schema)| schema.get("schemaFormat").is_none()) {
        html.tag(
            "article",
            &[("id", &format!("type-{name}")), ("class", "frame")],
            |html| {
                html.leaf("h3", &[], name);
                html.prose(word(schema, "description"));
                match schema.pointer("/x-protobuf/values").and_then(Value::as_object) {
                    Some(values) => enum_table(html, name, values),
                    None => fields(html, name, schema),
                }
            },
        );
    }
}

fn enum_table(html: &mut Html, name: &str, values: &Map<String, Value>) {
    let number = |value: &Value| value.get("number").and_then(Value::as_i64);
    let mut values: Vec<_> = values.iter().collect();
    values.sort_by_key(|(_, value)| number(value));
    html.table(
        &format!("Values of {name}"),
        &["value", "number", "meaning"],
        |html| {
            for (name, value) in values {
                html.tag("tr", &[], |html| {
                    html.tag("th", &[("scope", "row")], |html| html.leaf("code", &[], name));
                    html.leaf("td", &[], &number(value).unwrap_or_default().to_string());
                    html.tag("td", &[], |html| html.line(word(value, "description")));
                });
            }
        },
    );
}

fn fields(html: &mut Html, name: &str, schema: &Value) {
    let number = |field: &Value| field.pointer("/x-protobuf/field").and_then(Value::as_u64);
    let mut fields: Vec<_> = members(schema, "/properties").collect();
    fields.sort_by_key(|(_, field)| number(field));
    if fields.is_empty() {
        return html.prose("No fields.");
    }
    html.table(
        &format!("Fields of {name}"),
        &["field", "no.", "type", "meaning"],
        |html| {
            for (name, field) in fields {
                html.tag("tr", &[], |html| {
                    html.tag("th", &[("scope", "row")], |html| html.leaf("code", &[], name));
                    html.leaf("td", &[], &format!("= {}", number(field).unwrap_or_default()));
                    html.tag("td", &[], |html| field_kind(html, field));
                    html.tag("td", &[], |html| html.line(word(field, "description")));
                });
            }
        },
    );
}

fn field_kind(html: &mut Html, field: &Value) {
    let kind = field
        .pointer("/x-protobuf/type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let (repeated, kind) = match kind.strip_prefix("repeated ") {
        Some(kind) => ("repeated ", kind),
        None => ("", kind),
    };
    html.text(repeated);
    match kind.starts_with(|letter: char| letter.is_ascii_uppercase()) {
        true => html.leaf("a", &[("href", &format!("#type-{kind}"))], kind),
        false => html.text(kind),
    }
}

fn close_codes(html: &mut Html, channel: &Value) {
    html.table("Close codes", &["code", "name", "meaning", "then"], |html| {
        for code in items(channel, "x-close-codes") {
            let number = code.get("code").map(Value::to_string).unwrap_or_default();
            html.tag("tr", &[("id", &format!("close-{number}"))], |html| {
                html.tag("th", &[("scope", "row")], |html| html.leaf("code", &[], &number));
                html.leaf("td", &[], word(code, "name"));
                html.tag("td", &[], |html| html.line(word(code, "meaning")));
                let comes_back = code.get("reconnect") == Some(&Value::Bool(true));
                html.leaf("td", &[], if comes_back { "reconnect" } else { "stay away" });
            });
        }
    });
}

fn send_err_codes(html: &mut Html, channel: &Value) {
    html.table(
        "Codes of sendErr",
        &["sendErr.code", "meaning", "same send again"],
        |html| {
            for code in items(channel, "x-send-err-codes") {
                html.tag("tr", &[], |html| {
                    html.tag("th", &[("scope", "row")], |html| {
                        html.leaf("code", &[], word(code, "code"))
                    });
                    html.tag("td", &[], |html| html.line(word(code, "meaning")));
                    let is_retryable = code.get("retryable") == Some(&Value::Bool(true));
                    html.leaf(
                        "td",
                        &[],
                        if is_retryable {
                            "retry may succeed"
                        } else {
                            "fails again"
                        },
                    );
                });
            }
        },
    );
}

fn limit_table(html: &mut Html, api: &Value, channel: &Value) {
    let of_schema = |name: &str| {
        members(api, "/components/schemas/Limits/properties").any(|(_, field)| {
            field
                .pointer("/x-protobuf/name")
                .is_some_and(|known| known == name)
        })
    };
    html.prose("The defaults; a relay's own are in `helloOk` and at `GET /v1/limits`.");
    html.table("Limits", &["limit", "default"], |html| {
        for (name, value) in members(channel, "/x-limits").filter(|(name, _)| of_schema(name)) {
            html.tag("tr", &[], |html| {
                html.tag("th", &[("scope", "row")], |html| html.leaf("code", &[], name));
                html.leaf("td", &[], &value.to_string());
            });
        }
    });
}

const UPGRADE: &str = "GET /v1/ws HTTP/1.1
Host: relay.example
Connection: Upgrade
Upgrade: websocket
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
Sec-WebSocket-Protocol: chatctl.v1.json";
