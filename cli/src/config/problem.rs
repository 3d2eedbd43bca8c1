//! What is wrong with a configuration, and where.
//!
//! Owns how a problem is shown. Of a source line no more is shown than is known to be no secret.

use std::fmt::Write as _;
use std::path::Path;

/// Whether a configuration with this problem can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// It cannot.
    Error,
    /// It can, but somebody should look at it.
    Warning,
}

impl Severity {
    /// The word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Something wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    /// The stable word for programs.
    pub(crate) code: &'static str,
    /// The setting, or the variable.
    pub(crate) key: String,
    /// One sentence without a full stop.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    pub(crate) spot: Option<Spot>,
}

impl Problem {
    /// An error about a setting.
    pub(crate) fn error(code: &'static str, key: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            key: key.to_owned(),
            message: message.into(),
            hint: None,
            spot: None,
        }
    }

    /// A warning about a setting.
    pub(crate) fn warning(code: &'static str, key: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, key, message)
        }
    }

    /// With what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// At a place in a file.
    pub(crate) fn at(mut self, spot: Option<Spot>) -> Self {
        self.spot = spot;
        self
    }

    /// Everything but the source, in one line.
    pub(crate) fn line(&self) -> String {
        let spot = self.spot.iter().map(|spot| format!("{}: ", spot.place()));
        let hint = self.hint.iter().map(|hint| format!("; {hint}"));
        let spot: String = spot.collect();
        format!("{spot}{}{}", self.message, hint.collect::<String>())
    }

    /// As people read it: the sentence, the source line with a caret, what to do.
    pub(crate) fn paragraph(&self) -> String {
        let (severity, code) = (self.severity.as_str(), self.code);
        let mut text = match &self.spot {
            Some(spot) => format!(
                "{severity}[{code}]: {}: {}\n{}",
                spot.place(),
                self.message,
                spot.source()
            ),
            None => format!("{severity}[{code}]: {}\n", self.message),
        };
        if let Some(hint) = &self.hint {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  hint: {hint}");
        }
        text
    }
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    /// The line, as much of it as may be shown.
    excerpt: String,
    /// Characters that are meant.
    width: usize,
}

/// How much of the line in question may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// The key alone: nobody knows what its value is.
    Key,
    /// The value, too.
    Value,
}

impl Spot {
    /// The place of some bytes of a file's text.
    pub(crate) fn of(path: &Path, text: &str, span: &std::ops::Range<usize>, show: Show) -> Self {
        let start = (0..=span.start.min(text.len()))
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        let whole = text
            .get(line_start..)
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default();
        let meant = text.get(start..span.end.min(text.len())).unwrap_or_default();
        let meant = meant.lines().next().unwrap_or_default().chars().count();
        let excerpt = match (show, whole.split_once('=')) {
            (Show::Key, Some((key, _))) => format!("{key}= …"),
            (Show::Key | Show::Value, _) if super::secrets::may_hold_login(whole) => String::new(),
            (Show::Key | Show::Value, _) => whole.to_owned(),
        };
        Self {
            file: path.display().to_string(),
            line: before.matches('\n').count() + 1,
            column: column + 1,
            excerpt,
            width: meant.max(1),
        }
    }

    /// `FILE:LINE:COLUMN`.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}:{}", self.file, self.line, self.column)
    }

    /// The line with a caret under what is meant; nothing where it must not be shown.
    fn source(&self) -> String {
        if self.excerpt.is_empty() {
            return String::new();
        }
        let margin = format!("{:>5} | ", self.line);
        let mut text = format!("{margin}{}\n", self.excerpt);
        if self.column <= self.excerpt.chars().count() {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "      | {}{}",
                " ".repeat(self.column - 1),
                "^".repeat(self.width)
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_points_at_the_words_that_are_meant() {
        let text = "# ä\n[servr]\nlisten = 5\n";
        let spot = Spot::of(Path::new("c.toml"), text, &(6..11), Show::Key);
        let problem = Problem::error("unknown-key", "servr", "unknown table").at(Some(spot));
        assert_eq!(
            problem.paragraph(),
            "error[unknown-key]: c.toml:2:2: unknown table\n    2 | [servr]\n      |  ^^^^^\n"
        );
        assert_eq!(problem.line(), "c.toml:2:2: unknown table");
    }

    #[test]
    fn a_value_that_nobody_knows_is_not_shown() {
        let text = "shoe = \"hunter2\"";
        let spot = Spot::of(Path::new("c.toml"), text, &(0..4), Show::Key);
        assert_eq!(spot.source(), "    1 | shoe = …\n      | ^^^^\n");
        let login = "uri = \"mongodb://me:hunter2@db1\"";
        assert_eq!(Spot::of(Path::new("c"), login, &(6..9), Show::Value).source(), "");
    }
}
