//! What went wrong with a session, as a class for the report, and whether it is of use to try again.

use std::error::Error;
use std::io;

use chatctl_client::{DirectoryError, SocketError};
use chatctl_protocol::{CloseCode, v1};

use crate::wire::Trouble;

/// Before the session.
pub(super) fn connecting(error: &SocketError) -> Trouble {
    match error {
        SocketError::Url(_) => of("connect.url", true),
        SocketError::Upgrade { status, .. } => {
            let fatal = !matches!(status, 401 | 408 | 425 | 429 | 500..=599);
            of(&format!("upgrade.{status}"), fatal)
        }
        SocketError::Tls(_) | SocketError::Untrusted(_) => of("connect.tls", true),
        SocketError::Subprotocol => of("upgrade.subprotocol", true),
        SocketError::Broken(error) => of(&format!("connect.{}", word(&**error)), false),
        SocketError::Frame(_) | SocketError::Kind => of("frame.unreadable", true),
    }
}

/// In the session, without a word from the relay.
pub(super) fn broken(error: &SocketError) -> Trouble {
    match error {
        SocketError::Frame(_) | SocketError::Kind => of("frame.unreadable", true),
        other => of(&format!("broken.{}", word(other)), false),
    }
}

/// Closed by the relay. 1006 is what a close without a code is called.
pub(super) fn closed(code: Option<u16>, goodbye: Option<&v1::Goodbye>) -> Trouble {
    let said = goodbye.and_then(|goodbye| u16::try_from(goodbye.code).ok());
    let code = said.or(code).unwrap_or(ABNORMAL);
    let fatal = match CloseCode::from_number(code) {
        // A new token; the client that came back before its old connection was missed; limits of a crowd.
        Some(CloseCode::Reauthenticate | CloseCode::Displaced) => false,
        Some(code) => !goodbye.map_or(code.reconnect(), |goodbye| goodbye.reconnect),
        None => (4400..4450).contains(&code),
    };
    of(&format!("close.{code}"), fatal)
}

/// In the directory.
pub(super) fn directory(error: &DirectoryError) -> Trouble {
    match error {
        DirectoryError::Refused { status, code, .. } => {
            let fatal = !matches!(status, 408 | 425 | 429 | 500..=599);
            match code {
                Some(code) => of(&format!("http.{status}.{}", code.as_str()), fatal),
                None => of(&format!("http.{status}"), fatal),
            }
        }
        DirectoryError::NoToken(_) => of("token", true),
        DirectoryError::Unreachable(error) => of(&format!("http.{}", word(&**error)), false),
        other => of(&format!("http: {other}"), true),
    }
}

pub(super) fn of(class: &str, fatal: bool) -> Trouble {
    Trouble {
        class: class.to_owned(),
        fatal,
    }
}

/// What the system said, somewhere below an error.
fn word(error: &(dyn Error + 'static)) -> &'static str {
    let mut below = Some(error);
    while let Some(error) = below {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return io_word(error);
        }
        below = error.source();
    }
    "failed"
}

fn io_word(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "reset",
        io::ErrorKind::ConnectionAborted | io::ErrorKind::UnexpectedEof => "eof",
        io::ErrorKind::TimedOut => "timeout",
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => "ports",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
        _ if error.raw_os_error() == Some(TOO_MANY_FILES) => "files",
        _ => "failed",
    }
}

const ABNORMAL: u16 = 1006;
/// `EMFILE`.
const TOO_MANY_FILES: i32 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_relay_said_decides_and_a_stop_is_a_stop() {
        let goodbye = v1::Goodbye {
            code: 1013,
            reconnect: true,
            ..v1::Goodbye::default()
        };
        assert_eq!(closed(None, Some(&goodbye)), of("close.1013", false));
        assert_eq!(closed(Some(4401), None), of("close.4401", false));
        assert_eq!(closed(Some(4403), None), of("close.4403", true));
        assert_eq!(closed(Some(4444), None), of("close.4444", true));
        assert_eq!(closed(None, None), of("close.1006", false));
    }

    #[test]
    fn the_system_s_word_is_found_below_others() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let below = DirectoryError::Unreachable(Box::new(refused));
        assert_eq!(directory(&below), of("http.refused", false));
    }
}
