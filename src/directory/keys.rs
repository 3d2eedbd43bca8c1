//! Publishing keys, and looking at what is published.
//!
//! Must not know who claims.

use std::sync::Arc;

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, PoolName, Suite};
use tokio::sync::{Mutex, MutexGuard};

use crate::directory::accept::{self, KeyUpload, MAX_POOLS, at_most};
use crate::directory::{Directory, Error, LintError, lint};
use crate::model::{DeviceList, MailboxId};
use crate::store::{KeyLogEntry, Keyset, PoolCount, PoolUpload, Upload, Uploaded};

/// Suites of one device.
const MAX_SUITES: usize = 4;
/// Entries of a key log in one answer.
pub const MAX_LOG_ENTRIES: usize = 100;
/// Up to so many signatures are checked where the caller stands: less than half a millisecond.
const FEW_SIGNATURES: usize = 8;
/// Uploads that may run side by side.
const TURNS: usize = 64;

/// What an upload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Every pool of the keyset, and those that the suite always has; zeros included.
    pub counts: Vec<PoolCount>,
    /// Items that were ignored because they were handed out before.
    pub ignored: Vec<(PoolName, Arc<str>)>,
    /// One more at each change of the identity.
    pub identity_version: u32,
}

/// One upload of a device at a time, so that two at once cannot step over a bound together; and a
/// bound on the signatures that are checked at the same time.
#[derive(Debug)]
pub(super) struct Turns(Box<[Mutex<()>]>);

impl Default for Turns {
    fn default() -> Self {
        Self((0..TURNS).map(|_| Mutex::new(())).collect())
    }
}

impl Turns {
    async fn of(&self, mailbox: MailboxId) -> MutexGuard<'_, ()> {
        let turn = usize::try_from(mailbox.0 % TURNS as u64).unwrap_or_default();
        self.0[turn].lock().await
    }
}

impl Directory {
    /// Publishes a device's keys for a suite, all or nothing. Idempotent.
    ///
    /// A changed identity rings the account's other devices.
    ///
    /// # Errors
    ///
    /// All but [`Error::UnknownAccount`], [`Error::NoSuchPool`] and [`Error::OverBudget`]; nothing
    /// changed then, except that [`Error::Store`] may leave the outcome open.
    pub async fn upload(
        &self,
        device: &Address,
        suite: Suite,
        upload: KeyUpload,
    ) -> Result<Published, Error> {
        let pools = accept::accept(&suite, &upload)?;
        let mailbox = self.mailbox(device).await?;
        let _turn = self.turns.of(mailbox).await;
        let keyset = self.store.keyset(mailbox, &suite).await?;
        self.check_room(mailbox, &keyset, &pools).await?;
        let identity = upload
            .identity
            .clone()
            .or_else(|| keyset.map(|keyset| keyset.identity));
        if let Some(identity) = identity.filter(|_| self.rules().key_lint) {
            check_signatures(&suite, identity, &pools).await?;
        }
        let uploaded = self.store.upload(Upload {
            mailbox,
            suite: suite.clone(),
            identity: upload.identity,
            statement: upload.statement,
            pools,
            max_items: self.rules().max_items,
            now: self.clock.now(),
        });
        match uploaded.await? {
            Uploaded::Done {
                mut counts,
                ignored,
                identity_version,
                identity_changed,
            } => {
                self.told.settle(mailbox, &suite, &counts, self.rules().keys_low);
                if identity_changed {
                    self.ring_others(&device.account, &device.device_id).await;
                }
                with_standard_pools(&suite, &mut counts);
                Ok(Published {
                    counts,
                    ignored,
                    identity_version,
                })
            }
            Uploaded::Conflict { pool, item } => Err(Error::ItemIdTaken { pool, item }),
            Uploaded::TooMany { .. } => Err(Error::Limit {
                what: "items in a queue",
                max: self.rules().max_items as usize,
            }),
            Uploaded::NoIdentity => Err(Error::NoIdentity),
            Uploaded::NoDevice => {
                self.forget(&device.account);
                Err(Error::NotRegistered)
            }
        }
    }

    /// A device's own keyset; one without identity and items when it has published none.
    ///
    /// # Errors
    ///
    /// [`Error::NotRegistered`], [`Error::Store`].
    pub async fn keyset(&self, device: &Address, suite: &Suite) -> Result<Keyset, Error> {
        let mailbox = self.mailbox(device).await?;
        let mut keyset = self.store.keyset(mailbox, suite).await?.unwrap_or_else(no_keyset);
        with_standard_pools(suite, &mut keyset.counts);
        Ok(keyset)
    }

    /// Drops the queue of a pool; its fallback stays.
    ///
    /// # Errors
    ///
    /// [`Error::NotRegistered`], [`Error::NoSuchPool`], [`Error::Store`].
    pub async fn drop_queue(&self, device: &Address, suite: &Suite, pool: &PoolName) -> Result<(), Error> {
        let mailbox = self.mailbox(device).await?;
        if self.store.drop_queue(mailbox, suite, pool).await? {
            Ok(())
        } else {
            Err(Error::NoSuchPool)
        }
    }

    /// The account's devices with what each has published for a suite. Uses nothing up.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAccount`] when there are no devices, [`Error::Store`].
    pub async fn published(
        &self,
        account: &AccountId,
        suite: Option<&Suite>,
    ) -> Result<(Arc<DeviceList>, Vec<Option<Keyset>>), Error> {
        let list = self.devices(account).await?;
        if list.devices.is_empty() {
            return Err(Error::UnknownAccount);
        }
        let mut keysets = Vec::with_capacity(list.devices.len());
        for device in &list.devices {
            keysets.push(match suite {
                Some(suite) => self.store.keyset(device.mailbox, suite).await?,
                None => None,
            });
        }
        Ok((list, keysets))
    }

    /// The account's key log after an entry, ascending, at most `limit` entries and at most 100.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub async fn key_log(
        &self,
        account: &AccountId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<KeyLogEntry>, Error> {
        let limit = limit.clamp(1, MAX_LOG_ENTRIES);
        Ok(self.store.key_log(account, after, limit).await?)
    }

    /// Whether suites and pools stay within their bounds.
    async fn check_room(
        &self,
        mailbox: MailboxId,
        keyset: &Option<Keyset>,
        pools: &[(PoolName, PoolUpload)],
    ) -> Result<(), Error> {
        let Some(keyset) = keyset else {
            let suites = self.store.suites(mailbox).await?;
            return at_most("suites of a device", suites.len() + 1, MAX_SUITES);
        };
        let new = pools
            .iter()
            .filter(|(name, _)| keyset.counts.iter().all(|count| count.pool != *name));
        at_most("pools in a keyset", keyset.counts.len() + new.count(), MAX_POOLS)
    }
}

/// Checks signatures, many of them away from the async threads.
async fn check_signatures(
    suite: &Suite,
    identity: Bytes,
    pools: &[(PoolName, PoolUpload)],
) -> Result<(), Error> {
    let items = lint::signed_items(suite, pools);
    if items.len() <= FEW_SIGNATURES {
        return Ok(lint::check(suite, &identity, &items)?);
    }
    // A hundred signatures are 5 ms of work: on an async thread they would hold up everybody's mail.
    // The caller waits for the answer, so nothing is left running behind it.
    let suite = suite.clone();
    let checked: Result<Result<(), LintError>, _> =
        tokio::task::spawn_blocking(move || lint::check(&suite, &identity, &items)).await;
    Ok(checked.map_err(|_| Error::Stopping)??)
}

fn no_keyset() -> Keyset {
    Keyset {
        identity: Bytes::new(),
        statement: None,
        identity_version: 0,
        counts: Vec::new(),
        digest: [0; 32],
    }
}

/// Adds zeros for pools that the suite always has: a client that reads a missing count as "unknown" or
/// as "upload more" does the wrong thing for ever.
fn with_standard_pools(suite: &Suite, counts: &mut Vec<PoolCount>) {
    let standard: &[&str] = match suite {
        Suite::Signal => &["ec", "kem", "spk"],
        Suite::Olm => &["otk"],
        Suite::Mls | Suite::Other(_) => &[],
    };
    for name in standard {
        if counts.iter().all(|count| count.pool.as_str() != *name)
            && let Ok(pool) = PoolName::parse(name)
        {
            counts.push(PoolCount {
                pool,
                count: 0,
                fallback: false,
                fallback_used: false,
            });
        }
    }
    counts.sort_by(|a, b| a.pool.cmp(&b.pool));
}
