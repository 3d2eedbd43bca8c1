//! Accounts that come many at once, with devices and keys: one transaction of a few large inserts, where one by
//! one each account takes fifteen requests.
//!
//! Makes the documents that the verbs for one would have made; must not know how these look.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Document, doc};

use crate::model::{Device, MailboxId};
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::devices::{self, ACCOUNTS, DEVICES};
use crate::store::mongodb::keys::{self, KEY_LOG};
use crate::store::mongodb::keysets::{self, KEYSETS};
use crate::store::mongodb::transaction::{Stop, Work};
use crate::store::mongodb::{error, pools, uploads};
use crate::store::{Error, Newcomer, Upload, digest};

/// Brings accounts in; whether it did.
///
/// # Errors
///
/// As [`crate::store::AccountStore::enrol`].
pub(super) async fn enrol(db: &Connection, newcomers: &[Newcomer]) -> Result<bool, Error> {
    let devices: usize = newcomers.iter().map(|newcomer| newcomer.devices.len()).sum();
    if newcomers.is_empty() || newcomers.len() > MOST || newcomers.iter().any(has_too_many) {
        return Ok(false);
    }
    let first = db.mailboxes.row(db, devices as u64).await?;
    let mut enrolment = Enrolment::default();
    for newcomer in newcomers {
        enrolment.take_in(newcomer, first);
    }
    match enrolment.is_refused {
        true => Ok(false),
        false => db.transact(&enrolment).await,
    }
}

fn has_too_many(newcomer: &Newcomer) -> bool {
    let count = newcomer.devices.len();
    newcomer
        .devices
        .iter()
        .any(|(_, registration, _)| count > registration.max_devices as usize)
}

/// What is to be inserted.
#[derive(Default)]
struct Enrolment {
    accounts: Vec<Document>,
    devices: Vec<Document>,
    keysets: Vec<Document>,
    /// Each with its mailbox filled in.
    uploads: Vec<Upload>,
    log: Vec<Document>,
    /// A keyset would be.
    is_refused: bool,
}

impl Enrolment {
    fn take_in(&mut self, newcomer: &Newcomer, first: u64) {
        let count = newcomer.devices.len() as i64;
        self.accounts.push(doc! {
            "_id": newcomer.account.as_str(),
            "v": count,
            "x": &*newcomer.attributes,
        });
        let mut last = None;
        for (device_id, registration, upload) in &newcomer.devices {
            let mailbox = MailboxId(first + self.devices.len() as u64);
            let device = Device {
                device_id: device_id.clone(),
                mailbox,
                registration_id: registration.registration_id,
                incarnation: 1,
                attributes: registration.attributes.clone(),
                registered_at: registration.now,
            };
            let mut document = devices::encode(&newcomer.account, &device);
            document.insert("k", uploads::FIRST.cast_signed());
            self.devices.push(document);
            let upload = Upload {
                mailbox,
                ..upload.clone()
            };
            match uploads::first(&upload) {
                None => self.is_refused = true,
                Some((keyset, _)) => {
                    let entry =
                        digest::key_log_entry(last, upload.now, device_id, &upload.suite, &keyset.identity);
                    last = Some((entry.seq, entry.hash));
                    self.log.push(keys::encode(&newcomer.account, &entry));
                    self.keysets
                        .push(keysets::document(mailbox, &upload.suite, &keyset));
                }
            }
            self.uploads.push(upload);
        }
    }
}

#[async_trait]
impl Work for Enrolment {
    type Answer = bool;

    async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<bool, Stop<bool>> {
        for (collection, documents) in [
            (ACCOUNTS, &self.accounts),
            (DEVICES, &self.devices),
            (KEYSETS, &self.keysets),
            (KEY_LOG, &self.log),
        ] {
            if documents.is_empty() {
                continue;
            }
            match db
                .collection(collection)
                .insert_many(documents)
                .session(&mut *session)
                .await
            {
                // One of them is there: each has to be looked at.
                Err(error) if error::is_duplicate(&error) => return Err(Stop::Undo(false)),
                inserted => inserted.map(drop)?,
            }
        }
        let mut items = Vec::new();
        for upload in &self.uploads {
            items.extend(uploads::first(upload).map(|(_, items)| items).unwrap_or_default());
        }
        pools::put(db, session, items).await?;
        Ok(true)
    }
}

/// Most accounts in one transaction.
const MOST: usize = 100;

#[cfg(test)]
mod tests {
    use chatctl_protocol::{AccountId, Suite};

    use super::*;
    use crate::store::conformance::keys::{claim, publish};
    use crate::store::conformance::mongodb::OnServer;
    use crate::store::conformance::{Subject as _, address, installation};
    use crate::store::{Keyset, OnOther, Registered, Store};

    fn newcomer(account: &str) -> Newcomer {
        let device = |name: &str, items: &[&str]| {
            let upload = publish(MailboxId(0), items);
            (address(account, name).device_id, installation(7), upload)
        };
        Newcomer {
            account: AccountId::parse(account).unwrap(),
            attributes: "{}".into(),
            devices: vec![device("1", &["a", "b"]), device("2", &["c"])],
        }
    }

    async fn one_by_one(store: &dyn Store, newcomer: &Newcomer) {
        let attributes = newcomer.attributes.clone();
        store
            .put_account(&newcomer.account, attributes, OnOther::Keep)
            .await
            .unwrap();
        for (device_id, registration, upload) in &newcomer.devices {
            let address = address(newcomer.account.as_str(), device_id.as_str());
            let registered = store.register(&address, registration.clone()).await.unwrap();
            let Registered::Created(device) = registered else {
                panic!("{registered:?}")
            };
            let mailbox = device.mailbox;
            store
                .upload(Upload {
                    mailbox,
                    ..upload.clone()
                })
                .await
                .unwrap();
        }
    }

    /// Everything that can be asked of an account, without the numbers of its mailboxes.
    async fn all_of(store: &dyn Store, account: &str) -> String {
        let account = AccountId::parse(account).unwrap();
        let list = store.devices(&account).await.unwrap();
        let mut all = format!("{:?} {}", store.account(&account).await.unwrap(), list.version);
        for mut device in list.devices {
            let mailbox = std::mem::replace(&mut device.mailbox, MailboxId(0));
            let keyset: Keyset = store.keyset(mailbox, &Suite::Signal).await.unwrap().unwrap();
            let claimed = store.claim(claim(mailbox)).await.unwrap();
            let items: Vec<_> = claimed
                .iter()
                .map(|claimed| (&claimed.items, &claimed.touched))
                .collect();
            all += &format!("\n{device:?} {keyset:?} {items:?}");
            // What comes next joins the queue behind what is there.
            let more = store.upload(publish(mailbox, &["a", "z"])).await.unwrap();
            let next = store.claim(claim(mailbox)).await.unwrap();
            all += &format!("\n{more:?} {:?}", next.first().map(|next| &next.items));
        }
        let log = store.key_log(&account, 0, 10).await.unwrap();
        all + &format!("\n{log:?}")
    }

    #[tokio::test]
    async fn who_comes_with_many_is_as_who_comes_alone() {
        let subject = OnServer::new().await;
        let store = subject.store();
        one_by_one(store, &newcomer("alone")).await;
        assert!(store.enrol(&[newcomer("one"), newcomer("other")]).await.unwrap());
        let expected = all_of(store, "alone").await;
        assert_eq!(all_of(store, "one").await, expected);
        assert_eq!(all_of(store, "other").await, expected);
    }

    #[tokio::test]
    async fn a_group_with_somebody_who_is_there_does_not_come_in() {
        let subject = OnServer::new().await;
        let store = subject.store();
        one_by_one(store, &newcomer("alone")).await;
        assert!(!store.enrol(&[newcomer("one"), newcomer("alone")]).await.unwrap());
        let mut twice = newcomer("two");
        twice.devices[0].2.max_items = 1;
        assert!(!store.enrol(&[twice]).await.unwrap());
        for account in ["one", "two"] {
            let account = AccountId::parse(account).unwrap();
            assert_eq!(store.devices(&account).await.unwrap().version, 0);
            assert_eq!(store.account(&account).await.unwrap(), None);
        }
    }
}
