//! Stories: what happens on a whole relay, told over real sockets.
//!
//! One test binary; a file per theme. [`relay::TestRelay`] is where each of them begins.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests; what is unexpected should stop them, there and then"
)]

mod app;
mod away;
mod backup;
mod bad_frames;
mod bad_tokens;
mod client;
mod delivery;
mod document;
mod doors;
mod drain;
mod expiry;
mod flow;
mod http_doors;
mod http_mail;
mod key_notices;
mod keys;
mod letters;
mod limits;
mod liveness;
mod logs;
mod metrics;
mod origins;
mod relay;
mod revocations;
mod sends;
mod sessions;
mod socket;
mod status;
mod store;
mod tls;
mod two_relays;
