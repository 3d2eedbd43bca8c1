//! The golden frames of `fixtures/frames/`, as examples.

/// A frame that released versions have spoken, in both encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Golden {
    /// The name of its field in `Frame`: `hello_ok`.
    pub name: &'static str,
    /// As proto3 JSON.
    pub json: &'static str,
    /// As protobuf, in hexadecimal.
    pub hex: &'static str,
}

macro_rules! golden {
    ($($name:literal)*) => {
        &[$(Golden {
            name: $name,
            json: include_str!(concat!("../../../fixtures/frames/", $name, ".json")),
            hex: include_str!(concat!("../../../fixtures/frames/", $name, ".hex")),
        }),*]
    };
}

/// One for each kind of frame.
pub const GOLDEN: &[Golden] = golden!(
    "hello" "send" "ack" "auth" "ping"
    "hello_ok" "deliver" "send_ok" "send_err" "queue_empty" "gap" "keys_low" "fallback_used"
    "devices_changed" "token_expiring" "goodbye" "pong" "mail_waiting" "auth_ok"
);
