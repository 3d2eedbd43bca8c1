//! How devices come and go.
//!
//! A change of an account's devices raises the version of its list in the same transaction, so two changes
//! of one account collide, and one of them sees the other. Must not know how mail and keys are kept; it only
//! gives a mailbox up.

use async_trait::async_trait;
use chatctl_protocol::{AccountId, Address};
use mongodb::ClientSession;
use mongodb::bson::{Document, doc};
use parking_lot::Mutex;

use crate::model::{Device, MailboxId, UnixMs};
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::devices::{
    ACCOUNTS, DEVICES, PAST_DEVICES, decode, encode, key, of_account, small,
};
use crate::store::mongodb::documents::date;
use crate::store::mongodb::transaction::{Stop, Work};
use crate::store::mongodb::{departures, error};
use crate::store::{Error, Registered, Registration};

/// A registration as one transaction.
struct Register<'a> {
    address: &'a Address,
    registration: &'a Registration,
    /// A mailbox's number that nobody has, once it was needed: a transaction that collides uses it again.
    number: Mutex<Option<MailboxId>>,
}

/// Registers or re-registers a device.
pub(super) async fn register(
    db: &Connection,
    address: &Address,
    registration: &Registration,
) -> Result<Registered, Error> {
    let number = Mutex::new(None);
    db.transact(&Register {
        address,
        registration,
        number,
    })
    .await
}

#[async_trait]
impl Work for Register<'_> {
    type Answer = Registered;

    async fn run(
        &self,
        db: &Connection,
        session: &mut ClientSession,
    ) -> Result<Registered, Stop<Registered>> {
        let devices = of_account(db, session, &self.address.account).await?;
        let found = devices
            .iter()
            .find(|device| device.device_id == self.address.device_id);
        let Some(old) = found else {
            if devices.len() >= self.registration.max_devices as usize {
                return Ok(Registered::TooMany);
            }
            let number = self.number_above(db, MailboxId(0)).await?;
            raise_version(db, session, &self.address.account).await?;
            let past = take_past(db, session, self.address).await?;
            let device = self.create(db, session, number, past).await?;
            return Ok(Registered::Created(device));
        };
        if old.registration_id == self.registration.registration_id {
            let device = self.update(db, session, old).await?;
            return Ok(Registered::Updated(device));
        }
        let number = self.number_above(db, old.mailbox).await?;
        raise_version(db, session, &self.address.account).await?;
        discard(db, session, old.mailbox, self.registration.now).await?;
        let device = self.create(db, session, number, old.incarnation).await?;
        let old = old.mailbox;
        Ok(Registered::Replaced { device, old })
    }
}

impl Register<'_> {
    /// The new mailbox's number, which is above the old one's. Taken beside the transaction, so that
    /// registrations of different accounts do not collide over the counter.
    async fn number_above(&self, db: &Connection, old: MailboxId) -> Result<MailboxId, Error> {
        let mut number = *self.number.lock();
        while number.is_none_or(|number| number <= old) {
            number = Some(MailboxId(db.mailboxes.next(db).await?));
        }
        *self.number.lock() = number;
        Ok(number.unwrap_or(old))
    }

    async fn update(
        &self,
        db: &Connection,
        session: &mut ClientSession,
        old: &Device,
    ) -> Result<Device, Stop<Registered>> {
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
    ) -> Result<Device, Stop<Registered>> {
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
        leave(db, session, (self.address, &device), self.now).await?;
        Ok(Some(device.mailbox))
    }
}

/// The removal of a device that is idle, as one transaction.
struct RemoveIdle<'a> {
    address: &'a Address,
    mailbox: MailboxId,
    before: UnixMs,
    now: UnixMs,
}

/// Removes a device and everything of its mailbox if it was not seen for long; whether it did.
pub(super) async fn remove_idle(
    db: &Connection,
    (address, mailbox): (&Address, MailboxId),
    (before, now): (UnixMs, UnixMs),
) -> Result<bool, Error> {
    let work = RemoveIdle {
        address,
        mailbox,
        before,
        now,
    };
    db.transact(&work).await
}

#[async_trait]
impl Work for RemoveIdle<'_> {
    type Answer = bool;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<bool, Stop<bool>> {
        let idle = doc! { "_id": key(self.mailbox), "l": { "$lt": date(self.before) } };
        let found = db
            .collection(DEVICES)
            .find_one(idle)
            .session(&mut *session)
            .await?;
        let Some(device) = found else {
            return Ok(false);
        };
        leave(db, session, (self.address, &decode(&device)?), self.now).await?;
        Ok(true)
    }
}

/// A device goes, and its id is remembered.
async fn leave<T: Send>(
    db: &Connection,
    session: &mut ClientSession,
    (address, device): (&Address, &Device),
    now: UnixMs,
) -> Result<(), Stop<T>> {
    raise_version(db, session, &address.account).await?;
    discard(db, session, device.mailbox, now).await?;
    let past = doc! { "_id": past_key(address), "n": i64::from(device.incarnation) };
    db.collection(PAST_DEVICES)
        .insert_one(past)
        .session(session)
        .await?;
    Ok(())
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
