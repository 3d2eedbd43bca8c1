//! The store in memory, with the two mishaps that this room must survive: a read that takes long, and
//! a change whose answer is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chatctl_protocol::{AccountId, Address, PoolName, Suite};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::model::{DeviceList, Envelope, MailboxId, Revocation, UnixMs};
use crate::store::model::Model;
use crate::store::{
    AccountStore, BackupStore, Batch, Begin, Begun, ChoreStore, Claim, Claimed, Committed, Compacted,
    DeviceStore, Due, Ended, Error, Expired, Gap, Grant, Held, JobState, JobStore, KeyLogEntry, KeyStore,
    Keyset, Litter, LowPools, MailStore, OnOther, PutAccount, Registered, Registration, RevocationStore,
    Room, Run, RunQuery, SendKey, SendRecord, Span, Start, Swept, TakenOver, Upload, Uploaded, Usage, Work,
};

/// Where a load of a device list stops.
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// Rung when the load has read and waits.
    pub(super) began: Notify,
    /// Lets it go on.
    pub(super) go: Notify,
}

#[derive(Debug)]
pub(super) struct Fake {
    model: Arc<Model>,
    pause: Mutex<Option<Arc<Pause>>>,
    /// Device lists that were read.
    pub(super) loads: AtomicUsize,
    /// The next registration is done and answered with an error.
    pub(super) lose_answer: AtomicBool,
}

impl Fake {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            model: Model::new(),
            pause: Mutex::default(),
            loads: AtomicUsize::default(),
            lose_answer: AtomicBool::default(),
        })
    }

    /// The next load of a device list reads, and then waits.
    pub(super) fn pause_next_load(&self) -> Arc<Pause> {
        let pause = Arc::new(Pause::default());
        *self.pause.lock() = Some(Arc::clone(&pause));
        pause
    }
}

#[async_trait]
impl AccountStore for Fake {
    async fn put_account(
        &self,
        account: &AccountId,
        attributes: Arc<str>,
        on_other: OnOther,
    ) -> Result<PutAccount, Error> {
        self.model.put_account(account, attributes, on_other).await
    }

    async fn account(&self, account: &AccountId) -> Result<Option<Arc<str>>, Error> {
        self.model.account(account).await
    }
}

#[async_trait]
impl DeviceStore for Fake {
    async fn register(&self, address: &Address, registration: Registration) -> Result<Registered, Error> {
        let registered = self.model.register(address, registration).await;
        if self.lose_answer.swap(false, Ordering::Relaxed) {
            return Err(Error::Unavailable("the answer was lost".into()));
        }
        registered
    }

    async fn remove_device(&self, address: &Address, now: UnixMs) -> Result<Option<MailboxId>, Error> {
        self.model.remove_device(address, now).await
    }

    async fn devices(&self, account: &AccountId) -> Result<DeviceList, Error> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let list = self.model.devices(account).await;
        let pause = self.pause.lock().take();
        if let Some(pause) = pause {
            pause.began.notify_one();
            pause.go.notified().await;
        }
        list
    }
}

#[async_trait]
impl KeyStore for Fake {
    async fn upload(&self, upload: Upload) -> Result<Uploaded, Error> {
        self.model.upload(upload).await
    }

    async fn keyset(&self, mailbox: MailboxId, suite: &Suite) -> Result<Option<Keyset>, Error> {
        self.model.keyset(mailbox, suite).await
    }

    async fn suites(&self, mailbox: MailboxId) -> Result<Vec<Suite>, Error> {
        self.model.suites(mailbox).await
    }

    async fn drop_queue(&self, mailbox: MailboxId, suite: &Suite, pool: &PoolName) -> Result<bool, Error> {
        self.model.drop_queue(mailbox, suite, pool).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        self.model.claim(claim).await
    }

    async fn key_log(
        &self,
        account: &AccountId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<KeyLogEntry>, Error> {
        self.model.key_log(account, after, limit).await
    }
}

#[async_trait]
impl MailStore for Fake {
    async fn start(&self) -> Result<Start, Error> {
        self.model.start().await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        self.model.commit(batch).await
    }

    async fn read(&self, mailbox: MailboxId, span: Span, room: Room) -> Result<Vec<Arc<Envelope>>, Error> {
        self.model.read(mailbox, span, room).await
    }

    async fn usage(&self, mailbox: MailboxId) -> Result<Usage, Error> {
        self.model.usage(mailbox).await
    }

    async fn sent(&self, key: &SendKey) -> Result<Option<SendRecord>, Error> {
        self.model.sent(key).await
    }

    async fn expire(&self, now: UnixMs, budget: usize) -> Result<Expired, Error> {
        self.model.expire(now, budget).await
    }

    async fn gaps(&self, mailbox: MailboxId) -> Result<Vec<Gap>, Error> {
        self.model.gaps(mailbox).await
    }

    async fn gaps_told(&self, mailbox: MailboxId, told: &[Gap]) -> Result<(), Error> {
        self.model.gaps_told(mailbox, told).await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.model.ping().await
    }

    async fn close(&self) -> Result<(), Error> {
        self.model.close().await
    }
}

impl crate::store::SessionStore for Fake {}

#[async_trait]
impl RevocationStore for Fake {
    async fn revoke(&self, revocation: &Revocation) -> Result<u64, Error> {
        self.model.revoke(revocation).await
    }

    async fn revocations(&self, after: u64, limit: usize) -> Result<Vec<(u64, Revocation)>, Error> {
        self.model.revocations(after, limit).await
    }

    async fn prune_revocations(&self, now: UnixMs, limit: usize) -> Result<usize, Error> {
        self.model.prune_revocations(now, limit).await
    }
}

impl BackupStore for Fake {}

#[async_trait]
impl ChoreStore for Fake {
    async fn due(&self, litter: Litter) -> Result<Due, Error> {
        self.model.due(litter).await
    }

    async fn forget_records(&self, before: UnixMs, limit: usize) -> Result<usize, Error> {
        self.model.forget_records(before, limit).await
    }

    async fn forget_tombstones(&self, before: UnixMs, limit: usize) -> Result<usize, Error> {
        self.model.forget_tombstones(before, limit).await
    }

    async fn seen(&self, mailboxes: &[MailboxId], day: UnixMs) -> Result<Vec<MailboxId>, Error> {
        self.model.seen(mailboxes, day).await
    }

    async fn remove_idle(
        &self,
        before: UnixMs,
        now: UnixMs,
        limit: usize,
    ) -> Result<Vec<(Address, MailboxId)>, Error> {
        self.model.remove_idle(before, now, limit).await
    }

    async fn sweep_departed(&self, now: UnixMs, limit: usize) -> Result<Swept, Error> {
        self.model.sweep_departed(now, limit).await
    }

    async fn low_pools(&self, floor: u32, after: MailboxId, limit: usize) -> Result<LowPools, Error> {
        self.model.low_pools(floor, after, limit).await
    }

    async fn compact(&self) -> Result<Compacted, Error> {
        self.model.compact().await
    }
}

#[async_trait]
impl JobStore for Fake {
    async fn introduce(&self, jobs: &[Arc<str>], now: UnixMs) -> Result<(), Error> {
        self.model.introduce(jobs, now).await
    }

    async fn begin(&self, begin: &Begin) -> Result<Begun, Error> {
        self.model.begin(begin).await
    }

    async fn take_over(
        &self,
        job: &str,
        holder: &Arc<str>,
        term: Duration,
        now: UnixMs,
    ) -> Result<TakenOver, Error> {
        self.model.take_over(job, holder, term, now).await
    }

    async fn renew(&self, grant: &Grant, term: Duration, work: &Work) -> Result<bool, Error> {
        self.model.renew(grant, term, work).await
    }

    async fn end(&self, grant: &Grant, ended: &Ended) -> Result<bool, Error> {
        self.model.end(grant, ended).await
    }

    async fn miss(&self, begin: &Begin) -> Result<(), Error> {
        self.model.miss(begin).await
    }

    async fn job_states(&self, now: UnixMs) -> Result<Vec<JobState>, Error> {
        self.model.job_states(now).await
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, Error> {
        self.model.runs(query).await
    }

    async fn pause(&self, job: &str, until: Option<UnixMs>) -> Result<bool, Error> {
        self.model.pause(job, until).await
    }

    async fn unlock(&self, job: &str, now: UnixMs) -> Result<Option<Held>, Error> {
        self.model.unlock(job, now).await
    }

    async fn trim_runs(&self, before: UnixMs, keep: usize, limit: usize) -> Result<usize, Error> {
        self.model.trim_runs(before, keep, limit).await
    }
}
