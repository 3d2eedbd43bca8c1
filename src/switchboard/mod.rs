//! The switchboard: takes a send from one device and puts it before the other.
//!
//! The only holder of store, hub and mail. Owns the checks of policy (device lists, sizes, rates) and
//! the order of the life of a message; must not know sockets, frames or HTTP.

mod digest;
mod holdings;
mod rates;
mod revoke;
mod seen;
mod send;

use std::sync::Arc;
use std::time::Duration;

use chatctl_protocol::{Address, EnvelopeId, Limits};
use tokio::time::Instant;

use crate::auth::Revocations;
use crate::committer::{Committer, Receipt, Workload};
use crate::config::{Config, MailConfig};
use crate::directory::{self, Directory};
use crate::hub::{Hub, Presence};
use crate::mailbox::{Delivery, Mailbox, Window};
use crate::metrics::Metrics;
use crate::model::{Clock, Device, MailboxId};
use crate::store::{self, Extent, Gap, Registered, Registration, Store};
use crate::switchboard::rates::Rates;
use crate::switchboard::seen::Today;

pub use crate::switchboard::holdings::Holdings;
pub use crate::switchboard::revoke::Struck;
pub use crate::switchboard::send::{DeviceMessage, Mismatch, Moment, Refusal, Rest, Send, Sender, Unsent};

/// Everything that a door needs to carry mail and keys.
#[derive(Debug)]
pub struct Switchboard {
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    committer: Arc<Committer>,
    directory: Arc<Directory>,
    clock: Clock,
    metrics: Arc<Metrics>,
    limits: Limits,
    rates: Rates,
    epoch: u64,
    revocations: Arc<Revocations>,
    look_again: Duration,
    today: Today,
    /// When the store was last asked whether it answers, and what came of it.
    probe: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

/// The parts that a switchboard connects.
#[derive(Debug)]
pub struct Parts {
    /// Where state lives.
    pub store: Arc<dyn Store>,
    /// Who is here.
    pub hub: Arc<Hub>,
    /// Mail.
    pub committer: Arc<Committer>,
    /// Devices and keys.
    pub directory: Arc<Directory>,
    /// Wall clock.
    pub clock: Clock,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// What a session begins with.
#[derive(Debug)]
pub struct SignedOn {
    /// Its bell.
    pub presence: Presence,
    /// Envelopes that wait.
    pub pending: u64,
    /// The highest id before the session: the backlog ends here.
    pub mark: EnvelopeId,
    /// Changes when the mailbox may have lost or repeated mail.
    pub epoch: u64,
}

impl Switchboard {
    /// Connects the parts.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store cannot say its epoch.
    pub async fn new(parts: Parts, config: &Config) -> Result<Self, store::Error> {
        let Parts {
            store,
            hub,
            committer,
            directory,
            clock,
            metrics,
        } = parts;
        let epoch = store.start().await?.epoch;
        Ok(Self {
            store,
            hub,
            committer,
            directory,
            clock,
            metrics,
            limits: config.limits.clone(),
            rates: Rates::new(&config.mail),
            epoch,
            revocations: Arc::default(),
            look_again: config.mail.look_again,
            today: Today::default(),
            probe: tokio::sync::Mutex::default(),
        })
    }

    /// Limits senders as these settings say from now on. What they sent before is forgiven.
    pub fn follow(&self, config: &MailConfig) {
        self.rates.follow(config);
    }

    /// Who is here.
    #[must_use]
    pub const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Devices and keys.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Wall clock.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Counters.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The bounds of this relay.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The device of an address, if it is registered.
    ///
    /// # Errors
    ///
    /// As [`Directory::devices`].
    pub async fn device(&self, address: &Address) -> Result<Option<Device>, directory::Error> {
        Ok(self
            .directory
            .devices(&address.account)
            .await?
            .device(&address.device_id)
            .cloned())
    }

    /// The device of an address as the store has it at this moment, whichever relay registered it.
    ///
    /// # Errors
    ///
    /// As [`Directory::devices`].
    pub async fn device_now(&self, address: &Address) -> Result<Option<Device>, directory::Error> {
        if self.store.is_shared() {
            self.directory.forget(&address.account);
        }
        self.device(address).await
    }

    /// Registers a device; mail of a replaced installation goes too.
    ///
    /// # Errors
    ///
    /// As [`Directory::register`].
    pub async fn register(
        &self,
        address: &Address,
        registration: Registration,
    ) -> Result<Registered, directory::Error> {
        let mut registered = self.directory.register(address, registration.clone()).await?;
        if let Registered::Updated(device) = &registered
            && !self.seen(device.mailbox).await
        {
            // It was idle for so long that it was removed in this very moment.
            registered = self.directory.register(address, registration).await?;
        }
        match &registered {
            Registered::Created(device) => self.registered_today(device.mailbox),
            Registered::Replaced { device, old } => {
                self.registered_today(device.mailbox);
                self.committer.forget(*old);
            }
            Registered::Updated(_) | Registered::TooMany => {}
        }
        Ok(registered)
    }

    /// Removes a device with everything it has.
    ///
    /// # Errors
    ///
    /// As [`Directory::remove`].
    pub async fn remove_device(&self, address: &Address) -> Result<Option<MailboxId>, directory::Error> {
        let removed = self.directory.remove(address).await?;
        if let Some(mailbox) = removed {
            self.committer.forget(mailbox);
        }
        Ok(removed)
    }

    /// Signs a consumer of the mailbox on; `None` when its device is gone.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the session cannot be taken, or the mailbox cannot be counted.
    pub async fn sign_on(&self, mailbox: MailboxId) -> Result<Option<SignedOn>, store::Error> {
        // Sign on before the first read: a ring between the two would otherwise be missed.
        let presence = self.hub.sign_on(mailbox);
        if self.store.is_shared() {
            let lease = self.store.sign_on(mailbox, self.clock.now()).await?;
            presence.hold(lease.epoch);
            self.committer.signed_on(mailbox, lease);
        }
        self.begin(mailbox, presence).await
    }

    /// Signs an observer on, who takes nothing; `None` when its device is gone.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the mailbox cannot be counted.
    pub async fn observe(&self, mailbox: MailboxId) -> Result<Option<SignedOn>, store::Error> {
        let presence = self.hub.observe(mailbox);
        self.begin(mailbox, presence).await
    }

    async fn begin(&self, mailbox: MailboxId, presence: Presence) -> Result<Option<SignedOn>, store::Error> {
        // The hub knows the session, and nothing was read: whoever removes the device closes the session from now
        // on, or finds the stamp.
        if !self.seen(mailbox).await {
            return Ok(None);
        }
        let pending = self.committer.recount(mailbox).await?;
        Ok(Some(SignedOn {
            presence,
            pending,
            mark: self.committer.last_id(),
            epoch: self.epoch,
        }))
    }

    /// Whether other relays may use the same store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    /// This relay's number among those that share the store; `None` where there are none.
    #[must_use]
    pub fn node(&self) -> Option<u16> {
        self.store.is_shared().then(|| self.committer.node())
    }

    /// How much mail is before the committer.
    #[must_use]
    pub fn workload(&self) -> Workload {
        self.committer.workload()
    }

    /// How much there is in the store.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store cannot say.
    pub async fn extent(&self) -> Result<Extent, store::Error> {
        self.store.extent().await
    }

    /// How often a session looks for what other relays have accepted; `None` where there are none.
    #[must_use]
    pub fn look_again(&self) -> Option<Duration> {
        self.store.is_shared().then_some(self.look_again)
    }

    /// Whether the store did not answer when it was last asked.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.committer.is_away()
    }

    /// Whether the store answers: the last commit or read, and a probe, which is at most
    /// a second old. Many callers share one probe.
    pub async fn answers(&self) -> bool {
        if self.is_away() {
            return false;
        }
        let mut probe = self.probe.lock().await;
        if probe.is_none_or(|(at, _)| at.elapsed() >= PROBE_AGE) {
            let answer = self.store.ping().await;
            *probe = Some((Instant::now(), answer.is_ok()));
            if let Err(error) = answer {
                self.committer.lost(&error);
            }
        }
        probe.is_some_and(|(_, answers)| answers) && !self.is_away()
    }

    /// Displaces the sessions of this relay that other relays have taken over.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store cannot say; those that it did name are displaced.
    pub async fn displace(&self) -> Result<(), store::Error> {
        let held = self.hub.leases();
        for some in held.chunks(LEASES_AT_ONCE) {
            let displaced = self.store.displaced(some).await;
            for mailbox in displaced.inspect_err(|error| self.committer.lost(error))? {
                if let Some((_, epoch)) = some.iter().find(|(held, _)| *held == mailbox) {
                    self.hub.displace(mailbox, *epoch);
                }
            }
        }
        Ok(())
    }

    /// Envelopes that wait in a mailbox.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the mailbox cannot be counted.
    pub async fn pending(&self, mailbox: MailboxId) -> Result<u64, store::Error> {
        self.committer.recount(mailbox).await
    }

    /// The mailbox, to read from its oldest envelope on.
    #[must_use]
    pub fn open(&self, mailbox: MailboxId, window: Window) -> Mailbox {
        Mailbox::open(Arc::clone(&self.committer), mailbox, window)
    }

    /// The mailbox's oldest envelopes, for a caller without a session. Takes nothing.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store could not be read.
    pub async fn peek(&self, mailbox: MailboxId, room: store::Room) -> Result<Vec<Delivery>, store::Error> {
        let page = self.committer.look(mailbox, EnvelopeId::ZERO, room).await?;
        let attempts = self.committer.attempts(mailbox, &page);
        Ok(page
            .into_iter()
            .zip(attempts)
            .map(|(envelope, before)| Delivery {
                attempt: before + 1,
                envelope,
            })
            .collect())
    }

    /// Forgets envelopes that a caller without a session has stored. Ids that are not in the mailbox
    /// are ignored. Returns how many counted.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store could not be read.
    pub async fn ack(&self, mailbox: MailboxId, ids: &[EnvelopeId]) -> Result<usize, store::Error> {
        let mut receipts = Vec::with_capacity(ids.len());
        for id in ids {
            let just_before = EnvelopeId::from_u64(id.as_u64().saturating_sub(1));
            let room = store::Room {
                envelopes: 1,
                bytes: 0,
            };
            let page = self.committer.look(mailbox, just_before, room).await?;
            receipts.extend(
                page.first()
                    .filter(|found| found.id == *id)
                    .map(|found| Receipt::from(&**found)),
            );
        }
        self.committer.ack(mailbox, &receipts).await;
        Ok(receipts.len())
    }

    /// Losses that the owner has not been told of.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when the store could not be read.
    pub async fn gaps(&self, mailbox: MailboxId) -> Result<Vec<Gap>, store::Error> {
        self.store.gaps(mailbox).await
    }

    /// The owner has been told.
    ///
    /// # Errors
    ///
    /// [`store::Error`] when it could not be written; the owner will be told again.
    pub async fn gaps_told(&self, mailbox: MailboxId, gaps: &[Gap]) -> Result<(), store::Error> {
        self.store.gaps_told(mailbox, gaps).await
    }

    /// Forgets rates of senders that have been quiet. For the server's housekeeping.
    pub fn forget_quiet_senders(&self) {
        self.rates.forget_quiet(Instant::now());
    }
}

/// Age at which a probe of the store is made anew.
const PROBE_AGE: Duration = Duration::from_secs(1);

/// Sessions that the store is asked about in one go.
const LEASES_AT_ONCE: usize = 1_000;
