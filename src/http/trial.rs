//! The doors of a house that is only tried out: over a store in memory, at a clock that stands still.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::auth::{Keyset, Policy, Verifier};
use crate::committer::{Committer, Pace};
use crate::config::Config;
use crate::config::live::Current;
use crate::directory::Directory;
use crate::http::Doors;
use crate::http::admin::status::Board;
use crate::http::health::Readiness;
use crate::http::sessions::Sessions;
use crate::hub::Hub;
use crate::jobs::Nobody;
use crate::jobs::runner::{self, Runner};
use crate::metrics::Metrics;
use crate::model::{Clock, UnixMs};
use crate::store::model::Model;
use crate::switchboard::{Parts, Switchboard};
use crate::tls::Tls;

/// What its clock shows.
pub(in crate::http) const NOW: UnixMs = UnixMs(1_795_348_800_000);

/// The doors.
pub(in crate::http) async fn doors(store: Arc<Model>, config: &Config, keyset: Keyset) -> Doors {
    let (clock, metrics, hub) = (Clock::manual(NOW).0, Arc::new(Metrics::new()), Hub::new());
    let live = Current::new(config.clone());
    let runner = runner::Parts {
        store: store.clone(),
        audience: Arc::new(Nobody),
        clock: clock.clone(),
        keys: Arc::new(Vec::new),
        live: live.clone(),
        metrics: metrics.clone(),
        holder: "here:1".into(),
    };
    let verifier = Verifier::new(Policy::of(keyset, &config.auth).unwrap(), metrics.clone());
    let parts = parts(store, hub, config, &clock, &metrics).await;
    Doors {
        arrivals: Arc::default(),
        tls: Tls::new(None, metrics.clone()),
        switchboard: Arc::new(Switchboard::new(parts, config).await.unwrap()),
        verifier: Arc::new(verifier),
        config: Arc::new(config.clone()),
        live,
        reload: None,
        metrics,
        clock,
        readiness: Arc::new(Readiness::default()),
        sessions: Sessions::new(1, CancellationToken::new(), Duration::ZERO),
        jobs: Runner::new(runner),
        board: Arc::new(Board::new(NOW, Vec::new())),
    }
}

async fn parts(
    store: Arc<Model>,
    hub: Arc<Hub>,
    config: &Config,
    clock: &Clock,
    metrics: &Arc<Metrics>,
) -> Parts {
    let pace = Pace {
        interval: Duration::ZERO,
        tail_bytes: config.mail.tail_bytes,
        limits: config.limits.clone(),
    };
    let committer = Committer::new(store.clone(), pace, clock.clone(), metrics.clone()).await;
    let directory = Directory::new(store.clone(), hub.clone(), config, clock.clone(), metrics.clone());
    Parts {
        store,
        hub,
        committer: Arc::new(committer.unwrap()),
        directory: Arc::new(directory),
        clock: clock.clone(),
        metrics: metrics.clone(),
    }
}
