//! Lines of a screen: painted or not, and never wider than it. Must not know what they say.

use std::fmt::Write as _;

use crate::report::screen::WIDTH;

/// A screen that is being written.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) text: String,
    pub(super) colour: bool,
}

/// How letters look.
#[derive(Debug, Clone, Copy)]
pub(super) enum Paint {
    Plain,
    Dim,
    Bold,
    Good,
    Bad,
    Doubtful,
}

impl Screen {
    /// A line: a name in the margin, and parts that are cut where the screen ends.
    pub(super) fn line(&mut self, name: &str, parts: &[(Paint, &str)]) {
        let mut left = WIDTH - MARGIN;
        self.paint(Paint::Dim, &format!("{name:MARGIN$}"));
        for (paint, part) in parts {
            let part = cut(part, left);
            left -= part.chars().count();
            self.paint(*paint, &part);
        }
        self.text.truncate(self.text.trim_end_matches(' ').len());
        self.text.push('\n');
    }

    /// A line of figures with space between them; those that do not fit are left out.
    pub(super) fn figures(&mut self, name: &str, figures: &[String]) {
        let mut line = String::new();
        for figure in figures.iter().filter(|figure| !figure.is_empty()) {
            let room = (WIDTH - MARGIN).saturating_sub(line.chars().count());
            if figure.chars().count() <= room {
                line.push_str(figure);
                line.push_str(BETWEEN);
            }
        }
        if !line.is_empty() {
            self.line(name, &[(Paint::Plain, line.trim_end())]);
        }
    }

    /// Letters in a colour, if there are colours.
    pub(super) fn paint(&mut self, paint: Paint, part: &str) {
        let code = match paint {
            Paint::Plain => "",
            Paint::Dim => "2",
            Paint::Bold => "1",
            Paint::Good => "1;32",
            Paint::Bad => "1;31",
            Paint::Doubtful => "1;33",
        };
        if self.colour && !code.is_empty() && !part.trim().is_empty() {
            let _ = write!(self.text, "\u{1b}[{code}m{part}\u{1b}[0m");
        } else {
            self.text.push_str(part);
        }
    }
}

/// A text on one line and of so many letters at most.
pub(super) fn cut(text: &str, most: usize) -> String {
    let mut letters = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut cut: String = letters.by_ref().take(most).collect();
    if letters.next().is_some() {
        cut.pop();
        cut.push('…');
    }
    cut
}

/// Where the figures begin.
pub(super) const MARGIN: usize = 13;
const BETWEEN: &str = "   ";
