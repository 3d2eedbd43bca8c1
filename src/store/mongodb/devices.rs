//! The device registry: accounts, their devices, and the versions of their lists.
//!
//! A change of an account's devices raises the version of its list in the same transaction, so two changes
//! of one account collide, and one of them sees the other. Must not know how mail and keys are kept; it only
//! asks for a mailbox to be emptied.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use chatctl_protocol::{AccountId, Address, DeviceId};
use mongodb::ClientSession;
use mongodb::bson::{Document, doc};
use mongodb::options::ReadConcern;

use crate::model::{Device, DeviceList, MailboxId, UnixMs};
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{date, malformed, time};
use crate::store::mongodb::layout::{Collection, Index};
use crate::store::mongodb::transaction::{Stop, Work};
use crate::store::mongodb::{departures, error, meta};
use crate::store::{Error, Registered, Registration};

/// `_id` the account, `v` the version of its list of devices, `x` its attributes.
const ACCOUNTS: &str = "accounts";
/// `_id` the mailbox, `a` account, `d` device id, `r` registration id, `n` incarnation, `x` attributes,
/// `t` since when, `k` how often it has published keys.
const DEVICES: &str = "devices";
/// Device ids that are gone: `_id` account and device id, `n` the last incarnation.
const PAST_DEVICES: &str = "past_devices";

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
                    "k": { "bsonType": "long" },
                },
            }
        },
        indexes: &[Index {
            name: "by_address",
            keys: &[("a", 1), ("d", 1)],
            unique: true,
            expire_after: None,
        }],
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

/// A registration as one transaction.
struct Register<'a> {
    address: &'a Address,
    registration: &'a Registration,
    /// A mailbox's number that nobody has, once it is known that one is needed.
    number: Option<MailboxId>,
}

/// What became of it.
enum Registering {
    Done(Registered),
    /// A mailbox's number above this one is needed.
    Above(MailboxId),
}

/// Registers or re-registers a device.
pub(super) async fn register(
    db: &Connection,
    address: &Address,
    registration: &Registration,
) -> Result<Registered, Error> {
    let mut work = Register {
        address,
        registration,
        number: None,
    };
    db.within(async {
        loop {
            let above = match db.transact(&work).await? {
                Registering::Done(registered) => return Ok(registered),
                Registering::Above(mailbox) => mailbox,
            };
            // Outside the transaction: registrations of different accounts do not collide over the counter.
            while work.number.is_none_or(|number| number <= above) {
                work.number = Some(MailboxId(meta::next_number(db, "mailbox").await?));
            }
        }
    })
    .await
}

#[async_trait]
impl Work for Register<'_> {
    type Answer = Registering;

    async fn run(
        &self,
        db: &Connection,
        session: &mut ClientSession,
    ) -> Result<Registering, Stop<Registering>> {
        let devices = of_account(db, session, &self.address.account).await?;
        let found = devices
            .iter()
            .find(|device| device.device_id == self.address.device_id);
        let Some(old) = found else {
            if devices.len() >= self.registration.max_devices as usize {
                return Ok(Registering::Done(Registered::TooMany));
            }
            let number = self.number_above(MailboxId(0))?;
            raise_version(db, session, &self.address.account).await?;
            let past = take_past(db, session, self.address).await?;
            let device = self.create(db, session, number, past).await?;
            return Ok(Registering::Done(Registered::Created(device)));
        };
        if old.registration_id == self.registration.registration_id {
            let device = self.update(db, session, old).await?;
            return Ok(Registering::Done(Registered::Updated(device)));
        }
        let number = self.number_above(old.mailbox)?;
        raise_version(db, session, &self.address.account).await?;
        discard(db, session, old.mailbox, self.registration.now).await?;
        let device = self.create(db, session, number, old.incarnation).await?;
        let old = old.mailbox;
        Ok(Registering::Done(Registered::Replaced { device, old }))
    }
}

impl Register<'_> {
    /// The new mailbox's number, which is above the old one's.
    fn number_above(&self, old: MailboxId) -> Result<MailboxId, Stop<Registering>> {
        let number = self.number.filter(|number| *number > old);
        number.ok_or(Stop::Undo(Registering::Above(old)))
    }

    async fn update(
        &self,
        db: &Connection,
        session: &mut ClientSession,
        old: &Device,
    ) -> Result<Device, Stop<Registering>> {
        let attributes = self.registration.attributes.clone();
        if old.attributes != attributes {
            let change = match &attributes {
                Some(text) => doc! { "$set": { "x": &**text } },
                None => doc! { "$unset": { "x": 1 } },
            };
            raise_version(db, session, &self.address.account).await?;
            db.collection(DEVICES)
                .update_one(doc! { "_id": key(old.mailbox) }, change)
                .session(session)
                .await?;
        }
        Ok(Device {
            attributes,
            ..old.clone()
        })
    }

    async fn create(
        &self,
        db: &Connection,
        session: &mut ClientSession,
        mailbox: MailboxId,
        past: u32,
    ) -> Result<Device, Stop<Registering>> {
        let device = Device {
            device_id: self.address.device_id.clone(),
            mailbox,
            registration_id: self.registration.registration_id,
            incarnation: past.saturating_add(1),
            attributes: self.registration.attributes.clone(),
            registered_at: self.registration.now,
        };
        let document = encode(&self.address.account, &device);
        db.collection(DEVICES)
            .insert_one(document)
            .session(session)
            .await?;
        Ok(device)
    }
}

/// A removal as one transaction.
struct Remove<'a> {
    address: &'a Address,
    now: UnixMs,
}

/// Removes a device and everything of its mailbox.
pub(super) async fn remove(
    db: &Connection,
    address: &Address,
    now: UnixMs,
) -> Result<Option<MailboxId>, Error> {
    db.transact(&Remove { address, now }).await
}

#[async_trait]
impl Work for Remove<'_> {
    type Answer = Option<MailboxId>;

    async fn run(
        &self,
        db: &Connection,
        session: &mut ClientSession,
    ) -> Result<Option<MailboxId>, Stop<Option<MailboxId>>> {
        let devices = of_account(db, session, &self.address.account).await?;
        let found = devices
            .into_iter()
            .find(|device| device.device_id == self.address.device_id);
        let Some(device) = found else {
            return Ok(None);
        };
        raise_version(db, session, &self.address.account).await?;
        discard(db, session, device.mailbox, self.now).await?;
        let past = doc! { "_id": past_key(self.address), "n": i64::from(device.incarnation) };
        db.collection(PAST_DEVICES)
            .insert_one(past)
            .session(session)
            .await?;
        Ok(Some(device.mailbox))
    }
}

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

/// Removes a device's document, and gives its mailbox up.
async fn discard<T: Send>(
    db: &Connection,
    session: &mut ClientSession,
    mailbox: MailboxId,
    now: UnixMs,
) -> Result<(), Stop<T>> {
    db.collection(DEVICES)
        .delete_one(doc! { "_id": key(mailbox) })
        .session(&mut *session)
        .await?;
    departures::note(db, session, mailbox, now).await
}

async fn of_account<T>(
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

async fn raise_version<T>(
    db: &Connection,
    session: &mut ClientSession,
    account: &AccountId,
) -> Result<(), Stop<T>> {
    let raised = db
        .collection(ACCOUNTS)
        .update_one(doc! { "_id": account.as_str() }, doc! { "$inc": { "v": 1_i64 } })
        .upsert(true)
        .session(session)
        .await;
    match raised {
        // Somebody else has made the account since this transaction began.
        Err(error) if error::is_duplicate(&error) => Err(Stop::Again),
        raised => raised.map(drop).map_err(Stop::Driver),
    }
}

/// The last incarnation of a device id that is gone, which from now on the device itself tells; 0 for a new one.
async fn take_past<T>(
    db: &Connection,
    session: &mut ClientSession,
    address: &Address,
) -> Result<u32, Stop<T>> {
    let past = db
        .collection(PAST_DEVICES)
        .find_one_and_delete(doc! { "_id": past_key(address) })
        .session(session)
        .await?;
    Ok(past.map_or(Ok(0), |past| small(&past, "n", PAST_DEVICES))?)
}

fn past_key(address: &Address) -> Document {
    doc! { "a": address.account.as_str(), "d": address.device_id.as_str() }
}

fn key(mailbox: MailboxId) -> i64 {
    mailbox.0.cast_signed()
}

fn mailbox_of(document: &Document) -> Result<MailboxId, Error> {
    let number = document.get_i64("_id").map_err(|_| malformed(DEVICES))?;
    Ok(MailboxId(number.cast_unsigned()))
}

fn encode(account: &AccountId, device: &Device) -> Document {
    let mut document = doc! {
        "_id": key(device.mailbox),
        "a": account.as_str(),
        "d": device.device_id.as_str(),
        "r": i64::from(device.registration_id),
        "n": i64::from(device.incarnation),
        "t": date(device.registered_at),
    };
    if let Some(attributes) = &device.attributes {
        document.insert("x", &**attributes);
    }
    document
}

fn decode(document: &Document) -> Result<Device, Error> {
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

fn small(document: &Document, field: &str, collection: &str) -> Result<u32, Error> {
    let number = document.get_i64(field).map_err(|_| malformed(collection))?;
    u32::try_from(number).map_err(|_| malformed(collection))
}
