//! Backups of the embedded store: taking one beside the writer, or without a relay, and what is in one.
//!
//! Owns that there is one at a time. What becomes of a backup is in `restore`.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use crate::model::UnixMs;
use crate::store::Error;
use crate::store::backup::{BackupError, BackupStore, Snapshot};
use crate::store::embedded::files::Directory;
use crate::store::embedded::shared::Shared;
use crate::store::embedded::{Embedded, OpenError, schema};
use copy::Copying;
use seal::{SEAL, Sealing};

mod afresh;
mod contents;
mod copy;
mod restore;
mod seal;
#[cfg(test)]
mod tests;

pub use copy::Stop;
pub use restore::{Carried, Order, RestoreError, Restored, check, look, restore};
pub use seal::Told;

#[async_trait]
impl BackupStore for Embedded {
    async fn backup(&self, at: UnixMs) -> Result<Snapshot, BackupError> {
        self.shared.healthy()?;
        let turn = Turn::take(&self.shared)?;
        // The copy would keep what was acked, if only for a moment.
        let mut left = usize::MAX;
        loop {
            let waiting = self.writer.clear().await?;
            if waiting == 0 || waiting >= left {
                break;
            }
            left = waiting;
        }
        let leaving = Leaving::default();
        let left = Arc::clone(&leaving.0);
        let shared = Arc::clone(&self.shared);
        let copied = tokio::task::spawn_blocking(move || {
            let _reading = Reading::begin(&shared);
            let source = schema::copier(&shared.directory.database()).map_err(copy::unopened)?;
            let stopped = Arc::clone(&shared);
            let copy = Copying {
                directory: &shared.directory,
                reserve: shared.reserve(),
                at,
                stop: Box::new(move || left.load(Ordering::Relaxed) || stopped.healthy().is_err()),
            };
            let (file, contents) = copy.make(source)?;
            Ok((file, contents, turn))
        });
        let copied = copied.await;
        let (file, contents, turn) = copied.unwrap_or(Err(BackupError::GivenUp))?;
        snapshot(file, contents, turn)
    }
}

/// Takes a backup of a store that no relay has open. `stop` is asked now and then.
///
/// # Errors
///
/// [`OpenError`] when the directory is in use or holds no store; [`BackupError`] as of a store that is open.
pub fn offline(directory: &Path, at: UnixMs, stop: Stop) -> Result<Result<Snapshot, BackupError>, OpenError> {
    let held = Directory::hold_store(directory)?;
    let source = schema::rest(&held.database())?;
    if schema::found(&source)?.is_none() {
        return Err(OpenError::NotAStore);
    }
    let copy = Copying {
        directory: &held,
        reserve: 0,
        at,
        stop,
    };
    let copied = copy.make(source);
    Ok(copied.and_then(|(file, contents)| snapshot(file, contents, held)))
}

/// What can be read of a copy, with what lasts as long as it does.
fn snapshot(
    mut file: File,
    contents: crate::store::backup::Contents,
    while_it_lasts: impl Send + 'static,
) -> Result<Snapshot, BackupError> {
    let failed = |error: io::Error| Error::Unavailable(error.to_string().into());
    let bytes = file.metadata().map_err(failed)?.len() + SEAL;
    file.rewind().map_err(failed)?;
    let source = With {
        source: Sealing::new(file),
        _while: while_it_lasts,
    };
    Ok(Snapshot::new(contents, bytes, source))
}

/// Something to read, and something that goes with it.
struct With<R, T> {
    source: R,
    _while: T,
}

impl<R: Read, T> Read for With<R, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.read(buffer)
    }
}

/// The right to take a backup.
struct Turn(Arc<Shared>);

impl Turn {
    fn take(shared: &Arc<Shared>) -> Result<Self, BackupError> {
        match shared.copying.swap(true, Ordering::AcqRel) {
            true => Err(BackupError::Running),
            false => Ok(Self(Arc::clone(shared))),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.copying.store(false, Ordering::Release);
    }
}

/// A moment of the past is being read: the log cannot begin anew, and nobody should wait for that.
struct Reading<'a>(&'a Shared);

impl<'a> Reading<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.reading_past.store(true, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.reading_past.store(false, Ordering::Relaxed);
    }
}

/// Says that nobody waits any more, when it is dropped.
#[derive(Default)]
struct Leaving(Arc<AtomicBool>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
