//! What an upload may look like, before anybody is asked.
//!
//! Owns the bounds of keysets and the ids that the relay gives. Pure: must not know the store's state.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chatctl_protocol::{PoolName, Suite};
use sha2::{Digest, Sha256};

use crate::directory::{Error, lint};
use crate::store::{Item, PoolUpload};

/// One-time items in one upload. Fallbacks are not counted: there is one in a pool.
const MAX_ITEMS: usize = 100;
/// Pools in one keyset.
pub const MAX_POOLS: usize = 8;
const MAX_ID_BYTES: usize = 32;
const MAX_DATA_BYTES: usize = 24 * 1024;
const MAX_SIGNATURE_BYTES: usize = 8 * 1024;
const MAX_IDENTITY_BYTES: usize = 4 * 1024;
const MAX_STATEMENT_BYTES: usize = 16 * 1024;

/// A key that a device offers.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NewItem {
    /// Unique within its pool. Suite `mls` may leave it to the relay.
    pub id: Option<Arc<str>>,
    /// The key.
    pub data: Bytes,
    /// Its signature, if it has one.
    pub signature: Option<Bytes>,
}

impl fmt::Debug for NewItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewItem({} bytes)", self.data.len())
    }
}

/// What a device wants done to one pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewPool {
    /// Items to append, in order.
    pub add: Vec<NewItem>,
    /// Items that take the place of the whole queue.
    pub replace: Option<Vec<NewItem>>,
    /// Takes the place of the fallback.
    pub fallback: Option<NewItem>,
}

/// What a device wants to publish for a suite.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyUpload {
    /// The identity, opaque; `None` keeps it.
    pub identity: Option<Bytes>,
    /// The signed statement, opaque; `None` keeps it.
    pub statement: Option<Bytes>,
    /// Pools that change.
    pub pools: BTreeMap<PoolName, NewPool>,
}

impl KeyUpload {
    /// Checks all that can be said of an upload without asking the store: its bounds, its ids, and the
    /// signatures when it brings the identity that made them. [`crate::directory::Directory::upload`]
    /// checks the same, and more. Costs about 50 µs a signature.
    ///
    /// Returns the pools as a store takes them.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`], [`Error::Limit`], [`Error::ItemIdTaken`] and [`Error::Lint`].
    pub fn check(&self, suite: &Suite) -> Result<Vec<(PoolName, PoolUpload)>, Error> {
        let pools = accept(suite, self)?;
        if let Some(identity) = &self.identity {
            lint::check(suite, identity, &lint::signed_items(suite, &pools))?;
        }
        Ok(pools)
    }
}

/// Checks the bounds of an upload, and names what has no name yet.
///
/// # Errors
///
/// [`Error::Malformed`], [`Error::Limit`], or [`Error::ItemIdTaken`] when the upload contradicts itself.
pub(super) fn accept(suite: &Suite, upload: &KeyUpload) -> Result<Vec<(PoolName, PoolUpload)>, Error> {
    bytes("identity", upload.identity.as_ref(), MAX_IDENTITY_BYTES)?;
    bytes("statement", upload.statement.as_ref(), MAX_STATEMENT_BYTES)?;
    at_most("pools in a keyset", upload.pools.len(), MAX_POOLS)?;
    let items = upload
        .pools
        .values()
        .map(|pool| pool.add.len() + pool.replace.as_ref().map_or(0, Vec::len));
    at_most("items in an upload", items.sum(), MAX_ITEMS)?;
    upload
        .pools
        .iter()
        .map(|(name, pool)| Ok((name.clone(), accept_pool(suite, name, pool)?)))
        .collect()
}

fn accept_pool(suite: &Suite, name: &PoolName, pool: &NewPool) -> Result<PoolUpload, Error> {
    if pool.replace.is_some() && !pool.add.is_empty() {
        return Err(Error::Malformed {
            what: "pool",
            rule: "changed by add or by replace, not both",
        });
    }
    let mut seen = HashMap::new();
    let fallback = match &pool.fallback {
        Some(item) => Some(accept_item(suite, item)?),
        None => None,
    };
    if let Some(item) = &fallback {
        // Under the fallback's id nothing may stand in the queue, be it the same bytes: the fallback is
        // handed out again and again.
        seen.insert(Arc::clone(&item.id), None);
    }
    let mut queue = |items: &[NewItem]| {
        let mut queue = Vec::with_capacity(items.len());
        for item in items {
            let item = accept_item(suite, item)?;
            match seen.get(&item.id) {
                None => {
                    seen.insert(Arc::clone(&item.id), Some(item.clone()));
                    queue.push(item);
                }
                // Said twice, meant once.
                Some(Some(before)) if *before == item => {}
                Some(_) => {
                    return Err(Error::ItemIdTaken {
                        pool: name.clone(),
                        item: item.id,
                    });
                }
            }
        }
        Ok(queue)
    };
    Ok(PoolUpload {
        add: queue(&pool.add)?,
        replace: pool.replace.as_deref().map(&mut queue).transpose()?,
        fallback,
    })
}

fn accept_item(suite: &Suite, item: &NewItem) -> Result<Item, Error> {
    bytes("item data", Some(&item.data), MAX_DATA_BYTES)?;
    bytes("item signature", item.signature.as_ref(), MAX_SIGNATURE_BYTES)?;
    let id = match (&item.id, suite) {
        (Some(id), _) if !id.is_empty() && id.len() <= MAX_ID_BYTES => Arc::clone(id),
        // A name made of the bytes: the same package is the same item, however often it is uploaded.
        (None, Suite::Mls) => hash_id(&item.data),
        (Some(_) | None, _) => {
            return Err(Error::Malformed {
                what: "item id",
                rule: "1 to 32 bytes of text",
            });
        }
    };
    Ok(Item {
        id,
        data: item.data.clone(),
        signature: item.signature.clone(),
    })
}

/// The first 16 bytes of SHA-256, in hexadecimal.
fn hash_id(data: &[u8]) -> Arc<str> {
    let hash = Sha256::digest(data);
    hash.iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        .into()
}

fn bytes(what: &'static str, bytes: Option<&Bytes>, max: usize) -> Result<(), Error> {
    match bytes {
        Some(bytes) if bytes.is_empty() => Err(Error::Malformed {
            what,
            rule: "at least one byte",
        }),
        Some(bytes) if bytes.len() > max => Err(Error::Limit { what, max }),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), Error> {
    if count > max {
        return Err(Error::Limit { what, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, data: &str) -> NewItem {
        NewItem {
            id: Some(id.into()),
            data: Bytes::copy_from_slice(data.as_bytes()),
            signature: None,
        }
    }

    fn upload(pool: NewPool) -> KeyUpload {
        KeyUpload {
            pools: BTreeMap::from([(PoolName::parse("otk").unwrap(), pool)]),
            ..KeyUpload::default()
        }
    }

    fn refusal(upload: &KeyUpload) -> String {
        accept(&Suite::Olm, upload).unwrap_err().to_string()
    }

    #[test]
    fn a_key_package_without_an_id_is_named_by_its_bytes() {
        let package = NewItem {
            data: Bytes::from_static(b"package"),
            ..NewItem::default()
        };
        let twice = upload(NewPool {
            add: vec![package.clone(), package],
            ..NewPool::default()
        });
        let accepted = accept(&Suite::Mls, &twice).unwrap();
        let ids: Vec<_> = accepted[0].1.add.iter().map(|item| &*item.id).collect();
        assert_eq!(ids, ["bc4a71180870f7945155fbb02f4b0a2e"]);
        assert_eq!(refusal(&twice), "item id must be 1 to 32 bytes of text");
    }

    #[test]
    fn an_id_with_two_meanings_is_refused() {
        let other_bytes = upload(NewPool {
            add: vec![item("1", "a"), item("1", "b")],
            ..NewPool::default()
        });
        assert_eq!(
            refusal(&other_bytes),
            "item 1 of pool otk has other bytes already"
        );
        let queued_fallback = upload(NewPool {
            add: vec![item("1", "a")],
            fallback: Some(item("1", "a")),
            ..NewPool::default()
        });
        assert_eq!(
            refusal(&queued_fallback),
            "item 1 of pool otk has other bytes already"
        );
    }

    #[test]
    fn every_bound_holds() {
        let pool = |pool: NewPool| refusal(&upload(pool));
        let big = |bytes: usize| "x".repeat(bytes);
        let add = |add: Vec<NewItem>| NewPool {
            add,
            ..NewPool::default()
        };
        assert_eq!(
            pool(add(vec![item("", "a")])),
            "item id must be 1 to 32 bytes of text"
        );
        assert_eq!(
            pool(add(vec![item(&big(33), "a")])),
            "item id must be 1 to 32 bytes of text"
        );
        assert_eq!(
            pool(add(vec![item("1", "")])),
            "item data must be at least one byte"
        );
        assert_eq!(
            pool(add(vec![item("1", &big(24 * 1024 + 1))])),
            "item data: at most 24576"
        );
        let signed = NewItem {
            signature: Some(Bytes::from(vec![0; 8193])),
            ..item("1", "a")
        };
        assert_eq!(pool(add(vec![signed])), "item signature: at most 8192");
        let many = (0..101).map(|n| item(&n.to_string(), "a")).collect();
        assert_eq!(pool(add(many)), "items in an upload: at most 100");
        let both = NewPool {
            replace: Some(Vec::new()),
            ..add(vec![item("1", "a")])
        };
        assert_eq!(pool(both), "pool must be changed by add or by replace, not both");
        let identity = KeyUpload {
            identity: Some(Bytes::from(vec![0; 4097])),
            ..KeyUpload::default()
        };
        assert_eq!(refusal(&identity), "identity: at most 4096");
        let statement = KeyUpload {
            statement: Some(Bytes::from(vec![0; 16 * 1024 + 1])),
            ..KeyUpload::default()
        };
        assert_eq!(refusal(&statement), "statement: at most 16384");
        let pools = (0..9).map(|n| (PoolName::parse(&n.to_string()).unwrap(), NewPool::default()));
        let pools = KeyUpload {
            pools: pools.collect(),
            ..KeyUpload::default()
        };
        assert_eq!(refusal(&pools), "pools in a keyset: at most 8");
    }
}
