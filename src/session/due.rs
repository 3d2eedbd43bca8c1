//! When something is due in a session, on a clock that does not jump.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Identity, UnixMs};

/// When something is due, on the monotonic clock.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) token_end: Instant,
    pub(super) token_warning: Option<Instant>,
    pub(super) key_notices: Option<Instant>,
    pub(super) devices_notice: Option<Instant>,
    pub(super) ack: Option<Instant>,
    /// To look for what other relays did.
    pub(super) look: Option<Instant>,
    /// To read on, after the store did not answer or something was in the way.
    pub(super) reading: Option<Instant>,
}

impl Due {
    pub(super) fn new(identity: &Identity, now: UnixMs) -> Self {
        let (token_end, token_warning) = token_times(identity, now);
        Self {
            token_end,
            token_warning,
            key_notices: None,
            devices_notice: None,
            ack: None,
            look: None,
            reading: None,
        }
    }
}

/// The token's end and the time to warn of it, on a clock that does not jump.
pub(super) fn token_times(identity: &Identity, now: UnixMs) -> (Instant, Option<Instant>) {
    let left = Duration::from_millis(identity.expires_at.0.saturating_sub(now.0)).min(FAR);
    let end = Instant::now() + left;
    (end, Some(end - TOKEN_WARNING.min(left / 2)))
}

/// How long before its end a token is warned of.
const TOKEN_WARNING: Duration = Duration::from_secs(60);

/// Further ahead nothing is planned; the monotonic clock cannot add any number.
const FAR: Duration = Duration::from_secs(366 * 24 * 3600);
