//! Facts about accounts themselves.

use std::sync::Arc;

use super::{Subject, address, device};
use crate::model::DeviceList;
use crate::store::{OnOther, PutAccount, Store};
use chatctl_protocol::AccountId;

const ADA: &str = r#"{"name":"Ada"}"#;
const BOB: &str = r#"{"name":"Bob"}"#;

fn bob() -> AccountId {
    address("bob", "1").account
}

async fn put(store: &dyn Store, attributes: &str, on_other: OnOther) -> PutAccount {
    store
        .put_account(&bob(), attributes.into(), on_other)
        .await
        .unwrap()
}

pub(crate) async fn an_account_put_again_changes_nothing(subject: &mut dyn Subject) {
    assert_eq!(subject.store().account(&bob()).await.unwrap(), None);
    let first = put(subject.store(), ADA, OnOther::Keep).await;
    assert_eq!(first, PutAccount::Created);
    subject.crash().await;
    for on_other in [OnOther::Keep, OnOther::Replace] {
        assert_eq!(put(subject.store(), ADA, on_other).await, PutAccount::Same);
    }
    assert_eq!(
        subject.store().account(&bob()).await.unwrap().as_deref(),
        Some(ADA)
    );
}

pub(crate) async fn other_attributes_stay_or_go_as_asked(subject: &mut dyn Subject) {
    let (ada, bobs) = (Arc::<str>::from(ADA), Arc::<str>::from(BOB));
    put(subject.store(), ADA, OnOther::Keep).await;
    let kept = put(subject.store(), BOB, OnOther::Keep).await;
    assert_eq!(kept, PutAccount::Other(Arc::clone(&ada)));
    assert_eq!(
        subject.store().account(&bob()).await.unwrap(),
        Some(Arc::clone(&ada))
    );
    let replaced = put(subject.store(), BOB, OnOther::Replace).await;
    assert_eq!(replaced, PutAccount::Other(ada));
    subject.crash().await;
    assert_eq!(subject.store().account(&bob()).await.unwrap(), Some(bobs));
}

pub(crate) async fn an_account_without_devices_lists_as_one_that_never_was(subject: &mut dyn Subject) {
    let store = subject.store();
    put(store, ADA, OnOther::Keep).await;
    assert_eq!(store.devices(&bob()).await.unwrap(), DeviceList::default());
    let first = device(store, "bob", "1", 7).await;
    put(store, BOB, OnOther::Replace).await;
    let list = DeviceList {
        version: 1,
        devices: vec![first],
    };
    assert_eq!(store.devices(&bob()).await.unwrap(), list);
    store
        .remove_device(&address("bob", "1"), super::NOW)
        .await
        .unwrap();
    assert_eq!(store.account(&bob()).await.unwrap().as_deref(), Some(BOB));
    // One that came with a device and has no attributes may be given some.
    device(store, "carol", "1", 7).await;
    let carol = address("carol", "1").account;
    assert_eq!(store.account(&carol).await.unwrap(), None);
    let put = store.put_account(&carol, ADA.into(), OnOther::Keep).await;
    assert_eq!(put.unwrap(), PutAccount::Created);
    assert_eq!(store.devices(&carol).await.unwrap().version, 1);
}
