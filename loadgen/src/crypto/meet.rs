//! Sessions made as real devices make them: through the key directory of what is measured.
//!
//! # Why
//!
//! It is the honest way, and it exercises the directory: each device publishes its keys, each writer claims its readers'
//! keys and checks them. The first message of a session and its answer stay in the generator, so that
//! what is measured afterwards are messages of the normal kind, as between people who know each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use chatctl_client::e2ee::{Bundle, checked, pool};
use chatctl_client::{Claimed, Directory, DirectoryError};
use chatctl_protocol::{DeviceId, NameError, Suite};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use vodozemac::Curve25519PublicKey;
use vodozemac::olm::{Account, Session};

use crate::crypto::Keyring;
use crate::crypto::pairs::{Pair, greet, keyrings, pairs};
use crate::plan::Plan;

/// Why clients did not come to have sessions.
#[derive(Debug, thiserror::Error)]
pub enum MeetError {
    /// There is not one directory for each client.
    #[error("not one directory for each client")]
    Directories,
    /// The directory said no, or nothing, and went on with it.
    #[error("a client's keys are not published or claimed")]
    Directory(#[from] DirectoryError),
    /// A device has no keys in the directory, although it has published them.
    #[error("the directory has lost the keys of a device")]
    NoKeys,
    /// A key is not signed by its identity, or is not the device's.
    #[error("the directory has given out a key that is not the device's")]
    BadKey,
    /// None in practice.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The runtime is shutting down.
    #[error("stopped")]
    Stopped,
}

/// Keyrings of all clients with sessions between all who write to each other, made through their directories, one for each
/// client of the plan, whose devices are registered. Asks for at most `concurrency` things at once; cryptography runs beside
/// the async threads, about 0.7 ms for each pair.
///
/// # Errors
///
/// [`MeetError`].
pub async fn meet(
    plan: &Plan,
    directories: &[Directory],
    concurrency: usize,
) -> Result<Vec<Keyring>, MeetError> {
    if directories.len() != plan.clients.len() {
        return Err(MeetError::Directories);
    }
    let (pairs, concurrency) = (pairs(plan), concurrency.max(1));
    let readers = wanted_keys(plan.clients.len(), &pairs);
    let accounts = in_chunks(readers, |keys| keys.into_iter().map(install).collect()).await?;
    let uploads = accounts
        .iter()
        .zip(directories)
        .map(|((_, bundle), directory)| async move {
            let keys = bundle.clone().into_upload()?;
            persistently(async || directory.upload(&Suite::Olm, &keys).await).await?;
            Ok::<_, MeetError>(())
        });
    stream::iter(uploads)
        .buffer_unordered(concurrency)
        .try_collect::<Vec<()>>()
        .await?;
    let claims = claims(plan, &pairs).into_iter().map(|claim| {
        let directory = &directories[claim.opener as usize];
        async move { claim.ask(plan, directory).await }
    });
    let keys: Vec<Vec<Key>> = stream::iter(claims)
        .buffer_unordered(concurrency)
        .try_collect()
        .await?;
    let accounts = accounts.into_iter().map(|(account, _)| Mutex::new(account));
    let accounts: Arc<[Mutex<Account>]> = accounts.collect();
    let made = in_chunks(keys.into_iter().flatten().collect(), {
        move |keys: Vec<Key>| keys.iter().map(|key| key.meet(&accounts)).collect()
    });
    let made: Vec<_> = made.await?.into_iter().collect::<Result<_, _>>()?;
    Ok(keyrings(plan.clients.len(), made.into_iter()))
}

/// What one opener asks the directory of one account.
struct Claim {
    opener: u32,
    account: u32,
    readers: Vec<u32>,
}

/// A key that was claimed, for a session.
struct Key {
    pair: Pair,
    identity: Curve25519PublicKey,
    one_time_key: Curve25519PublicKey,
}

impl Claim {
    async fn ask(self, plan: &Plan, directory: &Directory) -> Result<Vec<Key>, MeetError> {
        let name = &plan.accounts[self.account as usize].name;
        let device_id = |reader: u32| plan.clients[reader as usize].device_id.clone();
        let devices: Vec<DeviceId> = self.readers.iter().map(|reader| device_id(*reader)).collect();
        let pools = [pool()?];
        let claimed: Claimed =
            persistently(async || directory.claim(&Suite::Olm, &pools, (name, &devices)).await).await?;
        let keys = self.readers.iter().zip(&devices).map(|(reader, device_id)| {
            let keys = claimed.devices.get(device_id).ok_or(MeetError::NoKeys)?;
            let item = keys.items.values().flatten().next().ok_or(MeetError::NoKeys)?;
            let checked = checked(&keys.identity, &item.data, item.signature.as_deref());
            let (identity, one_time_key) = checked.ok_or(MeetError::BadKey)?;
            let pair = Pair {
                opener: self.opener,
                reader: *reader,
            };
            Ok(Key {
                pair,
                identity: identity.agreement(),
                one_time_key,
            })
        });
        keys.collect()
    }
}

impl Key {
    fn meet(&self, accounts: &[Mutex<Account>]) -> Result<(Pair, Session, Session), MeetError> {
        // Never both locks at once: others meet the other way round. The opener's account is the same before and after.
        let opener = accounts[self.pair.opener as usize].lock().pickle();
        let mut reader = accounts[self.pair.reader as usize].lock();
        let keys = (self.identity, self.one_time_key);
        let made = greet(&Account::from_pickle(opener), keys, &mut reader);
        let (opener, reader) = made.map_err(|_| MeetError::BadKey)?;
        Ok((self.pair, opener, reader))
    }
}

/// How many one-time keys each client has to publish.
fn wanted_keys(clients: usize, pairs: &[Pair]) -> Vec<usize> {
    let mut wanted = vec![0; clients];
    for pair in pairs {
        wanted[pair.reader as usize] += 1;
    }
    wanted
}

/// An account that has drawn so many keys, as far as a pool holds them, and a fallback for the rest.
fn install(keys: usize) -> (Account, Bundle) {
    let mut account = Account::new();
    account.generate_one_time_keys(keys.min(MAX_KEYS));
    account.generate_fallback_key();
    let bundle = Bundle::unpublished(&account);
    (account, bundle)
}

/// The claims of all pairs, which are in the order of their openers.
fn claims(plan: &Plan, pairs: &[Pair]) -> Vec<Claim> {
    let mut claims: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
    for pair in pairs {
        let account = plan.clients[pair.reader as usize].account;
        claims
            .entry((pair.opener, account))
            .or_default()
            .push(pair.reader);
    }
    let claims = claims.into_iter().map(|((opener, account), readers)| Claim {
        opener,
        account,
        readers,
    });
    claims.collect()
}

/// Asks until it is answered, as far as the relay asks to come back and that is soon.
async fn persistently<T>(ask: impl AsyncFn() -> Result<T, DirectoryError>) -> Result<T, DirectoryError> {
    let mut tries = 1;
    loop {
        match ask().await {
            Err(error) if error.retryable() && tries < MAX_TRIES => {
                let pause = error.retry_after().unwrap_or(MIN_PAUSE);
                tokio::time::sleep(pause.clamp(MIN_PAUSE, MAX_PAUSE)).await;
                tries += 1;
            }
            answer => return answer,
        }
    }
}

/// Computes beside the async threads, on as many threads as there are processors, in the same order.
async fn in_chunks<I, O>(
    items: Vec<I>,
    compute: impl Fn(Vec<I>) -> Vec<O> + Clone + Send + 'static,
) -> Result<Vec<O>, MeetError>
where
    I: Send + 'static,
    O: Send + 'static,
{
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let each = items.len().div_ceil(threads).max(1);
    let (mut items, mut running) = (items.into_iter(), Vec::with_capacity(threads));
    while items.len() > 0 {
        let (chunk, compute) = (items.by_ref().take(each).collect(), compute.clone());
        running.push(tokio::task::spawn_blocking(move || compute(chunk)));
    }
    let mut computed = Vec::new();
    for chunk in running {
        computed.extend(chunk.await.map_err(|_| MeetError::Stopped)?);
    }
    Ok(computed)
}

/// What a pool holds at a relay's defaults, less something; the fallback serves the rest.
const MAX_KEYS: usize = 190;

const MAX_TRIES: u32 = 20;
const MIN_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
const MAX_PAUSE: std::time::Duration = std::time::Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_computed_in_chunks_keeps_its_order() {
        for count in [0, 1, 2, 7, 100] {
            let doubled = in_chunks((0..count).collect(), |chunk: Vec<u32>| {
                chunk.into_iter().map(|number| 2 * number).collect()
            });
            let expected: Vec<u32> = (0..count).map(|number| 2 * number).collect();
            assert_eq!(doubled.await.unwrap(), expected);
        }
    }
}
