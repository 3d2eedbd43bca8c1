//! What is done before a relay serves: the store opened and set up, and whoever started us told how far it is.
//!
//! Must not know how a store is set up.

use std::sync::Arc;
use std::time::Duration;

use chatctl_relay::config::Config;
use chatctl_relay::server::{InheritedError, Listening, Server, Supervisor};
use chatctl_relay::store::Store;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, info};

use super::super::seed;
use super::Launch;
use super::signals::{Asked, Signals};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::store::{self, Fresh};

/// What an operator is told of something that was handed over.
pub(super) fn handed(error: &InheritedError) -> Failure {
    Failure::from_error(Exit::Config, error).hint(
        "the socket unit needs ListenStream=ADDRESS:PORT, Accept=no, and FileDescriptorName=relay or none",
    )
}

/// Sees to it that a crash writes no keys to a disk. Whoever has to look into one raises the limit again
/// (`prlimit --core`): that is why it is the soft one.
pub(super) fn leave_no_core() {
    let limit = Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Core)
    };
    if let Err(error) = setrlimit(Resource::Core, limit) {
        debug!(%error, "the limit of cores stays as it is");
    }
}

/// Does something unless a signal ends us first; `None` then.
pub(super) async fn unless_ended<T>(work: impl Future<Output = T>, signals: &mut Signals) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Some(done),
            asked = signals.next() => match asked {
                Asked::End(_) => return None,
                // What is about to be read is new.
                Asked::Reload => {}
            },
        }
    }
}

/// Opens the store; before that, sets it up if that was asked for.
pub(super) async fn open_store(launch: &Launch, supervisor: &Supervisor) -> Result<Arc<dyn Store>, Failure> {
    let config = &launch.config.store;
    if launch.applies {
        let at = Mutex::new("applying: comparing the store".to_owned());
        let tell = |step: String| *at.lock() = step;
        let applying = seed::bring_up_to_date(config, &tell);
        let about = || at.lock().clone();
        supervisor.during(APPLY_PATIENCE, about, applying).await?;
    }
    let fresh = match launch.dev {
        Some(_) => Fresh::SetUp,
        None => Fresh::Refuse,
    };
    let about = || "opening the store".to_owned();
    supervisor
        .during(OPEN_PATIENCE, about, store::open(config, fresh))
        .await
}

/// Puts a relay together over a store that is open.
pub(super) async fn reading_store<T>(supervisor: &Supervisor, bound: impl Future<Output = T>) -> T {
    let about = || "reading the store".to_owned();
    supervisor.during(OPEN_PATIENCE, about, bound).await
}

/// Says in the log what has been started. No secrets: keys have public names.
pub(super) fn announce(server: &Server, config: &Config, keys: &str) {
    let listeners: Vec<_> = server.listening().iter().map(listener).collect();
    let sessions = server.sessions();
    let descriptors = sessions.descriptors();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        store = match config.store.data_dir {
            Some(_) => "embedded",
            None => "mongodb",
        },
        keys,
        listeners = listeners.join(", "),
        most_sessions = sessions.most(),
        open_files = descriptors.soft,
        "starting"
    );
    if sessions.most() < config.server.max_sessions {
        info!(
            max_sessions = config.server.max_sessions,
            most_sessions = sessions.most(),
            open_files = descriptors.soft,
            "the limit of open files is too low for server.max_sessions: LimitNOFILE= in the unit raises it"
        );
    }
}

fn listener(at: &Listening) -> String {
    let note = if at.inherited { " (inherited)" } else { "" };
    format!("{}{note}", at.address)
}

/// How long a store may take to open.
const OPEN_PATIENCE: Duration = Duration::from_secs(300);

/// How long one step of setting it up may take, or a part of it that is told.
const APPLY_PATIENCE: Duration = Duration::from_secs(1_800);
