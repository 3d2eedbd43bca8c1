//! JSON bodies, in.
//!
//! Owns how a body that cannot be read is answered: a problem that says where it went wrong. Must not
//! know what the bodies mean. How large a body may be is the route's `DefaultBodyLimit`.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use chatctl_protocol::Code;
use serde::de::DeserializeOwned;

use crate::http::problem::Problem;

/// A request's body, parsed from JSON.
#[derive(Debug, Clone)]
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::unsupported_media_type());
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            match rejection.into_response().status() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    Problem::new(Code::PayloadTooLarge, "The body is larger than this route takes.")
                }
                _ => Problem::new(Code::BadRequest, "The body broke off."),
            }
        })?;
        parse(&bytes).map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default()
        .trim();
    kind.eq_ignore_ascii_case("application/json")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        // The parser's words end with the line and the column.
        Problem::new(Code::BadRequest, "The body is not what this route reads.").detail(error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::extract::DefaultBodyLimit;
    use axum::routing::post;
    use http_body_util::BodyExt as _;
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;

    async fn send(kind: &str, body: &'static str) -> (StatusCode, Value) {
        let router = Router::new()
            .route(
                "/",
                post(async |JsonBody(body): JsonBody<Vec<u8>>| axum::Json(body)),
            )
            .layer(DefaultBodyLimit::max(64));
        let request = Request::post("/").header(header::CONTENT_TYPE, kind);
        let response = router
            .oneshot(request.body(Body::from(body)).unwrap())
            .await
            .unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_body_that_cannot_be_read_is_a_problem_with_its_position() {
        let json = "application/json; charset=utf-8";
        assert_eq!(send(json, "[1]").await, (StatusCode::OK, serde_json::json!([1])));
        let (status, problem) = send(json, "[1,\n 300]").await;
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::BAD_REQUEST, &Value::from("bad_request"))
        );
        assert_eq!(
            problem["detail"],
            "invalid value: integer `300`, expected u8 at line 2 column 4"
        );
        let (status, problem) = send("text/plain", "[1]").await;
        assert_eq!(
            (status, &problem["status"]),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, &Value::from(415))
        );
        let long = "[1,                                                                     2]";
        let (status, problem) = send(json, long).await;
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::PAYLOAD_TOO_LARGE, &Value::from("payload_too_large"))
        );
    }
}
