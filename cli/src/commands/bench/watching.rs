//! What a person sees while a run lasts: a line that changes on a terminal, a plain one every few seconds elsewhere.
//!
//! Reads counters, at most ten times a second, and never slows what it watches.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chatctl_loadgen::progress::{Phase, Progress};
use indicatif::{ProgressBar, ProgressStyle};

use crate::figures::{span, thousands};
use crate::out::Out;

/// The display of a run. Gone when it is dropped.
#[derive(Debug)]
pub(super) struct Watching<'a> {
    out: &'a Out,
    clients: u64,
    load: Option<Duration>,
    bar: Option<ProgressBar>,
    said: Instant,
    before: Seen,
    entered: (Phase, Instant),
}

/// Counters at a moment.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Instant,
    sent: u64,
    delivered: u64,
}

impl<'a> Watching<'a> {
    /// Nothing has happened yet. `load` is how long it will be measured, if that is known.
    pub(super) fn begin(out: &'a Out, clients: u32, load: Option<Duration>) -> Self {
        let is_watched = io::stderr().is_terminal() && out.is_chatty();
        let bar = is_watched.then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        let now = Instant::now();
        Self {
            out,
            clients: clients.into(),
            load,
            bar,
            said: now,
            before: Seen {
                at: now,
                sent: 0,
                delivered: 0,
            },
            entered: (Phase::Setup, now),
        }
    }

    /// How long the run has been in its phase.
    pub(super) fn since(&self) -> (Phase, Duration) {
        (self.entered.0, self.entered.1.elapsed())
    }

    /// Looks, and shows what is to be shown now.
    pub(super) fn look(&mut self, progress: &Progress) {
        let phase = progress.phase();
        if phase != self.entered.0 {
            self.entered = (phase, Instant::now());
        }
        let pause = match &self.bar {
            Some(_) => Duration::from_secs(1),
            None => PAUSE,
        };
        if self.said.elapsed() < pause {
            if let Some(bar) = &self.bar {
                bar.tick();
            }
            return;
        }
        self.said = Instant::now();
        let line = self.line(progress);
        match &self.bar {
            Some(bar) => bar.set_message(line),
            None => self.out.note(&line),
        }
    }

    fn line(&mut self, progress: &Progress) -> String {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let now = Seen {
            at: Instant::now(),
            sent: read(&progress.sent),
            delivered: read(&progress.delivered),
        };
        let seconds = now.at.duration_since(self.before.at).as_secs_f64().max(0.001);
        let rate = |now: u64, before: u64| thousands((now.saturating_sub(before) as f64 / seconds) as u64);
        let (sent, delivered) = (
            rate(now.sent, self.before.sent),
            rate(now.delivered, self.before.delivered),
        );
        self.before = now;
        let phase = self.entered.0;
        let of_clients = |done: u64| format!("{} of {}", thousands(done), thousands(self.clients));
        let errors = thousands(read(&progress.errors));
        match phase {
            Phase::Setup => format!("setup: {} clients", of_clients(read(&progress.prepared))),
            Phase::Connect => format!(
                "connect: {} clients, {errors} errors",
                of_clients(read(&progress.connections))
            ),
            Phase::Warmup | Phase::Load | Phase::Drain | Phase::Done => {
                let left = self
                    .left(phase)
                    .map(|left| format!(", {left} left"))
                    .unwrap_or_default();
                format!(
                    "{}: {} connected, sent {sent}/s, delivered {delivered}/s, {errors} errors{left}",
                    phase.name(),
                    thousands(read(&progress.connections))
                )
            }
        }
    }

    fn left(&self, phase: Phase) -> Option<String> {
        match phase {
            Phase::Load => Some(span(self.load?.saturating_sub(self.entered.1.elapsed()))),
            Phase::Setup | Phase::Connect | Phase::Warmup | Phase::Drain | Phase::Done => None,
        }
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Time between two plain lines.
const PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_the_run_is() {
        let out = Out::default();
        let progress = Progress::default();
        let mut watching = Watching::begin(&out, 1200, Some(Duration::from_secs(30)));
        progress.prepared.store(1100, Ordering::Relaxed);
        assert_eq!(watching.line(&progress), "setup: 1,100 of 1,200 clients");
        progress.enter(Phase::Drain);
        progress.connections.store(1200, Ordering::Relaxed);
        watching.look(&progress);
        let line = watching.line(&progress);
        assert_eq!(line, "drain: 1,200 connected, sent 0/s, delivered 0/s, 0 errors");
    }
}
