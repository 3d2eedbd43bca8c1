//! Who runs a job: host and process.

use std::sync::Arc;

/// This process, as leases and histories name it: `relay-2:4711`.
#[must_use]
pub fn holder() -> Arc<str> {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    format!("{host}:{}", std::process::id()).into()
}
