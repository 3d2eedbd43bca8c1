//! A store in memory, small enough to be seen to be right: what the others are checked against.
//!
//! Keeps every promise of the traits except that nothing outlives the process, and that it forgets
//! no record or tombstone for want of room. A crash is [`Model::reopen`]: another store over what was
//! committed. Tests can hold commits at a gate and make them fail.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chatctl_protocol::{AccountId, Address, DeviceId, EnvelopeId, Suite};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::model::{Device, DeviceList, Envelope, MailboxId, UnixMs};
use crate::store::{
    BackupStore, Batch, Committed, DeviceStore, Error, Expired, ExpiredEnvelope, Extent, Gap, GapReason,
    KeyLogEntry, Lease, MailStore, Registered, Registration, Room, SendKey, SendRecord, SessionStore, Span,
    Start, Usage,
};

mod accounts;
mod chores;
mod jobs;
mod keys;
mod revocations;

/// The store in memory.
#[derive(Debug)]
pub struct Model {
    state: Arc<Mutex<State>>,
    /// Its relay's number, and whether other relays have the same state.
    node: u16,
    is_shared: bool,
    trouble: Mutex<Option<Trouble>>,
    poisoned: Mutex<Option<Error>>,
    /// What every verb about jobs answers.
    jobs_trouble: Mutex<Option<Error>>,
    gate: watch::Sender<Gate>,
}

/// What happens to the next commit.
#[derive(Debug)]
enum Trouble {
    /// It changes nothing, and says so.
    Fails(Error),
    /// It changes nothing, nor does any that follows.
    KeepsFailing(Error),
    /// It is written, and the answer is lost.
    AnswerLost,
    /// It is written, as are those that follow, and all answers are lost.
    AnswersLost,
}

/// Where commits wait while a test holds them.
#[derive(Debug, Clone, Copy, Default)]
struct Gate {
    held: bool,
    waiting: usize,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// By the number of the relay.
    ceilings: BTreeMap<u16, EnvelopeId>,
    /// Epoch and relay of each mailbox's session.
    sessions: BTreeMap<MailboxId, (u64, u16)>,
    last_mailbox: u64,
    mail: BTreeMap<(MailboxId, EnvelopeId), Arc<Envelope>>,
    records: BTreeMap<SendKey, SendRecord>,
    gaps: BTreeMap<(MailboxId, GapReason), u64>,
    accounts: BTreeMap<AccountId, Account>,
    owners: BTreeMap<MailboxId, Address>,
    keysets: BTreeMap<(MailboxId, Suite), keys::Keys>,
    revocations: revocations::Revocations,
    jobs: jobs::Jobs,
    /// The day on which a device was last seen.
    seen: BTreeMap<MailboxId, UnixMs>,
}

#[derive(Debug, Clone, Default)]
struct Account {
    attributes: Option<Arc<str>>,
    version: u64,
    devices: BTreeMap<DeviceId, Device>,
    incarnations: BTreeMap<DeviceId, u32>,
    key_log: Vec<KeyLogEntry>,
}

impl Model {
    /// An empty store.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::over(Arc::default(), 0, false)
    }

    /// A crash and a restart: a store over what was committed. This one stays as it is.
    #[must_use]
    pub fn reopen(&self) -> Arc<Self> {
        let mut state = self.state.lock().clone();
        state.jobs.crash();
        Self::over(Arc::new(Mutex::new(state)), self.node, self.is_shared)
    }

    /// Empty stores of relays with the numbers 0, 1 and so on, which share what they hold.
    #[must_use]
    pub fn shared<const RELAYS: usize>() -> [Arc<Self>; RELAYS] {
        let state = Arc::default();
        std::array::from_fn(|node| {
            let node = u16::try_from(node).unwrap_or(u16::MAX);
            Self::over(Arc::clone(&state), node, true)
        })
    }

    /// The store of one more relay that shares what this one holds, without its troubles.
    #[must_use]
    pub fn beside(&self) -> Arc<Self> {
        Self::over(Arc::clone(&self.state), self.node, self.is_shared)
    }

    fn over(state: Arc<Mutex<State>>, node: u16, is_shared: bool) -> Arc<Self> {
        Arc::new(Self {
            state,
            node,
            is_shared,
            trouble: Mutex::new(None),
            poisoned: Mutex::new(None),
            jobs_trouble: Mutex::new(None),
            gate: watch::Sender::new(Gate::default()),
        })
    }

    /// Makes commits of mail wait until [`Model::release_commits`].
    pub fn hold_commits(&self) {
        self.gate.send_modify(|gate| gate.held = true);
    }

    /// Lets the waiting commits go, and those that come after.
    pub fn release_commits(&self) {
        self.gate.send_modify(|gate| gate.held = false);
    }

    /// Waits until at least `count` commits wait at the gate.
    pub async fn commits_waiting(&self, count: usize) {
        // The sender lives in self, so the channel cannot close meanwhile.
        let _ = self.gate.subscribe().wait_for(|gate| gate.waiting >= count).await;
    }

    /// Makes the next commit of mail change nothing and answer `error`. [`Error::Poisoned`] stays.
    pub fn fail_next_commit(&self, error: Error) {
        *self.trouble.lock() = Some(Trouble::Fails(error));
    }

    /// Makes every commit of mail from now on change nothing and answer `error`.
    pub fn fail_commits(&self, error: Error) {
        *self.trouble.lock() = Some(Trouble::KeepsFailing(error));
    }

    /// Makes every commit of mail from now on succeed and answer [`Error::Unavailable`].
    pub fn lose_answers(&self) {
        *self.trouble.lock() = Some(Trouble::AnswersLost);
    }

    /// Commits of mail are written again from now on.
    pub fn mend_commits(&self) {
        *self.trouble.lock() = None;
    }

    /// Makes the next commit of mail succeed and answer [`Error::Unavailable`].
    pub fn lose_next_answer(&self) {
        *self.trouble.lock() = Some(Trouble::AnswerLost);
    }

    /// Makes every verb about jobs change nothing and answer `error` from now on; `None` mends them.
    pub fn trouble_jobs(&self, error: Option<Error>) {
        *self.jobs_trouble.lock() = error;
    }

    async fn pass_the_gate(&self) {
        struct Waiting<'a>(&'a watch::Sender<Gate>);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.send_modify(|gate| gate.waiting -= 1);
            }
        }
        let mut gate = self.gate.subscribe();
        self.gate.send_modify(|gate| gate.waiting += 1);
        let _waiting = Waiting(&self.gate);
        let _ = gate.wait_for(|gate| !gate.held).await;
    }

    fn with<T>(&self, verb: impl FnOnce(&mut State) -> T) -> Result<T, Error> {
        if let Some(error) = &*self.poisoned.lock() {
            return Err(error.clone());
        }
        Ok(verb(&mut self.state.lock()))
    }
}

impl State {
    fn commit(&mut self, batch: Batch, node: u16) -> Committed {
        let mut refused = Vec::new();
        for (index, posting) in batch.postings.into_iter().enumerate() {
            if self.records.get(&posting.record.key) == Some(&posting.record) {
                continue;
            }
            if posting
                .envelopes
                .iter()
                .any(|envelope| !self.owners.contains_key(&envelope.mailbox))
            {
                refused.push(index);
                continue;
            }
            self.records.insert(posting.record.key.clone(), posting.record);
            for envelope in posting.envelopes {
                self.mail.insert((envelope.mailbox, envelope.id), envelope);
            }
        }
        for deletion in batch.deletions {
            self.mail.remove(&(deletion.mailbox, deletion.id));
        }
        let ceiling = self.ceilings.entry(node).or_default();
        *ceiling = batch.id_ceiling.unwrap_or_default().max(*ceiling);
        Committed { refused }
    }

    /// The highest id that is stored or was answered.
    fn newest(&self) -> EnvelopeId {
        let stored = self.mail.keys().map(|(_, id)| *id);
        let answered = self.records.values();
        let answered = answered.filter_map(|record| record.envelope_ids.last().copied());
        stored.chain(answered).fold(EnvelopeId::ZERO, EnvelopeId::max)
    }

    fn of(&self, mailbox: MailboxId) -> impl Iterator<Item = &Arc<Envelope>> {
        self.mail
            .range((mailbox, EnvelopeId::ZERO)..=(mailbox, EnvelopeId::MAX))
            .map(|(_, envelope)| envelope)
    }

    fn expire(&mut self, now: UnixMs, budget: usize) -> Expired {
        let over = |envelope: &&Arc<Envelope>| envelope.expires_at <= now;
        let removed: Vec<_> = self
            .mail
            .values()
            .filter(over)
            .take(budget)
            .map(|envelope| ExpiredEnvelope {
                mailbox: envelope.mailbox,
                id: envelope.id,
                sender: envelope.sender,
                bytes: envelope.payload.len() as u64,
            })
            .collect();
        for ExpiredEnvelope { mailbox, id, .. } in &removed {
            self.mail.remove(&(*mailbox, *id));
            *self.gaps.entry((*mailbox, GapReason::Ttl)).or_default() += 1;
        }
        Expired {
            removed,
            done: !self.mail.values().any(|envelope| over(&envelope)),
        }
    }

    fn register(&mut self, address: &Address, registration: Registration) -> Registered {
        let account = self.accounts.entry(address.account.clone()).or_default();
        let old = account.devices.get(&address.device_id).cloned();
        if let Some(mut device) = old.clone()
            && device.registration_id == registration.registration_id
        {
            account.version += u64::from(device.attributes != registration.attributes);
            device.attributes = registration.attributes;
            account.devices.insert(address.device_id.clone(), device.clone());
            return Registered::Updated(device);
        }
        if old.is_none() && account.devices.len() >= registration.max_devices as usize {
            return Registered::TooMany;
        }
        self.last_mailbox += 1;
        let incarnation = account.incarnations.entry(address.device_id.clone()).or_default();
        *incarnation += 1;
        account.version += 1;
        let device = Device {
            device_id: address.device_id.clone(),
            mailbox: MailboxId(self.last_mailbox),
            registration_id: registration.registration_id,
            incarnation: *incarnation,
            attributes: registration.attributes,
            registered_at: registration.now,
        };
        account.devices.insert(address.device_id.clone(), device.clone());
        self.owners.insert(device.mailbox, address.clone());
        match old {
            None => Registered::Created(device),
            Some(Device { mailbox: old, .. }) => {
                self.purge(old);
                Registered::Replaced { device, old }
            }
        }
    }

    fn remove_device(&mut self, address: &Address) -> Option<MailboxId> {
        let account = self.accounts.get_mut(&address.account)?;
        let device = account.devices.remove(&address.device_id)?;
        account.version += 1;
        self.purge(device.mailbox);
        Some(device.mailbox)
    }

    fn purge(&mut self, mailbox: MailboxId) {
        self.owners.remove(&mailbox);
        self.sessions.remove(&mailbox);
        self.seen.remove(&mailbox);
        self.mail.retain(|(of, _), _| *of != mailbox);
        self.records.retain(|key, _| key.sender != mailbox);
        self.gaps.retain(|(of, _), _| *of != mailbox);
        self.keysets.retain(|(of, _), _| *of != mailbox);
    }
}

#[async_trait]
impl MailStore for Model {
    async fn start(&self) -> Result<Start, Error> {
        self.with(|state| {
            let ceiling = state.ceilings.get(&self.node).copied().unwrap_or_default();
            Start {
                id_floor: ceiling.max(state.newest()),
                node: self.node,
                epoch: 1,
            }
        })
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        self.pass_the_gate().await;
        let trouble = self.trouble.lock().take();
        match trouble {
            None => self.with(|state| state.commit(batch, self.node)),
            Some(Trouble::AnswerLost) => {
                self.with(|state| state.commit(batch, self.node))?;
                Err(Error::Unavailable("the answer was lost".into()))
            }
            Some(Trouble::AnswersLost) => {
                self.lose_answers();
                self.with(|state| state.commit(batch, self.node))?;
                Err(Error::Unavailable("the answer was lost".into()))
            }
            Some(Trouble::KeepsFailing(error)) => {
                self.fail_commits(error.clone());
                Err(error)
            }
            Some(Trouble::Fails(error)) => {
                if matches!(error, Error::Poisoned(_)) {
                    *self.poisoned.lock() = Some(error.clone());
                }
                Err(error)
            }
        }
    }

    async fn read(&self, mailbox: MailboxId, span: Span, room: Room) -> Result<Vec<Arc<Envelope>>, Error> {
        self.with(|state| {
            let mut page = Vec::new();
            let mut bytes = 0;
            let wanted = state
                .of(mailbox)
                .filter(|e| e.id > span.after && e.id <= span.up_to && e.expires_at > span.now);
            for envelope in wanted.take(room.envelopes) {
                bytes += envelope.payload.len();
                if bytes > room.bytes && !page.is_empty() {
                    break;
                }
                page.push(Arc::clone(envelope));
            }
            page
        })
    }

    async fn usage(&self, mailbox: MailboxId) -> Result<Usage, Error> {
        self.with(|state| {
            let mut senders = BTreeMap::<MailboxId, (u64, u64)>::new();
            for envelope in state.of(mailbox) {
                let sender = senders.entry(envelope.sender).or_default();
                sender.0 += 1;
                sender.1 += envelope.payload.len() as u64;
            }
            Usage {
                envelopes: senders.values().map(|(envelopes, _)| envelopes).sum(),
                bytes: senders.values().map(|(_, bytes)| bytes).sum(),
                senders: senders
                    .into_iter()
                    .map(|(id, (n, bytes))| (id, n, bytes))
                    .collect(),
            }
        })
    }

    async fn sent(&self, key: &SendKey) -> Result<Option<SendRecord>, Error> {
        self.with(|state| state.records.get(key).cloned())
    }

    fn may_know(&self, key: &SendKey) -> bool {
        self.is_shared || self.state.lock().records.contains_key(key)
    }

    async fn expire(&self, now: UnixMs, budget: usize) -> Result<Expired, Error> {
        self.with(|state| state.expire(now, budget))
    }

    async fn gaps(&self, mailbox: MailboxId) -> Result<Vec<Gap>, Error> {
        self.with(|state| {
            let of = state.gaps.iter().filter(|((of, _), _)| *of == mailbox);
            of.map(|((_, reason), dropped)| Gap {
                reason: *reason,
                dropped: *dropped,
            })
            .collect()
        })
    }

    async fn gaps_told(&self, mailbox: MailboxId, told: &[Gap]) -> Result<(), Error> {
        self.with(|state| {
            for gap in told {
                if let Some(dropped) = state.gaps.get_mut(&(mailbox, gap.reason)) {
                    *dropped = dropped.saturating_sub(gap.dropped);
                }
            }
            state.gaps.retain(|_, dropped| *dropped > 0);
        })
    }

    async fn ping(&self) -> Result<(), Error> {
        match &*self.trouble.lock() {
            Some(Trouble::KeepsFailing(error)) => return Err(error.clone()),
            Some(Trouble::AnswersLost) => return Err(Error::Unavailable("the answer was lost".into())),
            Some(Trouble::Fails(_) | Trouble::AnswerLost) | None => {}
        }
        self.with(|_| ())
    }

    async fn extent(&self) -> Result<Extent, Error> {
        self.ping().await?;
        self.with(|state| Extent {
            envelopes: Some(state.mail.len() as u64),
            ..Extent::default()
        })
    }

    async fn close(&self) -> Result<(), Error> {
        *self.poisoned.lock() = Some(Error::Unavailable("the store is closed".into()));
        Ok(())
    }
}

impl BackupStore for Model {}

#[async_trait]
impl SessionStore for Model {
    fn is_shared(&self) -> bool {
        self.is_shared
    }

    async fn sign_on(&self, mailbox: MailboxId, _now: UnixMs) -> Result<Lease, Error> {
        self.with(|state| {
            let before = state.sessions.get(&mailbox).copied();
            let epoch = before.map_or(1, |(epoch, _)| epoch + 1);
            state.sessions.insert(mailbox, (epoch, self.node));
            Lease {
                epoch,
                newest: state.newest(),
                moved: before.is_some_and(|(_, node)| node != self.node),
            }
        })
    }

    async fn displaced(&self, held: &[(MailboxId, u64)]) -> Result<Vec<MailboxId>, Error> {
        self.with(|state| {
            let epoch = |mailbox| state.sessions.get(mailbox).map(|(epoch, _)| *epoch);
            let over = held
                .iter()
                .filter(|(mailbox, held)| epoch(mailbox) != Some(*held));
            over.map(|(mailbox, _)| *mailbox).collect()
        })
    }
}

#[async_trait]
impl DeviceStore for Model {
    async fn register(&self, address: &Address, registration: Registration) -> Result<Registered, Error> {
        self.with(|state| state.register(address, registration))
    }

    async fn remove_device(&self, address: &Address, _now: UnixMs) -> Result<Option<MailboxId>, Error> {
        self.with(|state| state.remove_device(address))
    }

    async fn devices(&self, account: &AccountId) -> Result<DeviceList, Error> {
        self.with(|state| {
            state
                .accounts
                .get(account)
                .map(|account| DeviceList {
                    version: account.version,
                    devices: account.devices.values().cloned().collect(),
                })
                .unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{batch, envelope, ids_of, mailbox};

    #[tokio::test]
    async fn commits_wait_while_they_are_held() {
        let model = Model::new();
        let bob = mailbox(&*model, "bob").await;
        model.hold_commits();
        let (committed, ()) = tokio::join!(model.commit(batch([envelope(1, bob, "x")])), async {
            model.commits_waiting(1).await;
            assert_eq!(ids_of(&*model, bob).await, [0; 0]);
            model.release_commits();
        });
        committed.unwrap();
        assert_eq!(ids_of(&*model, bob).await, [1]);
    }

    #[tokio::test]
    async fn a_commit_fails_as_asked_and_a_lost_answer_was_written() {
        let model = Model::new();
        let bob = mailbox(&*model, "bob").await;
        model.fail_next_commit(Error::Full);
        let failed = model.commit(batch([envelope(1, bob, "x")])).await;
        assert!(matches!(failed, Err(Error::Full)));
        model.lose_next_answer();
        let lost = model.commit(batch([envelope(2, bob, "x")])).await;
        assert!(matches!(lost, Err(Error::Unavailable(_))));
        assert_eq!(ids_of(&*model.reopen(), bob).await, [2]);
        model.fail_next_commit(Error::Poisoned("an fsync failed".into()));
        assert!(model.commit(Batch::default()).await.is_err());
        assert!(matches!(model.start().await, Err(Error::Poisoned(_))));
    }
}
