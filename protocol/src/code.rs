//! Error codes: the stable words in `SendErr.code` and in problem+json `code`.

use serde::{Deserialize, Serialize};

/// What went wrong, for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request is not well formed.
    BadRequest,
    /// No token, or one that is not good.
    Unauthorized,
    /// The token does not allow this.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The method is not one of this resource.
    MethodNotAllowed,
    /// The device of the token is not registered.
    DeviceNotRegistered,
    /// The account does not exist, or has no devices.
    UnknownAccount,
    /// The device list of the send is not the account's; see `missing`, `extra`, `stale`.
    DeviceMismatch,
    /// The same `client_msg_id` was used for another message.
    Conflict,
    /// An item id of a pool is taken by other bytes.
    ItemIdConflict,
    /// The job is running already; see `held`.
    JobRunning,
    /// A signature does not verify.
    BadSignature,
    /// A payload or body is larger than the limits allow.
    PayloadTooLarge,
    /// A bound of the limits would be crossed.
    LimitExceeded,
    /// The recipient's mailbox has no room.
    MailboxFull,
    /// Too much, too fast.
    RateLimited,
    /// The relay's disk has no room.
    StorageFull,
    /// The relay cannot tell now; the outcome may be unknown. Retry the same request.
    Unavailable,
    /// None of the offered protocol versions is spoken here.
    UnsupportedProtocol,
    /// The relay failed.
    Internal,
}

impl Code {
    /// Every code, for documentation and tests.
    pub const ALL: [Self; 20] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::DeviceNotRegistered,
        Self::UnknownAccount,
        Self::DeviceMismatch,
        Self::Conflict,
        Self::ItemIdConflict,
        Self::JobRunning,
        Self::BadSignature,
        Self::PayloadTooLarge,
        Self::LimitExceeded,
        Self::MailboxFull,
        Self::RateLimited,
        Self::StorageFull,
        Self::Unavailable,
        Self::UnsupportedProtocol,
        Self::Internal,
    ];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::DeviceNotRegistered => "device_not_registered",
            Self::UnknownAccount => "unknown_account",
            Self::DeviceMismatch => "device_mismatch",
            Self::Conflict => "conflict",
            Self::ItemIdConflict => "item_id_conflict",
            Self::JobRunning => "job_running",
            Self::BadSignature => "bad_signature",
            Self::PayloadTooLarge => "payload_too_large",
            Self::LimitExceeded => "limit_exceeded",
            Self::MailboxFull => "mailbox_full",
            Self::RateLimited => "rate_limited",
            Self::StorageFull => "storage_full",
            Self::Unavailable => "unavailable",
            Self::UnsupportedProtocol => "unsupported_protocol",
            Self::Internal => "internal",
        }
    }

    /// What it means, in one sentence.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::BadRequest => "The request is not well formed.",
            Self::Unauthorized => "No token, or one that is not good.",
            Self::Forbidden => "The token does not allow this.",
            Self::NotFound => "There is no such thing.",
            Self::MethodNotAllowed => "The method is not one of this resource.",
            Self::DeviceNotRegistered => "The device of the token is not registered.",
            Self::UnknownAccount => "The account does not exist, or has no devices.",
            Self::DeviceMismatch => {
                "The device list of the send is not the account's; see `missing`, `extra`, `stale`."
            }
            Self::Conflict => "The same `client_msg_id` was used for another message.",
            Self::ItemIdConflict => "An item id of a pool is taken by other bytes.",
            Self::JobRunning => "The job is running already; see `held`.",
            Self::BadSignature => "A signature does not verify.",
            Self::PayloadTooLarge => "A payload or body is larger than the limits allow.",
            Self::LimitExceeded => "A bound of the limits would be crossed.",
            Self::MailboxFull => "The recipient's mailbox has no room.",
            Self::RateLimited => "Too much, too fast.",
            Self::StorageFull => "The relay's disk has no room.",
            Self::Unavailable => {
                "The relay cannot tell now; the outcome may be unknown. Retry the same request."
            }
            Self::UnsupportedProtocol => "None of the offered protocol versions is spoken here.",
            Self::Internal => "The relay failed.",
        }
    }

    /// Whether a `SendErr` may carry it; the others are HTTP's alone.
    #[must_use]
    pub const fn answers_a_send(self) -> bool {
        match self {
            Self::BadRequest
            | Self::UnknownAccount
            | Self::DeviceMismatch
            | Self::Conflict
            | Self::PayloadTooLarge
            | Self::MailboxFull
            | Self::RateLimited
            | Self::StorageFull
            | Self::Unavailable
            | Self::Internal => true,
            Self::Unauthorized
            | Self::Forbidden
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::DeviceNotRegistered
            | Self::ItemIdConflict
            | Self::JobRunning
            | Self::BadSignature
            | Self::LimitExceeded
            | Self::UnsupportedProtocol => false,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Self::MailboxFull | Self::RateLimited | Self::StorageFull | Self::Unavailable | Self::Internal
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_the_same_in_json() {
        let mut words: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
    }
}
