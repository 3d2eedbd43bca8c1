//! How far a copy is: a bar on a terminal, nothing elsewhere.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::out::Out;

/// The display. Gone when the last of its handles is dropped.
#[derive(Debug, Clone)]
pub(in crate::commands) struct Bar(Option<ProgressBar>);

impl Bar {
    /// Nothing is done yet, and nobody knows how much there is.
    pub(in crate::commands) fn begin(out: &Out, what: &'static str) -> Self {
        let is_watched = io::stderr().is_terminal() && out.is_chatty();
        Self(is_watched.then(|| {
            let bar = ProgressBar::no_length().with_style(style("{spinner} {prefix}  {msg}  {elapsed}"));
            bar.enable_steady_tick(TICK);
            bar.with_prefix(what)
        }))
    }

    /// There are so many bytes.
    pub(in crate::commands) fn length(&self, bytes: Option<u64>) {
        if let (Some(bar), Some(bytes)) = (&self.0, bytes) {
            bar.set_style(style(
                "{spinner} {prefix}  {bar:30} {bytes}/{total_bytes}  {bytes_per_sec}",
            ));
            bar.set_length(bytes);
        }
    }

    /// So many of them are done.
    pub(in crate::commands) fn at(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(bytes);
        }
    }

    /// What is done now, when it is not counted.
    pub(in crate::commands) fn say(&self, words: &'static str) {
        if let Some(bar) = &self.0 {
            bar.set_style(style("{spinner} {prefix}  {msg}  {elapsed}"));
            bar.set_message(words);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Time between two turns of the spinner.
const TICK: Duration = Duration::from_millis(120);
