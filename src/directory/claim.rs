//! Claims: one item out of each wanted pool of each wanted device.
//!
//! Owns who is asked and who pays for it. Must not know how an item is taken: that is the store's.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, DeviceId, PoolName, Suite};

use crate::directory::accept::{MAX_POOLS, at_most};
use crate::directory::{Directory, Error};
use crate::metrics::Count;
use crate::model::MailboxId;
use crate::store::{Claim, ClaimTarget, Claimed, Item};

/// Devices of one claim.
pub const MAX_DEVICES: usize = 64;

/// What a caller wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Which family.
    pub suite: Suite,
    /// Pools to take from.
    pub pools: Vec<PoolName>,
    /// Devices to take from; `None` means all of the account, except the caller.
    pub targets: BTreeMap<AccountId, Option<BTreeSet<DeviceId>>>,
}

/// What a claim brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimAnswer {
    /// Accounts that have devices, in the order of their ids.
    pub accounts: Vec<ClaimedAccount>,
    /// What was wanted and is not there.
    pub missing: Vec<Missing>,
}

/// One account's part of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedAccount {
    /// Whose.
    pub account: AccountId,
    /// The version of its device list.
    pub list_version: u64,
    /// Devices with a keyset, in the order of their ids.
    pub devices: Vec<ClaimedDevice>,
}

/// One device's part of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedDevice {
    /// Which.
    pub device_id: DeviceId,
    /// What it drew when it was installed.
    pub registration_id: u32,
    /// Opaque.
    pub identity: Bytes,
    /// Opaque.
    pub statement: Option<Bytes>,
    /// One for each pool of the claim, in its order; `None` where there was nothing.
    pub items: Vec<Option<Item>>,
}

/// A device that has published nothing for the suite, or is not there; without a device, an account
/// that has none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub device_id: Option<DeviceId>,
}

/// A device that will be asked.
#[derive(Debug)]
struct Asked {
    account: usize,
    address: Address,
    mailbox: MailboxId,
    registration_id: u32,
}

/// Who will be asked, and who is not there.
#[derive(Debug, Default)]
struct Round {
    accounts: Vec<ClaimedAccount>,
    asked: Vec<Asked>,
    missing: Vec<Missing>,
}

impl Directory {
    /// Claims one item of each pool of each device: the head of the queue, else the fallback, else
    /// nothing. Durable before it is answered. Past a soft budget the queue is left alone, and the
    /// answer does not show it.
    ///
    /// # Errors
    ///
    /// [`Error::NotRegistered`], [`Error::Malformed`], [`Error::Limit`], [`Error::OverBudget`], and
    /// [`Error::Store`], after which items may have been used up without an answer.
    pub async fn claim(&self, caller: &Address, request: ClaimRequest) -> Result<ClaimAnswer, Error> {
        check(&request)?;
        let _ = self.mailbox(caller).await?;
        let round = self.gather(caller, request.targets).await?;
        at_most("devices in a claim", round.asked.len(), MAX_DEVICES)?;
        // Unknown accounts count as well: asking for them is not free.
        let cost = round.asked.len() + round.missing.len();
        self.budgets().admit(caller, cost).map_err(|retry_after| {
            self.metrics.rate_limited.count("claim_caller");
            Error::OverBudget { retry_after }
        })?;
        let targets = round.asked.iter().map(|asked| ClaimTarget {
            mailbox: asked.mailbox,
            spare_queue: self.is_over(caller, &asked.address),
        });
        let claim = Claim {
            suite: request.suite,
            pools: request.pools,
            targets: targets.collect(),
            now: self.clock.now(),
        };
        let claimed = self.store.claim(claim.clone()).await?;
        for part in &claimed {
            self.count(&claim, part);
            self.ring_owner(part.mailbox, &claim.suite, &part.touched);
        }
        Ok(round.answer(claimed))
    }

    /// Looks up everybody who is wanted.
    async fn gather(
        &self,
        caller: &Address,
        targets: BTreeMap<AccountId, Option<BTreeSet<DeviceId>>>,
    ) -> Result<Round, Error> {
        let mut round = Round::default();
        for (account, wanted) in targets {
            let list = self.devices(&account).await?;
            let ids: Vec<DeviceId> = match wanted {
                Some(ids) => ids.into_iter().collect(),
                None => {
                    let ids = list.devices.iter().map(|device| device.device_id.clone());
                    ids.filter(|id| *id != caller.device_id || account != caller.account)
                        .collect()
                }
            };
            if list.devices.is_empty() {
                round.missing.push(Missing {
                    account,
                    device_id: None,
                });
                continue;
            }
            for device_id in ids {
                let Some(device) = list.device(&device_id) else {
                    round.missing.push(Missing {
                        account: account.clone(),
                        device_id: Some(device_id),
                    });
                    continue;
                };
                round.asked.push(Asked {
                    account: round.accounts.len(),
                    address: Address {
                        account: account.clone(),
                        device_id,
                    },
                    mailbox: device.mailbox,
                    registration_id: device.registration_id,
                });
            }
            round.accounts.push(ClaimedAccount {
                account,
                list_version: list.version,
                devices: Vec::new(),
            });
        }
        Ok(round)
    }

    /// Whether a soft budget is used up.
    fn is_over(&self, caller: &Address, target: &Address) -> bool {
        let spent = self.budgets().take(caller, target).err();
        if let Some(spent) = spent {
            self.metrics.rate_limited.count(spent.as_str());
        }
        spent.is_some()
    }

    /// Counts what a device's part brought. The last item of a queue looks like the fallback when that
    /// was handed out before; what is remembered of the pool decides.
    fn count(&self, claim: &Claim, part: &Claimed) {
        let spared = claim
            .targets
            .iter()
            .any(|target| target.mailbox == part.mailbox && target.spare_queue);
        for (pool, item) in claim.pools.iter().zip(&part.items) {
            let count = part.touched.iter().find(|count| count.pool == *pool);
            let may_be_fallback = count.is_some_and(|count| count.count == 0 && count.fallback_used);
            self.metrics.claims.count(match item {
                None => "nothing",
                Some(_) if spared => "fallback",
                Some(_) if may_be_fallback && !self.told.was_spared(part.mailbox, &claim.suite, pool) => {
                    "fallback"
                }
                Some(_) => "item",
            });
        }
    }
}

impl Round {
    /// Puts what the store gave under those who were asked.
    fn answer(mut self, claimed: Vec<Claimed>) -> ClaimAnswer {
        let mut claimed: HashMap<MailboxId, Claimed> =
            claimed.into_iter().map(|part| (part.mailbox, part)).collect();
        for asked in self.asked {
            match (
                claimed.remove(&asked.mailbox),
                self.accounts.get_mut(asked.account),
            ) {
                (Some(part), Some(account)) => account.devices.push(ClaimedDevice {
                    device_id: asked.address.device_id,
                    registration_id: asked.registration_id,
                    identity: part.identity,
                    statement: part.statement,
                    items: part.items,
                }),
                (Some(_) | None, _) => self.missing.push(Missing {
                    account: asked.address.account,
                    device_id: Some(asked.address.device_id),
                }),
            }
        }
        self.missing.sort();
        ClaimAnswer {
            accounts: self.accounts,
            missing: self.missing,
        }
    }
}

fn check(request: &ClaimRequest) -> Result<(), Error> {
    if request.targets.is_empty() {
        return Err(Error::Malformed {
            what: "targets",
            rule: "at least one account",
        });
    }
    let pools: BTreeSet<_> = request.pools.iter().collect();
    if pools.is_empty() || pools.len() < request.pools.len() {
        return Err(Error::Malformed {
            what: "pools",
            rule: "at least one, each named once",
        });
    }
    at_most("pools in a claim", pools.len(), MAX_POOLS)?;
    let wanted = request.targets.values();
    let devices = wanted
        // To look an account up costs as much when no device of it is named.
        .map(|devices| devices.as_ref().map_or(1, |devices| devices.len().max(1)))
        .sum();
    at_most("devices in a claim", devices, MAX_DEVICES)
}
