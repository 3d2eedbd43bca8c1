//! Builds the relay, runs it, drains it. Every task is spawned here or on a tracker made here.
//!
//! Owns the order of things: bind early, serve, and on the way out readiness off, goodbyes spread over
//! the drain window, everything accepted committed, the store closed. Must not know what is carried.

mod admin_socket;
mod connections;
mod entrances;
mod listeners;
pub mod live;
mod rounds;
mod supervisor;
mod vigil;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::auth::{Keyset, KeysetError, Policy, Verifier};
use crate::committer::{Committer, Pace};
use crate::config::Config;
use crate::config::live::Current;
use crate::directory::Directory;
use crate::http::Doors;
use crate::http::admin::status::Board;
use crate::http::descriptors::Descriptors;
use crate::http::health::Readiness;
use crate::http::reload::Reload;
use crate::http::sessions::Sessions;
use crate::hub::Hub;
use crate::jobs::residents::Residents;
use crate::jobs::runner::{self, Runner};
use crate::metrics::Metrics;
use crate::model::Clock;
use crate::store::{self, Store};
use crate::switchboard::{Parts, Switchboard};
use crate::tls::{Certificate, CertificateError, Tls};

use self::entrances::Entrances;
use self::vigil::{Vigil, grouped};

pub use self::admin_socket::{AdminSocket, Error as AdminSocketError, MAX_PATH as MAX_SOCKET_PATH};
pub use self::connections::{Arrival, Incoming, Reception, accept};
pub use self::listeners::{Inherited, InheritedError, Listening};
pub use self::supervisor::Supervisor;

/// Why the relay could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A socket that was handed over cannot be used.
    #[error("cannot use the socket that was handed over")]
    Adopt(#[source] io::Error),
    /// The keys of an outside issuer cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysetError),
    /// There is no certificate to give, although the settings name one.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The operator's socket cannot be listened on.
    #[error(transparent)]
    AdminSocket(#[from] AdminSocketError),
    /// The store cannot be used, or has stopped.
    #[error("the store has stopped")]
    Store(#[from] store::Error),
}

/// A relay that is bound and ready to run.
#[derive(Debug)]
pub struct Server {
    entrances: Entrances,
    doors: Doors,
    store: Arc<dyn Store>,
    committer: Arc<Committer>,
    hub: Arc<Hub>,
    drain: CancellationToken,
    supervisor: Arc<Supervisor>,
}

/// What a relay is made of, besides its settings.
#[derive(Debug)]
pub struct Outfit {
    /// Where state lives.
    pub store: Arc<dyn Store>,
    /// Keys for tokens.
    pub keyset: Keyset,
    /// Wall clock.
    pub clock: Clock,
}

impl Server {
    /// Binds the address and puts the relay together. Nothing is served before [`Self::run`].
    ///
    /// # Errors
    ///
    /// [`Error`] when the address or the store cannot be used.
    pub async fn bind(config: Config, outfit: Outfit) -> Result<Self, Error> {
        Self::bind_on(Inherited::default(), config, outfit).await
    }

    /// As [`Self::bind`], on sockets that are there already; without any, at the address of the settings.
    ///
    /// # Errors
    ///
    /// As [`Self::bind`].
    pub async fn bind_on(inherited: Inherited, config: Config, outfit: Outfit) -> Result<Self, Error> {
        let Outfit { store, keyset, clock } = outfit;
        // Before the address is bound: with a bad certificate nobody may connect.
        let certificate = Certificate::of(&config.server)?;
        let entrances = Entrances::bind(inherited, &config.server).await?;
        let parts = parts(&store, &config, &clock).await?;
        let (hub, committer) = (Arc::clone(&parts.hub), Arc::clone(&parts.committer));
        let metrics = Arc::clone(&parts.metrics);
        let residents = residents(&parts);
        let switchboard = Arc::new(Switchboard::new(parts, &config).await?);
        // Before the first connection is accepted: nobody comes in with a token that was revoked while we were away.
        switchboard.learn_revocations().await?;
        let verifier = Verifier::new(Policy::of(keyset, &config.auth)?, Arc::clone(&metrics));
        let verifier = Arc::new(verifier.heeding(Arc::clone(switchboard.revocations())));
        metrics.config_good.set(1);
        metrics.config_read_at.set(seconds(&clock));
        let drain = CancellationToken::new();
        let server = &config.server;
        let sessions = Sessions::new(server.max_sessions, drain.clone(), server.drain_window)
            .within(Descriptors::raise());
        let live = Current::new(config.clone());
        let runner = Runner::new(runner::Parts {
            store: Arc::clone(&store),
            audience: Arc::new(residents),
            clock: clock.clone(),
            keys: Arc::new({
                let verifier = Arc::clone(&verifier);
                move || verifier.key_facts()
            }),
            live: live.clone(),
            metrics: Arc::clone(&metrics),
            holder: store::holder(),
        });
        let board = Board::new(clock.now(), entrances.places(certificate.is_some()));
        let doors = Doors {
            arrivals: Arc::default(),
            tls: Tls::new(certificate, Arc::clone(&metrics)),
            switchboard,
            verifier,
            live,
            config: Arc::new(config),
            reload: None,
            metrics,
            clock,
            readiness: Arc::new(Readiness::default()),
            sessions,
            jobs: runner,
            board: Arc::new(board),
        };
        Ok(Self {
            entrances,
            doors,
            store,
            committer,
            hub,
            drain,
            supervisor: Supervisor::nobody(),
        })
    }

    /// Where it listens: at every address.
    #[must_use]
    pub fn listening(&self) -> Vec<Listening> {
        self.entrances.listening()
    }

    /// Where it listens, at the first address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.entrances.address()
    }

    /// Where metrics are served, if not there.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.entrances.metrics_address()
    }

    /// Mail, devices and keys, for who starts the relay.
    #[must_use]
    pub fn switchboard(&self) -> Arc<Switchboard> {
        Arc::clone(&self.doors.switchboard)
    }

    /// Who cleans up.
    #[must_use]
    pub fn jobs(&self) -> Arc<Runner> {
        Arc::clone(&self.doors.jobs)
    }

    /// A handle on what can change while the relay runs.
    #[must_use]
    pub fn live(&self) -> live::Live {
        live::Live::of(&self.doors)
    }

    /// With somebody who reads the configuration anew when an operator asks for it.
    #[must_use]
    pub fn reload_with(mut self, reload: Arc<dyn Reload>) -> Self {
        self.doors.reload = Some(reload);
        self
    }

    /// With somebody who is told how it goes, and when it ends.
    #[must_use]
    pub fn supervised_by(mut self, supervisor: Arc<Supervisor>) -> Self {
        if let Some(watchdog) = supervisor.watchdog() {
            // Already said by another supervisor only if there were two.
            let _ = self.doors.board.watchdog.set(watchdog);
        }
        self.supervisor = supervisor;
        self
    }

    /// Who is here, and how many there may be.
    #[must_use]
    pub const fn sessions(&self) -> &Sessions {
        &self.doors.sessions
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.doors.metrics)
    }

    /// Who is here.
    #[must_use]
    pub fn hub(&self) -> Arc<Hub> {
        Arc::clone(&self.hub)
    }

    /// Serves until `stop` completes, then drains. Returns when everything accepted is committed.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when the store stopped, before or during the drain.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let (tasks, ends, commits) = (TaskTracker::new(), Ends::default(), CancellationToken::new());
        let committer = Arc::clone(&self.committer);
        let mut committing = tasks.spawn({
            let commits = commits.clone();
            async move { committer.run(commits).await }
        });
        rounds::begin(&self.doors, &tasks, &ends.closing);
        let jobs = Arc::clone(&self.doors.jobs).run(tasks.clone(), ends.leaving.clone());
        let cleaning = tasks.spawn(jobs);
        self.open(&tasks, &ends).await;
        let stopped = tokio::select! {
            () = stop => None,
            ended = &mut committing => Some(ended),
        };
        if stopped.is_some() {
            self.doors.readiness.store_stopped();
        }
        self.clear(&ends).await;
        let settled = async {
            // Before the committer goes: a chore's last step may wait for it.
            if timeout(DRAIN_GRACE, cleaning).await.is_err() {
                warn!("a job did not end in time");
            }
            commits.cancel();
            let ended = match stopped {
                Some(ended) => ended,
                None => committing.await,
            };
            tasks.close();
            tasks.wait().await;
            self.store.close().await.map(|()| ended)
        };
        let about = || "committing what was accepted".to_owned();
        let ended = self.supervisor.during(DRAIN_PATIENCE, about, settled).await?;
        info!("stopped");
        ended
            .unwrap_or_else(|_| Err(store::Error::Poisoned("the committer panicked".into())))
            .map_err(Error::Store)
    }

    /// Takes connections in, and tells the supervisor so.
    async fn open(&mut self, tasks: &TaskTracker, ends: &Ends) {
        let doors = &self.doors;
        let most = doors.sessions.descriptors().most_requests();
        let reception = Reception {
            connections: ends.connections.clone(),
            room: Arc::new(Semaphore::new(most)),
            full: ends.leaving.clone(),
            closing: ends.closing.clone(),
        };
        let status = format!("listening on {}", self.entrances.words());
        self.entrances.open(doors, &reception, tasks);
        self.supervisor.ready(&status).await;
        let vigil = Vigil {
            supervisor: Arc::clone(&self.supervisor),
            hub: Arc::clone(&self.hub),
            sessions: doors.sessions.clone(),
            metrics: Arc::clone(&doors.metrics),
        };
        tasks.spawn(vigil.keep(tasks.clone(), ends.closing.clone()));
    }

    /// Tells everybody to leave, and waits for those who are on their way.
    async fn clear(&self, ends: &Ends) {
        let doors = &self.doors;
        doors.readiness.drain();
        info!("draining");
        ends.leaving.cancel();
        let left = || {
            format!(
                "draining: {} sessions left",
                grouped(doors.sessions.open() as u64)
            )
        };
        self.supervisor.stopping(&left()).await;
        self.drain.cancel();
        let window = doors.live.now().server.drain_window;
        let cleared = async {
            if timeout(window + DRAIN_GRACE, doors.sessions.ended())
                .await
                .is_err()
            {
                warn!("some sessions did not end in time");
            }
            ends.closing.cancel();
            ends.connections.close();
            if timeout(DRAIN_GRACE, ends.connections.wait()).await.is_err() {
                warn!("some requests did not end in time");
            }
        };
        self.supervisor
            .during(window + DRAIN_PATIENCE, left, cleared)
            .await;
    }
}

/// How a run ends, step by step.
#[derive(Debug, Default)]
struct Ends {
    /// The drain begins.
    leaving: CancellationToken,
    /// Every session has left, or had its time.
    closing: CancellationToken,
    /// What clients are still connected.
    connections: TaskTracker,
}

/// What a switchboard connects, over a store.
async fn parts(store: &Arc<dyn Store>, config: &Config, clock: &Clock) -> Result<Parts, Error> {
    let (store, clock) = (Arc::clone(store), clock.clone());
    let (hub, metrics) = (Hub::new(), Arc::new(Metrics::new()));
    store.counted_by(&metrics);
    let pace = pace(config);
    let committer = Committer::new(Arc::clone(&store), pace, clock.clone(), Arc::clone(&metrics)).await?;
    let (store_of, hub_of) = (Arc::clone(&store), Arc::clone(&hub));
    let directory = Directory::new(store_of, hub_of, config, clock.clone(), Arc::clone(&metrics));
    Ok(Parts {
        store,
        hub,
        committer: Arc::new(committer),
        directory: Arc::new(directory),
        clock,
        metrics,
    })
}

/// Who hears of what jobs do.
fn residents(parts: &Parts) -> Residents {
    Residents {
        hub: Arc::clone(&parts.hub),
        committer: Arc::clone(&parts.committer),
        directory: Arc::clone(&parts.directory),
        metrics: Arc::clone(&parts.metrics),
    }
}

/// Unix time, as metrics have it.
fn seconds(clock: &Clock) -> i64 {
    i64::try_from(clock.now().0 / 1000).unwrap_or(i64::MAX)
}

/// How the committer gathers, by the settings.
fn pace(config: &Config) -> Pace {
    Pace {
        interval: config.mail.commit_interval,
        tail_bytes: config.mail.tail_bytes.max(MIN_TAIL_BYTES),
        limits: config.limits.clone(),
    }
}

/// The least that the tail may be.
const MIN_TAIL_BYTES: usize = 4 * 1024 * 1024;

/// Time beyond the drain window for what is slow to end.
const DRAIN_GRACE: Duration = Duration::from_secs(10);

/// How long a part of a drain in which nothing happens is still believed to get somewhere.
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);
