//! Who a token speaks for (skeleton).

use crate::model::{Identity, UnixMs};

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is not a token.
    #[error("the token is malformed")]
    Malformed,
}

/// Checks tokens.
#[derive(Debug)]
pub struct Verifier {}

impl Verifier {
    /// Checks a token.
    ///
    /// # Errors
    ///
    /// [`TokenError`] says what is wrong.
    pub fn verify(&self, _token: &str, _now: UnixMs) -> Result<Identity, TokenError> {
        Err(TokenError::Malformed)
    }
}
