//! Answers that are the same for everybody: made once, and asked for again by their ETag.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// A body that does not change while the relay runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fixed {
    body: Bytes,
    kind: &'static str,
    etag: HeaderValue,
}

impl Fixed {
    /// A body of a media type.
    #[must_use]
    pub fn new(kind: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let digest: String = Sha256::digest(&body)[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let etag = HeaderValue::try_from(format!("\"{digest}\""));
        Self {
            body,
            kind,
            etag: etag.unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }

    /// The answer to a request with these headers: the body, or 304 for who has it already.
    #[must_use]
    pub fn answer(&self, headers: &HeaderMap) -> Response {
        let about = [
            (header::ETAG, self.etag.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        let is_known = headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || self.etag == tag);
        if is_known {
            return (StatusCode::NOT_MODIFIED, about).into_response();
        }
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(self.kind))];
        (about, kind, self.body.clone()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_it_already_is_told_so() {
        let fixed = Fixed::new("text/plain", "hello");
        let answer = fixed.answer(&HeaderMap::new());
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/plain");
        let etag = answer.headers()[header::ETAG].clone();
        for (tag, status) in [
            (etag.to_str().unwrap().to_owned(), 304),
            (format!("\"x\", W/{}", etag.to_str().unwrap()), 304),
            ("\"x\"".to_owned(), 200),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, tag.parse().unwrap());
            assert_eq!(fixed.answer(&headers).status(), status, "{tag}");
        }
    }
}
