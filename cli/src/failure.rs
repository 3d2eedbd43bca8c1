//! Why a command failed: one sentence, its causes, and what to do.
//!
//! Owns the shape of errors on stderr, in text and in JSON. Must never hold a secret or a token.

use std::error::Error;
use std::io;

use chatctl_relay::auth::{KeysetError, SignError};
use serde_json::json;

use crate::exit::Exit;
use crate::out::Format;

/// A command's error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) exit: Exit,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// A failure in one sentence, without a full stop.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
        }
    }

    /// A failure that says what an error says, and what it says is behind it.
    pub(crate) fn from_error(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        Self {
            causes: causes.map(ToString::to_string).collect(),
            ..Self::new(exit, error.to_string())
        }
    }

    /// With an error behind it.
    pub(crate) fn caused_by(mut self, cause: &(dyn Error + 'static)) -> Self {
        let causes = std::iter::successors(Some(cause), |cause| (*cause).source());
        self.causes.extend(causes.map(ToString::to_string));
        self
    }

    /// With reasons that are sentences already.
    pub(crate) fn because(mut self, causes: impl IntoIterator<Item = String>) -> Self {
        self.causes.extend(causes);
        self
    }

    /// With what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An error of writing to stdout. A reader that has had enough is not one.
    pub(crate) fn of_output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Ok, "");
        }
        Self::new(Exit::CantCreate, "cannot write the result").caused_by(error)
    }

    /// The sentence and its causes in one line, to be told by somebody else.
    pub(crate) fn sentence(&self) -> String {
        let parts = std::iter::once(&self.message).chain(&self.causes);
        parts.map(String::as_str).collect::<Vec<_>>().join(": ")
    }

    /// What to do about it, if that is known.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What goes to stderr; nothing for an exit of 0.
    pub(crate) fn report(&self, format: Format) -> String {
        if self.exit == Exit::Ok {
            return String::new();
        }
        match format {
            Format::Text => {
                let causes = self.causes.iter().map(|cause| format!("  caused by: {cause}\n"));
                let hint = self.hint.iter().map(|hint| format!("hint: {hint}\n"));
                let lines = causes.chain(hint).collect::<String>();
                format!("error: {}\n{lines}", self.message)
            }
            Format::Json => {
                let error = json!({
                    "code": self.exit.name(),
                    "exit": self.exit.number(),
                    "message": self.message,
                    "causes": self.causes,
                    "hint": self.hint,
                });
                format!("{}\n", json!({ "error": error }))
            }
        }
    }
}

impl From<KeysetError> for Failure {
    fn from(error: KeysetError) -> Self {
        match &error {
            KeysetError::Io {
                what: "write",
                path,
                source,
            } => {
                let failure = Self::from_error(Exit::CantCreate, &error);
                if source.kind() == io::ErrorKind::AlreadyExists {
                    return Self::new(Exit::CantCreate, format!("{} exists", path.display()))
                        .hint("`--force` takes its place");
                }
                failure
            }
            KeysetError::Io { .. } => Self::from_error(Exit::NoInput, &error),
            KeysetError::TooOpen { path, .. } => Self::from_error(Exit::NoPerm, &error).hint(format!(
                "`chmod 0600 {}`, and make new keys if others had the time",
                path.display()
            )),
            KeysetError::Issuer { .. } => Self::from_error(Exit::Config, &error)
                .hint("`--trust ISSUER=FILE` or `--trust ISSUER=https://…`, once for each outside issuer"),
            KeysetError::Malformed { .. }
            | KeysetError::Empty
            | KeysetError::DuplicateKid(_)
            | KeysetError::BadKey { .. }
            | KeysetError::TwoActive(..) => Self::from_error(Exit::Config, &error)
                .hint("`chatctl token keys generate -o FILE` makes a good one"),
        }
    }
}

impl From<SignError> for Failure {
    fn from(error: SignError) -> Self {
        match error {
            SignError::NoActiveKey => Self::from_error(Exit::Config, &error)
                .hint("`chatctl token keys generate -o FILE` makes a keyset that can sign"),
            SignError::Reserved(_) => Self::from_error(Exit::Usage, &error),
            SignError::Failed => Self::from_error(Exit::Failure, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_a_sentence_its_causes_and_a_hint() {
        let cause = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let failure = Failure::new(Exit::NoInput, "cannot read keys.json")
            .caused_by(&cause)
            .hint("is it there?");
        assert_eq!(
            failure.report(Format::Text),
            "error: cannot read keys.json\n  caused by: no such file\nhint: is it there?\n"
        );
        let json: serde_json::Value = serde_json::from_str(&failure.report(Format::Json)).unwrap();
        let error = json!({
            "code": "NOINPUT", "exit": 66, "message": "cannot read keys.json",
            "causes": ["no such file"], "hint": "is it there?",
        });
        assert_eq!(json, json!({ "error": error }));
    }

    #[test]
    fn a_reader_that_had_enough_is_no_failure() {
        let failure = Failure::of_output(&io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(
            (failure.exit, failure.report(Format::Text)),
            (Exit::Ok, String::new())
        );
    }
}
