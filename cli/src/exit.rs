//! Every exit code, in one place.
//!
//! Numbers from 64 to 78 are those of sysexits, whose names `systemctl status` prints.

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; also when whoever read our output had enough of it.
    Ok,
    /// Something that should not happen.
    Failure,
    /// The command line makes no sense.
    Usage,
    /// The input was read and is not good: a bad token.
    DataErr,
    /// A named file is not there or cannot be read.
    NoInput,
    /// A relay or a store cannot be reached.
    Unavailable,
    /// A file is in the way, or cannot be written; an address cannot be bound.
    CantCreate,
    /// Not now; try again later.
    TempFail,
    /// The other side speaks another protocol.
    Protocol,
    /// A file is open to others, or a token may not do this.
    NoPerm,
    /// The configuration is not good.
    Config,
    /// A threshold of a measurement was missed.
    Threshold,
    /// Stopped by SIGINT, after cleaning up.
    Interrupted,
    /// Stopped by SIGTERM, after cleaning up.
    Terminated,
}

impl Exit {
    /// Every one, ascending.
    pub(crate) const ALL: [Self; 14] = [
        Self::Ok,
        Self::Failure,
        Self::Usage,
        Self::DataErr,
        Self::NoInput,
        Self::Unavailable,
        Self::CantCreate,
        Self::TempFail,
        Self::Protocol,
        Self::NoPerm,
        Self::Config,
        Self::Threshold,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// Some of them in one line, for the manual.
    pub(crate) fn list(exits: &[Self]) -> String {
        exits
            .iter()
            .map(|exit| exit.words())
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Its number and its name.
    pub(crate) fn words(self) -> String {
        format!("{} {}", self.number(), self.name())
    }

    /// The number.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::DataErr => 65,
            Self::NoInput => 66,
            Self::Unavailable => 69,
            Self::CantCreate => 73,
            Self::TempFail => 75,
            Self::Protocol => 76,
            Self::NoPerm => 77,
            Self::Config => 78,
            Self::Threshold => 99,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// What it means, for the manual.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::Failure => "something that should not happen, or what the command was asked to find",
            Self::Usage => "the command line makes no sense",
            Self::DataErr => "what was read is not good",
            Self::NoInput => "a file is not there or cannot be read",
            Self::Unavailable => "a relay or a store cannot be reached",
            Self::CantCreate => "a file is in the way or cannot be written; an address cannot be bound",
            Self::TempFail => "not now; try again later",
            Self::Protocol => "the other side is of another version",
            Self::NoPerm => "a file is open to others, or it is not allowed",
            Self::Config => "the configuration is not good",
            Self::Threshold => "a threshold was missed",
            Self::Interrupted => "stopped by SIGINT, after cleaning up",
            Self::Terminated => "stopped by SIGTERM, after cleaning up",
        }
    }

    /// The name, as it stands in JSON errors.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Failure => "FAILURE",
            Self::Usage => "USAGE",
            Self::DataErr => "DATAERR",
            Self::NoInput => "NOINPUT",
            Self::Unavailable => "UNAVAILABLE",
            Self::CantCreate => "CANTCREAT",
            Self::TempFail => "TEMPFAIL",
            Self::Protocol => "PROTOCOL",
            Self::NoPerm => "NOPERM",
            Self::Config => "CONFIG",
            Self::Threshold => "THRESHOLD",
            Self::Interrupted => "INTERRUPTED",
            Self::Terminated => "TERMINATED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_the_documented_ones() {
        let numbers = Exit::ALL.map(Exit::number);
        assert_eq!(numbers, [0, 1, 2, 65, 66, 69, 73, 75, 76, 77, 78, 99, 130, 143]);
    }
}
