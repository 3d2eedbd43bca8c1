//! What agents and their coordinator both know, and nobody else.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// A shared secret. Its Debug says nothing.
#[derive(Clone)]
pub struct Secret(String);

/// A secret that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret has at least {LEAST_BYTES} visible ASCII characters on one line")]
pub struct SecretError;

impl Secret {
    /// The secret that a file holds; white space around it does not count.
    ///
    /// # Errors
    ///
    /// [`SecretError`].
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        match text.len() >= LEAST_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Self(text.to_owned())),
            false => Err(SecretError),
        }
    }

    /// Whether this is it. What is compared are digests, so that time tells nothing.
    pub(super) fn is(&self, said: &str) -> bool {
        Sha256::digest(said) == Sha256::digest(&self.0)
    }

    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

const LEAST_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_and_never_prints() {
        let secret = Secret::parse("0123456789abcdef\n").unwrap();
        assert!(secret.is("0123456789abcdef") && !secret.is("0123456789abcdeF"));
        assert_eq!(format!("{secret:?}"), "Secret");
        for text in ["", "short", "0123456789 abcdef", "0123456789abcde\u{e9}"] {
            assert_eq!(Secret::parse(text).unwrap_err(), SecretError);
        }
    }
}
