//! The built binary, as an operator meets it: a store is set up, checked and emptied.
//!
//! Needs a replica set: `CHATCTL_TEST_MONGODB` is its URI.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test: its helpers may fail loudly, too"
)]

use std::process::{Command, Stdio};

use mongodb::bson::{DateTime, Document, doc};
use serde_json::Value;

/// A place for a store, and the arguments that name it.
struct Place {
    folder: tempfile::TempDir,
    name: String,
    args: Vec<String>,
}

impl Place {
    fn directory() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data").display().to_string();
        Self {
            folder,
            name: "data".into(),
            args: vec!["--data-dir".into(), path],
        }
    }

    fn database() -> Self {
        let server = std::env::var("CHATCTL_TEST_MONGODB").expect("CHATCTL_TEST_MONGODB names a replica set");
        let name = format!("seed_{:016x}", rand::random::<u64>());
        Self {
            folder: tempfile::tempdir().unwrap(),
            args: vec!["--store".into(), server.replace("/?", &format!("/{name}?"))],
            name,
        }
    }

    /// Runs a verb; its exit code, stdout and stderr.
    fn run(&self, verb: &str) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_chatctl"))
            .arg("seed")
            .args(verb.split(' '))
            .args(&self.args)
            .current_dir(self.folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    fn json(&self, verb: &str) -> Value {
        let (exit, stdout, stderr) = self.run(&format!("{verb} --json"));
        assert_eq!((exit, &*stderr), (0, ""), "{verb}");
        serde_json::from_str(&stdout).unwrap()
    }

    async fn meta(&self, id: &str, set: Document) {
        let client = mongodb::Client::with_uri_str(&self.args[1]).await.unwrap();
        let meta = client.database(&self.name).collection::<Document>("meta");
        meta.update_one(doc! { "_id": id }, doc! { "$set": set })
            .upsert(true)
            .await
            .unwrap();
    }
}

#[test]
fn a_store_is_planned_applied_checked_and_emptied() {
    for place in [Place::directory(), Place::database()] {
        assert_eq!(place.run("plan --exit-code").0, 1);
        assert!(place.run("plan").1.contains("+ create  schema"));
        let first = place.json("apply --environment test");
        assert_eq!(first["schema"], "chatctl.seed.apply/v1");
        assert!(!first["steps"].as_array().unwrap().is_empty());
        assert!(!first["history"].as_array().unwrap().is_empty());
        let again = (0, "nothing to do\n".to_owned(), String::new());
        assert_eq!(place.run("apply --environment test"), again);
        assert_eq!(place.run("plan --exit-code"), again);
        assert_eq!(place.json("plan")["pending"], 0);
        for verify in ["verify", "verify --all", "verify --sample 5 --floor 1"] {
            assert_eq!(place.json(verify)["wrong"], 0);
        }

        let name = &place.name;
        let (exit, _, stderr) = place.run("reset");
        assert_eq!(exit, 2);
        assert!(stderr.contains(&format!("--confirm {name}")), "{stderr}");
        assert_eq!(place.run("reset --confirm another").0, 2);
        assert_eq!(place.json("reset --dry-run")["dry_run"], true);
        assert_eq!(place.json("plan")["pending"], 0);
        place.json("apply --environment production");
        assert_eq!(place.run(&format!("reset --confirm {name}")).0, 77);
        place.json("apply --environment test");
        assert_eq!(place.run(&format!("reset --confirm {name}")).0, 0);
        let nothing = (0, "nothing to delete\n".to_owned(), String::new());
        assert_eq!(place.run(&format!("reset --confirm {name}")), nothing);
    }
}

#[test]
fn a_store_that_is_not_there_is_not_verified() {
    assert_eq!(Place::directory().run("verify").0, 66);
    let (exit, _, stderr) = Place::database().run("verify");
    assert_eq!(exit, 78);
    assert!(stderr.contains("chatctl seed apply"), "{stderr}");
}

#[tokio::test]
async fn a_newer_database_and_one_that_somebody_changes_have_their_exits() {
    let place = Place::database();
    place.json("apply");
    place.meta("layout", doc! { "n": 99_i64 }).await;
    for verb in ["plan", "apply", "verify"] {
        assert_eq!(place.run(verb).0, 76, "{verb}");
    }
    place.meta("layout", doc! { "n": 0_i64 }).await;
    assert_eq!(place.run("verify").0, 78);
    let end = DateTime::from_millis(DateTime::now().timestamp_millis() + 60_000);
    place.meta("lease", doc! { "holder": "ann", "end": end }).await;
    let (exit, _, stderr) = place.run("apply");
    assert_eq!(exit, 75);
    assert!(
        stderr.contains("ann is changing the database, until "),
        "{stderr}"
    );
    place
        .meta("lease", doc! { "end": DateTime::from_millis(0) })
        .await;
    assert_eq!(place.run("apply").0, 0);
    assert_eq!(place.run(&format!("reset --confirm {}", place.name)).0, 0);
}

#[test]
fn what_answers_nobody_and_a_login_on_the_command_line_have_their_exits() {
    let mut place = Place::directory();
    place.args = vec![
        "--store".into(),
        "mongodb://127.0.0.1:1/chat?replicaSet=rs0".into(),
    ];
    assert_eq!(place.run("plan --store-timeout 1s").0, 69);
    place.args = vec!["--store".into(), "mongodb://chat:hunter2@127.0.0.1:1/chat".into()];
    let (exit, _, stderr) = place.run("plan");
    assert_eq!(exit, 2);
    assert!(!stderr.contains("hunter2"), "{stderr}");
}
