//! Accounts for the users of the Node demo, and a demo on MongoDB, against a real server.

use mongodb::Client;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use super::desk::Desk;

async fn server() -> Client {
    let server = std::env::var("CHATCTL_TEST_MONGODB").expect(
        "CHATCTL_TEST_MONGODB is not set: eval \"$(scripts/mongodb env)\" starts a mongod and sets it",
    );
    Client::with_uri_str(server).await.unwrap()
}

/// Every old user, in the order of the ids.
async fn users(server: &Client, database: &str) -> Vec<Document> {
    let users = server.database(database).collection::<Document>("User");
    let mut found = users.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap();
    let mut users = Vec::new();
    while found.advance().await.unwrap() {
        users.push(found.deserialize_current().unwrap());
    }
    users
}

fn fresh_name(what: &str) -> String {
    format!("{what}_{:016x}", rand::random::<u64>())
}

/// A URI as it stands in an argument, with a database of the name in it.
fn argument(database: &str) -> String {
    let server = std::env::var("CHATCTL_TEST_MONGODB").unwrap();
    let (hosts, query) = server.split_once("/?").unwrap();
    format!("{hosts}/{database}?{query}")
}

/// The old database after its seed ran twice, with some that do not fit.
fn seeded_twice() -> Vec<Value> {
    let id = |number: u8| json!({ "$oid": format!("{number:024x}") });
    let user = |number, role: &str, name: &str| json!({ "_id": id(number), "role": role, "name": name, "img": format!("{name}.png") });
    vec![
        user(1, "doctor", "Doctor"),
        user(2, "patient", "user1"),
        user(3, "patient", "user2"),
        user(4, "doctor", "Doctor"),
        user(5, "patient", "user1"),
        user(6, "patient", "user2"),
    ]
}

fn odd() -> Vec<Value> {
    vec![
        json!({ "_id": { "$oid": format!("{:024x}", 9) }, "role": "patient", "name": 7, "img": "a.png" }),
        json!({ "_id": { "$oid": format!("{:024x}", 10) }, "role": "patient", "name": "no picture" }),
        json!({ "_id": "strange", "role": "patient", "name": "user9", "img": "a.png" }),
    ]
}

/// Imports, and compares the old collection before and after.
async fn import(database: &str, documents: &[Value], work: impl FnOnce(&Desk, &str)) {
    let server = server().await;
    // Extended JSON, as `mongoimport` reads it.
    let planted = documents
        .iter()
        .cloned()
        .map(|user| serde_json::from_value(user).unwrap());
    let planted: Vec<Document> = planted.collect();
    let old = server.database(database).collection::<Document>("User");
    old.insert_many(planted).await.unwrap();
    let before = users(&server, database).await;
    assert_eq!(before.len(), documents.len());
    let desk = Desk::new();
    let from = argument("elsewhere");
    work(
        &desk,
        &format!("seed import-legacy --from {from} --from-database {database}"),
    );
    assert_eq!(users(&server, database).await, before);
    server.database(database).drop().await.unwrap();
}

fn outcomes(document: &Value) -> Vec<(String, String, usize)> {
    let rows = document["accounts"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.map(|row| {
        let merged = row["merged"].as_array().unwrap().len();
        (text(&row["account"]), text(&row["outcome"]), merged)
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_who_were_seeded_twice_become_one_account_each_and_the_old_collection_stays() {
    import(&fresh_name("old"), &seeded_twice(), |desk, line| {
        let all = |outcome: &str| {
            (1..=3)
                .map(|number: u8| (format!("{number:024x}"), outcome.to_owned(), 1))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            outcomes(&desk.json(&format!("{line} --dry-run"))),
            all("would_be")
        );
        let line = format!("{line} --data-dir data");
        assert_eq!(outcomes(&desk.json(&line)), all("created"));
        assert_eq!(outcomes(&desk.json(&line)), all("same"));
        let by_name = outcomes(&desk.json(&format!("{line} --id-from name")));
        let names: Vec<_> = by_name.iter().map(|(account, _, _)| account.as_str()).collect();
        assert_eq!(names, ["Doctor", "user1", "user2"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_do_not_fit_are_listed_and_the_others_imported() {
    let documents = [seeded_twice(), odd()].concat();
    import(&fresh_name("old"), &documents, |desk, line| {
        let line = format!("{line} --data-dir data");
        let (code, error) = desk.fails(&line);
        assert_eq!(code, 65, "{error}");
        let report = desk.json(&format!("{line} --skip-bad"));
        assert_eq!(report["counts"], json!({ "same": 3 }));
        let expected = json!([
            { "ids": [format!("{:024x}", 9)], "why": "its name is not text" },
            { "ids": [format!("{:024x}", 10)], "why": "it has no img" },
            { "ids": ["strange"], "why": "its _id is not an ObjectId" },
        ]);
        let sorted = |value: &Value| {
            let mut rows: Vec<_> = value.as_array().unwrap().iter().map(Value::to_string).collect();
            rows.sort();
            rows
        };
        assert_eq!(sorted(&report["skipped"]), sorted(&expected));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_and_a_demo_go_to_mongodb_as_well() {
    let target = fresh_name("new");
    import(&fresh_name("old"), &seeded_twice(), |desk, line| {
        let store = format!("--store {}", argument(&target));
        desk.ok(&format!("seed apply {store}"));
        assert_eq!(
            desk.json(&format!("{line} {store}"))["counts"],
            json!({ "created": 3 })
        );
        assert_eq!(
            desk.json(&format!("{line} {store}"))["counts"],
            json!({ "same": 3 })
        );
        let demo = format!("seed demo --users 4 --devices 1..2 --conversations 5 --state-dir state {store}");
        let first = desk.json(&demo);
        assert_eq!(first["conversations"]["stored"], 5);
        let files = desk.files("state");
        let again = desk.json(&demo);
        assert_eq!(again["devices"]["kept"], first["devices"]["created"]);
        assert_eq!(desk.files("state"), files);
    })
    .await;
    server().await.database(&target).drop().await.unwrap();
}

#[tokio::test]
async fn an_old_database_that_is_not_there_or_is_named_with_its_password_is_refused() {
    let desk = Desk::new();
    let (code, error) = desk.fails("seed import-legacy --data-dir data --from mongodb://a:hunter2@localhost");
    assert_eq!(code, 2, "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    let nobody = "seed import-legacy --data-dir data --store-timeout 1s --from mongodb://127.0.0.1:1";
    assert_eq!(desk.fails(nobody).0, 69);
    let nothing = format!(
        "seed import-legacy --data-dir data --from {} --from-database none",
        argument("x")
    );
    assert_eq!(desk.fails(&nothing).0, 66);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_production_store_gets_no_demo() {
    let target = fresh_name("production");
    let desk = Desk::new();
    for store in [
        format!("--store {}", argument(&target)),
        "--data-dir data".to_owned(),
    ] {
        desk.ok(&format!("seed apply {store} --environment production"));
        let (code, error) = desk.fails(&format!("seed demo {store} --state-dir state"));
        assert_eq!(code, 77, "{error}");
        assert!(!desk.path("state").exists());
    }
    server().await.database(&target).drop().await.unwrap();
}
