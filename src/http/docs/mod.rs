//! `/docs`: the manual of the API, made of its own descriptions, without anything from elsewhere.
//!
//! Owns the pages, how they are served, and the same in one file. The content is that of the OpenAPI and
//! AsyncAPI documents and of `docs/protocol.md`: nothing is said here that is not said there.
//!
//! # Why
//!
//! A bundle that renders OpenAPI is hundreds of kilobytes of somebody's JavaScript, and knows nothing of
//! the WebSocket. The pages are made once, work without a script, and load nothing from another host.

mod conversation;
mod html;
mod operations;
mod page;
mod schemas;
mod websocket;

use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use axum::routing::get;
use serde_json::Value;

use crate::http::asyncapi;
use crate::http::docs::page::Place;
use crate::http::fixed::Fixed;

/// What the pages are made of.
#[derive(Debug)]
struct Sources {
    openapi: Value,
    asyncapi: Value,
}

impl Sources {
    fn of_this_build() -> Self {
        Self {
            openapi: serde_json::to_value(crate::http::openapi()).unwrap_or_default(),
            asyncapi: asyncapi::document(),
        }
    }
}

/// What is served.
#[derive(Debug)]
struct Pages {
    http: Fixed,
    websocket: Fixed,
    style: Fixed,
    script: Fixed,
    icon: Fixed,
}

static PAGES: LazyLock<Pages> = LazyLock::new(|| {
    let sources = Sources::of_this_build();
    Pages {
        http: Fixed::new(HTML, page::served(&sources, Place::Http)),
        websocket: Fixed::new(HTML, page::served(&sources, Place::WebSocket)),
        style: Fixed::new("text/css; charset=utf-8", page::STYLE),
        script: Fixed::new("text/javascript; charset=utf-8", page::SCRIPT),
        icon: Fixed::new("image/svg+xml", page::ICON),
    }
});

/// `/docs` and what belongs to it.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route(
            "/docs",
            get(async |headers: HeaderMap| answer(&PAGES.http, &headers)),
        )
        .route(
            "/docs/websocket",
            get(async |headers: HeaderMap| answer(&PAGES.websocket, &headers)),
        )
        .route(
            "/docs/style.css",
            get(async |headers: HeaderMap| answer(&PAGES.style, &headers)),
        )
        .route(
            "/docs/script.js",
            get(async |headers: HeaderMap| answer(&PAGES.script, &headers)),
        )
        .route(
            "/docs/icon.svg",
            get(async |headers: HeaderMap| answer(&PAGES.icon, &headers)),
        )
}

/// The pages as one file that needs nothing else.
#[must_use]
pub fn one_file() -> String {
    page::one_file(&Sources::of_this_build())
}

fn answer(fixed: &Fixed, headers: &HeaderMap) -> Response {
    let mut response = fixed.answer(headers);
    let about = response.headers_mut();
    about.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    about.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    about.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

const HTML: &str = "text/html; charset=utf-8";

/// Nothing but our own style, script and icon; no forms, no frames.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

#[cfg(test)]
mod tests;
