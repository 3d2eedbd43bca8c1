//! How far a long piece of work is: a bar on a terminal, a plain line every few seconds elsewhere.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::out::Out;

/// The display of one piece of work. Gone when it is dropped.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    out: &'a Out,
    what: &'static str,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl<'a> Progress<'a> {
    /// Nothing is done yet.
    pub(super) fn begin(out: &'a Out, what: &'static str, total: u64) -> Self {
        let is_watched = io::stderr().is_terminal() && !out.is_json();
        let bar = is_watched.then(|| {
            let style = ProgressStyle::with_template("{msg:13} {bar:40} {pos}/{len}  {per_sec}  {eta} left");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style).with_message(what)
        });
        Self {
            out,
            what,
            total,
            done: 0,
            bar,
            said: Instant::now(),
        }
    }

    /// One more is done.
    pub(super) fn step(&mut self) {
        self.done += 1;
        match &self.bar {
            Some(bar) => bar.inc(1),
            None if self.said.elapsed() >= PAUSE => {
                self.said = Instant::now();
                self.out
                    .note(&format!("{}: {} of {}", self.what, self.done, self.total));
            }
            None => {}
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Time between two plain lines.
const PAUSE: Duration = Duration::from_secs(2);
