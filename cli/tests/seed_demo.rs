//! The built binary, as somebody meets it who wants accounts to try a relay with, or has some from before.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test: its helpers may fail loudly, too"
)]

#[path = "seed_demo/desk.rs"]
mod desk;
#[path = "seed_demo/legacy.rs"]
mod legacy;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use chatctl_protocol::{AccountId, EnvelopeId, Suite};
use chatctl_relay::model::{Clock, Envelope};
use chatctl_relay::store::embedded::{Embedded, Options};
use chatctl_relay::store::{DeviceStore as _, KeyStore as _, MailStore as _, Room, Span};
use serde_json::Value;
use vodozemac::olm::{Account, OlmMessage, Session, SessionConfig};

use desk::Desk;

const DEMO: &str = "seed demo --users 4 --devices 1..2 --prekeys 6 --rng-seed 7 --conversations 5 \
                    --data-dir data --state-dir state";

fn bytes(value: &Value) -> Vec<u8> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap())
        .collect()
}

/// Every array of 32 bytes in a document: in a pickle, these are the private halves.
fn secrets(value: &Value, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::Array(items) if items.len() == 32 && items.iter().all(Value::is_u64) => {
            found.push(bytes(value));
        }
        Value::Array(items) => items.iter().for_each(|item| secrets(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| secrets(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn the_same_seed_twice_changes_nothing() {
    let desk = Desk::new();
    let first = desk.json(DEMO);
    assert_eq!(
        first["devices"]["created"].as_u64(),
        Some(first["list"].as_array().unwrap().len() as u64)
    );
    assert_eq!(first["conversations"]["stored"], 5);
    let files = desk.files("state");
    let again = desk.json(DEMO);
    assert_eq!(again["devices"]["kept"], first["devices"]["created"]);
    assert_eq!(again["devices"]["created"], 0);
    assert_eq!(again["conversations"]["kept"], 5);
    assert_eq!(desk.files("state"), files);
    // Elsewhere, the names are the same and the keys are not.
    let other = Desk::new();
    other.json(DEMO);
    let elsewhere = other.files("state");
    assert_eq!(
        elsewhere.keys().collect::<Vec<_>>(),
        files.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in &files {
        let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let (one, two) = (read(bytes), read(&elsewhere[name]));
        assert_eq!(one["registration_id"], two["registration_id"]);
        assert_ne!(one["olm"], two["olm"]);
    }
    let dry = desk.json("seed demo --users 4 --devices 1..2 --rng-seed 7 --dry-run");
    let names = |document: &Value| -> Vec<Value> {
        document["list"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["account"].clone())
            .collect()
    };
    assert_eq!(names(&dry), names(&first));
}

#[test]
fn private_halves_are_in_the_state_files_and_nowhere_else() {
    let desk = Desk::new();
    desk.json(DEMO);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&desk.path("state")), 0o700);
    let mut private = Vec::new();
    for (name, bytes) in desk.files("state") {
        assert_eq!(mode(&desk.path("state").join(&name)), 0o600);
        let state: Value = serde_json::from_slice(&bytes).unwrap();
        let identity = bytes_of_identity(&state);
        let before = private.len();
        secrets(&state["olm"], &mut private);
        // The identity's two, six one-time keys, a fallback.
        assert!(private.len() >= before + 9, "{name}");
        assert!(
            desk.files("data").values().any(|file| contains(file, &identity)),
            "the search finds"
        );
    }
    for (name, file) in desk.files("data") {
        for secret in &private {
            assert!(!contains(&file, secret), "a private half is in {name}");
        }
    }
}

fn bytes_of_identity(state: &Value) -> Vec<u8> {
    vodozemac::base64_decode(state["published"]["identity"].as_str().unwrap()).unwrap()
}

/// What a recipient reads with its state file alone, in the order of the mailbox.
fn read(state: &Value, mail: &[(u32, Vec<u8>)]) -> Vec<Value> {
    let mut account = Account::from_pickle(serde_json::from_value(state["olm"].clone()).unwrap());
    let mut sessions: BTreeMap<String, Session> = BTreeMap::new();
    let mut texts = Vec::new();
    for (kind, payload) in mail {
        let message = OlmMessage::from_parts(*kind as usize, payload).unwrap();
        let OlmMessage::PreKey(first) = &message else {
            panic!("nobody has answered yet")
        };
        let plaintext = match sessions.get_mut(&first.session_id()) {
            Some(session) => session.decrypt(&message).unwrap(),
            None => {
                let begun = account
                    .create_inbound_session(SessionConfig::version_1(), first.identity_key(), first)
                    .unwrap();
                sessions.insert(first.session_id(), begun.session);
                begun.plaintext
            }
        };
        texts.push(serde_json::from_slice(&plaintext).unwrap());
    }
    texts
}

#[test]
fn the_stored_conversations_are_read_with_the_state_files_through_a_running_relay() {
    let desk = Desk::new();
    desk.ok("token keys generate -o keys.json");
    desk.json(&format!("{DEMO} --keys keys.json --token-ttl 1h"));
    let relay = desk.serve("serve --data-dir data --keys keys.json --listen 127.0.0.1:0");
    let mut texts = 0;
    for bytes in desk.files("state").values() {
        let state: Value = serde_json::from_slice(bytes).unwrap();
        let mail = relay.mail(state["token"]["token"].as_str().unwrap());
        for text in read(&state, &mail) {
            assert_eq!(text["to"]["account"], state["account"]);
            assert!(!text["text"].as_str().unwrap().is_empty());
            texts += 1;
        }
    }
    let sent: usize = 5;
    assert!(
        (sent..=4 * sent).contains(&texts),
        "{texts} messages of {sent} conversations"
    );
}

#[tokio::test]
async fn what_is_stored_is_what_a_client_would_have_uploaded() {
    let desk = Desk::new();
    let report = desk.json(DEMO);
    let store = Embedded::open(&desk.path("data"), &Options::default()).unwrap();
    let mut waiting = 0;
    for row in report["list"].as_array().unwrap() {
        let account = AccountId::parse(row["account"].as_str().unwrap()).unwrap();
        let list = store.devices(&account).await.unwrap();
        let device = list
            .devices
            .iter()
            .find(|device| device.device_id.as_str() == row["device"])
            .unwrap();
        let state: Value =
            serde_json::from_slice(&std::fs::read(desk.path(row["state_file"].as_str().unwrap())).unwrap())
                .unwrap();
        assert_eq!(state["registration_id"], device.registration_id);
        let keyset = store.keyset(device.mailbox, &Suite::Olm).await.unwrap().unwrap();
        assert_eq!(keyset.identity, bytes_of_identity(&state));
        let pool = &keyset.counts[0];
        assert!(pool.count <= 6 && pool.fallback, "{pool:?}");
        let span = Span {
            after: EnvelopeId::ZERO,
            up_to: EnvelopeId::MAX,
            now: Clock::system().now(),
        };
        let room = Room {
            envelopes: usize::MAX,
            bytes: usize::MAX,
        };
        let mail: Vec<std::sync::Arc<Envelope>> = store.read(device.mailbox, span, room).await.unwrap();
        let mail: Vec<_> = mail.iter().map(|one| (one.kind, one.payload.to_vec())).collect();
        waiting += read(&state, &mail).len();
    }
    assert!(waiting >= 5);
    store.close().await.unwrap();
}

#[test]
fn a_device_without_its_file_is_left_alone_until_it_may_be_installed_anew() {
    let desk = Desk::new();
    desk.json(DEMO);
    let name = desk.files("state").keys().next().unwrap().clone();
    let path = desk.path("state").join(&name);
    let old = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let (code, error) = desk.fails(DEMO);
    assert_eq!(code, 65, "{error}");
    assert!(error.contains("--reinstall"), "{error}");
    assert!(!path.exists());
    let again = desk.json(&format!("{DEMO} --reinstall"));
    assert_eq!(again["devices"]["reinstalled"], 1);
    let new = std::fs::read(&path).unwrap();
    let id = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap()["registration_id"].clone();
    assert_ne!(id(&new), id(&old));
    // The file of the old installation is another one's.
    std::fs::write(&path, old).unwrap();
    assert_eq!(desk.fails(DEMO).0, 65);
    std::fs::write(&path, new).unwrap();
    desk.ok(DEMO);
}

#[test]
fn files_without_their_devices_keep_the_identity_and_publish_new_keys() {
    let desk = Desk::new();
    desk.json(DEMO);
    let before = desk.files("state");
    std::fs::remove_dir_all(desk.path("data")).unwrap();
    let again = desk.json(DEMO);
    assert_eq!(again["devices"]["completed"].as_u64(), Some(before.len() as u64));
    assert_eq!(again["conversations"]["stored"], 5);
    for (name, bytes) in desk.files("state") {
        let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let (old, new) = (read(&before[&name]), read(&bytes));
        assert_eq!(bytes_of_identity(&old), bytes_of_identity(&new));
        assert_ne!(
            old["published"]["one_time_keys"],
            new["published"]["one_time_keys"]
        );
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_made() {
    let desk = Desk::new();
    assert_eq!(desk.fails("seed demo --data-dir data").0, 2);
    assert_eq!(
        desk.fails("seed demo --data-dir data --state-dir s --devices 0")
            .0,
        2
    );
    assert_eq!(
        desk.fails("seed demo --data-dir data --state-dir s --keys none.json")
            .0,
        66
    );
    assert_eq!(desk.fails("seed demo --state-dir s").0, 78);
    std::fs::create_dir(desk.path("open")).unwrap();
    std::fs::set_permissions(desk.path("open"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(desk.fails("seed demo --data-dir data --state-dir open").0, 77);
    assert!(!desk.path("data").exists());
}
