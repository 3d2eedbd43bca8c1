//! The device registry: accounts, their devices, and the versions of their lists, as documents.
//!
//! Must not know how mail and keys are kept, nor how a device comes and goes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chatctl_protocol::{AccountId, Address, DeviceId};
use mongodb::ClientSession;
use mongodb::bson::{Document, doc};
use mongodb::options::{ReadConcern, ReturnDocument};

use crate::model::{Device, DeviceList, MailboxId};
use crate::store::Error;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{date, malformed, time};
use crate::store::mongodb::error;
use crate::store::mongodb::layout::{Collection, Index};
use crate::store::mongodb::transaction::Stop;

/// `_id` the account, `v` the version of its list of devices, `x` its attributes.
pub(super) const ACCOUNTS: &str = "accounts";
/// `_id` the mailbox, `a` account, `d` device id, `r` registration id, `n` incarnation, `x` attributes,
/// `t` since when, `l` the day on which it was last seen, `k` how often it has published keys.
pub(super) const DEVICES: &str = "devices";
/// Device ids that are gone: `_id` account and device id, `n` the last incarnation.
pub(super) const PAST_DEVICES: &str = "past_devices";

pub(super) const COLLECTIONS: &[Collection] = &[
    Collection {
        name: ACCOUNTS,
        schema: || {
            doc! {
                "bsonType": "object",
                "required": ["_id"],
                "properties": {
                    "_id": { "bsonType": "string" },
                    "v": { "bsonType": "long", "minimum": 1_i64 },
                    "x": { "bsonType": "string", "maxLength": 1024 },
                },
            }
        },
        indexes: &[],
    },
    Collection {
        name: DEVICES,
        schema: || {
            doc! {
                "bsonType": "object",
                "required": ["_id", "a", "d", "r", "n", "t"],
                "additionalProperties": false,
                "properties": {
                    "_id": { "bsonType": "long" },
                    "a": { "bsonType": "string" },
                    "d": { "bsonType": "string" },
                    "r": { "bsonType": "long" },
                    "n": { "bsonType": "long", "minimum": 1_i64 },
                    "x": { "bsonType": "string" },
                    "t": { "bsonType": "date" },
                    "l": { "bsonType": "date" },
                    "k": { "bsonType": "long" },
                },
            }
        },
        indexes: &[
            Index {
                name: "by_address",
                keys: &[("a", 1), ("d", 1)],
                unique: true,
                expire_after: None,
            },
            Index {
                name: "by_sight",
                keys: &[("l", 1), ("_id", 1)],
                unique: false,
                expire_after: None,
            },
        ],
    },
    Collection {
        name: PAST_DEVICES,
        schema: || {
            doc! {
                "bsonType": "object",
                "required": ["_id", "n"],
                "additionalProperties": false,
                "properties": {
                    "_id": {
                        "bsonType": "object",
                        "required": ["a", "d"],
                        "additionalProperties": false,
                        "properties": { "a": { "bsonType": "string" }, "d": { "bsonType": "string" } },
                    },
                    "n": { "bsonType": "long", "minimum": 1_i64 },
                },
            }
        },
        indexes: &[],
    },
];

/// An account's devices and the list's version, in one snapshot and one round trip: senders ask for it.
pub(super) async fn list(db: &Connection, account: &AccountId) -> Result<DeviceList, Error> {
    let pipeline = [
        doc! { "$match": { "_id": account.as_str() } },
        doc! { "$lookup": { "from": DEVICES, "localField": "_id", "foreignField": "a", "as": "devices" } },
    ];
    db.within(async {
        let mut session = db.session().await?;
        let found = db
            .collection(ACCOUNTS)
            .aggregate(pipeline)
            .read_concern(ReadConcern::snapshot())
            .session(&mut session)
            .await;
        let mut found = found.map_err(|error| error::meaning(&error))?;
        let account = found.next(&mut session).await.transpose();
        let account = account.map_err(|error| error::meaning(&error))?;
        db.learn(&session);
        account.map_or_else(|| Ok(DeviceList::default()), |account| decode_list(&account))
    })
    .await
}

/// Which of these mailboxes belong to a device.
pub(super) async fn present<T>(
    db: &Connection,
    session: &mut ClientSession,
    mailboxes: &HashSet<MailboxId>,
) -> Result<HashSet<MailboxId>, Stop<T>> {
    let keys: Vec<i64> = mailboxes.iter().map(|mailbox| key(*mailbox)).collect();
    // One more than there can be, so that the first answer is the last.
    let all = u32::try_from(keys.len()).unwrap_or(u32::MAX).saturating_add(1);
    let mut found = db
        .collection(DEVICES)
        .find(doc! { "_id": { "$in": keys } })
        .projection(doc! { "_id": 1 })
        .batch_size(all)
        .session(&mut *session)
        .await?;
    let mut present = HashSet::with_capacity(mailboxes.len());
    while let Some(document) = found.next(session).await.transpose()? {
        present.insert(mailbox_of(&document)?);
    }
    Ok(present)
}

/// Counts an upload of keys: whose it is, and its number. Uploads of one device collide over it, and collide
/// with its going.
pub(super) async fn count_upload<T>(
    db: &Connection,
    session: &mut ClientSession,
    mailbox: MailboxId,
) -> Result<Option<(Address, u64)>, Stop<T>> {
    let device = db
        .collection(DEVICES)
        .find_one_and_update(doc! { "_id": key(mailbox) }, doc! { "$inc": { "k": 1_i64 } })
        .return_document(ReturnDocument::After)
        .session(session)
        .await?;
    let Some(device) = device else {
        return Ok(None);
    };
    let number = device.get_i64("k").map_err(|_| malformed(DEVICES))?;
    Ok(Some((address_of(&device)?, number.cast_unsigned())))
}

/// Whose these mailboxes are.
pub(super) async fn addresses<T>(
    db: &Connection,
    session: &mut ClientSession,
    mailboxes: impl IntoIterator<Item = MailboxId> + Send,
) -> Result<HashMap<MailboxId, Address>, Stop<T>> {
    let keys: Vec<i64> = mailboxes.into_iter().map(key).collect();
    let mut found = db
        .collection(DEVICES)
        .find(doc! { "_id": { "$in": keys } })
        .projection(doc! { "a": 1, "d": 1 })
        .session(&mut *session)
        .await?;
    let mut addresses = HashMap::new();
    while let Some(device) = found.next(session).await.transpose()? {
        addresses.insert(mailbox_of(&device)?, address_of(&device)?);
    }
    Ok(addresses)
}

/// The devices of an account.
pub(super) async fn of_account<T>(
    db: &Connection,
    session: &mut ClientSession,
    account: &AccountId,
) -> Result<Vec<Device>, Stop<T>> {
    let mut found = db
        .collection(DEVICES)
        .find(doc! { "a": account.as_str() })
        .session(&mut *session)
        .await?;
    let mut devices = Vec::new();
    while let Some(document) = found.next(session).await.transpose()? {
        devices.push(decode(&document)?);
    }
    Ok(devices)
}

/// The key of a device.
pub(super) fn key(mailbox: MailboxId) -> i64 {
    mailbox.0.cast_signed()
}

/// The mailbox of a device.
///
/// # Errors
///
/// [`Error::Corrupt`].
pub(super) fn mailbox_of(document: &Document) -> Result<MailboxId, Error> {
    let number = document.get_i64("_id").map_err(|_| malformed(DEVICES))?;
    Ok(MailboxId(number.cast_unsigned()))
}

/// The address of a device.
///
/// # Errors
///
/// [`Error::Corrupt`].
pub(super) fn address_of(document: &Document) -> Result<Address, Error> {
    let text = |field| document.get_str(field).map_err(|_| malformed(DEVICES));
    Ok(Address {
        account: AccountId::parse(text("a")?)?,
        device_id: DeviceId::parse(text("d")?)?,
    })
}

/// The document of a device that is new, and therefore was seen.
pub(super) fn encode(account: &AccountId, device: &Device) -> Document {
    let mut document = doc! {
        "_id": key(device.mailbox),
        "a": account.as_str(),
        "d": device.device_id.as_str(),
        "r": i64::from(device.registration_id),
        "n": i64::from(device.incarnation),
        "t": date(device.registered_at),
        "l": date(device.registered_at),
    };
    if let Some(attributes) = &device.attributes {
        document.insert("x", &**attributes);
    }
    document
}

pub(super) fn decode(document: &Document) -> Result<Device, Error> {
    let device_id = document.get_str("d").map_err(|_| malformed(DEVICES))?;
    let registered_at = document.get_datetime("t").map_err(|_| malformed(DEVICES))?;
    let attributes = document
        .get("x")
        .map(|x| x.as_str().ok_or_else(|| malformed(DEVICES)));
    Ok(Device {
        device_id: DeviceId::parse(device_id)?,
        mailbox: mailbox_of(document)?,
        registration_id: small(document, "r", DEVICES)?,
        incarnation: small(document, "n", DEVICES)?,
        attributes: attributes.transpose()?.map(Arc::from),
        registered_at: time(*registered_at),
    })
}

/// An account with its devices. One that has other things than devices has no version.
fn decode_list(account: &Document) -> Result<DeviceList, Error> {
    let version = account
        .get("v")
        .map(|v| v.as_i64().ok_or_else(|| malformed(ACCOUNTS)));
    let found = account.get_array("devices").map_err(|_| malformed(ACCOUNTS))?;
    let documents = found.iter().map(|device| device.as_document());
    let mut devices = documents
        .map(|device| decode(device.ok_or_else(|| malformed(DEVICES))?))
        .collect::<Result<Vec<_>, _>>()?;
    devices.sort_unstable_by(|one, other| one.device_id.cmp(&other.device_id));
    Ok(DeviceList {
        version: version.transpose()?.unwrap_or(0).cast_unsigned(),
        devices,
    })
}

/// A field that is a small number.
///
/// # Errors
///
/// [`Error::Corrupt`].
pub(super) fn small(document: &Document, field: &str, collection: &str) -> Result<u32, Error> {
    let number = document.get_i64(field).map_err(|_| malformed(collection))?;
    u32::try_from(number).map_err(|_| malformed(collection))
}
