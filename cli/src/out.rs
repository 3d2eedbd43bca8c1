//! What a command says: its result on stdout, everything else on stderr.
//!
//! The only writer to both. A stdout that was closed early ends the command as a success.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::failure::Failure;

/// How results and errors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document.
    Json,
}

/// A command's voice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    format: Format,
}

impl Out {
    /// A voice that speaks a format.
    pub(crate) const fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether a program reads.
    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Writes the result: the text as it is, or the document.
    ///
    /// # Errors
    ///
    /// As [`Failure::of_output`].
    pub(crate) fn result(self, text: &str, document: &impl Serialize) -> Result<(), Failure> {
        let json = match self.format {
            Format::Text => None,
            Format::Json => Some(to_json(document)?),
        };
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(json.as_deref().unwrap_or(text).as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::of_output(&error))
    }

    /// Says something to the person, on stderr; nothing when the reader is a program.
    pub(crate) fn note(self, text: &str) {
        match self.format {
            Format::Text => to_stderr(&format!("{text}\n")),
            Format::Json => {}
        }
    }

    /// Says something on stderr whoever reads.
    pub(crate) fn warn(self, text: &str) {
        to_stderr(&format!("{text}\n"));
    }

    /// Says why the command failed.
    pub(crate) fn failure(self, failure: &Failure) {
        to_stderr(&failure.report(self.format));
    }
}

/// A document as it stands in files and on stdout.
///
/// # Errors
///
/// None in practice: our documents have text keys.
pub(crate) fn to_json(document: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|error| Failure::from_error(crate::exit::Exit::Failure, &error))?;
    Ok(text + "\n")
}

fn to_stderr(text: &str) {
    // Nobody is left to be told when stderr is closed.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
