//! Where commands wait for a store or a relay.

use crate::exit::Exit;
use crate::failure::Failure;

/// Does a command's work to its end. What still runs behind it waits for nothing that matters.
///
/// # Errors
///
/// The work's own, and of a system that has no threads to give.
pub(crate) fn wait_for<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failure, "cannot start").caused_by(&error))?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}
