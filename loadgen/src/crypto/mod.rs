//! Sessions of simulated devices: real Double Ratchets (Olm), by each client with each of its peers.
//!
//! Must not know how messages travel.
//!
//! # Why a client has no account in the run
//!
//! Two clients have one session between them, whoever writes, and it has been answered before the run begins: so all messages are
//! of Olm's normal kind, and ratchets turn where both sides write. What is left of the account after that is nothing
//! that a run needs, and 6 KB for each of maybe a hundred thousand clients.

mod keyring;
mod meet;
mod pairs;
mod staged;

pub use keyring::{CryptoError, Keyring, body_bytes};
pub use meet::{MeetError, meet};
pub use staged::staged;
