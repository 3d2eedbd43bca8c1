//! The operations of the HTTP API, each with all that a caller needs.

use chatctl_protocol::Code;
use serde_json::{Map, Value};

use crate::http::docs::html::Html;
use crate::http::docs::schemas::{self, bounds, kind, sample};
use crate::http::problem;

/// An operation where it stands in the document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation<'a> {
    /// `get`.
    pub(super) method: &'a str,
    /// `/v1/limits`.
    pub(super) path: &'a str,
    /// What the document says of it.
    pub(super) about: &'a Value,
    /// The document.
    api: &'a Value,
}

/// The operations by their tags, tags in the order of their first path.
pub(super) fn by_tag(api: &Value) -> Vec<(&str, Vec<Operation<'_>>)> {
    const METHODS: [&str; 7] = ["get", "put", "post", "patch", "delete", "head", "options"];
    let mut tags: Vec<(&str, Vec<Operation<'_>>)> = Vec::new();
    let paths = api.get("paths").and_then(Value::as_object).into_iter().flatten();
    for (path, item) in paths {
        for method in METHODS {
            let Some(about) = item.get(method) else { continue };
            let tag = about
                .pointer("/tags/0")
                .and_then(Value::as_str)
                .unwrap_or("other");
            let operation = Operation {
                method,
                path,
                about,
                api,
            };
            match tags.iter_mut().find(|(known, _)| *known == tag) {
                Some((_, operations)) => operations.push(operation),
                None => tags.push((tag, vec![operation])),
            }
        }
    }
    // What an app needs first comes first; what is new comes last until it has a place here.
    const ORDER: [&str; 6] = ["session", "messages", "devices", "keys", "info", "operations"];
    tags.sort_by_key(|(tag, _)| ORDER.iter().position(|known| known == tag).unwrap_or(ORDER.len()));
    tags
}

impl Operation<'_> {
    /// Where it stands on the page.
    pub(super) fn anchor(&self) -> String {
        let path = self
            .path
            .trim_start_matches('/')
            .replace(['/', '{', '}', '.'], "-");
        format!("op-{}-{path}", self.method)
    }

    fn word(&self, key: &str) -> &str {
        self.about.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// Its article.
    pub(super) fn show(&self, html: &mut Html) {
        html.tag(
            "article",
            &[("id", &self.anchor()), ("class", "operation")],
            |html| {
                html.tag("h3", &[], |html| {
                    html.leaf(
                        "span",
                        &[("class", &format!("method {}", self.method))],
                        &self.method.to_uppercase(),
                    );
                    html.text(" ");
                    html.leaf("code", &[], self.path);
                });
                html.tag("p", &[("class", "summary")], |html| {
                    html.line(self.word("summary"))
                });
                html.prose(self.word("description"));
                html.tag("p", &[("class", "auth")], |html| html.line(self.auth()));
                self.parameters(html);
                self.body(html);
                html.leaf("h4", &[], "Try it");
                html.block("Request with curl", |html| html.text(&self.curl()));
                self.answers(html);
            },
        );
    }

    fn auth(&self) -> &'static str {
        let schemes = self.about.get("security").and_then(Value::as_array);
        match schemes.is_some_and(|schemes| !schemes.is_empty()) {
            _ if self.path == "/v1/ws" => "Needs a token: `Authorization: Bearer …`, or one in `hello`",
            true => "Needs a token: `Authorization: Bearer …`",
            false => "Needs no token",
        }
    }

    fn items(&self, key: &str) -> &[Value] {
        self.about
            .get(key)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    fn parameters(&self, html: &mut Html) {
        let parameters = self.items("parameters");
        if parameters.is_empty() {
            return;
        }
        html.leaf("h4", &[], "Parameters");
        html.table(
            &format!("Parameters of {}", self.path),
            &["name", "in", "type", "meaning"],
            |html| {
                for parameter in parameters
                    .iter()
                    .map(|parameter| schemas::resolve(self.api, parameter))
                {
                    let word = |key| parameter.get(key).and_then(Value::as_str).unwrap_or_default();
                    let schema = parameter.get("schema").unwrap_or(&Value::Null);
                    html.tag("tr", &[], |html| {
                        html.tag("th", &[("scope", "row")], |html| {
                            html.leaf("code", &[], word("name"));
                            if parameter.get("required") != Some(&Value::Bool(true)) {
                                html.leaf("span", &[("class", "note")], "optional");
                            }
                        });
                        html.leaf("td", &[], word("in"));
                        html.tag("td", &[], |html| kind(html, schema));
                        html.tag("td", &[], |html| {
                            html.line(word("description"));
                            html.leaf("span", &[("class", "note")], &bounds(schema));
                        });
                    });
                }
            },
        );
    }

    fn body(&self, html: &mut Html) {
        let Some(content) = self
            .about
            .pointer("/requestBody/content")
            .and_then(Value::as_object)
        else {
            return;
        };
        for (media, body) in content {
            html.tag("h4", &[], |html| {
                html.text("Body: ");
                kind(html, body.get("schema").unwrap_or(&Value::Null));
                html.leaf("span", &[("class", "note")], media);
            });
            html.block("Example of the body", |html| html.json(&example(self.api, body)));
        }
    }

    fn answers(&self, html: &mut Html) {
        let none = Map::new();
        let answers = self
            .about
            .get("responses")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        html.leaf("h4", &[], "Answers");
        html.table(
            &format!("Answers of {}", self.path),
            &["status", "meaning", "body"],
            |html| {
                for (status, answer) in answers {
                    let answer = schemas::resolve(self.api, answer);
                    html.tag("tr", &[], |html| {
                        let class = format!("status s{}", status.get(..1).unwrap_or_default());
                        html.tag("th", &[("scope", "row")], |html| {
                            html.leaf("span", &[("class", &class)], status)
                        });
                        html.tag("td", &[], |html| meaning(html, answer));
                        html.tag("td", &[], |html| {
                            let content = answer
                                .get("content")
                                .and_then(Value::as_object)
                                .into_iter()
                                .flatten();
                            for (_, body) in content.take(1) {
                                kind(html, body.get("schema").unwrap_or(&Value::Null));
                            }
                        });
                    });
                }
            },
        );
        let good = answers.iter().find(|(status, _)| status.starts_with('2'));
        let content = good.and_then(|(_, answer)| answer.get("content")?.as_object()?.iter().next());
        if let Some((_, body)) = content.filter(|(media, _)| media.contains("json")) {
            html.tag("details", &[], |html| {
                html.leaf("summary", &[], "An answer");
                html.block("Example of an answer", |html| html.json(&example(self.api, body)));
            });
        }
    }

    fn curl(&self) -> String {
        let mut path = self.path.to_owned();
        let mut lines = Vec::new();
        for (parameter, value) in PARAMETERS {
            path = path.replace(&format!("{{{parameter}}}"), value);
        }
        if self.path == "/v1/ws" {
            return format!("websocat --protocol chatctl.v1.json ws://127.0.0.1:8480{path}");
        }
        let method = match self.method {
            "get" => String::new(),
            method => format!("-X {} ", method.to_uppercase()),
        };
        lines.push(format!("curl {method}http://127.0.0.1:8480{path}"));
        if !self.items("security").is_empty() {
            lines.push("-H @token-header".to_owned());
        }
        let content = self
            .about
            .pointer("/requestBody/content")
            .and_then(Value::as_object);
        if let Some((media, body)) = content.and_then(|content| content.iter().next()) {
            lines.push(format!("-H 'Content-Type: {media}'"));
            lines.push(format!(
                "-d '{}'",
                example(self.api, body).to_string().replace('\'', "'\\''")
            ));
        }
        lines.join(" \\\n     ")
    }
}

/// The example of a body: its own, or a sample of its schema.
fn example(api: &Value, body: &Value) -> Value {
    let own = body.get("example");
    let named = || body.get("examples")?.as_object()?.values().next()?.get("value");
    own.or_else(named)
        .cloned()
        .unwrap_or_else(|| sample(api, body.get("schema").unwrap_or(&Value::Null), 0))
}

/// A description in which every problem code leads to its row.
fn meaning(html: &mut Html, answer: &Value) {
    let text = answer
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    for (at, part) in text.split('`').enumerate() {
        match at % 2 {
            0 => html.text(part),
            _ => code(html, part),
        }
    }
    let content = answer
        .get("content")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let named = content
        .filter_map(|(_, body)| body.get("examples")?.as_object())
        .flatten();
    for name in named
        .map(|(name, _)| name.as_str())
        .filter(|name| !text.contains(name))
    {
        html.text(" ");
        code(html, name);
    }
}

fn code(html: &mut Html, word: &str) {
    match Code::ALL.iter().any(|code| code.as_str() == word) {
        true => html.tag("a", &[("href", &format!("#problem-{word}"))], |html| {
            html.leaf("code", &[], word)
        }),
        false => html.leaf("code", &[], word),
    }
}

/// The table of problem codes.
pub(super) fn problems(html: &mut Html) {
    html.table(
        "Problem codes",
        &["code", "status", "meaning", "same request again"],
        |html| {
            for code in Code::ALL {
                html.tag("tr", &[("id", &format!("problem-{}", code.as_str()))], |html| {
                    html.tag("th", &[("scope", "row")], |html| {
                        html.leaf("code", &[], code.as_str())
                    });
                    html.leaf("td", &[], problem::status(code).as_str());
                    html.tag("td", &[], |html| html.line(code.meaning()));
                    html.leaf(
                        "td",
                        &[],
                        if code.retryable() {
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

/// What stands in the place of parameters.
const PARAMETERS: [(&str, &str); 6] = [
    ("account", "bob"),
    ("device_id", "1"),
    ("suite", "signal"),
    ("pool", "ec"),
    ("jti", "5f2c"),
    ("kid", "2026-11"),
];
