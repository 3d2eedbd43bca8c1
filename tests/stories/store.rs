//! Which store the relays of this run have: `CHATCTL_TEST_STORE` says `embedded` (or nothing) or `mongodb`.
//!
//! A MongoDB is where `CHATCTL_TEST_MONGODB` says; each relay has a database of its own there.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use chatctl_relay::store::Store;
use chatctl_relay::store::embedded::{self, Embedded};
use chatctl_relay::store::model::Model;
use chatctl_relay::store::mongodb::{self, MongoDb, Uri};

/// What a relay finds again when it is started anew.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A store in memory that a story makes fail.
    Memory(Arc<Model>),
    Directory(PathBuf),
    Database(Uri),
}

impl Place {
    /// A place that nobody has used. `directory` does not exist yet.
    pub(crate) fn fresh(directory: PathBuf) -> Self {
        match env::var("CHATCTL_TEST_STORE").as_deref() {
            Err(_) | Ok("" | "embedded") => Self::Directory(directory),
            Ok("mongodb") => Self::Database(database()),
            Ok(other) => panic!("CHATCTL_TEST_STORE is {other}, and should be embedded or mongodb"),
        }
    }

    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory(model) => Arc::clone(model) as _,
            Self::Directory(directory) => {
                let options = embedded::Options {
                    disk_reserve: 0,
                    idempotency_records: 100_000,
                };
                Embedded::open(directory, &options).unwrap()
            }
            Self::Database(uri) => MongoDb::open_fresh(uri, &mongodb::Options::default())
                .await
                .unwrap(),
        }
    }
}

/// A database that nobody has used, whatever the store of this run is.
pub(crate) fn database() -> Uri {
    let server = env::var("CHATCTL_TEST_MONGODB").expect(
        "CHATCTL_TEST_MONGODB is not set: eval \"$(scripts/mongodb env)\" starts a mongod and sets it",
    );
    let name = format!("story_{:016x}", rand::random::<u64>());
    Uri::parse(&server).unwrap().with_database(&name)
}
