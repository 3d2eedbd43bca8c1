//! Claims: one item out of each of some pools of some devices, as one transaction.
//!
//! Whatever the number of pools, a claim is seven round trips: keysets, places of the heads, the heads, their
//! tombstones; then the taking, the new tombstones, the commit. Who gets what is decided between the two halves, in
//! memory. A claim that takes the same head as another one fails as a whole and runs again. Must not know
//! documents.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use async_trait::async_trait;
use chatctl_protocol::PoolName;
use mongodb::ClientSession;

use crate::model::MailboxId;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::keysets::{self, StoredKeyset};
use crate::store::mongodb::pools::{self, Place, PoolId, Queue, Tombstone};
use crate::store::mongodb::transaction::{Stop, Work};
use crate::store::{Claim, ClaimTarget, Claimed, Error, Item};

/// Claims for every target that has a keyset.
pub(super) async fn claim(db: &Connection, claim: &Claim) -> Result<Vec<Claimed>, Error> {
    db.transact(&Take { claim }).await
}

/// A claim as one transaction.
struct Take<'a> {
    claim: &'a Claim,
}

#[async_trait]
impl Work for Take<'_> {
    type Answer = Vec<Claimed>;

    async fn run(
        &self,
        db: &Connection,
        session: &mut ClientSession,
    ) -> Result<Vec<Claimed>, Stop<Vec<Claimed>>> {
        let claim = self.claim;
        let mailboxes: BTreeSet<_> = claim.targets.iter().map(|target| target.mailbox).collect();
        let mailboxes: Vec<_> = mailboxes.into_iter().collect();
        let keysets = keysets::find(db, session, &mailboxes, &claim.suite).await?;
        let mut wanted = self.wanted(&keysets);
        let (serving, claimed) = loop {
            let queues = pools::queues(db, session, &wanted).await?;
            let remembered = pools::remembered(db, session, tombstones(&queues), claim.now).await?;
            let mut serving = Serving::new(&keysets, queues, remembered);
            match serving.serve(claim) {
                Ok(claimed) => break (serving, claimed),
                // Only when keys were queued that had been handed out.
                Err(Short(pool)) => *wanted.entry(pool).or_default() *= 4,
            }
        };
        let handed = (&serving.handed_out[..], claim.now);
        pools::take(db, session, &serving.taken, handed).await?;
        for (mailbox, pools) in serving.newly_used(&keysets) {
            keysets::mark_used(db, session, (mailbox, &claim.suite), &pools).await?;
        }
        Ok(claimed)
    }
}

impl Take<'_> {
    /// How many items the claim takes at most from each queue that it touches.
    fn wanted(&self, keysets: &BTreeMap<MailboxId, StoredKeyset>) -> BTreeMap<PoolId, usize> {
        let mut wanted = BTreeMap::new();
        for target in &self.claim.targets {
            let Some(keyset) = keysets.get(&target.mailbox) else {
                continue;
            };
            for pool in self.claim.pools.iter().filter_map(|name| keyset.pools.get(name)) {
                *wanted.entry(pool.id).or_default() += usize::from(!target.spare_queue);
            }
        }
        wanted
    }
}

/// A claim as it is served, from what was found.
struct Serving {
    keysets: BTreeMap<MailboxId, StoredKeyset>,
    queues: BTreeMap<PoolId, Queue>,
    remembered: HashSet<Tombstone>,
    /// Heads that leave their queues.
    taken: Vec<Place>,
    /// Those of them that somebody gets.
    handed_out: Vec<Tombstone>,
}

/// More of a queue is to be looked at.
struct Short(PoolId);

impl Serving {
    fn new(
        keysets: &BTreeMap<MailboxId, StoredKeyset>,
        mut queues: BTreeMap<PoolId, Queue>,
        remembered: HashSet<Tombstone>,
    ) -> Self {
        // The next one is taken from the end.
        queues.values_mut().for_each(|queue| queue.heads.reverse());
        Self {
            keysets: keysets.clone(),
            queues,
            remembered,
            taken: Vec::new(),
            handed_out: Vec::new(),
        }
    }

    fn serve(&mut self, claim: &Claim) -> Result<Vec<Claimed>, Short> {
        let mut claimed = Vec::new();
        for target in &claim.targets {
            claimed.extend(self.serve_one(claim, target)?);
        }
        Ok(claimed)
    }

    /// What a device's part brings; nothing when it has no keyset.
    fn serve_one(&mut self, claim: &Claim, target: &ClaimTarget) -> Result<Option<Claimed>, Short> {
        if !self.keysets.contains_key(&target.mailbox) {
            return Ok(None);
        }
        let mut items = Vec::with_capacity(claim.pools.len());
        let mut touched = Vec::<&PoolName>::new();
        for name in &claim.pools {
            let item = self.serve_pool(target, name)?;
            if item.is_some() && !touched.contains(&name) {
                touched.push(name);
            }
            items.push(item);
        }
        let count = |keyset: &StoredKeyset, name: &PoolName| {
            let pool = keyset.pools.get(name)?;
            Some(pool.count(name, self.queues.get(&pool.id)?.count))
        };
        let keyset = self.keysets.get(&target.mailbox);
        Ok(keyset.map(|keyset| Claimed {
            mailbox: target.mailbox,
            identity: keyset.identity.clone(),
            statement: keyset.statement.clone(),
            items,
            touched: touched.iter().filter_map(|name| count(keyset, name)).collect(),
        }))
    }

    /// The head of the queue unless it is to be spared, else the fallback.
    fn serve_pool(&mut self, target: &ClaimTarget, name: &PoolName) -> Result<Option<Item>, Short> {
        let keyset = self.keysets.get_mut(&target.mailbox);
        let Some(pool) = keyset.and_then(|keyset| keyset.pools.get_mut(name)) else {
            return Ok(None);
        };
        if !target.spare_queue
            && let Some(queue) = self.queues.get_mut(&pool.id)
        {
            while let Some((place, item)) = queue.heads.pop() {
                queue.count = queue.count.saturating_sub(1);
                self.taken.push(place);
                let tombstone = pool.id.tombstone(&item);
                if self.remembered.insert(tombstone) {
                    self.handed_out.push(tombstone);
                    return Ok(Some(item));
                }
            }
            if queue.count > 0 {
                return Err(Short(pool.id));
            }
        }
        pool.fallback_used |= pool.fallback.is_some();
        Ok(pool.fallback.clone())
    }

    /// Fallbacks that were handed out for the first time, by mailbox and the pool's place there.
    fn newly_used(&self, before: &BTreeMap<MailboxId, StoredKeyset>) -> Vec<(MailboxId, Vec<usize>)> {
        let mut used = Vec::new();
        for (mailbox, keyset) in before {
            let Some(now) = self.keysets.get(mailbox) else {
                continue;
            };
            let pairs = keyset.pools.values().zip(now.pools.values()).enumerate();
            let newly = pairs.filter(|(_, (before, now))| before.fallback_used != now.fallback_used);
            let newly: Vec<usize> = newly.map(|(index, _)| index).collect();
            if !newly.is_empty() {
                used.push((*mailbox, newly));
            }
        }
        used
    }
}

fn tombstones(queues: &BTreeMap<PoolId, Queue>) -> HashSet<Tombstone> {
    let mut tombstones = HashSet::new();
    for (pool, queue) in queues {
        tombstones.extend(queue.heads.iter().map(|(_, item)| pool.tombstone(item)));
    }
    tombstones
}
