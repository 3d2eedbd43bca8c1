//! Spans for who traces a relay: one place that names them and says what is in them.
//!
//! No account, device, id, token or address is in a span, nor anything that somebody outside chose. Must not know
//! where spans go; who runs the relay decides it.
//!
//! # Cost
//!
//! All spans have one target and the lowest level. As long as nobody asks for that target, and no log does, a span
//! is one comparison of a level: it is not made, and what would stand in it is not looked at. So whatever takes time
//! to find out is passed as a function.

use std::fmt::Display;

use tracing::field::Empty;
use tracing::{Span, trace_span};

/// The target of all spans. Who wants them asks for it by name, at the level of TRACE.
pub const TARGET: &str = "chatctl_span";

/// An HTTP request, by its method and the template of its route.
pub fn request(method: &str, route: impl FnOnce() -> Option<String>) -> Span {
    if !is_wanted() {
        return Span::none();
    }
    let (method, route) = (known(method), route());
    // Without a route it is somebody's guess, and guesses are not repeated.
    let route = route.as_deref().unwrap_or("none");
    trace_span!(
        target: TARGET,
        "request",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        chatctl.answer = Empty,
    )
}

/// Notes how a request was answered.
pub fn answered(span: &Span, status: u16, answer: &'static str) {
    if span.is_disabled() {
        return;
    }
    span.record("http.response.status_code", status);
    span.record("chatctl.answer", answer);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

/// A session, from its socket to its end.
pub fn session() -> Span {
    trace_span!(target: TARGET, "session", chatctl.close = Empty)
}

/// Notes how a session ended.
pub fn closed(span: &Span, close: &'static str) {
    span.record("chatctl.close", close);
}

/// How much a commit writes.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Sends.
    pub sends: usize,
    /// Their envelopes that still need a place.
    pub envelopes: usize,
    /// The envelopes' payload bytes.
    pub bytes: usize,
    /// Acked envelopes that are deleted.
    pub deletions: usize,
}

/// A commit of mail, each try of it.
pub fn commit(size: impl FnOnce() -> Size) -> Span {
    if !is_wanted() {
        return Span::none();
    }
    let size = size();
    trace_span!(
        target: TARGET,
        "commit",
        chatctl.sends = size.sends,
        chatctl.envelopes = size.envelopes,
        chatctl.bytes = size.bytes,
        chatctl.deletions = size.deletions,
        otel.status_code = Empty,
    )
}

/// A request to a database.
pub fn store_request() -> Span {
    trace_span!(target: TARGET, "store request", otel.kind = "client", otel.status_code = Empty)
}

/// A run of a job.
pub fn job(name: &'static str) -> Span {
    trace_span!(
        target: TARGET,
        "job",
        otel.name = %format_args!("job {name}"),
        chatctl.job = name,
        chatctl.outcome = Empty,
        chatctl.affected = Empty,
        otel.status_code = Empty,
    )
}

/// Notes what came of a run.
pub fn ran(span: &Span, outcome: impl Display, affected: u64) {
    span.record("chatctl.outcome", tracing::field::display(outcome));
    span.record("chatctl.affected", affected);
}

/// Notes that something did not end well.
pub fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}

/// Whether anybody wants spans.
fn is_wanted() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::TRACE)
}

/// A method that is one of HTTP's, as the conventions for traces want it.
fn known(method: &str) -> &'static str {
    ["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("_OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_asks_for_spans_none_is_made_and_nothing_is_looked_at() {
        tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), || {
            assert!(request("GET", || panic!("looked")).is_disabled());
            assert!(commit(|| panic!("looked")).is_disabled());
            assert!(session().is_disabled() && store_request().is_disabled() && job("sweep").is_disabled());
        });
    }

    #[test]
    fn a_method_of_somebodys_own_is_not_repeated() {
        assert_eq!((known("PUT"), known("CANARY")), ("PUT", "_OTHER"));
    }
}
