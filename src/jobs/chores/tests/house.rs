//! A relay's middle with everything that chores touch: committer, directory, switchboard, sessions, and the desk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::v1::{self, Mode};
use chatctl_protocol::{AccountId, Address, ClientMsgId, DeviceId, EnvelopeId, PoolName, Suite};
use smallvec::smallvec;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{Keyset, Policy, Verifier};
use crate::committer::{Committer, Outcome, Pace, Receipts};
use crate::config::jobs::JobName;
use crate::config::{Config, DirectoryConfig, MailConfig};
use crate::directory::{self, Directory, KeyUpload, NewItem, NewPool};
use crate::hub::Hub;
use crate::jobs::residents::Residents;
use crate::jobs::{Desk, Findings, Step, Terms, chore};
use crate::metrics::Metrics;
use crate::model::{Clock, Device, Identity, MailboxId, Scopes, UnixMs};
use crate::session::{Leave, Said, Session, Surroundings};
use crate::store::{Registered, Registration, Store};
use crate::switchboard::{DeviceMessage, Parts, Refusal, Send, Sender, Switchboard};

pub(super) const DAY: u64 = 24 * 3600 * 1000;
pub(super) const T0: u64 = EnvelopeId::EPOCH_MS + 1_000 * DAY;
/// How long a device may be idle, and the idempotency window.
pub(super) const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
pub(super) const KEYS_LOW: u32 = 3;

/// The relay.
pub(super) struct House {
    pub(super) store: Arc<dyn Store>,
    pub(super) switchboard: Arc<Switchboard>,
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) desk: Desk,
    pub(super) clock: Clock,
    hand: Arc<AtomicU64>,
    verifier: Arc<Verifier>,
    stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl House {
    pub(super) async fn over(store: Arc<dyn Store>) -> Self {
        let config = settings();
        let (clock, hand) = Clock::manual(UnixMs(T0));
        let (metrics, hub) = (Arc::new(Metrics::new()), Hub::new());
        let names = JobName::ALL.map(|job| Arc::from(job.as_str()));
        store.introduce(&names, UnixMs(T0)).await.unwrap();
        let pace = Pace {
            interval: Duration::from_millis(1),
            tail_bytes: 1 << 16,
            limits: config.limits.clone(),
        };
        let committer = Committer::new(Arc::clone(&store), pace, clock.clone(), Arc::clone(&metrics));
        let committer = Arc::new(committer.await.unwrap());
        let directory = Arc::new(Directory::new(
            Arc::clone(&store),
            Arc::clone(&hub),
            &config,
            clock.clone(),
            Arc::clone(&metrics),
        ));
        let residents = Residents {
            hub: Arc::clone(&hub),
            committer: Arc::clone(&committer),
            directory: Arc::clone(&directory),
            metrics: Arc::clone(&metrics),
        };
        let desk = desk(&store, residents, &clock);
        let parts = Parts {
            store: Arc::clone(&store),
            hub: Arc::clone(&hub),
            committer: Arc::clone(&committer),
            directory,
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
        };
        let switchboard = Arc::new(Switchboard::new(parts, &config).await.unwrap());
        let keyset = Keyset::generate(&mut rand::rng(), UnixMs(T0)).unwrap();
        let verifier = Verifier::new(Policy::of(keyset, &config.auth).unwrap(), Arc::clone(&metrics));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let stopped = stop.clone();
        tasks.spawn(async move { committer.run(stopped).await });
        Self {
            store,
            switchboard,
            hub,
            metrics,
            desk,
            clock,
            hand,
            verifier: Arc::new(verifier),
            stop,
            tasks,
        }
    }

    pub(super) fn pass(&self, millis: u64) {
        self.hand.fetch_add(millis, Ordering::Relaxed);
    }

    pub(super) async fn register(&self, who: &Address, registration_id: u32) -> Registered {
        let registration = Registration {
            registration_id,
            attributes: None,
            max_devices: 8,
            now: self.clock.now(),
        };
        self.switchboard.register(who, registration).await.unwrap()
    }

    /// Registers a device that is new, or an installation that is.
    pub(super) async fn install(&self, who: &Address, registration_id: u32) -> Device {
        match self.register(who, registration_id).await {
            Registered::Created(device) | Registered::Replaced { device, .. } => device,
            other @ (Registered::Updated(_) | Registered::TooMany) => panic!("{other:?}"),
        }
    }

    /// Opens a session and begins it.
    pub(super) async fn sign_on(&self, who: &Address) -> Result<(Session, Vec<Body>), Leave> {
        let identity = Identity {
            address: who.clone(),
            scopes: Scopes {
                chat: true,
                admin: false,
            },
            issued_at: UnixMs(0),
            expires_at: UnixMs(u64::MAX),
            jti: "test".into(),
        };
        let attending = self.hub.attendance().attend(&identity);
        let around = Surroundings {
            switchboard: Arc::clone(&self.switchboard),
            verifier: Arc::clone(&self.verifier),
            slow_consumer: Duration::from_secs(3600),
            keys_low_jitter: Duration::ZERO,
        };
        let hello = v1::Hello {
            mode: Mode::Consume as i32,
            ..v1::Hello::default()
        };
        let (mut session, _) = Session::open(around, (identity, attending), &hello, 1).await?;
        let mut out = Vec::new();
        session.begin(&mut out).await?;
        Ok((session, out.into_iter().map(Said::into_body).collect()))
    }

    /// Sends to a device and waits for what becomes of it.
    pub(super) async fn send(
        &self,
        from: (&Address, MailboxId),
        to: (&Address, u32),
        name: u64,
        ttl_seconds: u32,
    ) -> Result<Outcome, Refusal> {
        let mut sender = Sender::new(Arc::new(from.0.clone()), from.1);
        let payload = name.to_string();
        let send = Send {
            to: to.0.account.as_str(),
            messages: smallvec![DeviceMessage {
                device_id: to.0.device_id.as_str(),
                registration_id: to.1,
                kind: 0,
                payload: payload.as_bytes(),
            }],
            client_msg_id: ClientMsgId::parse(name.to_be_bytes()).unwrap(),
            ttl_seconds,
            urgent: false,
            ephemeral: false,
            sent_at: 0,
        };
        let receipts = Receipts::new(Arc::default());
        let ticket = receipts.ticket(0);
        self.switchboard.send(&mut sender, send, ticket).await?;
        Ok(receipts.next().await)
    }

    pub(super) async fn upload(
        &self,
        who: &Address,
        items: impl IntoIterator<Item = (u64, u8)>,
        fallback: Option<(u64, u8)>,
    ) -> Result<(), directory::Error> {
        let pool = NewPool {
            add: items.into_iter().map(item).collect(),
            replace: None,
            fallback: fallback.map(item),
        };
        let upload = KeyUpload {
            identity: Some(Bytes::from_static(b"identity")),
            statement: None,
            pools: BTreeMap::from([(otk(), pool)]),
        };
        let uploaded = self.switchboard.directory().upload(who, Suite::Olm, upload).await;
        uploaded.map(drop)
    }

    /// A whole run of a job.
    pub(super) async fn run(&self, job: JobName) -> Findings {
        let (mut chore, mut findings) = (chore(job), Findings::default());
        while chore.step(&self.desk, &mut findings).await.unwrap() == Step::More {}
        findings
    }
}

fn settings() -> Config {
    let directory = DirectoryConfig {
        key_lint: false,
        keys_low: KEYS_LOW,
        keys_low_jitter: Duration::ZERO,
        claim_pair_burst: 1_000_000,
        claim_target_hourly: 1_000_000,
        claim_caller_minute: 1_000_000,
    };
    let mail = MailConfig {
        send_burst: 1_000_000,
        ..Config::default().mail
    };
    Config {
        directory,
        mail,
        ..Config::default()
    }
}

fn desk(store: &Arc<dyn Store>, residents: Residents, clock: &Clock) -> Desk {
    Desk {
        store: Arc::clone(store),
        audience: Arc::new(residents),
        clock: clock.clone(),
        terms: Terms {
            idempotency: WEEK,
            idle_devices: WEEK,
            keep_history: WEEK,
            key_age: WEEK,
            token_life: WEEK,
            keys_low: KEYS_LOW,
        },
        keys: Arc::new(Vec::new),
    }
}

/// A one-time item of an installation.
fn item((installation, number): (u64, u8)) -> NewItem {
    NewItem {
        id: Some(format!("{installation}-{number}").into()),
        data: Bytes::from(format!("{installation:016} {number:015}")),
        signature: None,
    }
}

pub(super) fn otk() -> PoolName {
    PoolName::parse("otk").unwrap()
}

pub(super) fn address(account: &str) -> Address {
    Address {
        account: AccountId::parse(account).unwrap(),
        device_id: DeviceId::parse("1").unwrap(),
    }
}
