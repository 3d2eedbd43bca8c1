//! What a device tells its app.

use std::time::Duration;

use chatctl_protocol::v1;

use crate::{Mail, SendId, SendOutcome, Why};

/// A session that began.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// The relay's name for it, for its own diagnostics.
    pub session_id: String,
    /// The relay's clock, milliseconds since 1970.
    pub server_time: i64,
    /// Keep it for [`crate::Options::last_mailbox_epoch`].
    pub mailbox_epoch: u64,
    /// The mailbox may have lost or repeated mail since the last session.
    pub mailbox_changed: bool,
    /// Envelopes that wait.
    pub pending: u64,
    /// The relay's bounds.
    pub limits: v1::Limits,
}

/// What happened, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A session began. Unanswered sends are on their way again.
    Connected(Session),
    /// The session is over; the device comes back by itself.
    Disconnected {
        /// Why.
        why: Why,
        /// When the next attempt starts.
        retry_in: Duration,
    },
    /// Mail, oldest first: store it, then ack it. Each message comes once.
    Mail(Vec<Mail>),
    /// A posted message has its answer.
    Sent {
        /// What [`crate::Device::post`] gave.
        id: SendId,
        /// The answer.
        outcome: SendOutcome,
    },
    /// Everything accepted before the connect has been acked.
    QueueEmpty,
    /// Mail that will never arrive.
    Gap(v1::Gap),
    /// A pool of this device runs low: upload more.
    KeysLow(v1::KeysLow),
    /// A fallback item of this device was handed out: replace it.
    FallbackUsed(v1::FallbackUsed),
    /// The account's device list is another one now.
    DevicesChanged(v1::DevicesChanged),
    /// The session ends after this time. The device asks its token source for a new token now, unless
    /// [`crate::Options::renew_tokens`] is off; then the app calls [`crate::Device::refresh`].
    TokenExpiring(Duration),
    /// The token source had no new token. The session goes on until the old one ends.
    RenewalFailed {
        /// The source's words.
        reason: String,
        /// When it is asked again; not on this session when there is no time left.
        retry_in: Option<Duration>,
    },
    /// The new token counts, for this long.
    TokenRefreshed(Duration),
    /// Mail waits (mode notify).
    MailWaiting(v1::MailWaiting),
    /// The answer to [`crate::Device::ping`].
    Pong(u64),
    /// The relay is about to close the session; [`Event::Disconnected`] or an error follows.
    Goodbye(v1::Goodbye),
}

impl Event {
    /// Whether it may be dropped when the app does not read: mail, outcomes and gaps never are.
    pub(crate) fn is_notice(&self) -> bool {
        match self {
            Self::Mail(_) | Self::Sent { .. } | Self::Gap(_) => false,
            Self::Connected(_)
            | Self::Disconnected { .. }
            | Self::QueueEmpty
            | Self::KeysLow(_)
            | Self::FallbackUsed(_)
            | Self::DevicesChanged(_)
            | Self::TokenExpiring(_)
            | Self::RenewalFailed { .. }
            | Self::TokenRefreshed(_)
            | Self::MailWaiting(_)
            | Self::Pong(_)
            | Self::Goodbye(_) => true,
        }
    }
}
