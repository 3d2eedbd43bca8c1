//! Tokens: the secret that opens a session, and where the next one comes from.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A JWT. Its Debug shows a length.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<str>);

impl Token {
    /// The token of a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The secret itself.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({} bytes)", self.0.len())
    }
}

/// A token on its way.
pub type TokenFuture = Pin<Box<dyn Future<Output = Result<Token, Box<dyn Error + Send + Sync>>> + Send>>;

/// Where tokens come from: the app's own login, a file, a fixed text.
///
/// A device asks once before its first session, again when the token it has ends soon, and after the relay refused it;
/// a [`crate::Directory`] asks before its first request, and after a refusal. Every function from `Option<Token>` to a
/// future of a token is a source.
pub trait TokenSource: Send + Sync + 'static {
    /// A token other than `spent`, which was refused or ends soon; any good one when nothing is spent. It may take its
    /// time, and it may be dropped before it is ready.
    fn token(&self, spent: Option<Token>) -> TokenFuture;
}

/// A token without a successor: once it is refused, the device stops.
impl TokenSource for Token {
    fn token(&self, _spent: Option<Token>) -> TokenFuture {
        let token = self.clone();
        Box::pin(async move { Ok(token) })
    }
}

impl<F, Fut> TokenSource for F
where
    F: Fn(Option<Token>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Token, Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    fn token(&self, spent: Option<Token>) -> TokenFuture {
        Box::pin(self(spent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_prints() {
        assert_eq!(format!("{:?}", Token::new("secret")), "Token(6 bytes)");
    }
}
