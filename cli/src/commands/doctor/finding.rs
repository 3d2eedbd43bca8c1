//! What a doctor says of one thing: a mark, what was measured, and what to do about it.
//!
//! Owns the rule that whatever is not good comes with something that can be pasted. Must not know what is
//! looked at.

use std::fmt::Write as _;
use std::path::Path;

use clap::builder::styling::AnsiColor;
use schemars::JsonSchema;
use serde::Serialize;

use super::Area;
use crate::figures::tame;
use crate::out::Document;

/// How it is with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mark {
    /// As it should be.
    Ok,
    /// It works, and should not stay so.
    Warn,
    /// It is wrong.
    Bad,
    /// It was not looked at, and why.
    Skipped,
}

impl Mark {
    const fn sign(self) -> char {
        match self {
            Self::Ok => '✓',
            Self::Warn => '!',
            Self::Bad => '✗',
            Self::Skipped => '–',
        }
    }

    const fn color(self) -> AnsiColor {
        match self {
            Self::Ok => AnsiColor::Green,
            Self::Warn => AnsiColor::Yellow,
            Self::Bad => AnsiColor::Red,
            Self::Skipped => AnsiColor::BrightBlack,
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) mark: Mark,
    /// What it is, in a word or two.
    pub(super) name: String,
    /// What was measured, or why nothing was.
    pub(super) measured: String,
    /// What follows from it.
    pub(super) meaning: Option<String>,
    /// What to paste; always there when it is not good.
    pub(super) fix: Option<String>,
}

impl Finding {
    /// It is as it should be.
    pub(super) fn ok(name: impl Into<String>, measured: impl Into<String>) -> Self {
        Self::of(Mark::Ok, name.into(), measured.into(), None)
    }

    /// It works, and should not stay so.
    pub(super) fn warn(name: impl Into<String>, measured: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::of(Mark::Warn, name.into(), measured.into(), Some(fix.into()))
    }

    /// It is wrong.
    pub(super) fn bad(name: impl Into<String>, measured: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::of(Mark::Bad, name.into(), measured.into(), Some(fix.into()))
    }

    /// It was not looked at: why, and how it would be.
    pub(super) fn skipped(name: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::of(Mark::Skipped, name.into(), why.into(), Some(fix.into()))
    }

    fn of(mark: Mark, name: String, measured: String, fix: Option<String>) -> Self {
        Self {
            mark,
            name,
            measured,
            meaning: None,
            fix,
        }
    }

    /// With what follows from it.
    pub(super) fn meaning(mut self, meaning: impl Into<String>) -> Self {
        self.meaning = Some(meaning.into());
        self
    }
}

/// Everything that was looked at.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Examined {
    /// Whether nothing is wrong; warnings do not count.
    ok: bool,
    good: usize,
    warnings: usize,
    wrong: usize,
    skipped: usize,
    /// In the order of the areas, which is always the same.
    findings: Vec<Line>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize, JsonSchema)]
struct Line {
    area: Area,
    check: String,
    result: Mark,
    /// What was measured, or why nothing was.
    measured: String,
    /// What follows from it.
    meaning: Option<String>,
    /// What to paste; there unless the result is `ok`.
    fix: Option<String>,
}

impl Document for Examined {
    const SCHEMA: &'static str = "chatctl.doctor/v1";
}

impl Examined {
    /// Of findings in order.
    pub(super) fn of(findings: Vec<(Area, Finding)>) -> Self {
        let count = |mark| {
            findings
                .iter()
                .filter(|(_, finding)| finding.mark == mark)
                .count()
        };
        let (good, warnings) = (count(Mark::Ok), count(Mark::Warn));
        let (wrong, skipped) = (count(Mark::Bad), count(Mark::Skipped));
        let line = |(area, finding): (Area, Finding)| Line {
            area,
            check: finding.name,
            result: finding.mark,
            measured: finding.measured,
            meaning: finding.meaning,
            fix: finding.fix,
        };
        Self {
            ok: wrong == 0,
            good,
            warnings,
            wrong,
            skipped,
            findings: findings.into_iter().map(line).collect(),
        }
    }

    /// How many things are wrong.
    pub(super) const fn wrong(&self) -> usize {
        self.wrong
    }

    /// As people read it; without what is good, and without the sum, if so told.
    pub(super) fn text(&self, is_quiet: bool, is_colored: bool) -> String {
        let mut text = String::new();
        let mut last = None;
        for line in &self.findings {
            if is_quiet && line.result == Mark::Ok {
                continue;
            }
            if last != Some(line.area) {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{}", line.area.as_str());
                last = Some(line.area);
            }
            line.write(&mut text, is_colored);
        }
        if !is_quiet {
            let Self {
                good,
                warnings,
                wrong,
                skipped,
                ..
            } = self;
            let _ = writeln!(
                text,
                "{good} good, {warnings} to look at, {wrong} wrong, {skipped} skipped"
            );
        }
        text
    }
}

impl Line {
    fn write(&self, text: &mut String, is_colored: bool) {
        let sign = match is_colored {
            true => {
                let style = self.result.color().on_default().bold();
                format!("{style}{}{style:#}", self.result.sign())
            }
            false => self.result.sign().to_string(),
        };
        // Others may have written what is quoted: a server, a file.
        let _ = writeln!(text, "  {sign} {:<18} {}", self.check, tame(&self.measured));
        if let Some(meaning) = &self.meaning {
            let _ = writeln!(text, "{MARGIN}{}", tame(meaning));
        }
        if let Some(fix) = &self.fix {
            let _ = writeln!(text, "{MARGIN}fix: {}", tame(fix));
        }
    }
}

/// A path as a shell takes it.
pub(super) fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "/._-+@%:,".contains(char);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// The command that looks at an area as somebody who may read everything.
pub(super) fn as_root(area: Area) -> String {
    format!("sudo chatctl doctor {}", area.as_str())
}

/// Under the measured words.
const MARGIN: &str = "                       ";

#[cfg(test)]
mod tests {
    use super::*;

    fn examined() -> Examined {
        Examined::of(vec![
            (Area::Disk, Finding::ok("free space", "9 GiB")),
            (
                Area::Disk,
                Finding::warn(
                    "file system",
                    "tmpfs",
                    "chatctl serve --data-dir /var/lib/chatctl",
                )
                .meaning("a restart of the machine loses everything"),
            ),
            (Area::Keys, Finding::bad("mode", "0644", "chmod 0600 k")),
        ])
    }

    #[test]
    fn findings_stand_under_their_areas_with_their_fixes() {
        assert_eq!(
            examined().text(false, false),
            "disk
  ✓ free space         9 GiB
  ! file system        tmpfs
                       a restart of the machine loses everything
                       fix: chatctl serve --data-dir /var/lib/chatctl
keys
  ✗ mode               0644
                       fix: chmod 0600 k
1 good, 1 to look at, 1 wrong, 0 skipped
"
        );
    }

    #[test]
    fn what_is_good_is_not_worth_a_quiet_line() {
        let text = examined().text(true, false);
        assert!(!text.contains('✓') && text.contains('✗'), "{text}");
        assert!(!text.contains("skipped"), "{text}");
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(
            shell(Path::new("/etc/chatctl/keys.json")),
            "/etc/chatctl/keys.json"
        );
        assert_eq!(shell(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
