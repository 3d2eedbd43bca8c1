//! Random sequences of verbs: every store answers as the model does, over crashes.

use std::collections::HashSet;

use bytes::Bytes;
use chatctl_protocol::{Address, PoolName, Suite};
use proptest::prelude::*;

use super::embedded::OnDisk;
use super::in_memory::InMemory;
use super::keys::{item, pool, publish};
use super::mongodb::OnServer;
use super::revocations::{issued, token};
use super::{LATER, NOW, Subject, acks, address, alone, envelope, id, installation, mail_of, name, posting};
use crate::model::{Envelope, MailboxId, Revocation, UnixMs};
use crate::store::model::Model;
use crate::store::{
    Batch, Claim, ClaimTarget, Gap, GapReason, Litter, OnOther, Posting, Registered, Room, SendKey, Span,
};

/// Mailboxes that a sequence can name: more than it usually registers.
const MAILBOXES: u64 = 6;
const ACCOUNTS: [&str; 2] = ["bob", "carol"];

#[derive(Debug, Clone)]
enum Verb {
    Commit {
        sends: Vec<Vec<(u64, bool)>>,
        acked: Vec<(u64, u64)>,
        again: bool,
    },
    Read {
        mailbox: u64,
        after: u64,
        envelopes: usize,
        bytes: usize,
        now: UnixMs,
    },
    Expire {
        now: UnixMs,
    },
    Told {
        mailbox: u64,
        dropped: u64,
    },
    Register {
        account: usize,
        device: u8,
        registration_id: u32,
    },
    Remove {
        account: usize,
        device: u8,
    },
    Put {
        account: usize,
        attributes: u8,
        replace: bool,
    },
    Upload {
        mailbox: u64,
        identity: bool,
        items: Vec<u8>,
        replace: bool,
        fallback: Option<u8>,
    },
    Claim {
        mailboxes: Vec<u64>,
        pools: Vec<bool>,
        spare_queue: bool,
    },
    DropQueue {
        mailbox: u64,
    },
    Revoke {
        account: usize,
        device: Option<u8>,
        up_to: UnixMs,
        end: UnixMs,
    },
    Prune {
        now: UnixMs,
    },
    Seen {
        mailboxes: Vec<u64>,
        day: UnixMs,
    },
    Idle {
        before: UnixMs,
        limit: usize,
    },
    ForgetRecords {
        before: UnixMs,
    },
    ForgetTombstones {
        before: UnixMs,
    },
    Crash,
}

fn verb() -> impl Strategy<Value = Verb> {
    let mailbox = || 1..=MAILBOXES;
    let time = prop_oneof![Just(NOW), Just(UnixMs(NOW.0 + 1)), Just(LATER)];
    let send = prop::collection::vec((mailbox(), any::<bool>()), 1..4);
    let revoked = (0..3usize, prop::option::of(0..2u8), time.clone(), time.clone());
    prop_oneof![
        6 => (prop::collection::vec(send, 0..5), prop::collection::vec((mailbox(), 1..60u64), 0..6), any::<bool>())
            .prop_map(|(sends, acked, again)| Verb::Commit { sends, acked, again }),
        2 => (mailbox(), 0..60u64, 0..9usize, 0..60usize, time.clone())
            .prop_map(|(mailbox, after, envelopes, bytes, now)| Verb::Read { mailbox, after, envelopes, bytes, now }),
        1 => time.clone().prop_map(|now| Verb::Expire { now }),
        1 => time.prop_map(|now| Verb::Prune { now }),
        2 => revoked.prop_map(|(account, device, up_to, end)| Verb::Revoke { account, device, up_to, end }),
        1 => (mailbox(), 0..4u64).prop_map(|(mailbox, dropped)| Verb::Told { mailbox, dropped }),
        4 => (0..2usize, 0..3u8, 0..2u32)
            .prop_map(|(account, device, registration_id)| Verb::Register { account, device, registration_id }),
        1 => (0..2usize, 0..3u8).prop_map(|(account, device)| Verb::Remove { account, device }),
        1 => (0..2usize, 0..2u8, any::<bool>())
            .prop_map(|(account, attributes, replace)| Verb::Put { account, attributes, replace }),
        3 => (mailbox(), any::<bool>(), prop::collection::vec(0..9u8, 0..5), any::<bool>(), prop::option::of(0..3u8))
            .prop_map(|(mailbox, identity, items, replace, fallback)| {
                Verb::Upload { mailbox, identity, items, replace, fallback }
            }),
        3 => (prop::collection::vec(mailbox(), 1..3), prop::collection::vec(any::<bool>(), 1..4), any::<bool>())
            .prop_map(|(mailboxes, pools, spare_queue)| Verb::Claim { mailboxes, pools, spare_queue }),
        1 => mailbox().prop_map(|mailbox| Verb::DropQueue { mailbox }),
        1 => Just(Verb::Crash),
    ]
}

/// A verb of those who clean up and leave the records: with those, a store may forget which ids were used, which
/// in a relay the ceiling of the ids remembers.
fn light_chore() -> impl Strategy<Value = Verb> {
    chore().prop_filter("records stay", |verb| !matches!(verb, Verb::ForgetRecords { .. }))
}

/// A verb of those who clean up.
fn chore() -> impl Strategy<Value = Verb> {
    let time = || prop_oneof![Just(NOW), Just(UnixMs(NOW.0 + 1)), Just(LATER)];
    let mailboxes = prop::collection::vec(1..=MAILBOXES, 0..4);
    prop_oneof![
        2 => (mailboxes, time()).prop_map(|(mailboxes, day)| Verb::Seen { mailboxes, day }),
        1 => (time(), 0..3usize).prop_map(|(before, limit)| Verb::Idle { before, limit }),
        1 => time().prop_map(|before| Verb::ForgetRecords { before }),
        1 => time().prop_map(|before| Verb::ForgetTombstones { before }),
    ]
}

/// Any verb.
fn any_verb() -> impl Strategy<Value = Verb> {
    prop_oneof![6 => verb(), 1 => chore()]
}

/// The model and a store that are asked the same.
struct Pair<S> {
    model: InMemory,
    subject: S,
    next_id: u64,
    last_batch: Batch,
    /// Senders that were devices and are gone: nobody sends as them any more.
    gone: HashSet<MailboxId>,
}

/// Asks both, and compares the answers.
macro_rules! same {
    ($pair:expr, $verb:ident($($argument:expr),*)) => {{
        let model = $pair.model.store().$verb($($argument),*).await;
        let subject = $pair.subject.store().$verb($($argument),*).await;
        assert_eq!(model.as_ref().unwrap(), subject.as_ref().unwrap(), stringify!($verb));
        model.unwrap()
    }};
}

fn pool_of(second: bool) -> PoolName {
    pool(if second { "kem" } else { "ec" })
}

impl<S: Subject> Pair<S> {
    fn new(subject: S) -> Self {
        Self {
            model: InMemory(Model::new()),
            subject,
            next_id: 0,
            last_batch: Batch::default(),
            gone: HashSet::new(),
        }
    }

    fn send(&mut self, to: &[(u64, bool)]) -> Posting {
        let gone = &self.gone;
        let envelopes = to.iter().map(|(mailbox, soon)| {
            self.next_id += 1;
            let sender = 1 + self.next_id % MAILBOXES;
            let is_gone = gone.contains(&MailboxId(sender));
            let payload = vec![7; (self.next_id % 40) as usize];
            Envelope {
                sender: MailboxId(if is_gone { 900 + sender } else { sender }),
                expires_at: if *soon { UnixMs(NOW.0 + 1) } else { LATER },
                ..envelope(self.next_id, MailboxId(*mailbox), payload)
            }
        });
        posting(envelopes.collect::<Vec<_>>())
    }

    async fn step(&mut self, verb: Verb) {
        match verb {
            Verb::Commit { sends, acked, again } => self.commit(&sends, &acked, again).await,
            Verb::Read { .. } => self.read(verb).await,
            Verb::Expire { now } => {
                same!(self, expire(now, 1000));
            }
            Verb::Told { mailbox, dropped } => {
                let told = [Gap {
                    reason: GapReason::Ttl,
                    dropped,
                }];
                same!(self, gaps_told(MailboxId(mailbox), &told));
            }
            Verb::Register {
                account,
                device,
                registration_id,
            } => {
                let address = address(ACCOUNTS[account], &device.to_string());
                self.register(&address, registration_id).await;
            }
            Verb::Remove { account, device } => {
                let address = address(ACCOUNTS[account], &device.to_string());
                if let Some(old) = same!(self, remove_device(&address, NOW)) {
                    self.forget(old);
                }
            }
            Verb::Put { .. } => self.put(verb).await,
            Verb::Upload { .. } => self.upload(verb).await,
            Verb::Claim { .. } => self.claim(verb).await,
            Verb::DropQueue { mailbox } => {
                same!(self, drop_queue(MailboxId(mailbox), &Suite::Signal, &pool("ec")));
            }
            Verb::Revoke { .. } => self.revoke(verb).await,
            Verb::Prune { now } => {
                same!(self, prune_revocations(now, 1000));
            }
            Verb::Seen { mailboxes, day } => {
                let mailboxes: Vec<_> = mailboxes.into_iter().map(MailboxId).collect();
                same!(self, seen(&mailboxes, day));
            }
            Verb::Idle { before, limit } => {
                same!(self, due(Litter::IdleDevices { before }));
                for (_, old) in same!(self, remove_idle(before, NOW, limit)) {
                    self.forget(old);
                }
            }
            Verb::ForgetRecords { before } => {
                // Those of senders that are gone may be among them, and count.
                for store in [self.model.store(), self.subject.store()] {
                    store.forget_records(before, 1000).await.unwrap();
                }
            }
            Verb::ForgetTombstones { before } => {
                same!(self, due(Litter::Tombstones { before }));
                same!(self, forget_tombstones(before, 1000));
            }
            Verb::Crash => self.crash().await,
        }
    }

    async fn revoke(&mut self, verb: Verb) {
        let Verb::Revoke {
            account,
            device,
            up_to,
            end,
        } = verb
        else {
            return;
        };

        let device = device.map(|device| device.to_string());
        let said = match ACCOUNTS.get(account) {
            Some(account) => issued(account, device.as_deref(), up_to),
            None => token(device.as_deref().unwrap_or("bob")),
        };
        let said = Revocation {
            expires_at: end,
            ..said
        };
        // A fresh store of any kind begins at 1 and leaves none out, although it need not.
        same!(self, revoke(&said));
    }

    async fn crash(&mut self) {
        self.model.crash().await;
        self.subject.crash().await;
        let (model, subject) = (
            self.model.store().start().await,
            self.subject.store().start().await,
        );
        // What a sender that is gone has used may be remembered longer than the model does.
        let used = model.unwrap().id_floor..=id(self.next_id);
        let floor = subject.unwrap().id_floor;
        assert!(used.contains(&floor), "{floor:?} in {used:?}");
    }

    async fn commit(&mut self, sends: &[Vec<(u64, bool)>], acked: &[(u64, u64)], again: bool) {
        if again {
            same!(self, commit(self.last_batch.clone()));
        }
        let postings = sends.iter().map(|to| self.send(to)).collect();
        let deletions = acked
            .iter()
            .flat_map(|(mailbox, number)| acks(MailboxId(*mailbox), [*number]).deletions);
        self.last_batch = Batch {
            postings,
            deletions: deletions.collect(),
            id_ceiling: None,
        };
        same!(self, commit(self.last_batch.clone()));
    }

    async fn register(&mut self, address: &Address, registration_id: u32) {
        let registered = same!(self, register(address, installation(registration_id)));
        if let Registered::Replaced { old, .. } = registered {
            self.forget(old);
        }
    }

    /// Sends of a mailbox that is gone do not come again: their records went with it, so whether they are
    /// written a second time is up to the store.
    fn forget(&mut self, sender: MailboxId) {
        self.gone.insert(sender);
        let postings = &mut self.last_batch.postings;
        postings.retain(|posting| posting.record.key.sender != sender);
    }

    async fn read(&mut self, verb: Verb) {
        let Verb::Read {
            mailbox,
            after,
            envelopes,
            bytes,
            now,
        } = verb
        else {
            return;
        };

        let span = Span {
            after: id(after),
            up_to: id(after + 40),
            now,
        };
        same!(self, read(MailboxId(mailbox), span, Room { envelopes, bytes }));
    }

    async fn put(&mut self, verb: Verb) {
        let Verb::Put {
            account,
            attributes,
            replace,
        } = verb
        else {
            return;
        };

        let account = address(ACCOUNTS[account], "1").account;
        let on_other = if replace { OnOther::Replace } else { OnOther::Keep };
        same!(
            self,
            put_account(&account, attributes.to_string().into(), on_other)
        );
    }

    async fn upload(&mut self, verb: Verb) {
        let Verb::Upload {
            mailbox,
            identity,
            items,
            replace,
            fallback,
        } = verb
        else {
            return;
        };

        let mut upload = publish(MailboxId(mailbox), &[]);
        upload.identity = identity.then(|| Bytes::from(vec![items.len() as u8]));
        upload.max_items = 7;
        upload.pools[0].0 = pool_of(items.len() % 2 == 0);
        // Ids and keys are apart, so that both clashes and repetitions come about.
        let items = items.iter().enumerate().map(|(at, number)| {
            let mut item = item(&(number % 7).to_string());
            item.data = Bytes::from(vec![*number, (at / 4) as u8]);
            item
        });
        if replace {
            upload.pools[0].1.replace = Some(items.collect());
        } else {
            upload.pools[0].1.add = items.collect();
        }
        upload.pools[0].1.fallback = fallback.map(|number| item(&number.to_string()));
        same!(self, upload(upload.clone()));
    }

    async fn claim(&mut self, verb: Verb) {
        let Verb::Claim {
            mailboxes,
            pools,
            spare_queue,
        } = verb
        else {
            return;
        };

        let targets = mailboxes.into_iter().map(|mailbox| ClaimTarget {
            mailbox: MailboxId(mailbox),
            spare_queue,
        });
        let claim = Claim {
            suite: Suite::Signal,
            pools: pools.into_iter().map(pool_of).collect(),
            targets: targets.collect(),
            now: NOW,
        };
        same!(self, claim(claim.clone()));
    }

    async fn compare(&self) {
        for mailbox in (1..=MAILBOXES + 4).map(MailboxId) {
            let (model, subject) = (self.model.store(), self.subject.store());
            assert_eq!(mail_of(model, mailbox).await, mail_of(subject, mailbox).await);
            same!(self, usage(mailbox));
            same!(self, gaps(mailbox));
            same!(self, suites(mailbox));
            same!(self, keyset(mailbox, &Suite::Signal));
            // What a store remembers of a sender that is gone is up to it.
            for number in (1..=self.next_id).filter(|_| !self.gone.contains(&mailbox)) {
                let key = SendKey {
                    sender: mailbox,
                    client_msg_id: name(number),
                };
                same!(self, sent(&key));
            }
        }
        same!(self, revocations(0, 1000));
        for account in ACCOUNTS {
            let account = address(account, "1").account;
            same!(self, account(&account));
            same!(self, devices(&account));
            same!(self, key_log(&account, 0, 1000));
        }
    }
}

/// Asks a store and the model the same, and compares what they hold at the end, before and after a crash.
async fn compare<S: Subject>(subject: S, verbs: Vec<Verb>) {
    let mut pair = Pair::new(subject);
    for verb in verbs {
        pair.step(verb).await;
    }
    pair.compare().await;
    pair.step(Verb::Crash).await;
    pair.compare().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_store_on_the_disk_answers_as_the_model_does(verbs in prop::collection::vec(any_verb(), 1..40)) {
        alone(async { compare(OnDisk::new(), verbs).await });
    }
}

proptest! {
    // Each verb is a few round trips to a server: few cases, which go on getting shorter only for a while.
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_store_on_mongodb_answers_as_the_model_does(
        verbs in prop::collection::vec(prop_oneof![6 => verb(), 1 => light_chore()], 1..30),
    ) {
        alone(async { compare(OnServer::new().await, verbs).await });
    }
}
