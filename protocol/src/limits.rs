//! The bounds of a relay, as one struct: in the configuration, in `HelloOk` and at `GET /v1/limits`.

use serde::{Deserialize, Serialize};

use crate::v1;

/// Every bound that a client can run into. Sizes are bytes, times are milliseconds or seconds as named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest payload of one envelope.
    pub max_payload_bytes: u32,
    /// Largest WebSocket message, and largest HTTP body of a send.
    pub max_frame_bytes: u32,
    /// Envelopes that one mailbox may hold.
    pub mailbox_envelopes: u32,
    /// Payload bytes that one mailbox may hold.
    pub mailbox_bytes: u64,
    /// Longest time that an envelope may wait.
    pub max_ttl_seconds: u32,
    /// Devices of one account.
    pub max_devices: u32,
    /// One-time items in one pool.
    pub max_one_time_keys: u32,
    /// Unacked envelopes per session when the client asks for nothing.
    pub window: u32,
    /// Unacked payload bytes per session when the client asks for nothing.
    pub window_bytes: u32,
    /// Most unacked envelopes per session.
    pub max_window: u32,
    /// Most unacked payload bytes per session.
    pub max_window_bytes: u32,
    /// Time for the first frame.
    pub hello_timeout_ms: u32,
    /// Silence after which the relay pings.
    pub ping_interval_ms: u32,
    /// Time to answer a ping.
    pub ping_timeout_ms: u32,
    /// Age at which an ephemeral envelope is dropped.
    pub ephemeral_ttl_ms: u32,
    /// Time in which a retried send adds nothing.
    pub idempotency_seconds: u32,
    /// Sends of one session that may wait for their answer; the relay reads no further frame beyond.
    pub max_pending_sends: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_payload_bytes: 96 * 1024,
            max_frame_bytes: 256 * 1024,
            mailbox_envelopes: 10_000,
            mailbox_bytes: 64 * 1024 * 1024,
            max_ttl_seconds: 30 * 24 * 3600,
            max_devices: 8,
            max_one_time_keys: 200,
            window: 64,
            window_bytes: 1024 * 1024,
            max_window: 256,
            max_window_bytes: 4 * 1024 * 1024,
            hello_timeout_ms: 10_000,
            ping_interval_ms: 25_000,
            ping_timeout_ms: 8_000,
            ephemeral_ttl_ms: 10_000,
            idempotency_seconds: 7 * 24 * 3600,
            max_pending_sends: 256,
        }
    }
}

impl From<&Limits> for v1::Limits {
    fn from(limits: &Limits) -> Self {
        // Destructured, so that a new limit cannot be forgotten here.
        let Limits {
            max_payload_bytes,
            max_frame_bytes,
            mailbox_envelopes,
            mailbox_bytes,
            max_ttl_seconds,
            max_devices,
            max_one_time_keys,
            window,
            window_bytes,
            max_window,
            max_window_bytes,
            hello_timeout_ms,
            ping_interval_ms,
            ping_timeout_ms,
            ephemeral_ttl_ms,
            idempotency_seconds,
            max_pending_sends,
        } = *limits;
        Self {
            max_payload_bytes,
            max_frame_bytes,
            mailbox_envelopes,
            mailbox_bytes,
            max_ttl_seconds,
            max_devices,
            max_one_time_keys,
            window,
            window_bytes,
            max_window,
            max_window_bytes,
            hello_timeout_ms,
            ping_interval_ms,
            ping_timeout_ms,
            ephemeral_ttl_ms,
            idempotency_seconds,
            max_pending_sends,
        }
    }
}
