//! Errors as answers: the one table from [`Code`] to HTTP status (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chatctl_protocol::Code;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::TokenError;
use crate::http::admin::jobs::answers::HeldAnswer;
use crate::http::openapi::values;
use crate::jobs::hand;
use crate::{directory, store};

/// What every `type` begins with.
pub const TYPES: &str = "urn:chatctl:problem:";

/// A problem document, `application/problem+json`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:chatctl:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(
        pattern = "^urn:chatctl:problem:[a-z_]+$",
        examples("urn:chatctl:problem:device_mismatch")
    )]
    pub kind: String,
    /// The HTTP status.
    #[schema(value_type = values::Status)]
    pub status: u16,
    /// One sentence for a person.
    pub title: String,
    /// The stable word for a program.
    #[schema(value_type = values::ProblemCode)]
    pub code: &'static str,
    /// What to look at, when there is more to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Seconds after which the same request may succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<values::Count>)]
    pub retry_after: Option<u64>,
    /// Everything that is wrong with a configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Devices that the request left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<values::DeviceId>)]
    pub missing: Vec<String>,
    /// Devices that the account does not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<values::DeviceId>)]
    pub extra: Vec<String>,
    /// Devices whose registration id is another one now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<values::DeviceId>)]
    pub stale: Vec<String>,
    /// Who runs the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Box<HeldAnswer>>,
}

/// The status of a code.
#[must_use]
pub const fn status(code: Code) -> StatusCode {
    match code {
        Code::BadRequest | Code::UnsupportedProtocol => StatusCode::BAD_REQUEST,
        Code::Unauthorized => StatusCode::UNAUTHORIZED,
        Code::Forbidden | Code::DeviceNotRegistered => StatusCode::FORBIDDEN,
        Code::NotFound | Code::UnknownAccount => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::DeviceMismatch | Code::Conflict | Code::ItemIdConflict | Code::JobRunning => {
            StatusCode::CONFLICT
        }
        Code::BadSignature | Code::LimitExceeded => StatusCode::UNPROCESSABLE_ENTITY,
        Code::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::MailboxFull | Code::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl Problem {
    /// A problem with its title.
    #[must_use]
    pub fn new(code: Code, title: impl Into<String>) -> Self {
        Self {
            kind: format!("{TYPES}{}", code.as_str()),
            status: status(code).as_u16(),
            title: title.into(),
            code: code.as_str(),
            detail: None,
            retry_after: None,
            problems: Vec::new(),
            missing: Vec::new(),
            extra: Vec::new(),
            stale: Vec::new(),
            held: None,
        }
    }

    /// The body is not of a type that is read here. HTTP has a status for it, the protocol no code.
    #[must_use]
    pub fn unsupported_media_type() -> Self {
        Self {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE.as_u16(),
            ..Self::new(Code::BadRequest, "The body must be application/json.")
        }
    }

    /// The configuration is not good, and the relay keeps the one it has. HTTP has a status for it, the
    /// protocol no code.
    #[must_use]
    pub fn bad_configuration(problems: Vec<String>) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY.as_u16(),
            problems,
            ..Self::new(Code::BadRequest, "The relay kept the old configuration.")
        }
    }

    /// With something more to look at.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With a time to come back.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

/// What an answer was, for the layer that counts. Left in the extensions of every problem's response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted(pub &'static str);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let counted = Counted(self.code);
        let mut response = (status, Json(self)).into_response();
        response.extensions_mut().insert(counted);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        Self::new(Code::Unauthorized, "The token is not good.").detail(error.to_string())
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Full => {
                Self::new(Code::StorageFull, "The relay's disk has no room.").retry_after(30)
            }
            store::Error::Unavailable(_) | store::Error::Poisoned(_) => Self::new(
                Code::Unavailable,
                "The relay cannot reach its store; retry the same request.",
            )
            .retry_after(5),
            store::Error::Corrupt(_) => Self::new(Code::Internal, "The relay failed."),
        }
    }
}

impl From<hand::Refusal> for Problem {
    fn from(refusal: hand::Refusal) -> Self {
        match refusal {
            hand::Refusal::Held(held) => Self {
                held: Some(Box::new(HeldAnswer::of(held))),
                ..Self::new(Code::JobRunning, "The job is running already.")
            },
            hand::Refusal::Store(error) => error.into(),
        }
    }
}

impl From<directory::Error> for Problem {
    fn from(error: directory::Error) -> Self {
        use directory::Error;
        let detail = error.to_string();
        let bad = |code, title: &str| Self::new(code, title).detail(detail);
        match error {
            Error::Store(error) => error.into(),
            Error::NotRegistered => Self::new(Code::DeviceNotRegistered, "Register this device first."),
            Error::UnknownAccount => Self::new(Code::UnknownAccount, "The account has no devices."),
            Error::NoSuchPool => Self::new(Code::NotFound, "There is no such pool."),
            Error::Malformed { .. } => bad(Code::BadRequest, "A part of the request breaks its rule."),
            Error::NoIdentity => bad(Code::BadRequest, "The first upload of a suite needs an identity."),
            Error::Limit { .. } => bad(Code::LimitExceeded, "The request is over a limit."),
            Error::ItemIdTaken { .. } => bad(Code::ItemIdConflict, "An item id is taken by other bytes."),
            Error::Lint(_) => bad(Code::BadSignature, "A signature does not fit."),
            Error::OverBudget { retry_after } => Self::new(Code::RateLimited, "Too many claims for now.")
                .retry_after(retry_after.as_secs().saturating_add(1)),
            Error::Stopping => Self::new(Code::Unavailable, "The relay is stopping.").retry_after(5),
        }
    }
}
