//! The close-code table: what a device does after a session ended, or never began.
//!
//! # Why
//!
//! A relay that restarts must not meet all of its clients in the same second, two installations that
//! displace each other must not play ping-pong, and a refused token must not be tried for ever. Each of
//! these is a row here, and nothing else decides it.

use std::time::Duration;

use chatctl_protocol::{CloseCode, v1};

use crate::SocketError;

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The relay closed it, and said why with this code.
    Closed(u16),
    /// The connection broke, or could not be made.
    Broken,
    /// Nothing was heard for longer than the relay's keepalive allows.
    Silent,
    /// The relay answered the upgrade with this HTTP status.
    Upgrade(u16),
}

/// The relay does not want this device back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the relay ended the session for good with {code}: {reason}")]
pub struct Stop {
    /// The close code, or the HTTP status of the upgrade.
    pub code: u16,
    /// The relay's words, for a person.
    pub reason: String,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Come back: not before `floor`, and not before the back-off has passed.
    Return { floor: Duration },
    /// Come back with another token.
    Reauthenticate { floor: Duration },
    /// Come back and take less at a time.
    ReturnSmaller { floor: Duration },
    /// Do not come back.
    Stop(Stop),
}

/// After a session that ended with a close code, a Goodbye, both, or neither.
pub(crate) fn after_close(close: Option<u16>, goodbye: Option<&v1::Goodbye>) -> (Why, Next) {
    let said = goodbye.and_then(|goodbye| u16::try_from(goodbye.code).ok());
    let Some(number) = said.or(close) else {
        return (
            Why::Broken,
            Next::Return {
                floor: Duration::ZERO,
            },
        );
    };
    let floor = Duration::from_millis(goodbye.map_or(0, |goodbye| goodbye.retry_after_ms));
    let stop = || {
        Next::Stop(Stop {
            code: number,
            reason: goodbye.map_or_else(String::new, |goodbye| goodbye.reason.clone()),
        })
    };
    let next = match CloseCode::from_number(number) {
        Some(CloseCode::Reauthenticate) => Next::Reauthenticate { floor },
        Some(CloseCode::Displaced) => Next::Return {
            floor: floor.max(DISPLACED_WAIT),
        },
        Some(CloseCode::SlowConsumer) => Next::ReturnSmaller { floor },
        // The relay knows better than the table when it says so.
        Some(code) if goodbye.map_or(code.reconnect(), |goodbye| goodbye.reconnect) => Next::Return { floor },
        // We never close first and then read, so a bare 1000 is a relay that lost interest.
        Some(_) => stop(),
        None if goodbye.map_or(!STOP_CODES.contains(&number), |goodbye| goodbye.reconnect) => {
            Next::Return { floor }
        }
        None => stop(),
    };
    (Why::Closed(number), next)
}

/// After an error of the socket, in the upgrade or later. `None` when the app must hear
/// of it: the relay speaks nonsense, or is not the one that it should be.
pub(crate) fn after_error(error: &SocketError) -> Option<(Why, Next)> {
    match error {
        SocketError::Broken(_) => Some((
            Why::Broken,
            Next::Return {
                floor: Duration::ZERO,
            },
        )),
        SocketError::Upgrade { status, retry_after } => {
            let floor = retry_after.unwrap_or(Duration::ZERO);
            let next = match status {
                401 => Next::Reauthenticate { floor },
                408 | 425 | 429 | 500..=599 => Next::Return { floor },
                other => Next::Stop(Stop {
                    code: *other,
                    reason: "the upgrade was refused".to_owned(),
                }),
            };
            Some((Why::Upgrade(*status), next))
        }
        SocketError::Subprotocol => Some((
            Why::Closed(CloseCode::Version.number()),
            Next::Stop(Stop {
                code: CloseCode::Version.number(),
                reason: "the relay does not speak the offered subprotocol".to_owned(),
            }),
        )),
        SocketError::Url(_)
        | SocketError::Tls(_)
        | SocketError::Untrusted(_)
        | SocketError::Frame(_)
        | SocketError::Kind => None,
    }
}

/// The whole class means stop, whatever a future code in it will be called.
const STOP_CODES: std::ops::RangeInclusive<u16> = 4400..=4449;

/// Another installation took over; coming back at once would displace it, and it us.
const DISPLACED_WAIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn goodbye(code: u16, reconnect: bool, retry_after_ms: u64) -> v1::Goodbye {
        v1::Goodbye {
            code: code.into(),
            reconnect,
            retry_after_ms,
            reason: "why".to_owned(),
        }
    }

    fn wait(ms: u64) -> Next {
        Next::Return {
            floor: Duration::from_millis(ms),
        }
    }

    #[test]
    fn every_code_has_its_row() {
        for code in CloseCode::ALL {
            let (why, next) = after_close(Some(code.number()), None);
            assert_eq!(why, Why::Closed(code.number()));
            let floor = Duration::ZERO;
            let expected = match code {
                CloseCode::Reauthenticate => Next::Reauthenticate { floor },
                CloseCode::Displaced => wait(30_000),
                CloseCode::SlowConsumer => Next::ReturnSmaller { floor },
                other if other.reconnect() => wait(0),
                other => Next::Stop(Stop {
                    code: other.number(),
                    reason: String::new(),
                }),
            };
            assert_eq!(next, expected, "{code:?}");
        }
    }

    #[test]
    fn goodbye_says_when_to_come_back() {
        let restart = goodbye(1012, true, 7000);
        assert_eq!(after_close(Some(1012), Some(&restart)).1, wait(7000));
        // The close frame may never arrive.
        assert_eq!(after_close(None, Some(&restart)), (Why::Closed(1012), wait(7000)));
        assert_eq!(
            after_close(None, Some(&goodbye(4409, true, 45_000))).1,
            wait(45_000)
        );
        assert_eq!(
            after_close(None, Some(&goodbye(4409, true, 1000))).1,
            wait(30_000)
        );
    }

    #[test]
    fn codes_of_the_future_follow_their_class() {
        let stop = |code| {
            Next::Stop(Stop {
                code,
                reason: String::new(),
            })
        };
        assert_eq!(after_close(Some(4444), None).1, stop(4444));
        assert_eq!(after_close(Some(4470), None).1, wait(0));
        assert_eq!(after_close(Some(4444), Some(&goodbye(4444, true, 5))).1, wait(5));
    }

    #[test]
    fn a_break_without_a_word_means_come_back() {
        assert_eq!(after_close(None, None), (Why::Broken, wait(0)));
    }

    #[test]
    fn an_upgrade_answer_has_its_row() {
        let after = |status, seconds: Option<u64>| {
            let error = SocketError::Upgrade {
                status,
                retry_after: seconds.map(Duration::from_secs),
            };
            after_error(&error).map(|(_, next)| next)
        };
        let floor = Duration::ZERO;
        assert_eq!(after(401, None), Some(Next::Reauthenticate { floor }));
        assert_eq!(after(503, Some(9)), Some(wait(9000)));
        assert!(matches!(
            after(404, None),
            Some(Next::Stop(Stop { code: 404, .. }))
        ));
    }
}
