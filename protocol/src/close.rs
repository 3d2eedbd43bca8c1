//! Close codes: why the relay ends a session, and what the client should do about it.
//!
//! Source: RFC 6455 section 7.4 for 1000–1013; 4400–4499 are ours. 4400–4449 mean stop unless the
//! table says otherwise, 4450–4499 mean reconnect.

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// The client is done.
    Normal = 1000,
    /// The relay goes away; reconnect.
    GoingAway = 1001,
    /// The client broke the WebSocket protocol itself (RFC 6455), not ours.
    ProtocolError = 1002,
    /// A text message was not UTF-8.
    NotUtf8 = 1007,
    /// A message is larger than `limits.max_frame_bytes`; never send the same one again.
    TooLarge = 1009,
    /// The relay failed; back off.
    Internal = 1011,
    /// The relay restarts; reconnect after the time in Goodbye.
    Restart = 1012,
    /// The relay has too much to do; back off.
    Overloaded = 1013,
    /// A message that is not a frame of this protocol: a bug of the client.
    BadFrame = 4400,
    /// The token is not (or no longer) good; come back with another one.
    Reauthenticate = 4401,
    /// The device is not registered, or was removed.
    DeviceRemoved = 4403,
    /// No Hello in time.
    HelloTimeout = 4408,
    /// A newer session of this device took over; wait at least 30 s.
    Displaced = 4409,
    /// The device was registered again with another registration id.
    Reregistered = 4410,
    /// No common protocol version.
    Version = 4426,
    /// Too much, too fast.
    RateLimited = 4429,
    /// The client does not read, or does not ack.
    SlowConsumer = 4490,
}

impl CloseCode {
    /// Every code, for documentation and tests.
    pub const ALL: [Self; 17] = [
        Self::Normal,
        Self::GoingAway,
        Self::ProtocolError,
        Self::NotUtf8,
        Self::TooLarge,
        Self::Internal,
        Self::Restart,
        Self::Overloaded,
        Self::BadFrame,
        Self::Reauthenticate,
        Self::DeviceRemoved,
        Self::HelloTimeout,
        Self::Displaced,
        Self::Reregistered,
        Self::Version,
        Self::RateLimited,
        Self::SlowConsumer,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The code of a number, if it is one of ours.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// A stable word for metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::GoingAway => "going_away",
            Self::ProtocolError => "protocol_error",
            Self::NotUtf8 => "not_utf8",
            Self::TooLarge => "too_large",
            Self::Internal => "internal",
            Self::Restart => "restart",
            Self::Overloaded => "overloaded",
            Self::BadFrame => "bad_frame",
            Self::Reauthenticate => "reauthenticate",
            Self::DeviceRemoved => "device_removed",
            Self::HelloTimeout => "hello_timeout",
            Self::Displaced => "displaced",
            Self::Reregistered => "reregistered",
            Self::Version => "version",
            Self::RateLimited => "rate_limited",
            Self::SlowConsumer => "slow_consumer",
        }
    }

    /// What it tells the client, in one sentence.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Normal => "The client is done.",
            Self::GoingAway => "The relay goes away; reconnect.",
            Self::ProtocolError => "The client broke the WebSocket protocol itself (RFC 6455), not ours.",
            Self::NotUtf8 => "A text message was not UTF-8.",
            Self::TooLarge => {
                "A message is larger than `limits.max_frame_bytes`; never send the same one again."
            }
            Self::Internal => "The relay failed; back off.",
            Self::Restart => "The relay restarts; reconnect after the time in Goodbye.",
            Self::Overloaded => "The relay has too much to do; back off.",
            Self::BadFrame => "A message that is not a frame of this protocol: a bug of the client.",
            Self::Reauthenticate => "The token is not (or no longer) good; come back with another one.",
            Self::DeviceRemoved => "The device is not registered, or was removed.",
            Self::HelloTimeout => "No Hello in time.",
            Self::Displaced => "A newer session of this device took over; wait at least 30 s.",
            Self::Reregistered => "The device was registered again with another registration id.",
            Self::Version => "No common protocol version.",
            Self::RateLimited => "Too much, too fast.",
            Self::SlowConsumer => "The client does not read, or does not ack.",
        }
    }

    /// Whether a client should come back by itself after this close.
    #[must_use]
    pub const fn reconnect(self) -> bool {
        match self {
            Self::GoingAway
            | Self::Internal
            | Self::Restart
            | Self::Overloaded
            | Self::HelloTimeout
            | Self::Displaced
            | Self::RateLimited
            | Self::SlowConsumer => true,
            Self::Normal
            | Self::ProtocolError
            | Self::NotUtf8
            | Self::TooLarge
            | Self::BadFrame
            | Self::Reauthenticate
            | Self::DeviceRemoved
            | Self::Reregistered
            | Self::Version => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_round_trip() {
        let mut names: Vec<_> = CloseCode::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CloseCode::ALL.len());
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_number(code.number()), Some(code));
        }
        assert_eq!(CloseCode::from_number(4999), None);
    }
}
