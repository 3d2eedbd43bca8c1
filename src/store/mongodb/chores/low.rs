//! Queues that run low, a page of devices at a time.

use std::collections::BTreeSet;

use async_trait::async_trait;
use mongodb::ClientSession;

use crate::model::MailboxId;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::transaction::{Stop, Work};
use crate::store::mongodb::{devices, keysets, pools};
use crate::store::{Error, LowPool, LowPools};

/// A page, as one transaction: counts and addresses belong together.
struct Page {
    floor: u32,
    after: MailboxId,
    limit: usize,
}

/// A page of devices with keys.
pub(super) async fn page(
    db: &Connection,
    floor: u32,
    after: MailboxId,
    limit: usize,
) -> Result<LowPools, Error> {
    match limit {
        0 => Ok(LowPools::default()),
        limit => db.transact(&Page { floor, after, limit }).await,
    }
}

#[async_trait]
impl Work for Page {
    type Answer = LowPools;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<LowPools, Stop<LowPools>> {
        let mut found = keysets::page(db, session, self.after, self.limit + 1).await?;
        let mailboxes: BTreeSet<MailboxId> = found.iter().map(|(mailbox, ..)| *mailbox).collect();
        // One more than there is room for says that there is a next page.
        let beyond = mailboxes.iter().nth(self.limit).copied();
        found.retain(|(mailbox, ..)| beyond.is_none_or(|beyond| *mailbox < beyond));
        let looked = mailboxes.len().min(self.limit);
        let last = mailboxes.iter().nth(self.limit - 1).copied();
        let addresses = devices::addresses(db, session, mailboxes).await?;
        let stored = found.iter().flat_map(|(.., keyset)| keyset.pools.values());
        let ids: Vec<_> = stored.map(|pool| pool.id).collect();
        let counts = pools::counts(db, session, &ids).await?;
        let mut page = LowPools {
            low: Vec::new(),
            looked: looked as u64,
            next: last.filter(|_| beyond.is_some()),
        };
        for (mailbox, suite, keyset) in &found {
            let Some(address) = addresses.get(mailbox) else {
                continue;
            };
            for (name, pool) in &keyset.pools {
                let count = pool.count(name, counts.get(&pool.id).copied().unwrap_or(0));
                if count.count <= self.floor {
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
        Ok(page)
    }
}
