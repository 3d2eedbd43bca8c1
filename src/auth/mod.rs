//! Who a token speaks for: keys, the one validation, and issuing.
//!
//! Owns every rule about tokens, for the daemon and for the operator's commands alike. Must not know
//! who asks, or stores; the clock and randomness are passed in. What it asks others for itself, the keys of
//! outside issuers, goes through `fetch`.
//!
//! # Why not the library's validation
//!
//! The token library's defaults accept a token that is a minute too old, one that is not valid yet,
//! one in milliseconds (good for 50,000 years), and one without `aud`, `iss`, `jti` or `kid`; it reads
//! the machine's clock, and it stops at the first failure. So here it checks signatures, and nothing
//! else. `library_defaults` in the tests shows each of these.

mod claims;
mod error;
mod fetch;
mod key;
mod keyset;
mod new_key;
mod outside;
mod parts;
mod pem;
pub mod private_file;
mod review;
mod revocations;
mod rotation;
mod self_test;
mod signer;
mod token;
mod verifier;

pub use error::{KeysetError, PemError, SignError, TokenError};
pub use key::{Algorithm, KeyFacts, KeyState};
pub use keyset::Keyset;
pub use new_key::NewKey;
pub use pem::is_private_pem;
pub use review::{Finding, Severity, overdue, review};
pub use revocations::Revocations;
pub use rotation::{Change, Patience, Phase, Rotation, RotationError, Waits};
pub use self_test::{SelfTestError, self_test};
pub use signer::{Grant, Issued, Signer};
pub use token::{Inspection, inspect};
pub use verifier::{Examination, Policy, Verifier};

/// Clocks of issuer and relay may differ by so much.
pub const LEEWAY: std::time::Duration = std::time::Duration::from_secs(5);

/// A longer text is not looked at.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

#[cfg(test)]
mod tests;
