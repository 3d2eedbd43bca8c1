//! What an app chooses about its sessions.

use std::time::Duration;

use chatctl_protocol::{Encoding, v1};

use crate::{Backoff, Dial};

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Takes mail. A device has one such session; the newest wins.
    #[default]
    Consume,
    /// Only learns that mail waits; takes nothing and displaces nobody.
    Notify,
}

impl From<Mode> for v1::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Consume => Self::Consume,
            Mode::Notify => Self::Notify,
        }
    }
}

/// How a device connects. `Options::new(url)` and change what differs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The relay's endpoint, `wss://host/v1/ws`, or `ws://host:port/v1/ws` without TLS.
    pub url: String,
    /// From where to connect, and whom to trust.
    pub dial: Dial,
    /// How frames are written.
    pub encoding: Encoding,
    /// What the sessions are for.
    pub mode: Mode,
    /// Unacked envelopes that the app is ready to hold; 0 leaves it to the relay.
    pub window: u32,
    /// Unacked payload bytes that the app is ready to hold; 0 leaves it to the relay.
    pub window_bytes: u32,
    /// The largest frame that the relay may send, in bytes.
    pub max_frame_bytes: u32,
    /// Sends that may wait for their answer; [`crate::Device::post`] refuses more.
    pub max_pending_sends: usize,
    /// Messages remembered to drop their duplicates.
    pub remembered_messages: usize,
    /// Time for TCP, the upgrade and the hello together.
    pub connect_timeout: Duration,
    /// Whether the device asks its token source by itself when the relay says that the token ends soon, and goes on
    /// with the new one in place. Otherwise the app calls [`crate::Device::refresh`], or the session ends with the token.
    pub renew_tokens: bool,
    /// How long a device waits before it comes back.
    pub backoff: Backoff,
    /// The mailbox epoch of the app's last session, from [`crate::Session`]; 0 when it has none.
    pub last_mailbox_epoch: u64,
}

impl Options {
    /// The defaults for a relay.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            dial: Dial::default(),
            encoding: Encoding::Proto,
            mode: Mode::Consume,
            window: 0,
            window_bytes: 0,
            max_frame_bytes: 256 * 1024,
            max_pending_sends: 256,
            remembered_messages: 4096,
            connect_timeout: Duration::from_secs(15),
            renew_tokens: true,
            backoff: Backoff::default(),
            last_mailbox_epoch: 0,
        }
    }
}
