//! The request that makes a connection a WebSocket (RFC 6455 section 4.2).

use axum::body::Body as HttpBody;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use chatctl_protocol::Code;
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::http::problem::Problem;

/// Answers an upgrade request, and gives the promise of its connection.
///
/// # Errors
///
/// [`Problem`] 400 when it is not a WebSocket upgrade of version 13 (RFC 6455 section 4.2.1).
pub fn upgrade(
    request: &mut Request<HttpBody>,
    subprotocol: Option<&'static str>,
) -> Result<(Response<HttpBody>, OnUpgrade), Problem> {
    let bad = |what: &str| Problem::new(Code::BadRequest, "This is not a WebSocket upgrade.").detail(what);
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(bad("the method must be GET"));
    }
    if !has_token(headers, &header::CONNECTION, "upgrade")
        || !has_token(headers, &header::UPGRADE, "websocket")
    {
        return Err(bad(
            "the headers Connection: Upgrade and Upgrade: websocket are missing",
        ));
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err(bad("Sec-WebSocket-Version must be 13"));
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return Err(bad("Sec-WebSocket-Key is missing"));
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| bad("bad key"))?;
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Err(bad("this connection cannot be upgraded"));
    };
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(subprotocol) = subprotocol {
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(subprotocol),
        );
    }
    Ok((response, on_upgrade))
}

fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}
