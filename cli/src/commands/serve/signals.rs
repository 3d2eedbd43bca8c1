//! What a relay that runs is asked by signals, and by the end of stdin.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::exit::Exit;
use crate::failure::Failure;

/// The signals that end a relay, and the one that makes it read its configuration again.
pub(super) struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
    /// The end of stdin, if that matters.
    stdin: Option<oneshot::Receiver<()>>,
}

impl Signals {
    /// From now on they end nothing by themselves.
    pub(super) fn listen(to_stdin: bool) -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::new(Exit::Failure, "cannot listen for signals").caused_by(&error);
        Ok(Self {
            hangup: signal(SignalKind::hangup()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            stdin: to_stdin.then(end_of_stdin).transpose().map_err(failed)?,
        })
    }

    /// Waits for the next signal. Cancel safe.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::End(Exit::Interrupted),
            _ = self.terminate.recv() => Asked::End(Exit::Terminated),
            _ = self.hangup.recv() => Asked::Reload,
            () = ended(&mut self.stdin) => Asked::End(Exit::Terminated),
        }
    }
}

/// Waits for the end of stdin, once; for ever when it does not matter or has been told. Cancel safe.
async fn ended(stdin: &mut Option<oneshot::Receiver<()>>) {
    match stdin {
        Some(end) => {
            // A thread that is gone has seen the end, too.
            let _ = end.await;
            *stdin = None;
        }
        None => std::future::pending().await,
    }
}

/// Reads stdin to its end. On a thread of its own: no other way of reading it can be left at any time.
fn end_of_stdin() -> io::Result<oneshot::Receiver<()>> {
    let (tell, end) = oneshot::channel();
    let read = move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = tell.send(());
    };
    std::thread::Builder::new().name("stdin".to_owned()).spawn(read)?;
    Ok(end)
}

/// What a signal asks for.
pub(super) enum Asked {
    /// The relay shall end; the exit of a process that ends at once.
    End(Exit),
    /// The relay shall read its configuration again.
    Reload,
}
