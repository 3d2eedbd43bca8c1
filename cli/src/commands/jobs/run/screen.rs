//! How far a run is: a line that changes on a terminal, a plain one every few seconds elsewhere.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use chatctl_relay::config::jobs::JobName;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use crate::commands::jobs::entry::Found;
use crate::out::Out;

/// The display of a run. Gone when it is dropped.
#[derive(Debug)]
pub(super) struct Screen<'a> {
    out: &'a Out,
    job: JobName,
    spinner: Option<ProgressBar>,
    said: Mutex<Instant>,
}

impl<'a> Screen<'a> {
    /// Nothing is done yet.
    pub(super) fn begin(out: &'a Out, job: JobName) -> Self {
        let is_watched = io::stderr().is_terminal() && !out.is_json();
        let spinner = is_watched.then(|| {
            let style = ProgressStyle::with_template("{spinner} {prefix}  {msg}  {elapsed}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
            let spinner = ProgressBar::new_spinner().with_style(style);
            spinner.enable_steady_tick(TICK);
            spinner.with_prefix(job.as_str())
        });
        Self {
            out,
            job,
            spinner,
            said: Mutex::new(Instant::now()),
        }
    }

    /// So much is done.
    pub(super) fn show(&self, found: &Found) {
        let line = found.progress();
        if let Some(spinner) = &self.spinner {
            return spinner.set_message(line);
        }
        let mut said = self.said.lock();
        if said.elapsed() >= PAUSE {
            *said = Instant::now();
            drop(said);
            self.out.note(&format!("{}: {line} so far", self.job));
        }
    }

    /// Something that the person should know meanwhile.
    pub(super) fn say(&self, text: &str) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| self.out.note(text)),
            None => self.out.note(text),
        }
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// Time between two turns of the spinner.
const TICK: Duration = Duration::from_millis(120);

/// Time between two plain lines.
const PAUSE: Duration = Duration::from_secs(2);
