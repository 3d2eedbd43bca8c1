//! The frame of the pages: head, navigation, overview; as served, and as one file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::http::docs::html::Html;
use crate::http::docs::operations::{self, Operation};
use crate::http::docs::{Sources, schemas, websocket};

/// Where something is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// `/docs`.
    Http,
    /// `/docs/websocket`.
    WebSocket,
    /// One file with both.
    OneFile,
}

/// A page as it is served.
pub(super) fn served(sources: &Sources, place: Place) -> String {
    let mut head = Html::default();
    head.raw("<link rel=\"icon\" href=\"/docs/icon.svg\" type=\"image/svg+xml\">");
    head.raw("<link rel=\"stylesheet\" href=\"/docs/style.css\">");
    head.raw("<script src=\"/docs/script.js\" defer></script>");
    document(sources, place, &head)
}

/// Both pages as one file, that may load nothing at all.
pub(super) fn one_file(sources: &Sources) -> String {
    let hash = |source: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(source)));
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; img-src data:; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    let mut head = Html::default();
    let meta = [
        ("http-equiv", "Content-Security-Policy"),
        ("content", policy.as_str()),
    ];
    head.void("meta", &meta);
    head.raw("<link rel=\"icon\" href=\"data:,\">");
    head.asset("style", STYLE);
    document(sources, Place::OneFile, &head)
}

fn document(sources: &Sources, place: Place, head: &Html) -> String {
    let title = match place {
        Place::Http => "chatctl: the HTTP API",
        Place::WebSocket => "chatctl: the WebSocket protocol",
        Place::OneFile => "chatctl: the API",
    };
    let mut html = Html::default();
    html.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    html.raw(
        "<meta name=\"referrer\" content=\"no-referrer\"><meta name=\"color-scheme\" content=\"light dark\">",
    );
    html.leaf("title", &[], title);
    html.add(head);
    html.raw("</head><body><a class=\"skip\" href=\"#content\">Skip to the content</a>");
    navigation(&mut html, sources, place);
    html.tag("main", &[("id", "content")], |html| {
        if place != Place::WebSocket {
            overview(html, sources, place);
            http(html, sources);
        }
        if place != Place::Http {
            let tag = if place == Place::OneFile { "h2" } else { "h1" };
            html.tag(tag, &[("id", "websocket"), ("class", "title")], |html| {
                html.text("The WebSocket protocol")
            });
            websocket::content(html, &sources.asyncapi);
        }
        html.tag("footer", &[], |html| {
            html.line(concat!(
                "chatctl ",
                env!("CARGO_PKG_VERSION"),
                ". Made from the code that serves it."
            ));
        });
    });
    if place == Place::OneFile {
        html.asset("script", SCRIPT);
    }
    html.raw("</body></html>\n");
    html.into_text()
}

fn navigation(html: &mut Html, sources: &Sources, place: Place) {
    html.tag("nav", &[("aria-label", "Contents")], |html| {
        html.leaf("p", &[("class", "brand")], "chatctl");
        html.tag("ul", &[("class", "pages")], |html| {
            let (http, websocket) = match place {
                Place::OneFile => ("#overview", "#websocket"),
                Place::Http | Place::WebSocket => ("/docs", "/docs/websocket"),
            };
            for (href, title, is_here) in [
                (http, "HTTP", place == Place::Http),
                (websocket, "WebSocket", place == Place::WebSocket),
            ] {
                let here = [("href", href), ("aria-current", "page")];
                let attributes = if is_here { &here[..] } else { &here[..1] };
                html.tag("li", &[], |html| html.leaf("a", attributes, title));
            }
        });
        if place != Place::WebSocket {
            contents(html, "HTTP API", &[("overview", "Overview")]);
            for (tag, operations) in operations::by_tag(&sources.openapi) {
                html.leaf("h2", &[], tag);
                html.tag("ul", &[], |html| {
                    operations.iter().for_each(|operation| entry(html, operation))
                });
            }
            contents(
                html,
                "Reference",
                &[("problems", "Problem codes"), ("schemas", "Schemas")],
            );
        }
        if place != Place::Http {
            contents(html, "WebSocket", &websocket::SECTIONS);
            for (title, speaker) in [("The client says", "client"), ("The relay says", "relay")] {
                let entries = websocket::entries(&sources.asyncapi, speaker);
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(id, name)| (id.as_str(), name.as_str()))
                    .collect();
                contents(html, title, &entries);
            }
        }
    });
}

fn contents(html: &mut Html, title: &str, entries: &[(&str, &str)]) {
    html.leaf("h2", &[], title);
    html.tag("ul", &[], |html| {
        for (id, title) in entries {
            html.tag("li", &[], |html| {
                html.leaf("a", &[("href", &format!("#{id}"))], title)
            });
        }
    });
}

fn entry(html: &mut Html, operation: &Operation<'_>) {
    html.tag("li", &[], |html| {
        let href = format!("#{}", operation.anchor());
        html.tag("a", &[("href", &href), ("class", "op")], |html| {
            html.leaf(
                "span",
                &[("class", &format!("method {}", operation.method))],
                &operation.method.to_uppercase(),
            );
            html.text(" ");
            html.leaf("span", &[], operation.path.trim_start_matches("/v1"));
        });
    });
}

fn overview(html: &mut Html, sources: &Sources, place: Place) {
    html.tag("section", &[("id", "overview")], |html| {
        html.leaf("h1", &[("class", "title")], "The API of chatctl");
        html.prose(
            sources
                .openapi
                .pointer("/info/description")
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default(),
        );
        html.prose(OVERVIEW);
        html.block("A file with the token's header", |html| html.text(TOKEN_HEADER));
        html.prose(ERRORS);
        html.tag("p", &[], |html| {
            html.text("For programs: ");
            match place {
                Place::OneFile => html.line("`GET /openapi.json` and `GET /asyncapi.json` of every relay."),
                Place::Http | Place::WebSocket => {
                    html.leaf("a", &[("href", "/openapi.json")], "openapi.json");
                    html.text(", ");
                    html.leaf("a", &[("href", "/asyncapi.json")], "asyncapi.json");
                    html.text(".");
                }
            }
        });
    });
}

fn http(html: &mut Html, sources: &Sources) {
    for (tag, operations) in operations::by_tag(&sources.openapi) {
        html.tag("section", &[("id", &format!("tag-{tag}"))], |html| {
            html.leaf("h2", &[("class", "tag")], tag);
            operations.iter().for_each(|operation| operation.show(html));
        });
    }
    html.tag("section", &[("id", "problems")], |html| {
        html.leaf("h2", &[], "Problem codes");
        operations::problems(html);
    });
    html.tag("section", &[("id", "schemas")], |html| {
        html.leaf("h2", &[], "Schemas");
        schemas::section(html, &sources.openapi);
    });
}

/// How all of it looks.
pub(super) const STYLE: &str = include_str!("style.css");

/// What is nicer with a script: a filter and buttons that copy. Nothing needs it.
pub(super) const SCRIPT: &str = include_str!("script.js");

/// A speech bubble.
pub(super) const ICON: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\"><path fill=\"#0f766e\" \
                               d=\"M2 2h12v9H8l-4 4v-4H2z\"/></svg>";

const OVERVIEW: &str = "A device says who it is with a token (a JWT), registers once, publishes its public keys, and \
talks over the WebSocket; everything else here is plain HTTP with JSON bodies. 64-bit numbers are text, and times are \
milliseconds since 1970.

The requests below take the token from a file, so that it does not stand in the list of processes or in the shell's \
history:";

const TOKEN_HEADER: &str = "umask 077
printf 'Authorization: Bearer %s\\n' \"$(cat alice.token)\" > token-header";

const ERRORS: &str = "A problem's `retry_after`, also in the header `Retry-After`, is in seconds. The WebSocket uses the \
same codes.";
