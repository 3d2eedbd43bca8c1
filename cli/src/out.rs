//! What a command says: its result on stdout or in a file, everything else on stderr.
//!
//! The only writer to all three. A stdout that was closed early ends the command as a success; a file is
//! written whole or not at all.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use chatctl_relay::auth::private_file::{self, Access, Existing};
use clap::builder::styling::AnsiColor;
use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::Exit;
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

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal that has them, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A command's result as programs read it: one JSON object, whose first member `schema` is [`Self::SCHEMA`].
/// Members are only ever added to a version.
pub(crate) trait Document: Serialize + JsonSchema {
    /// `chatctl.`, the command, a slash and the version: `chatctl.token.issue/v1`.
    const SCHEMA: &'static str;
}

/// Who may read a result that goes to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    Public,
    Secret,
}

/// A command's voice.
#[derive(Debug, Clone, Default)]
pub(crate) struct Out {
    format: Format,
    color: Color,
    file: Option<PathBuf>,
    force: bool,
    quiet: bool,
}

impl Out {
    /// A voice that speaks a format on stdout.
    pub(crate) fn new(format: Format, color: Color) -> Self {
        Self {
            format,
            color,
            ..Self::default()
        }
    }

    /// Writes the result to a file instead; `-` is stdout. Takes the place of a file only by force.
    pub(crate) fn into_file(self, file: Option<PathBuf>, force: bool) -> Self {
        Self {
            file: file.filter(|file| file.as_os_str() != "-"),
            force,
            ..self
        }
    }

    /// Says no more than has to be said, if so told.
    pub(crate) const fn quiet(mut self, quiet: bool) -> Self {
        self.quiet = quiet;
        self
    }

    /// Whether a program reads.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether a person wants to hear more than the result.
    pub(crate) fn is_chatty(&self) -> bool {
        self.format == Format::Text && !self.quiet
    }

    /// Whether no more is to be said than has to be.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// The file that the result goes to.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What to do with a file that is there already.
    pub(crate) const fn existing(&self) -> Existing {
        match self.force {
            true => Existing::Replace,
            false => Existing::Keep,
        }
    }

    /// Whether stderr may be coloured.
    pub(crate) fn colors_stderr(&self) -> bool {
        self.colors(io::stderr().is_terminal())
    }

    /// Whether the result may be coloured: never in a file.
    pub(crate) fn colors_stdout(&self) -> bool {
        self.file.is_none() && self.colors(io::stdout().is_terminal())
    }

    fn colors(&self, is_terminal: bool) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto
                if is_set("NO_COLOR") || std::env::var_os("TERM").is_some_and(|term| term == "dumb") =>
            {
                false
            }
            Color::Auto => is_set("CLICOLOR_FORCE") || is_terminal,
        }
    }

    /// Writes the result: the text as it is, or the document.
    ///
    /// # Errors
    ///
    /// As [`Failure::of_output`], and of a file that exists or cannot be written.
    pub(crate) fn result<D: Document>(&self, text: &str, document: &D) -> Result<(), Failure> {
        self.write(text, document, Secrecy::Public)
    }

    /// As [`Self::result`], for a result that is a secret: a file has mode 0600.
    ///
    /// # Errors
    ///
    /// As [`Self::result`].
    pub(crate) fn secret<D: Document>(&self, text: &str, document: &D) -> Result<(), Failure> {
        self.write(text, document, Secrecy::Secret)
    }

    /// Writes a result that is a format of its own and has no other: a schema, a script, a page.
    ///
    /// # Errors
    ///
    /// As [`Self::result`].
    pub(crate) fn verbatim(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.put(bytes, Secrecy::Public)
    }

    /// Writes one of many results as it comes: a line of text, or the document in one line. Never to a file.
    ///
    /// # Errors
    ///
    /// As [`Failure::of_output`].
    pub(crate) fn line<D: Document>(&self, text: &str, document: &D) -> Result<(), Failure> {
        let line = match self.format {
            Format::Text => text.to_owned(),
            Format::Json => serde_json::to_string(&Named::of(document))
                .map_err(|error| Failure::from_error(crate::exit::Exit::Failure, &error))?,
        };
        let mut stdout = io::stdout().lock();
        let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
        written.map_err(|error| Failure::of_output(&error))
    }

    /// A result that is too long to be kept, and is secret: it goes to stdout as it comes, or to a file of mode 0600
    /// that has no name before it is whole.
    ///
    /// # Errors
    ///
    /// Of a file that exists or cannot be made.
    pub(crate) fn sink(&self) -> Result<Sink, Failure> {
        let Some(path) = &self.file else {
            return Ok(Sink::Stdout);
        };
        if self.existing() == Existing::Keep && path.exists() {
            return Err(in_the_way(path));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let file = tempfile::Builder::new()
            .prefix(".chatctl-")
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(parent.unwrap_or(Path::new(".")));
        let file = file.map_err(|error| unwritten(path, &error))?;
        Ok(Sink::File {
            file,
            path: path.clone(),
            existing: self.existing(),
        })
    }

    /// Says on stdout what was done to the file that `-o` names, where that file is the command's own business.
    ///
    /// # Errors
    ///
    /// As [`Self::result`].
    pub(crate) fn about_file<D: Document>(&self, text: &str, document: &D) -> Result<(), Failure> {
        let stdout = Self {
            file: None,
            ..self.clone()
        };
        stdout.result(text, document)
    }

    fn write<D: Document>(&self, text: &str, document: &D, secrecy: Secrecy) -> Result<(), Failure> {
        match self.format {
            Format::Text => self.put(text.as_bytes(), secrecy),
            Format::Json => self.put(to_json(&Named::of(document))?.as_bytes(), secrecy),
        }
    }

    fn put(&self, bytes: &[u8], secrecy: Secrecy) -> Result<(), Failure> {
        let Some(path) = &self.file else {
            let mut stdout = io::stdout().lock();
            return stdout
                .write_all(bytes)
                .and_then(|()| stdout.flush())
                .map_err(|error| Failure::of_output(&error));
        };
        let access = match secrecy {
            Secrecy::Public => Access::Everybody,
            Secrecy::Secret => Access::Owner,
        };
        Ok(private_file::write(path, bytes, access, self.existing())?)
    }

    /// Says something to the person, on stderr; nothing when the reader is a program.
    pub(crate) fn note(&self, text: &str) {
        match self.format {
            Format::Text if self.quiet => {}
            Format::Text => to_stderr(&format!("{text}\n")),
            Format::Json => {}
        }
    }

    /// Says something on stderr whoever reads.
    pub(crate) fn warn(&self, text: &str) {
        to_stderr(&format!("{text}\n"));
    }

    /// Says why the command failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        let report = failure.report(self.format);
        match self.format {
            Format::Text if self.colors_stderr() => to_stderr(&colored(&report)),
            Format::Text | Format::Json => to_stderr(&report),
        }
    }
}

/// Where a long result goes. A file that was not finished is gone when this is dropped.
#[derive(Debug)]
pub(crate) enum Sink {
    Stdout,
    File {
        file: tempfile::NamedTempFile,
        path: PathBuf,
        existing: Existing,
    },
}

impl Sink {
    /// Where the bytes are as long as the file has no name.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Stdout => None,
            Self::File { file, .. } => Some(file.path()),
        }
    }

    /// Appends.
    ///
    /// # Errors
    ///
    /// As [`Failure::of_output`], and of a file that cannot be written.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout => io::stdout()
                .lock()
                .write_all(bytes)
                .map_err(|error| Failure::of_output(&error)),
            Self::File { file, path, .. } => file.write_all(bytes).map_err(|error| unwritten(path, &error)),
        }
    }

    /// It is whole: gives it its name. Durable when it returns.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout => io::stdout()
                .lock()
                .flush()
                .map_err(|error| Failure::of_output(&error)),
            Self::File { file, path, existing } => {
                let synced = file.as_file().sync_all();
                synced.map_err(|error| unwritten(&path, &error))?;
                let named = match existing {
                    Existing::Keep => file.persist_noclobber(&path),
                    Existing::Replace => file.persist(&path),
                };
                named.map_err(|error| match error.error.kind() {
                    io::ErrorKind::AlreadyExists => in_the_way(&path),
                    _ => unwritten(&path, &error.error),
                })?;
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let folder = std::fs::File::open(parent.unwrap_or(Path::new(".")));
                folder
                    .and_then(|folder| folder.sync_all())
                    .map_err(|error| unwritten(&path, &error))
            }
        }
    }
}

fn in_the_way(path: &Path) -> Failure {
    Failure::new(Exit::CantCreate, format!("{} exists", path.display())).hint("`--force` takes its place")
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::CantCreate, format!("cannot write {}", path.display())).caused_by(error)
}

/// A document with its schema's name in front.
#[derive(Serialize)]
struct Named<'a, D> {
    schema: &'static str,
    #[serde(flatten)]
    document: &'a D,
}

impl<'a, D: Document> Named<'a, D> {
    const fn of(document: &'a D) -> Self {
        Self {
            schema: D::SCHEMA,
            document,
        }
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

/// An error's first words in the colours that compilers use for them.
fn colored(report: &str) -> String {
    let (red, cyan) = (
        AnsiColor::Red.on_default().bold(),
        AnsiColor::Cyan.on_default().bold(),
    );
    report
        .replacen("error:", &format!("{red}error{red:#}:"), 1)
        .replace("\nhint:", &format!("\n{cyan}hint{cyan:#}:"))
}

fn to_stderr(text: &str) {
    // Nobody is left to be told when stderr is closed.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
