//! What can go wrong with the directory, by what a caller can do about it.

use std::error::Error;
use std::time::Duration;

use chatctl_protocol::Code;

use crate::TlsError;

/// Why the directory did not do it. Never holds a token, nor keys.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The URL is not `http://` or `https://` and a host.
    #[error("not an HTTP URL")]
    Url,
    /// Nobody can be trusted.
    #[error("no TLS")]
    Tls(#[from] TlsError),
    /// No answer in time, or one that is not of a relay. Whether it was done is not known: all but a claim may be asked
    /// again without harm, and a claim that is asked again only wastes keys.
    #[error("the relay does not answer")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// The token source failed.
    #[error("no token")]
    NoToken(#[source] Box<dyn Error + Send + Sync>),
    /// The relay said no, and did nothing.
    #[error("the relay refused: {title}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The reason, unless this client is too old to know it.
        code: Option<Code>,
        /// The reason in the relay's words.
        title: String,
        /// How long to wait before it is tried again.
        retry_after: Option<Duration>,
    },
}

impl DirectoryError {
    /// The relay's reason, if it gave one that this client knows.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Url | Self::Tls(_) | Self::Unreachable(_) | Self::NoToken(_) => None,
        }
    }

    /// How long the relay asked to wait before the same is tried again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Url | Self::Tls(_) | Self::Unreachable(_) | Self::NoToken(_) => None,
        }
    }

    /// Whether the same may succeed later, without another token or another request.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::NoToken(_) => true,
            Self::Refused { status, code, .. } => match code {
                Some(code) => code.retryable(),
                None => matches!(status, 408 | 425 | 429 | 500..=599),
            },
            Self::Url | Self::Tls(_) => false,
        }
    }

    pub(crate) fn unreachable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unreachable(error.into())
    }
}
