//! What the model knows of cleaning up. It keeps nothing of devices that are gone, and takes no space.

use std::collections::BTreeSet;

use async_trait::async_trait;
use chatctl_protocol::Address;

use crate::model::{MailboxId, UnixMs};
use crate::store::model::{Model, State};
use crate::store::{ChoreStore, Compacted, Due, Error, Litter, LowPool, LowPools, Swept};

impl State {
    /// Devices, and when each was last seen.
    fn last_seen(&self) -> impl Iterator<Item = (MailboxId, UnixMs)> {
        let devices = self
            .accounts
            .values()
            .flat_map(|account| account.devices.values());
        devices.map(|device| {
            let seen = self.seen.get(&device.mailbox).copied().unwrap_or_default();
            (device.mailbox, seen.max(device.registered_at))
        })
    }

    /// The times of what there is to clean up, and bytes with them.
    fn litter(&self, litter: Litter) -> Vec<(UnixMs, u64)> {
        match litter {
            Litter::Mail { now } => {
                let over = self.mail.values().filter(|envelope| envelope.expires_at <= now);
                over.map(|envelope| (envelope.expires_at, envelope.payload.len() as u64))
                    .collect()
            }
            Litter::Records { before } => {
                let old = self.records.values().map(|record| record.accepted_at);
                old.filter(|at| *at < before).map(|at| (at, 0)).collect()
            }
            Litter::Revocations { now } => self.over_revocations(now).map(|at| (at, 0)).collect(),
            Litter::Tombstones { before } => {
                let tombstones = self.keysets.values().flat_map(super::keys::Keys::tombstones);
                tombstones.filter(|at| *at < before).map(|at| (at, 0)).collect()
            }
            Litter::IdleDevices { before } => {
                let idle = self.last_seen().filter(|(_, seen)| *seen < before);
                idle.map(|(_, seen)| (seen, 0)).collect()
            }
            Litter::Departed { .. } => Vec::new(),
            Litter::Runs { before, keep } => {
                let old = self.jobs.old(before, keep);
                old.into_iter().map(|(began_at, _)| (began_at, 0)).collect()
            }
        }
    }

    fn remove_idle(&mut self, before: UnixMs, limit: usize) -> Vec<(Address, MailboxId)> {
        let idle = self.last_seen().filter(|(_, seen)| *seen < before);
        let mut idle: Vec<_> = idle.map(|(mailbox, seen)| (seen, mailbox)).collect();
        idle.sort_unstable();
        idle.truncate(limit);
        let addresses = idle
            .into_iter()
            .filter_map(|(_, mailbox)| Some((self.owners.get(&mailbox)?.clone(), mailbox)));
        let addresses: Vec<_> = addresses.collect();
        for (address, _) in &addresses {
            self.remove_device(address);
        }
        addresses
    }

    fn low_pools(&self, floor: u32, after: MailboxId, limit: usize) -> LowPools {
        let with_keys: BTreeSet<MailboxId> = self.keysets.keys().map(|(mailbox, _)| *mailbox).collect();
        let mut rest = with_keys.range(MailboxId(after.0.saturating_add(1))..);
        let mut page = LowPools::default();
        for mailbox in rest.by_ref().take(limit) {
            page.looked += 1;
            page.next = Some(*mailbox);
            let Some(address) = self.owners.get(mailbox) else {
                continue;
            };
            for ((_, suite), keys) in self.keysets.iter().filter(|((of, _), _)| of == mailbox) {
                for count in keys.counts().into_iter().filter(|count| count.count <= floor) {
                    page.low.push(LowPool {
                        mailbox: *mailbox,
                        address: address.clone(),
                        suite: suite.clone(),
                        pool: count.pool,
                        count: count.count,
                        fallback: count.fallback,
                    });
                }
            }
        }
        page.next = page.next.filter(|_| rest.next().is_some());
        page
    }
}

#[async_trait]
impl ChoreStore for Model {
    async fn due(&self, litter: Litter) -> Result<Due, Error> {
        self.with(|state| {
            let found = state.litter(litter);
            Due {
                count: found.len() as u64,
                bytes: found.iter().map(|(_, bytes)| bytes).sum(),
                oldest: found.iter().map(|(at, _)| *at).min(),
            }
        })
    }

    async fn forget_records(&self, before: UnixMs, limit: usize) -> Result<usize, Error> {
        self.with(|state| {
            let records = state.records.values();
            let old = records.filter(|record| record.accepted_at < before);
            let mut old: Vec<_> = old
                .map(|record| (record.accepted_at, record.key.clone()))
                .collect();
            old.sort();
            old.truncate(limit);
            for (_, key) in &old {
                state.records.remove(key);
            }
            old.len()
        })
    }

    async fn forget_tombstones(&self, before: UnixMs, limit: usize) -> Result<usize, Error> {
        self.with(|state| {
            let mut forgotten = 0;
            for keys in state.keysets.values_mut() {
                forgotten += keys.forget_tombstones(before, limit - forgotten);
            }
            forgotten
        })
    }

    async fn seen(&self, mailboxes: &[MailboxId], day: UnixMs) -> Result<Vec<MailboxId>, Error> {
        self.with(|state| {
            let (here, gone): (Vec<_>, Vec<_>) = mailboxes
                .iter()
                .copied()
                .partition(|mailbox| state.owners.contains_key(mailbox));
            for mailbox in here {
                let seen = state.seen.entry(mailbox).or_default();
                *seen = day.max(*seen);
            }
            gone
        })
    }

    async fn remove_idle(
        &self,
        before: UnixMs,
        _now: UnixMs,
        limit: usize,
    ) -> Result<Vec<(Address, MailboxId)>, Error> {
        self.with(|state| state.remove_idle(before, limit))
    }

    async fn sweep_departed(&self, _now: UnixMs, _limit: usize) -> Result<Swept, Error> {
        self.with(|_| Swept {
            done: true,
            ..Swept::default()
        })
    }

    async fn low_pools(&self, floor: u32, after: MailboxId, limit: usize) -> Result<LowPools, Error> {
        self.with(|state| state.low_pools(floor, after, limit))
    }

    async fn compact(&self) -> Result<Compacted, Error> {
        self.with(|_| Compacted {
            done: true,
            ..Compacted::default()
        })
    }
}
