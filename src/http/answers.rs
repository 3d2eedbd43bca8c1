//! What every answer has in common: errors are problems, and answers are counted.
//!
//! Counts by code and nothing else: no path, account or id reaches a label or a log from here.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use chatctl_protocol::Code;
use tracing::Instrument as _;

use crate::http::problem::{Counted, Problem};
use crate::metrics::{Count as _, Metrics};
use crate::trace;

/// Puts the fallbacks and the counting layer around all routes. The last thing that is done to a router.
pub fn finish<S: Clone + Send + Sync + 'static>(router: Router<S>, metrics: Arc<Metrics>) -> Router<S> {
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(metrics, answer))
}

async fn not_found() -> Problem {
    Problem::new(Code::NotFound, "There is nothing at this address.")
}

async fn method_not_allowed() -> Problem {
    Problem::new(Code::MethodNotAllowed, "This resource does not have this method.")
}

async fn answer(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let route = || {
        let matched = request.extensions().get::<MatchedPath>();
        matched.map(|route| route.as_str().to_owned())
    };
    let span = trace::request(request.method().as_str(), route);
    let mut response = as_problem(next.run(request).instrument(span.clone()).await);
    let counted = response
        .extensions()
        .get::<Counted>()
        .map_or("ok", |counted| counted.0);
    metrics.http_answers.count(counted);
    trace::answered(&span, response.status().as_u16(), counted);
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// A framework's own error, such as that of a path that does not parse, as a problem.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_ours = response.extensions().get::<Counted>().is_some();
    if is_ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let problem = Problem {
        status: status.as_u16(),
        ..Problem::new(
            code(status),
            status.canonical_reason().unwrap_or("Refused").to_owned() + ".",
        )
    };
    let (parts, _) = response.into_parts();
    let mut problem = problem.into_response();
    // What the framework said besides stays: `Allow`, `Sec-WebSocket-Version`.
    for (name, value) in &parts.headers {
        let about_the_body = [header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name);
        if !about_the_body {
            problem.headers_mut().insert(name, value.clone());
        }
    }
    problem
}

fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthorized,
        StatusCode::FORBIDDEN => Code::Forbidden,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => Code::PayloadTooLarge,
        StatusCode::TOO_MANY_REQUESTS => Code::RateLimited,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        status if status.is_server_error() => Code::Internal,
        _ => Code::BadRequest,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Path;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn every_error_is_a_problem_and_every_answer_is_counted() {
        let metrics = Arc::new(Metrics::new());
        let router = Router::new()
            .route(
                "/number/{number}",
                get(async |Path(number): Path<u8>| number.to_string()),
            )
            .route("/bare", get(async || StatusCode::IM_A_TEAPOT));
        let router = finish(router, Arc::clone(&metrics));
        let cases = [
            ("GET", "/number/7", 200, Value::Null),
            ("GET", "/nowhere", 404, "not_found".into()),
            ("GET", "/number/300", 400, "bad_request".into()),
            ("DELETE", "/number/7", 405, "method_not_allowed".into()),
            ("GET", "/bare", 418, "bad_request".into()),
        ];
        for (method, path, status, code) in cases {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .body(Body::empty())
                .unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{path}");
            let headers = response.headers().clone();
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(body.get("code").cloned().unwrap_or_default(), code, "{path}");
            if status != 200 {
                assert_eq!(
                    headers[header::CONTENT_TYPE],
                    "application/problem+json",
                    "{path}"
                );
                assert_eq!(body["status"], status, "{path}");
            }
            assert_eq!(headers.contains_key(header::ALLOW), status == 405, "{path}");
        }
        let text = metrics.exposition().unwrap();
        for count in [
            "ok\"} 1",
            "not_found\"} 1",
            "bad_request\"} 2",
            "method_not_allowed\"} 1",
        ] {
            assert!(
                text.contains(&format!("chatctl_http_answers_total{{reason=\"{count}")),
                "{text}"
            );
        }
    }
}
