//! Before and after a run: every device is registered in the relay's directory, and removed again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chatctl_client::Directory;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::crypto::{self, Keyring, MeetError};
use crate::plan::{Client, Plan};
use crate::progress::Progress;
use crate::wire::chatctl::{RelayPlace, trouble};
use crate::wire::{Passes, Trouble};

/// Registers everybody. What may pass is tried again a few times.
pub(super) async fn register(
    place: &RelayPlace,
    plan: &Plan,
    passes: &dyn Passes,
    progress: &Progress,
) -> Result<(), Trouble> {
    let registering = plan.clients.iter().map(|client| async move {
        let directory = directory(place, plan, client, passes)?;
        let mut tries = 0;
        loop {
            let answer = directory
                .register(&client.device_id, client.registration_id)
                .await;
            let Err(error) = answer else { break };
            let trouble = trouble::directory(&error);
            tries += 1;
            if trouble.fatal || tries == MOST_TRIES {
                return Err(trouble);
            }
            tokio::time::sleep(PAUSE * tries).await;
        }
        progress.prepared.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    stream::iter(registering)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Makes everybody's sessions through the relay's key directory.
pub(super) async fn meet(
    place: &RelayPlace,
    plan: &Plan,
    passes: &dyn Passes,
) -> Result<Vec<Keyring>, Trouble> {
    let directories = plan
        .clients
        .iter()
        .map(|client| directory(place, plan, client, passes));
    let directories = directories.collect::<Result<Vec<_>, _>>()?;
    let met = crypto::meet(plan, &directories, AT_ONCE).await;
    met.map_err(|error| match &error {
        MeetError::Directory(error) => trouble::directory(error),
        MeetError::NoKeys => trouble::of("keys.missing", true),
        MeetError::BadKey => trouble::of("keys.bad", true),
        MeetError::Directories | MeetError::Name(_) | MeetError::Stopped => trouble::of("keys", true),
    })
}

/// Removes everybody. What cannot be removed stays.
pub(super) async fn remove(place: &RelayPlace, plan: &Plan, passes: &dyn Passes) {
    let removing = plan.clients.iter().map(|client| async move {
        let directory = directory(place, plan, client, passes)?;
        let removed = directory.remove(&client.device_id).await;
        removed.map_err(|error| trouble::directory(&error))
    });
    let mut removing = stream::iter(removing).buffer_unordered(AT_ONCE);
    let (mut left, mut last) = (0_u64, None);
    while let Some(removed) = removing.next().await {
        if let Err(trouble) = removed {
            (left, last) = (left + 1, Some(trouble));
        }
    }
    if let Some(trouble) = last {
        tracing::warn!(left, class = %trouble, "devices of the bench are left behind");
    }
}

fn directory(
    place: &RelayPlace,
    plan: &Plan,
    client: &Client,
    passes: &dyn Passes,
) -> Result<Directory, Trouble> {
    let account = plan.accounts.get(client.account as usize);
    let account = account.ok_or_else(|| trouble::of("plan", true))?;
    let token = passes.token(&account.name, &client.device_id);
    let token = token.map_err(|_| trouble::of("token", true))?;
    Ok(place.http.directory(token))
}

/// Requests that are under way together.
const AT_ONCE: usize = 32;
const MOST_TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);
