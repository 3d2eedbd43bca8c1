//! The stores that are measured: what every bench over a store shares.
//!
//! MongoDB is measured where `CHATCTL_TEST_MONGODB` names a replica set, as `scripts/mongodb` starts one.

use std::path::Path;
use std::sync::Arc;

use chatctl_protocol::{AccountId, Address, ClientMsgId, DeviceId};
use chatctl_relay::committer::{Committer, Pace};
use chatctl_relay::config::{Config, MailConfig};
use chatctl_relay::directory::Directory;
use chatctl_relay::hub::Hub;
use chatctl_relay::metrics::Metrics;
use chatctl_relay::model::Clock;
use chatctl_relay::store::Store;
use chatctl_relay::store::embedded::{self, Embedded};
use chatctl_relay::store::mongodb::{self, MongoDb, Uri};
use chatctl_relay::switchboard::{DeviceMessage, Parts, Send};
use smallvec::smallvec;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A store, and what goes with it.
pub(crate) struct Place {
    pub(crate) store: Arc<dyn Store>,
    /// On the disk that the build is on.
    folder: Option<TempDir>,
    database: Option<Arc<MongoDb>>,
}

impl Place {
    /// An embedded store on the disk, or a database of its own.
    pub(crate) async fn open(name: &str) -> Self {
        if name == "mongodb" {
            let server = std::env::var(SERVER).expect("a server");
            let server = Uri::parse(&server).expect("a URI");
            let uri = server.with_database(&format!("bench_{:016x}", rand::random::<u64>()));
            let opened = MongoDb::open_fresh(&uri, &mongodb::Options::default()).await;
            let database = opened.expect("a database");
            return Self {
                store: Arc::clone(&database) as Arc<dyn Store>,
                folder: None,
                database: Some(database),
            };
        }
        let folder = TempDir::new_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a directory");
        Self {
            store: Embedded::open(folder.path(), &embedded::Options::default()).expect("a store"),
            folder: Some(folder),
            database: None,
        }
    }

    /// Where its files are, if they are ours.
    #[allow(dead_code, reason = "not every bench asks")]
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(TempDir::path)
    }

    /// Leaves nothing behind.
    pub(crate) async fn clear(self) {
        if let Some(database) = self.database {
            database.drop_database().await.expect("the database goes");
        }
    }
}

/// Settings without a limit for senders.
#[allow(dead_code, reason = "not every bench asks")]
pub(crate) fn config() -> Config {
    Config {
        mail: MailConfig {
            send_rate: u32::MAX,
            send_burst: u32::MAX,
            ..Config::default().mail
        },
        ..Config::default()
    }
}

/// What a relay without doors is made of. Its committer runs until its runtime ends.
#[allow(dead_code, reason = "not every bench asks")]
pub(crate) async fn parts(store: Arc<dyn Store>, config: &Config) -> Parts {
    let (clock, metrics, hub) = (Clock::system(), Arc::new(Metrics::new()), Hub::new());
    let pace = Pace {
        interval: config.mail.commit_interval,
        tail_bytes: config.mail.tail_bytes,
        limits: config.limits.clone(),
    };
    let committer = Committer::new(Arc::clone(&store), pace, clock.clone(), Arc::clone(&metrics));
    let committer = Arc::new(committer.await.expect("a committer"));
    let running = Arc::clone(&committer);
    #[expect(clippy::disallowed_methods, reason = "a measurement is its own server")]
    tokio::spawn(async move { running.run(CancellationToken::new()).await });
    let (store_of, hub_of) = (Arc::clone(&store), Arc::clone(&hub));
    let directory = Directory::new(store_of, hub_of, config, clock.clone(), Arc::clone(&metrics));
    Parts {
        store,
        hub,
        committer,
        directory: Arc::new(directory),
        clock,
        metrics,
    }
}

/// What is carried.
#[allow(dead_code, reason = "not every bench asks")]
pub(crate) const PAYLOAD: &[u8] = &[0x5a; 256];

/// A message to the first device of an account, with a name of its own.
#[allow(dead_code, reason = "not every bench asks")]
pub(crate) fn message(to: &AccountId) -> Send<'_> {
    let name = rand::random::<u128>().to_be_bytes();
    Send {
        to: to.as_str(),
        messages: smallvec![DeviceMessage {
            device_id: "1",
            registration_id: 1,
            kind: 1,
            payload: PAYLOAD,
        }],
        client_msg_id: ClientMsgId::parse(name).expect("16 bytes"),
        ttl_seconds: 0,
        urgent: false,
        ephemeral: false,
        sent_at: 0,
    }
}

/// Every durable store that can be measured here.
pub(crate) fn names() -> Vec<&'static str> {
    let mongodb = std::env::var_os(SERVER).map(|_| "mongodb");
    ["embedded"].into_iter().chain(mongodb).collect()
}

/// The first device of an account.
pub(crate) fn address(account: &str) -> Address {
    Address {
        account: AccountId::parse(account).expect("a name"),
        device_id: DeviceId::parse("1").expect("a name"),
    }
}

const SERVER: &str = "CHATCTL_TEST_MONGODB";
