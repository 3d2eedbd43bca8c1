//! A store that takes its time: before and after each verb others get their turn, as often as dice say. Over a store
//! that never waits this is what makes races.

use std::sync::Arc;

use async_trait::async_trait;
use chatctl_protocol::{AccountId, Address, PoolName, Suite};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::model::{DeviceList, Envelope, MailboxId, Revocation, UnixMs};
use crate::store::*;

pub(super) struct Swaying {
    inner: Arc<dyn Store>,
    dice: Mutex<SmallRng>,
}

impl std::fmt::Debug for Swaying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Swaying")
    }
}

impl Swaying {
    pub(super) fn over(inner: Arc<dyn Store>, seed: u64) -> Arc<dyn Store> {
        let dice = Mutex::new(SmallRng::seed_from_u64(seed));
        Arc::new(Self { inner, dice })
    }

    async fn sway(&self) {
        let turns = self.dice.lock().random_range(0..4_u32);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }
}

macro_rules! sways {
    ($($room:ident { $($verb:ident($($name:ident: $kind:ty),*) -> $answer:ty;)+ })+) => {
        $(#[async_trait]
        impl $room for Swaying {
            $(async fn $verb(&self, $($name: $kind),*) -> Result<$answer, Error> {
                self.sway().await;
                let answer = self.inner.$verb($($name),*).await;
                self.sway().await;
                answer
            })+
        })+
    };
}

sways! {
    MailStore {
        start() -> Start;
        commit(batch: Batch) -> Committed;
        read(mailbox: MailboxId, span: Span, room: Room) -> Vec<Arc<Envelope>>;
        usage(mailbox: MailboxId) -> Usage;
        sent(key: &SendKey) -> Option<SendRecord>;
        expire(now: UnixMs, budget: usize) -> Expired;
        gaps(mailbox: MailboxId) -> Vec<Gap>;
        gaps_told(mailbox: MailboxId, told: &[Gap]) -> ();
        ping() -> ();
        close() -> ();
    }
    AccountStore {
        put_account(account: &AccountId, attributes: Arc<str>, on_other: OnOther) -> PutAccount;
        account(account: &AccountId) -> Option<Arc<str>>;
    }
    DeviceStore {
        register(address: &Address, registration: Registration) -> Registered;
        remove_device(address: &Address, now: UnixMs) -> Option<MailboxId>;
        devices(account: &AccountId) -> DeviceList;
    }
    KeyStore {
        upload(upload: Upload) -> Uploaded;
        keyset(mailbox: MailboxId, suite: &Suite) -> Option<Keyset>;
        suites(mailbox: MailboxId) -> Vec<Suite>;
        drop_queue(mailbox: MailboxId, suite: &Suite, pool: &PoolName) -> bool;
        claim(claim: Claim) -> Vec<Claimed>;
        key_log(account: &AccountId, after: u64, limit: usize) -> Vec<KeyLogEntry>;
    }
    RevocationStore {
        revoke(revocation: &Revocation) -> u64;
        revocations(after: u64, limit: usize) -> Vec<(u64, Revocation)>;
        prune_revocations(now: UnixMs, limit: usize) -> usize;
    }
    ChoreStore {
        due(litter: Litter) -> Due;
        forget_records(before: UnixMs, limit: usize) -> usize;
        forget_tombstones(before: UnixMs, limit: usize) -> usize;
        seen(mailboxes: &[MailboxId], day: UnixMs) -> Vec<MailboxId>;
        remove_idle(before: UnixMs, now: UnixMs, limit: usize) -> Vec<(Address, MailboxId)>;
        sweep_departed(now: UnixMs, limit: usize) -> Swept;
        low_pools(floor: u32, after: MailboxId, limit: usize) -> LowPools;
        compact() -> Compacted;
    }
    JobStore {
        introduce(jobs: &[Arc<str>], now: UnixMs) -> ();
        begin(begin: &Begin) -> Begun;
        take_over(job: &str, holder: &Arc<str>, term: std::time::Duration, now: UnixMs) -> TakenOver;
        renew(grant: &Grant, term: std::time::Duration, work: &Work) -> bool;
        end(grant: &Grant, ended: &Ended) -> bool;
        miss(begin: &Begin) -> ();
        job_states(now: UnixMs) -> Vec<JobState>;
        runs(query: &RunQuery) -> Vec<Run>;
        pause(job: &str, until: Option<UnixMs>) -> bool;
        unlock(job: &str, now: UnixMs) -> Option<Held>;
        trim_runs(before: UnixMs, keep: usize, limit: usize) -> usize;
    }
}

impl BackupStore for Swaying {}

#[async_trait]
impl SessionStore for Swaying {
    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    async fn sign_on(&self, mailbox: MailboxId, now: UnixMs) -> Result<Lease, Error> {
        self.sway().await;
        self.inner.sign_on(mailbox, now).await
    }

    async fn displaced(&self, held: &[(MailboxId, u64)]) -> Result<Vec<MailboxId>, Error> {
        self.inner.displaced(held).await
    }
}
