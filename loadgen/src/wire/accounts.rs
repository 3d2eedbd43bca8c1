//! Setting up the accounts of a run at a peer, so many at once, and removing them.

use std::sync::atomic::Ordering;

use chatctl_protocol::AccountId;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::plan::Plan;
use crate::progress::Progress;
use crate::wire::Trouble;

/// Sets every account up, and counts its devices.
///
/// # Errors
///
/// The first [`Trouble`].
pub(super) async fn set_up(
    plan: &Plan,
    progress: &Progress,
    make: impl AsyncFn(&AccountId) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let make = &make;
    stream::iter(&plan.accounts)
        .map(async |account| {
            make(&account.name).await?;
            let devices = account.devices.end - account.devices.start;
            progress.prepared.fetch_add(u64::from(devices), Ordering::Relaxed);
            Ok(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Removes every account, as far as that is possible.
pub(super) async fn remove(plan: &Plan, unmake: impl AsyncFn(&AccountId)) {
    let unmake = &unmake;
    stream::iter(&plan.accounts)
        .for_each_concurrent(AT_ONCE, async |account| unmake(&account.name).await)
        .await;
}

/// Connections for it that are open together.
const AT_ONCE: usize = 32;
