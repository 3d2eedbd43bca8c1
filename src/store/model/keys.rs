//! The model's keys: queues as queues, tombstones as a map.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chatctl_protocol::{AccountId, PoolName, Suite};

use crate::model::{MailboxId, UnixMs};
use crate::store::digest;
use crate::store::model::{Model, State};
use crate::store::{
    Claim, ClaimTarget, Claimed, Error, Item, KeyLogEntry, KeyStore, Keyset, PoolCount, PoolUpload, Upload,
    Uploaded,
};

#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    identity: Option<Bytes>,
    statement: Option<Bytes>,
    identity_version: u32,
    pools: BTreeMap<PoolName, Pool>,
}

#[derive(Debug, Clone, Default)]
struct Pool {
    queue: VecDeque<Item>,
    fallback: Option<Item>,
    fallback_used: bool,
    tombstones: BTreeMap<[u8; 16], UnixMs>,
}

impl Pool {
    fn was_handed_out(&self, item: &Item, now: UnixMs) -> bool {
        self.tombstones
            .get(&digest::tombstone(item))
            .is_some_and(|at| digest::is_remembered(*at, now))
    }

    /// Applies an upload; the ids that were ignored, or the one that is taken by other bytes.
    fn upload(&mut self, upload: PoolUpload, now: UnixMs) -> Result<Vec<Arc<str>>, Arc<str>> {
        if upload.replace.is_some() {
            self.queue.clear();
        }
        let mut ignored = Vec::new();
        for item in upload.replace.into_iter().flatten().chain(upload.add) {
            if self.was_handed_out(&item, now) {
                ignored.push(item.id);
                continue;
            }
            match self.queue.iter().find(|queued| queued.id == item.id) {
                None => self.queue.push_back(item),
                Some(queued) if *queued == item => {}
                Some(_) => return Err(item.id),
            }
        }
        if upload.fallback.is_some() && upload.fallback != self.fallback {
            self.fallback = upload.fallback;
            self.fallback_used = false;
        }
        Ok(ignored)
    }

    fn take(&mut self, spare_queue: bool, now: UnixMs) -> Option<Item> {
        if !spare_queue {
            while let Some(item) = self.queue.pop_front() {
                if !self.was_handed_out(&item, now) {
                    self.tombstones.insert(digest::tombstone(&item), now);
                    return Some(item);
                }
            }
        }
        self.fallback_used |= self.fallback.is_some();
        self.fallback.clone()
    }

    fn count(&self, name: &PoolName) -> PoolCount {
        PoolCount {
            pool: name.clone(),
            count: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
            fallback: self.fallback.is_some(),
            fallback_used: self.fallback_used,
        }
    }
}

impl Keys {
    /// When items were handed out that are remembered.
    pub(super) fn tombstones(&self) -> impl Iterator<Item = UnixMs> {
        self.pools
            .values()
            .flat_map(|pool| pool.tombstones.values().copied())
    }

    /// Forgets those from before a time, at most `limit`; how many.
    pub(super) fn forget_tombstones(&mut self, before: UnixMs, limit: usize) -> usize {
        let mut forgotten = 0;
        for pool in self.pools.values_mut() {
            pool.tombstones.retain(|_, at| {
                let goes = *at < before && forgotten < limit;
                forgotten += usize::from(goes);
                !goes
            });
        }
        forgotten
    }

    pub(super) fn counts(&self) -> Vec<PoolCount> {
        self.pools.iter().map(|(name, pool)| pool.count(name)).collect()
    }

    fn claim(&mut self, claim: &Claim, target: &ClaimTarget) -> Claimed {
        let mut items = Vec::new();
        let mut touched = Vec::<PoolName>::new();
        for name in &claim.pools {
            let pool = self.pools.get_mut(name);
            let item = pool.and_then(|pool| pool.take(target.spare_queue, claim.now));
            if item.is_some() && !touched.contains(name) {
                touched.push(name.clone());
            }
            items.push(item);
        }
        Claimed {
            mailbox: target.mailbox,
            identity: self.identity.clone().unwrap_or_default(),
            statement: self.statement.clone(),
            items,
            touched: touched
                .iter()
                .filter_map(|name| Some(self.pools.get(name)?.count(name)))
                .collect(),
        }
    }
}

impl State {
    fn upload(&mut self, upload: Upload) -> Uploaded {
        let Some(address) = self.owners.get(&upload.mailbox).cloned() else {
            return Uploaded::NoDevice;
        };
        let place = (upload.mailbox, upload.suite.clone());
        // Work on a copy, so that a refusal changes nothing.
        let mut keys = self.keysets.get(&place).cloned().unwrap_or_default();
        if keys.identity.is_none() && upload.identity.is_none() {
            return Uploaded::NoIdentity;
        }
        let mut ignored = Vec::<(PoolName, Arc<str>)>::new();
        for (name, change) in upload.pools {
            let pool = keys.pools.entry(name.clone()).or_default();
            match pool.upload(change, upload.now) {
                Err(item) => return Uploaded::Conflict { pool: name, item },
                Ok(_) if pool.queue.len() > upload.max_items as usize => {
                    return Uploaded::TooMany { pool: name };
                }
                Ok(ids) => ignored.extend(ids.into_iter().map(|id| (name.clone(), id))),
            }
        }
        keys.statement = upload.statement.or(keys.statement);
        let identity_changed = upload.identity.is_some() && upload.identity != keys.identity;
        if identity_changed {
            keys.identity = upload.identity;
            keys.identity_version += 1;
            let log = &mut self.accounts.entry(address.account).or_default().key_log;
            log.push(digest::key_log_entry(
                log.last().map(|last| (last.seq, last.hash)),
                upload.now,
                &address.device_id,
                &upload.suite,
                keys.identity.as_deref().unwrap_or_default(),
            ));
        }
        let done = Uploaded::Done {
            counts: keys.counts(),
            ignored,
            identity_version: keys.identity_version,
            identity_changed,
        };
        self.keysets.insert(place, keys);
        done
    }
}

#[async_trait]
impl KeyStore for Model {
    async fn upload(&self, upload: Upload) -> Result<Uploaded, Error> {
        self.with(|state| state.upload(upload))
    }

    async fn keyset(&self, mailbox: MailboxId, suite: &Suite) -> Result<Option<Keyset>, Error> {
        self.with(|state| {
            let keys = state.keysets.get(&(mailbox, suite.clone()))?;
            let identity = keys.identity.clone()?;
            let fallbacks = keys.pools.iter();
            let fallbacks = fallbacks.filter_map(|(name, pool)| Some((name, pool.fallback.as_ref()?)));
            Some(Keyset {
                digest: digest::keyset(&identity, fallbacks),
                identity,
                statement: keys.statement.clone(),
                identity_version: keys.identity_version,
                counts: keys.counts(),
            })
        })
    }

    async fn suites(&self, mailbox: MailboxId) -> Result<Vec<Suite>, Error> {
        self.with(|state| {
            let of = state.keysets.keys().filter(|(of, _)| *of == mailbox);
            of.map(|(_, suite)| suite.clone()).collect()
        })
    }

    async fn drop_queue(&self, mailbox: MailboxId, suite: &Suite, pool: &PoolName) -> Result<bool, Error> {
        self.with(|state| {
            let keys = state.keysets.get_mut(&(mailbox, suite.clone()));
            let pool = keys.and_then(|keys| keys.pools.get_mut(pool));
            pool.map(|pool| pool.queue.clear()).is_some()
        })
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        self.with(|state| {
            let mut claimed = Vec::new();
            for target in &claim.targets {
                if let Some(keys) = state.keysets.get_mut(&(target.mailbox, claim.suite.clone())) {
                    claimed.push(keys.claim(&claim, target));
                }
            }
            claimed
        })
    }

    async fn key_log(
        &self,
        account: &AccountId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<KeyLogEntry>, Error> {
        self.with(|state| {
            let log = state.accounts.get(account).map(|account| &account.key_log);
            let later = log.into_iter().flatten().filter(|entry| entry.seq > after);
            later.take(limit).cloned().collect()
        })
    }
}
