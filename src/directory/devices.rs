//! The device lists of accounts: a bounded cache over the store, and what changes them.
//!
//! Must not know keys.
//!
//! # Why
//!
//! Every send asks for a list, so lists are kept: the most used ones, up to [`CACHE_BYTES`] by weight
//! (S3-FIFO decides who leaves; unknown accounts are kept too, and a scan of them cannot push out
//! lists that are in use). A change forgets the list before it is answered, and a load that began
//! before that is not kept: the cache's placeholder goes with the entry, and the load's insert finds
//! it gone. Forgetting hangs on drop, so a caller that leaves midway, or a store that does not know the
//! outcome, forgets as well. What lands in the store later than that is seen within [`FRESH_MS`]. Where
//! other relays change lists too, that is within [`FRESH_SHARED_MS`]; who cannot wait, as a device that
//! signs on or a send that is refused, forgets the list first.
//!
//! A conversation asks for the same list again and again, so whoever has one may go on using it without asking: each
//! forgetting raises one number for all lists, *after* the list is gone from the cache, and a list is [`Kept`] with
//! the number from *before* it was looked for. While the number is the same, no list was forgotten since the look
//! began, so the cache would answer the same or something younger. A change is answered after its forgetting: what is
//! kept is never older than the last change that was answered on this node either.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chatctl_protocol::{AccountId, Address, DeviceId};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::directory::{Directory, Error};
use crate::hub::Notices;
use crate::model::{DeviceList, MailboxId, UnixMs};
use crate::store::{Registered, Registration};

/// Most memory for lists, by estimate.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Lists that are expected in it.
const CACHE_LISTS: usize = 64 * 1024;
/// Age at which a list is loaded anew.
const FRESH_MS: u64 = 30_000;
/// The same where other relays may change it.
const FRESH_SHARED_MS: u64 = 2_000;

#[derive(Debug, Clone)]
struct Loaded {
    account: AccountId,
    list: Arc<DeviceList>,
    at: UnixMs,
}

/// A list that whoever looked for it may go on using, for as long as [`Directory::still`] says so.
#[derive(Debug, Clone)]
pub struct Kept {
    loaded: Loaded,
    changes: u64,
}

impl Kept {
    /// The list.
    #[must_use]
    pub fn list(&self) -> &DeviceList {
        &self.loaded.list
    }
}

impl Loaded {
    /// A clock that stepped back makes everything old: better a read too many than a list for ever.
    fn is_fresh(&self, now: UnixMs, longest_ms: u64) -> bool {
        now.0.checked_sub(self.at.0).is_some_and(|age| age <= longest_ms)
    }
}

/// Weighs a list by the memory that it holds, roughly.
#[derive(Debug, Clone)]
struct ByMemory;

impl Weighter<AccountId, Loaded> for ByMemory {
    fn weight(&self, account: &AccountId, loaded: &Loaded) -> u64 {
        let devices = loaded.list.devices.iter().map(|device| {
            160 + device.device_id.as_str().len() + device.attributes.as_ref().map_or(0, |text| text.len())
        });
        (200 + account.as_str().len() + devices.sum::<usize>()) as u64
    }
}

/// The lists that are kept.
#[derive(Debug)]
pub(super) struct DeviceLists {
    cache: Cache<AccountId, Loaded, ByMemory>,
    /// How often a list was forgotten.
    changes: AtomicU64,
    longest_ms: u64,
}

impl DeviceLists {
    /// None yet. Lists of a shared store are changed by others, too.
    pub(super) fn new(is_shared: bool) -> Self {
        Self {
            cache: Cache::with_weighter(CACHE_LISTS, CACHE_BYTES, ByMemory),
            changes: AtomicU64::new(0),
            longest_ms: match is_shared {
                true => FRESH_SHARED_MS,
                false => FRESH_MS,
            },
        }
    }

    /// How often a list was forgotten: to be read before a list is looked for.
    fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Forgets the account's list when the guard is dropped.
    fn forget<'a>(&'a self, account: &'a AccountId) -> Forget<'a> {
        Forget { lists: self, account }
    }
}

/// Forgets a list, on every path out.
#[derive(Debug)]
#[must_use]
struct Forget<'a> {
    lists: &'a DeviceLists,
    account: &'a AccountId,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        // Takes the placeholder of a load under way as well; its insert then comes to nothing.
        let _ = self.lists.cache.remove(self.account);
        // After it: a list that is looked for under the new number is not the one that was forgotten.
        self.lists.changes.fetch_add(1, Ordering::Release);
    }
}

impl Directory {
    /// The account's devices; an empty list of version 0 for an account that never had any.
    ///
    /// Cheap when the list is known: no I/O, no allocation. Many callers share one load. Never older
    /// than the last change that was answered on this node. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub async fn devices(&self, account: &AccountId) -> Result<Arc<DeviceList>, Error> {
        Ok(self.loaded(account).await?.list)
    }

    /// As [`Self::devices`], to go on using it.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub async fn keep(&self, account: &AccountId) -> Result<Kept, Error> {
        let changes = self.lists.changes();
        let loaded = self.loaded(account).await?;
        Ok(Kept { loaded, changes })
    }

    /// As [`Self::keep`], if the list is known and young enough. Without waiting or allocating.
    #[must_use]
    pub fn kept(&self, account: &str, now: UnixMs) -> Option<Kept> {
        let changes = self.lists.changes();
        let loaded = self.lists.cache.get(account)?;
        loaded
            .is_fresh(now, self.lists.longest_ms)
            .then_some(Kept { loaded, changes })
    }

    /// Whether this is the list of the account still: no list was forgotten since it was looked for, and it is young
    /// enough. Costs a load and a few comparisons.
    #[must_use]
    pub fn still(&self, kept: &Kept, account: &str, now: UnixMs) -> bool {
        kept.changes == self.lists.changes()
            && kept.loaded.account.as_str() == account
            && kept.loaded.is_fresh(now, self.lists.longest_ms)
    }

    async fn loaded(&self, account: &AccountId) -> Result<Loaded, Error> {
        let (now, longest_ms) = (self.clock.now(), self.lists.longest_ms);
        match self.lists.cache.get(account) {
            Some(loaded) if loaded.is_fresh(now, longest_ms) => return Ok(loaded),
            Some(_) => drop(
                self.lists
                    .cache
                    .remove_if(account, |loaded| !loaded.is_fresh(now, longest_ms)),
            ),
            None => {}
        }
        match self.lists.cache.get_value_or_guard_async(account).await {
            Ok(loaded) => Ok(loaded),
            Err(place) => {
                let loaded = Loaded {
                    list: Arc::new(self.store.devices(account).await?),
                    account: account.clone(),
                    at: now,
                };
                // An error says that the list was forgotten meanwhile: right for this caller, who began
                // before the change was answered, and for nobody after.
                let _ = place.insert(loaded.clone());
                Ok(loaded)
            }
        }
    }

    /// The mailbox of a registered device.
    ///
    /// # Errors
    ///
    /// [`Error::NotRegistered`] when there is no such device, else [`Error::Store`].
    pub async fn mailbox(&self, device: &Address) -> Result<MailboxId, Error> {
        let list = self.devices(&device.account).await?;
        let device = list.device(&device.device_id).ok_or(Error::NotRegistered)?;
        Ok(device.mailbox)
    }

    /// Registers or re-registers a device.
    ///
    /// The sessions of a replaced installation get [`Notices::REREGISTERED`], the account's other
    /// devices [`Notices::DEVICES`]. The same installation again rings nobody.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] for attributes that are too long, else [`Error::Store`].
    pub async fn register(&self, address: &Address, registration: Registration) -> Result<Registered, Error> {
        if registration
            .attributes
            .as_ref()
            .is_some_and(|text| text.len() > MAX_ATTRIBUTES_BYTES)
        {
            return Err(Error::Limit {
                what: "bytes of attributes",
                max: MAX_ATTRIBUTES_BYTES,
            });
        }
        let forget = self.lists.forget(&address.account);
        let registered = self.store.register(address, registration).await?;
        // Before the bells: who hears one looks at the list.
        drop(forget);
        match &registered {
            Registered::Created(_) => self.ring_others(&address.account, &address.device_id).await,
            Registered::Replaced { old, .. } => {
                self.hub.notify(*old, Notices::REREGISTERED);
                self.ring_others(&address.account, &address.device_id).await;
            }
            Registered::Updated(_) | Registered::TooMany => {}
        }
        Ok(registered)
    }

    /// Removes a device with everything it has. Returns its mailbox, or `None` when there was none.
    ///
    /// Its sessions get [`Notices::REMOVED`], the account's other devices [`Notices::DEVICES`].
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub async fn remove(&self, address: &Address) -> Result<Option<MailboxId>, Error> {
        // Forgets on the way out, too, when nobody knows what became of it.
        let forget = self.lists.forget(&address.account);
        let removed = self.store.remove_device(address, self.clock.now()).await?;
        drop(forget);
        if let Some(mailbox) = removed {
            self.removed(address, mailbox).await;
        }
        Ok(removed)
    }

    /// The store has removed a device, whoever asked for it: its sessions get [`Notices::REMOVED`], the account's
    /// other devices [`Notices::DEVICES`], and lists from before are forgotten.
    pub async fn removed(&self, address: &Address, mailbox: MailboxId) {
        // Before the bells: who hears one looks at the list.
        self.forget(&address.account);
        self.hub.notify(mailbox, Notices::REMOVED);
        self.ring_others(&address.account, &address.device_id).await;
    }

    /// Tells the account's other devices that its list or an identity changed.
    pub(super) async fn ring_others(&self, account: &AccountId, except: &DeviceId) {
        // The change is done and must be answered as done: a bell that cannot be rung costs time only.
        let Ok(list) = self.devices(account).await else {
            return;
        };
        for device in list.devices.iter().filter(|device| device.device_id != *except) {
            self.hub.notify(device.mailbox, Notices::DEVICES);
        }
    }

    /// Forgets a list that turned out to be older than the store.
    pub fn forget(&self, account: &AccountId) {
        drop(self.lists.forget(account));
    }
}

/// Longest attributes of a device, as JSON text.
const MAX_ATTRIBUTES_BYTES: usize = 1024;
