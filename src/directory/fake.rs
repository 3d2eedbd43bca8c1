//! A store in memory for the tests of this room: as simple as it can be, and able to pause and to fail.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, EnvelopeId, PoolName, Suite};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::model::{Device, DeviceList, Envelope, MailboxId, UnixMs};
use crate::store::{
    Batch, Claim, Claimed, Committed, DeviceStore, Error, Expired, Gap, Item, KeyLogEntry, KeyStore, Keyset,
    MailStore, PoolCount, Registered, Registration, Room, SendKey, SendRecord, Start, Upload, Uploaded,
    Usage,
};

#[derive(Debug, Default)]
struct Pool {
    queue: VecDeque<Item>,
    fallback: Option<Item>,
    fallback_used: bool,
    issued: HashSet<Bytes>,
}

#[derive(Debug, Default)]
struct Keys {
    identity: Bytes,
    statement: Option<Bytes>,
    identity_version: u32,
    pools: BTreeMap<PoolName, Pool>,
}

impl Keys {
    fn counts(&self) -> Vec<PoolCount> {
        let counts = self.pools.iter().map(|(name, pool)| PoolCount {
            pool: name.clone(),
            count: u32::try_from(pool.queue.len()).unwrap(),
            fallback: pool.fallback.is_some(),
            fallback_used: pool.fallback_used,
        });
        counts.collect()
    }
}

#[derive(Debug, Default)]
struct State {
    accounts: BTreeMap<AccountId, DeviceList>,
    keys: BTreeMap<(MailboxId, Suite), Keys>,
    mailboxes: u64,
}

/// Where a load of a device list stops.
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// Rung when the load has read and waits.
    pub(super) began: Notify,
    /// Lets it go on.
    pub(super) go: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Fake {
    state: Mutex<State>,
    pause: Mutex<Option<Arc<Pause>>>,
    pub(super) loads: std::sync::atomic::AtomicUsize,
    /// The next registration is done and answered with an error.
    pub(super) forget_answer: AtomicBool,
}

impl Fake {
    /// The next load of a device list reads, and then waits.
    pub(super) fn pause_next_load(&self) -> Arc<Pause> {
        let pause = Arc::new(Pause::default());
        *self.pause.lock() = Some(Arc::clone(&pause));
        pause
    }
}

#[async_trait]
impl DeviceStore for Fake {
    async fn register(&self, address: &Address, registration: Registration) -> Result<Registered, Error> {
        let mut state = self.state.lock();
        state.mailboxes += 1;
        let mailbox = MailboxId(state.mailboxes);
        let list = state.accounts.entry(address.account.clone()).or_default();
        let at = list.devices.iter().position(|d| d.device_id == address.device_id);
        let mut device = Device {
            device_id: address.device_id.clone(),
            mailbox,
            registration_id: registration.registration_id,
            incarnation: 1,
            attributes: registration.attributes,
            registered_at: registration.now,
        };
        let registered = match at.map(|at| (at, list.devices[at].clone())) {
            Some((at, old)) if old.registration_id == registration.registration_id => {
                list.devices[at].attributes = device.attributes;
                Registered::Updated(list.devices[at].clone())
            }
            Some((at, old)) => {
                device.incarnation = old.incarnation + 1;
                list.devices[at] = device.clone();
                list.version += 1;
                state.keys.retain(|(mailbox, _), _| *mailbox != old.mailbox);
                Registered::Replaced {
                    device,
                    old: old.mailbox,
                }
            }
            None if list.devices.len() >= registration.max_devices as usize => Registered::TooMany,
            None => {
                list.devices.push(device.clone());
                list.devices.sort_by(|a, b| a.device_id.cmp(&b.device_id));
                list.version += 1;
                Registered::Created(device)
            }
        };
        if self.forget_answer.swap(false, Ordering::Relaxed) {
            return Err(Error::Unavailable("the answer was lost".into()));
        }
        Ok(registered)
    }

    async fn remove_device(&self, address: &Address, _now: UnixMs) -> Result<Option<MailboxId>, Error> {
        let mut state = self.state.lock();
        let Some(list) = state.accounts.get_mut(&address.account) else {
            return Ok(None);
        };
        let Some(at) = list.devices.iter().position(|d| d.device_id == address.device_id) else {
            return Ok(None);
        };
        let mailbox = list.devices.remove(at).mailbox;
        list.version += 1;
        state.keys.retain(|(owner, _), _| *owner != mailbox);
        Ok(Some(mailbox))
    }

    async fn devices(&self, account: &AccountId) -> Result<DeviceList, Error> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let list = self
            .state
            .lock()
            .accounts
            .get(account)
            .cloned()
            .unwrap_or_default();
        let pause = self.pause.lock().take();
        if let Some(pause) = pause {
            pause.began.notify_one();
            pause.go.notified().await;
        }
        Ok(list)
    }
}

#[async_trait]
impl KeyStore for Fake {
    async fn upload(&self, upload: Upload) -> Result<Uploaded, Error> {
        let mut state = self.state.lock();
        let mut devices = state.accounts.values().flat_map(|list| &list.devices);
        if !devices.any(|device| device.mailbox == upload.mailbox) {
            return Ok(Uploaded::NoDevice);
        }
        let key = (upload.mailbox, upload.suite);
        if upload.identity.is_none() && !state.keys.contains_key(&key) {
            return Ok(Uploaded::NoIdentity);
        }
        let keys = state.keys.entry(key).or_default();
        let identity_changed = upload.identity.as_ref().is_some_and(|new| *new != keys.identity);
        if identity_changed {
            keys.identity = upload.identity.unwrap();
            keys.identity_version += 1;
        }
        keys.statement = upload.statement.or(keys.statement.take());
        let mut ignored = Vec::new();
        for (name, change) in upload.pools {
            let pool = keys.pools.entry(name.clone()).or_default();
            if change.replace.is_some() {
                pool.queue.clear();
            }
            for item in change.add.into_iter().chain(change.replace.into_iter().flatten()) {
                if pool.issued.contains(&item.data) {
                    ignored.push((name.clone(), item.id));
                } else if !pool.queue.contains(&item) {
                    pool.queue.push_back(item);
                }
            }
            if let Some(fallback) = change.fallback {
                pool.fallback_used &= pool.fallback.as_ref() == Some(&fallback);
                pool.fallback = Some(fallback);
            }
        }
        Ok(Uploaded::Done {
            counts: keys.counts(),
            ignored,
            identity_version: keys.identity_version,
            identity_changed,
        })
    }

    async fn keyset(&self, mailbox: MailboxId, suite: &Suite) -> Result<Option<Keyset>, Error> {
        let state = self.state.lock();
        Ok(state.keys.get(&(mailbox, suite.clone())).map(|keys| Keyset {
            identity: keys.identity.clone(),
            statement: keys.statement.clone(),
            identity_version: keys.identity_version,
            counts: keys.counts(),
            digest: [7; 32],
        }))
    }

    async fn suites(&self, mailbox: MailboxId) -> Result<Vec<Suite>, Error> {
        let state = self.state.lock();
        let suites = state.keys.keys().filter(|(owner, _)| *owner == mailbox);
        Ok(suites.map(|(_, suite)| suite.clone()).collect())
    }

    async fn drop_queue(&self, mailbox: MailboxId, suite: &Suite, pool: &PoolName) -> Result<bool, Error> {
        let mut state = self.state.lock();
        let keys = state.keys.get_mut(&(mailbox, suite.clone()));
        let pool = keys.and_then(|keys| keys.pools.get_mut(pool));
        Ok(pool.map(|pool| pool.queue.clear()).is_some())
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        let mut state = self.state.lock();
        let mut answer = Vec::new();
        for target in claim.targets {
            let Some(keys) = state.keys.get_mut(&(target.mailbox, claim.suite.clone())) else {
                continue;
            };
            let mut items = Vec::new();
            for name in &claim.pools {
                let Some(pool) = keys.pools.get_mut(name) else {
                    items.push(None);
                    continue;
                };
                let head = match target.spare_queue {
                    true => None,
                    false => pool.queue.pop_front(),
                };
                if let Some(item) = &head {
                    pool.issued.insert(item.data.clone());
                }
                pool.fallback_used |= head.is_none() && pool.fallback.is_some();
                items.push(head.or_else(|| pool.fallback.clone()));
            }
            let counts = keys.counts();
            answer.push(Claimed {
                mailbox: target.mailbox,
                identity: keys.identity.clone(),
                statement: keys.statement.clone(),
                items,
                touched: counts
                    .into_iter()
                    .filter(|c| claim.pools.contains(&c.pool))
                    .collect(),
            });
        }
        Ok(answer)
    }

    async fn key_log(&self, _: &AccountId, _: u64, _: usize) -> Result<Vec<KeyLogEntry>, Error> {
        Ok(Vec::new())
    }
}

fn no_mail<T>() -> Result<T, Error> {
    Err(Error::Unavailable("this store has no mail".into()))
}

#[async_trait]
impl MailStore for Fake {
    async fn start(&self) -> Result<Start, Error> {
        no_mail()
    }

    async fn commit(&self, _: Batch) -> Result<Committed, Error> {
        no_mail()
    }

    async fn read(
        &self,
        _: MailboxId,
        _: EnvelopeId,
        _: EnvelopeId,
        _: Room,
        _: UnixMs,
    ) -> Result<Vec<Arc<Envelope>>, Error> {
        no_mail()
    }

    async fn usage(&self, _: MailboxId) -> Result<Usage, Error> {
        no_mail()
    }

    async fn sent(&self, _: &SendKey) -> Result<Option<SendRecord>, Error> {
        no_mail()
    }

    async fn expire(&self, _: UnixMs, _: UnixMs, _: usize) -> Result<Expired, Error> {
        no_mail()
    }

    async fn gaps(&self, _: MailboxId) -> Result<Vec<Gap>, Error> {
        no_mail()
    }

    async fn gaps_told(&self, _: MailboxId, _: &[Gap]) -> Result<(), Error> {
        no_mail()
    }

    async fn close(&self) -> Result<(), Error> {
        no_mail()
    }
}
