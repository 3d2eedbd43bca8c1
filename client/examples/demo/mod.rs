//! What the examples share: where the relay is, and where the token comes from.

use std::env;
use std::error::Error;
use std::path::PathBuf;

use chatctl_client::{Token, TokenSource};

/// What an example ends with.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// The relay, from `CHATCTL_URL`.
pub(crate) fn url() -> String {
    let url = env::var("CHATCTL_URL").unwrap_or_else(|_| "http://127.0.0.1:8480".to_owned());
    url.trim_end_matches('/').to_owned()
}

/// The relay's WebSocket: `ws://` for `http://`, `wss://` for `https://`.
#[allow(dead_code, reason = "not every example has a session")]
pub(crate) fn ws_url() -> String {
    format!("{}/v1/ws", url().replacen("http", "ws", 1))
}

/// Tokens from a file, one at a time: whatever renews the login writes the file anew, and the device reads it when its
/// token ends soon. A command line would show the token to everybody on the machine.
pub(crate) fn token_file(path: impl Into<PathBuf>) -> impl TokenSource {
    let path = path.into();
    move |_spent: Option<Token>| {
        let read = std::fs::read_to_string(&path);
        async move { Ok(Token::new(read?.trim())) }
    }
}

/// The arguments, or how to use the example.
pub(crate) fn arguments(usage: &str, fewest: usize) -> Outcome<Vec<String>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if arguments.len() < fewest {
        return Err(format!("usage: {usage}").into());
    }
    Ok(arguments)
}
