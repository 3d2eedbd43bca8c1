//! Facts about setting a database up, over a real server.

use mongodb::IndexModel;

use super::*;
use crate::model::UnixMs;

/// A database of its own, dropped at the end of a test that passes.
async fn nothing() -> Premises {
    let server = std::env::var("CHATCTL_TEST_MONGODB").expect("CHATCTL_TEST_MONGODB names a replica set");
    let name = format!("upkeep_{:016x}", rand::random::<u64>());
    let uri = Uri::parse(&server).unwrap().with_database(&name);
    Premises::reach(&uri, &Options::default()).await.unwrap()
}

async fn applied() -> Premises {
    let premises = nothing().await;
    apply(&premises, &Wishes::default()).await.unwrap();
    premises
}

async fn apply(premises: &Premises, wishes: &Wishes) -> Result<Vec<String>, UpkeepError> {
    let steps = premises.apply(wishes, &|_| {}).await?;
    Ok(steps.iter().map(words).collect())
}

async fn plan(premises: &Premises) -> Vec<String> {
    premises.plan().await.unwrap().steps.iter().map(words).collect()
}

async fn set_layout(premises: &Premises, version: i64) {
    let set = doc! { "$set": { "n": version } };
    let meta = premises.db.collection(meta::META);
    meta.update_one(doc! { "_id": "layout" }, set).await.unwrap();
}

fn words(step: &Step) -> String {
    format!("{:?} {}", step.action, step.name)
}

impl Premises {
    async fn drop(self) {
        self.db.database.drop().await.unwrap();
    }
}

#[tokio::test]
async fn what_was_planned_is_applied_once() {
    let premises = nothing().await;
    let mut planned = plan(&premises).await;
    assert!(planned.contains(&"Create mail.by_end".to_owned()), "{planned:?}");
    // The number comes last and is no step of the server's.
    assert_eq!(planned.pop().unwrap(), "Create schema");
    let mut done = apply(&premises, &Wishes::default()).await.unwrap();
    assert_eq!(done.pop().unwrap(), "Create schema");
    assert_eq!(done, planned);
    assert_eq!(plan(&premises).await, Vec::<String>::new());
    assert_eq!(
        apply(&premises, &Wishes::default()).await.unwrap(),
        Vec::<String>::new()
    );
    let history = premises.history().await.unwrap();
    assert!(
        history
            .iter()
            .any(|past| past.part == "schema" && past.version == layout::VERSION)
    );
    assert!(history.iter().all(|past| past.at > UnixMs(1_700_000_000_000)));
    premises.drop().await;
}

#[tokio::test]
async fn a_time_and_a_validator_that_were_changed_by_hand_are_changed_back() {
    let premises = applied().await;
    let index = doc! { "name": "by_end", "expireAfterSeconds": 60 };
    for command in [
        doc! { "collMod": "mail", "index": index },
        doc! { "collMod": "gaps", "validator": {}, "validationLevel": "off" },
    ] {
        premises.db.database.run_command(command).await.unwrap();
    }
    let wrong = ["Change mail.by_end", "Change gaps"];
    assert_eq!(plan(&premises).await, wrong);
    assert_eq!(apply(&premises, &Wishes::default()).await.unwrap(), wrong);
    assert_eq!(plan(&premises).await, Vec::<String>::new());
    premises.drop().await;
}

#[tokio::test]
async fn an_index_with_other_keys_is_only_replaced_when_told_so() {
    let premises = applied().await;
    let records = premises.db.collection("records");
    records.drop_index("by_name").await.unwrap();
    let options = mongodb::options::IndexOptions::builder()
        .name("by_name".to_owned())
        .build();
    let other = IndexModel::builder()
        .keys(doc! { "b": 1 })
        .options(options)
        .build();
    records.create_index(other).await.unwrap();
    let mine = IndexModel::builder().keys(doc! { "h": 1, "a": 1 }).build();
    records.create_index(mine).await.unwrap();
    let refused = apply(&premises, &Wishes::default()).await.unwrap_err();
    assert!(
        matches!(&refused, UpkeepError::NeedsRebuild(names) if *names == ["records.by_name"]),
        "{refused:?}"
    );
    let wishes = Wishes {
        rebuild: true,
        environment: None,
    };
    assert_eq!(
        apply(&premises, &wishes).await.unwrap(),
        ["Rebuild records.by_name"]
    );
    assert_eq!(plan(&premises).await, ["Unknown records.h_1_a_1"]);
    premises.drop().await;
}

#[tokio::test]
async fn only_one_changes_a_database_at_a_time() {
    let premises = applied().await;
    let gaps = premises.db.collection("gaps");
    gaps.drop().await.unwrap();
    let lease = Lease::take(&premises.db).await.unwrap();
    let refused = apply(&premises, &Wishes::default()).await.unwrap_err();
    let UpkeepError::Held { holder, until } = refused else {
        panic!("{refused:?}");
    };
    let process = format!(":{}/", std::process::id());
    assert!(holder.contains(&process), "{holder}");
    assert!(until > UnixMs(1_700_000_000_000));
    lease.give_back().await;
    assert_eq!(
        apply(&premises, &Wishes::default()).await.unwrap(),
        ["Create gaps"]
    );
    premises.drop().await;
}

#[tokio::test]
async fn a_database_of_layout_1_waits_for_its_revocations() {
    let premises = applied().await;
    set_layout(&premises, 1).await;
    premises.db.collection("revocations").drop().await.unwrap();
    let refused = connect::check_layout(&premises.db).await.unwrap_err();
    assert!(
        matches!(
            refused,
            OpenError::Older {
                found: 1,
                wanted: 3,
                ..
            }
        ),
        "{refused:?}"
    );
    let missing = [
        "Create revocations",
        "Create revocations.by_number",
        "Create revocations.by_end",
        "Change schema",
    ];
    assert_eq!(plan(&premises).await, missing);
    assert_eq!(apply(&premises, &Wishes::default()).await.unwrap(), missing);
    connect::check_layout(&premises.db).await.unwrap();
    premises.drop().await;
}

#[tokio::test]
async fn a_database_of_layout_2_gets_its_jobs_and_a_place_for_when_devices_are_seen() {
    let premises = applied().await;
    set_layout(&premises, 2).await;
    let database = &premises.db.database;
    for name in ["jobs", "job_runs"] {
        premises.db.collection(name).drop().await.unwrap();
    }
    let devices = premises.db.collection("devices");
    devices.drop_index("by_sight").await.unwrap();
    let mut rules = layout::collections()
        .find(|collection| collection.name == "devices")
        .unwrap()
        .validator();
    let properties = rules.get_document_mut("$jsonSchema").unwrap();
    properties.get_document_mut("properties").unwrap().remove("l");
    let seconds = crate::store::digest::TOMBSTONE_SECONDS.cast_signed();
    let index = doc! { "name": "by_time", "expireAfterSeconds": seconds };
    for command in [
        doc! { "collMod": "devices", "validator": rules },
        doc! { "collMod": "tombstones", "index": index },
    ] {
        database.run_command(command).await.unwrap();
    }
    let old = doc! {
        "_id": 1_i64, "a": "bob", "d": "1", "r": 1_i64, "n": 1_i64, "t": mongodb::bson::DateTime::now(),
    };
    devices.insert_one(old).await.unwrap();
    let missing = [
        "Change devices",
        "Create devices.by_sight",
        "Change tombstones.by_time",
        "Create jobs",
        "Create job_runs",
        "Create job_runs.by_job",
        "Create job_runs.by_outcome",
        "Create job_runs.by_time",
        "Change schema",
    ];
    assert_eq!(plan(&premises).await, missing);
    assert_eq!(apply(&premises, &Wishes::default()).await.unwrap(), missing);
    connect::check_layout(&premises.db).await.unwrap();
    // Its devices are as good as they were.
    let depth = Depth {
        sample: None,
        floor: 0,
        judge: |_, _, _| Ok(()),
    };
    let checks = premises.inspect(depth).await.unwrap();
    assert!(checks.iter().all(|check| check.bad == 0), "{checks:?}");
    premises.drop().await;
}

#[tokio::test]
async fn a_newer_database_is_left_alone() {
    let premises = applied().await;
    set_layout(&premises, i64::from(layout::VERSION) + 1).await;
    for refused in [
        premises.plan().await.unwrap_err(),
        apply(&premises, &Wishes::default()).await.unwrap_err(),
    ] {
        assert!(
            matches!(refused, UpkeepError::MongoDb(OpenError::Newer { .. })),
            "{refused:?}"
        );
    }
    premises.drop().await;
}

/// Writes what the server would refuse.
async fn plant(premises: &Premises, collection: &str, document: Document) {
    let all = premises.db.collection(collection);
    all.insert_one(document)
        .bypass_document_validation(true)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_does_not_fit_is_found() {
    let premises = applied().await;
    let key = |mailbox: u64| {
        crate::store::mongodb::documents::binary(crate::store::mongodb::documents::pair(mailbox, 1))
    };
    plant(&premises, "gaps", doc! { "_id": key(7), "n": 1_i64 }).await;
    plant(&premises, "gaps", doc! { "_id": key(8), "n": "many" }).await;
    let broken = doc! { "_id": { "x": "bob" }, "n": 1_i64 };
    plant(&premises, "revocations", broken).await;
    plant(&premises, "devices", doc! { "_id": 8_i64, "a": "bob", "d": "1" }).await;
    let pool = doc! { "n": "otk", "k": 1_i64, "u": false };
    let identity = crate::store::mongodb::documents::binary(*b"no key");
    let id = doc! { "m": 8_i64, "s": "olm" };
    plant(
        &premises,
        "keysets",
        doc! { "_id": id, "i": identity, "v": 1_i64, "p": [pool] },
    )
    .await;
    for sample in [Some(100), None] {
        let depth = Depth {
            sample,
            floor: 10,
            judge: |_, identity, _| match &identity[..] {
                b"no key" => Err("no key".to_owned()),
                _ => Ok(()),
            },
        };
        let checks = premises.inspect(depth).await.unwrap();
        let found = |name: &str| {
            let check = checks.iter().find(|check| check.name == name).unwrap();
            (check.bad, check.examples.clone())
        };
        assert_eq!(found("documents of gaps"), (1, vec!["mailbox 8".to_owned()]));
        assert_eq!(
            found("mailboxes with gaps and a device"),
            (1, vec!["mailbox 7".to_owned()])
        );
        assert_eq!(
            found("bundles with good signatures"),
            (1, vec!["mailbox 8, suite olm: no key".to_owned()])
        );
        assert_eq!(
            found("queues with 10 items or more"),
            (1, vec!["mailbox 8, suite olm, pool otk: 0".to_owned()])
        );
        assert_eq!(found("documents of revocations"), (1, vec![]));
        assert_eq!(found("documents of mail"), (0, vec![]));
    }
    premises.drop().await;
}

#[tokio::test]
async fn only_what_is_ours_is_deleted_and_nothing_in_production() {
    let premises = applied().await;
    plant(&premises, "photos", doc! { "_id": 1 }).await;
    let mut wishes = Wishes {
        rebuild: false,
        environment: Some(PRODUCTION.to_owned()),
    };
    apply(&premises, &wishes).await.unwrap();
    let refused = premises.reset().await.unwrap_err();
    assert!(matches!(refused, UpkeepError::Protected(_)), "{refused:?}");
    wishes.environment = Some("test".to_owned());
    apply(&premises, &wishes).await.unwrap();
    assert!(premises.reset().await.unwrap().len() > 5);
    let left = premises.db.database.list_collection_names().await.unwrap();
    assert_eq!(left, ["photos"]);
    premises.drop().await;
}
