//! Lines of stdin, as they come.
//!
//! # Why a thread
//!
//! Reading stdin cannot be stopped. A thread that waits for it does not keep the process from ending.

use std::io::{BufRead as _, Read as _};

use tokio::sync::mpsc::{Receiver, channel};

use crate::exit::Exit;
use crate::failure::Failure;

/// Lines of stdin.
#[derive(Debug)]
pub(super) struct Lines(Receiver<String>);

impl Lines {
    /// Begins to read. A line that is longer than a message may be comes in pieces.
    ///
    /// # Errors
    ///
    /// Of a system that has no threads to give.
    pub(super) fn read() -> Result<Self, Failure> {
        let (sender, receiver) = channel(AHEAD);
        let reader = std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || {
                let mut stdin = std::io::stdin().lock();
                loop {
                    let mut line = Vec::new();
                    let read = stdin.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
                    let is_over = read.map_or(true, |bytes| bytes == 0);
                    if is_over
                        || sender
                            .blocking_send(String::from_utf8_lossy(&line).into_owned())
                            .is_err()
                    {
                        return;
                    }
                }
            });
        match reader {
            Ok(_detached) => Ok(Self(receiver)),
            Err(error) => Err(Failure::new(Exit::Failure, "cannot read stdin").caused_by(&error)),
        }
    }

    /// The next one, or `None` at the end. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<String> {
        self.0.recv().await
    }
}

/// Lines that are read before they are wanted.
const AHEAD: usize = 16;

/// Less than the payload that relays carry, with room for the envelope inside.
const MAX_LINE: u64 = 32 * 1024;
