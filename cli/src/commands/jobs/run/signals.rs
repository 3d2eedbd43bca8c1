//! Ctrl-C, and what systemd sends to a job that takes too long.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;
use crate::failure::Failure;

/// The signals that end a run.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on they end nothing by themselves.
    ///
    /// # Errors
    ///
    /// Of a system that has no handlers to give.
    pub(super) fn listen() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Failure, "cannot listen for signals").caused_by(&error)
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    /// Waits for the next one: how the process ends because of it. Cancel safe.
    pub(super) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

/// What is said at the first one.
pub(super) const STOPPING: &str = "stops after this step; once more leaves at once";

/// Left at the second one, without waiting.
pub(super) fn left(exit: Exit) -> Failure {
    Failure::new(exit, "left without waiting for the run to stop")
        .hint("what it did is done; its lease ends by itself within a minute")
}
