//! Uploads: what a device publishes for a suite, as one transaction.
//!
//! What an upload does is planned from what it finds, before anything is written. Must not know documents.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use chatctl_protocol::PoolName;
use mongodb::ClientSession;

use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::keysets::{self, StoredKeyset, StoredPool};
use crate::store::mongodb::pools::{self, Place, PoolId, Queue, Tombstone};
use crate::store::mongodb::transaction::{Stop, Work};
use crate::store::mongodb::{devices, keys};
use crate::store::{Error, Item, PoolUpload, Upload, Uploaded, digest};

/// Publishes; a refusal changes nothing.
pub(super) async fn upload(db: &Connection, upload: &Upload) -> Result<Uploaded, Error> {
    let published = db.transact(&Publish { upload }).await?;
    for pool in &published.pools {
        // What is done is done; a later upload trims again.
        if let Err(error) = pools::trim(db, *pool).await {
            tracing::debug!(%error, "tombstones are trimmed later");
        }
    }
    Ok(published.uploaded)
}

/// An upload as one transaction.
struct Publish<'a> {
    upload: &'a Upload,
}

/// What became of it.
struct Published {
    uploaded: Uploaded,
    /// Pools that got items.
    pools: Vec<PoolId>,
}

impl From<Uploaded> for Published {
    fn from(uploaded: Uploaded) -> Self {
        Self {
            uploaded,
            pools: Vec::new(),
        }
    }
}

#[async_trait]
impl Work for Publish<'_> {
    type Answer = Published;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<Published, Stop<Published>> {
        let upload = self.upload;
        let Some((owner, number)) = devices::count_upload(db, session, upload.mailbox).await? else {
            return Err(Stop::Undo(Uploaded::NoDevice.into()));
        };
        let mut found = keysets::find(db, session, &[upload.mailbox], &upload.suite).await?;
        let old = found.remove(&upload.mailbox);
        let Some(mut keyset) = self.changed(old.as_ref()) else {
            return Err(Stop::Undo(Uploaded::NoIdentity.into()));
        };
        let ground = self.survey(db, session, &keyset).await?;
        let mut plan = Plan::new(upload, number, ground);
        for (name, change) in &upload.pools {
            if let Some(refused) = plan.change(&mut keyset, name, change) {
                return Err(Stop::Undo(refused.into()));
            }
        }
        plan.write(db, session).await?;
        if old.as_ref() != Some(&keyset) {
            keysets::save(db, session, (upload.mailbox, &upload.suite), &keyset).await?;
        }
        let old_version = old.map_or(0, |old| old.identity_version);
        let identity_changed = keyset.identity_version != old_version;
        if identity_changed {
            let entry = |last| {
                digest::key_log_entry(
                    last,
                    upload.now,
                    &owner.device_id,
                    &upload.suite,
                    &keyset.identity,
                )
            };
            keys::append(db, session, &owner.account, entry).await?;
        }
        // A keyset that is new has nothing to trim.
        let pools = match old_version {
            0 => Vec::new(),
            _ => plan.filled(),
        };
        let uploaded = plan.done(&keyset, identity_changed);
        Ok(Published { uploaded, pools })
    }
}

impl Publish<'_> {
    /// The keyset with this upload's identity and statement, or `None` when it has no identity.
    fn changed(&self, old: Option<&StoredKeyset>) -> Option<StoredKeyset> {
        let mut keyset = old.cloned().unwrap_or_default();
        let identity = self.upload.identity.clone();
        let identity = identity.or_else(|| old.map(|old| old.identity.clone()))?;
        if old.is_none_or(|old| old.identity != identity) {
            keyset.identity_version += 1;
        }
        keyset.identity = identity;
        keyset.statement = self.upload.statement.clone().or(keyset.statement);
        Some(keyset)
    }

    /// Finds out what stands in the way of the upload's items.
    async fn survey(
        &self,
        db: &Connection,
        session: &mut ClientSession,
        keyset: &StoredKeyset,
    ) -> Result<Ground, Stop<Published>> {
        let counted = keyset.pools.values().map(|pool| (pool.id, 0)).collect();
        let mut names = Vec::new();
        let mut tombstones = HashSet::new();
        for (name, change) in &self.upload.pools {
            let Some(pool) = keyset.pools.get(name) else {
                continue;
            };
            tombstones.extend(items(change).map(|item| pool.id.tombstone(item)));
            let ids: Vec<&str> = change.add.iter().map(|item| &*item.id).collect();
            if !ids.is_empty() {
                names.push((pool.id, ids));
            }
        }
        let queues = pools::queues(db, session, &counted).await?;
        let named = pools::named(db, session, &names).await?;
        let remembered = pools::remembered(db, session, tombstones, self.upload.now).await?;
        Ok(Ground {
            queues,
            named,
            remembered,
        })
    }
}

/// What the first upload of a new device makes: its keyset, and the items of its queues in their places.
/// `None` when it is refused.
pub(super) fn first(upload: &Upload) -> Option<(StoredKeyset, Vec<(Place, &Item)>)> {
    let mut keyset = Publish { upload }.changed(None)?;
    let mut plan = Plan::new(upload, FIRST, Ground::default());
    for (name, change) in &upload.pools {
        if plan.change(&mut keyset, name, change).is_some() {
            return None;
        }
    }
    Some((keyset, plan.places()))
}

/// The number of a device's first upload.
pub(super) const FIRST: u64 = 1;

/// What an upload finds.
#[derive(Default)]
struct Ground {
    /// How many items each queue has.
    queues: BTreeMap<PoolId, Queue>,
    /// Queued items that have an id of the upload.
    named: Vec<(PoolId, Item)>,
    /// What must not come again.
    remembered: HashSet<Tombstone>,
}

/// What an upload does to queues.
struct Plan<'a> {
    upload: &'a Upload,
    /// Of the upload, among all of the device's: its places come after those of every one before.
    number: u64,
    remembered: HashSet<Tombstone>,
    queues: BTreeMap<PoolId, Change<'a>>,
    ignored: Vec<(PoolName, Arc<str>)>,
}

/// What an upload does to one queue.
#[derive(Default)]
struct Change<'a> {
    /// Whether what was there goes.
    cleared: bool,
    /// How many items there are then.
    count: u64,
    /// Those with an id that the upload names.
    named: HashMap<Arc<str>, Item>,
    fresh: Vec<&'a Item>,
}

impl<'a> Plan<'a> {
    fn new(upload: &'a Upload, number: u64, ground: Ground) -> Self {
        let mut queues = BTreeMap::<PoolId, Change<'_>>::new();
        for (pool, queue) in ground.queues {
            queues.entry(pool).or_default().count = queue.count;
        }
        for (pool, item) in ground.named {
            let named = &mut queues.entry(pool).or_default().named;
            named.insert(Arc::clone(&item.id), item);
        }
        Self {
            upload,
            number,
            remembered: ground.remembered,
            queues,
            ignored: Vec::new(),
        }
    }

    /// Adds what the upload does to one pool; the refusal, if it cannot.
    fn change(
        &mut self,
        keyset: &mut StoredKeyset,
        name: &PoolName,
        change: &'a PoolUpload,
    ) -> Option<Uploaded> {
        let fresh = PoolId {
            mailbox: self.upload.mailbox,
            number: place(self.number, keyset.pools.len()),
        };
        let pool = keyset.pools.entry(name.clone()).or_insert(StoredPool {
            id: fresh,
            fallback: None,
            fallback_used: false,
        });
        let queue = self.queues.entry(pool.id).or_default();
        if change.replace.is_some() {
            *queue = Change {
                cleared: true,
                ..Change::default()
            };
        }
        for item in items(change) {
            if self.remembered.contains(&pool.id.tombstone(item)) {
                self.ignored.push((name.clone(), Arc::clone(&item.id)));
                continue;
            }
            match queue.named.get(&item.id) {
                Some(named) if named == item => {}
                Some(_) => {
                    let (pool, item) = (name.clone(), Arc::clone(&item.id));
                    return Some(Uploaded::Conflict { pool, item });
                }
                None => {
                    queue.named.insert(Arc::clone(&item.id), item.clone());
                    queue.fresh.push(item);
                    queue.count += 1;
                }
            }
        }
        if queue.count > u64::from(self.upload.max_items) {
            return Some(Uploaded::TooMany { pool: name.clone() });
        }
        if change.fallback.is_some() && change.fallback != pool.fallback {
            pool.fallback.clone_from(&change.fallback);
            pool.fallback_used = false;
        }
        None
    }

    async fn write(&self, db: &Connection, session: &mut ClientSession) -> Result<(), Stop<Published>> {
        let cleared = self.queues.iter().filter(|(_, change)| change.cleared);
        let cleared: Vec<PoolId> = cleared.map(|(pool, _)| *pool).collect();
        pools::clear(db, session, &cleared).await?;
        pools::put(db, session, self.places()).await
    }

    fn places(&self) -> Vec<(Place, &'a Item)> {
        let mut places = Vec::new();
        for (pool, change) in &self.queues {
            let fresh = change.fresh.iter().enumerate();
            places.extend(fresh.map(|(index, item)| (pool.place(place(self.number, index)), *item)));
        }
        places
    }

    /// Queues that get items.
    fn filled(&self) -> Vec<PoolId> {
        let filled = self.queues.iter().filter(|(_, change)| !change.fresh.is_empty());
        filled.map(|(pool, _)| *pool).collect()
    }

    fn done(self, keyset: &StoredKeyset, identity_changed: bool) -> Uploaded {
        let count = |id| self.queues.get(&id).map_or(0, |change| change.count);
        let counts = keyset.pools.iter();
        Uploaded::Done {
            counts: counts
                .map(|(name, pool)| pool.count(name, count(pool.id)))
                .collect(),
            identity_version: keyset.identity_version,
            ignored: self.ignored,
            identity_changed,
        }
    }
}

/// The items that an upload brings to a queue, in order.
fn items(change: &PoolUpload) -> impl Iterator<Item = &Item> {
    change.replace.iter().flatten().chain(&change.add)
}

/// A number that only grows: the upload's, and one within it.
fn place(upload: u64, within: usize) -> u64 {
    (upload << 32) | u64::from(u32::try_from(within).unwrap_or(u32::MAX))
}
