//! Relays that share a store: random interleavings of senders and recipients that move between them.
//!
//! A sender waits for its answers before it moves, as a client does. Nobody rings: what a relay does not know
//! is found by looking.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId, DeviceId, EnvelopeId, Limits};
use proptest::prelude::*;
use smallvec::smallvec;
use tokio_util::sync::CancellationToken;

use crate::committer::{Committer, Mail, Outcome, Pace, Part, Receipts};
use crate::mailbox::{Mailbox, Window};
use crate::model::{Clock, MailboxId, UnixMs};
use crate::store::model::Model;
use crate::store::{DeviceStore as _, Registered, Registration, SendKey, SessionStore as _};

const T0: u64 = EnvelopeId::EPOCH_MS + 86_400_000;
const PEOPLE: usize = 3;
/// A window of a few envelopes, so that looks stop midway.
const NARROW: Window = Window {
    envelopes: 3,
    bytes: 1 << 20,
};

struct Relay {
    store: Arc<Model>,
    committer: Arc<Committer>,
    hand: Arc<AtomicU64>,
}

impl Relay {
    async fn over(store: Arc<Model>, now: u64) -> Self {
        let (clock, hand) = Clock::manual(UnixMs(now));
        let pace = Pace {
            interval: Duration::from_millis(5),
            // So much that no sender ever waits for room.
            tail_bytes: 1 << 17,
            limits: Limits::default(),
        };
        let committer = Committer::new(Arc::clone(&store) as _, pace, clock, Arc::default()).await;
        let committer = Arc::new(committer.unwrap());
        let running = Arc::clone(&committer);
        #[expect(clippy::disallowed_methods, reason = "a test is its own server")]
        tokio::spawn(async move { running.run(CancellationToken::new()).await });
        Self {
            store,
            committer,
            hand,
        }
    }

    async fn sign_on(&self, mailbox: MailboxId) -> Mailbox {
        let lease = self.store.sign_on(mailbox, UnixMs(T0)).await.unwrap();
        self.committer.signed_on(mailbox, lease);
        Mailbox::open(Arc::clone(&self.committer), mailbox, NARROW)
    }
}

fn address(account: &str) -> Address {
    Address {
        account: AccountId::parse(account).unwrap(),
        device_id: DeviceId::parse("1").unwrap(),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Send {
        from: usize,
        to: usize,
        count: u64,
    },
    /// Reads a page, and acks every envelope whose turn the bits pick.
    Read {
        who: usize,
        acks: u8,
    },
    /// It is time to look again.
    Look {
        who: usize,
    },
    /// Waits for its answers, then signs on to the other relay.
    Move {
        who: usize,
    },
    /// The commits of a relay hang, or go on.
    Hold {
        relay: usize,
        held: bool,
    },
    /// Time passes on a relay's clock.
    Tick {
        relay: usize,
        by: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..PEOPLE, 0..PEOPLE, 1u64..4).prop_map(|(from, to, count)| Step::Send { from, to, count }),
        6 => (0..PEOPLE, any::<u8>()).prop_map(|(who, acks)| Step::Read { who, acks }),
        3 => (0..PEOPLE).prop_map(|who| Step::Look { who }),
        2 => (0..PEOPLE).prop_map(|who| Step::Move { who }),
        1 => (0..2usize, any::<bool>()).prop_map(|(relay, held)| Step::Hold { relay, held }),
        1 => (0..2usize, 0u64..3_000).prop_map(|(relay, by)| Step::Tick { relay, by }),
    ]
}

struct Person {
    mailbox: MailboxId,
    at: usize,
    inbox: Mailbox,
    receipts: Arc<Receipts>,
    out: usize,
    /// What the present session has shown, by sender, in order.
    shown: BTreeMap<usize, Vec<u64>>,
    acked: HashSet<u64>,
}

struct World {
    relays: [Relay; 2],
    people: Vec<Person>,
    /// Names by route, in the order in which they were accepted.
    sent: BTreeMap<(usize, usize), Vec<u64>>,
    routes: Vec<(usize, usize)>,
}

impl World {
    async fn new() -> Self {
        let [one, other] = Model::shared();
        // Clocks that differ by two seconds.
        let relays = [Relay::over(one, T0).await, Relay::over(other, T0 + 2_000).await];
        let mut people = Vec::new();
        for (who, account) in ["a", "b", "c"].into_iter().enumerate() {
            let registration = Registration {
                registration_id: 1,
                attributes: None,
                max_devices: 8,
                now: UnixMs(T0),
            };
            let registered = relays[0].store.register(&address(account), registration).await;
            let Registered::Created(device) = registered.unwrap() else {
                panic!("a new device");
            };
            let at = who % 2;
            people.push(Person {
                mailbox: device.mailbox,
                at,
                inbox: relays[at].sign_on(device.mailbox).await,
                receipts: Receipts::new(Arc::default()),
                out: 0,
                shown: BTreeMap::new(),
                acked: HashSet::new(),
            });
        }
        Self {
            relays,
            people,
            sent: BTreeMap::new(),
            routes: Vec::new(),
        }
    }

    async fn send(&mut self, from: usize, to: usize) {
        let name = self.routes.len() as u64;
        self.routes.push((from, to));
        self.sent.entry((from, to)).or_default().push(name);
        let mailbox = self.people[to].mailbox;
        let sender = &mut self.people[from];
        let mail = Mail {
            key: SendKey {
                sender: sender.mailbox,
                client_msg_id: ClientMsgId::parse(name.to_be_bytes()).unwrap(),
            },
            digest: name.to_be_bytes().into(),
            from: Arc::new(address("sender")),
            sent_at: 0,
            expires_at: UnixMs(T0).plus_seconds(30 * 86_400),
            urgent: false,
            ephemeral: false,
            parts: smallvec![Part {
                mailbox,
                kind: 0,
                payload: Bytes::from(name.to_string()),
                is_here: true,
            }],
        };
        let committer = &self.relays[sender.at].committer;
        let _ = committer.accept(mail, sender.receipts.ticket(name)).await;
        sender.out += 1;
    }

    async fn settle(&mut self, who: usize) {
        for relay in &self.relays {
            relay.store.release_commits();
        }
        let person = &mut self.people[who];
        while person.out > 0 {
            let outcome = person.receipts.next().await;
            assert!(
                matches!(outcome, Outcome::Safe { duplicate: false, .. }),
                "{outcome:?}"
            );
            person.out -= 1;
        }
    }

    /// Whether the read brought anything.
    async fn read(&mut self, who: usize, acks: u8) -> bool {
        let person = &mut self.people[who];
        let page = person.inbox.next().await.unwrap();
        let mut stored = Vec::new();
        for (turn, delivery) in page.iter().enumerate() {
            let text = std::str::from_utf8(&delivery.envelope.payload).unwrap();
            let name: u64 = text.parse().unwrap();
            let (from, to) = self.routes[usize::try_from(name).unwrap()];
            assert_eq!(to, who, "G7: mail of another mailbox");
            let shown = person.shown.entry(from).or_default();
            assert!(
                shown.last().is_none_or(|last| *last < name),
                "G3: {name} after {shown:?}"
            );
            shown.push(name);
            if acks & (1 << (turn % 8)) != 0 {
                stored.push(delivery.envelope.id.as_u64());
                person.acked.insert(name);
            }
        }
        person.inbox.ack(&stored).await;
        !page.is_empty()
    }

    async fn go(&mut self, who: usize) {
        self.settle(who).await;
        let person = &mut self.people[who];
        person.at = 1 - person.at;
        person.inbox = self.relays[person.at].sign_on(person.mailbox).await;
        person.shown.clear();
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Send { from, to, count } => {
                for _ in 0..count {
                    self.send(from, to).await;
                }
            }
            Step::Read { who, acks } => {
                self.read(who, acks).await;
            }
            Step::Look { who } => self.people[who].inbox.look_again(),
            Step::Move { who } => self.go(who).await,
            Step::Hold { relay, held: true } => self.relays[relay].store.hold_commits(),
            Step::Hold { relay, held: false } => self.relays[relay].store.release_commits(),
            Step::Tick { relay, by } => {
                self.relays[relay].hand.fetch_add(by, Ordering::Relaxed);
            }
        }
    }

    /// Everything that is safe reaches the session that is there, once it looks.
    async fn finish(&mut self) {
        for who in 0..PEOPLE {
            self.settle(who).await;
        }
        for who in 0..PEOPLE {
            self.people[who].inbox.look_again();
            let mut idle = 0;
            while idle < 20 {
                match self.read(who, u8::MAX).await {
                    true => idle = 0,
                    false => idle += 1,
                }
                // What was shown and not acked keeps the window shut.
                let person = &mut self.people[who];
                if !person.inbox.has_room() {
                    let at = person.at;
                    person.inbox = self.relays[at].sign_on(person.mailbox).await;
                    person.shown.clear();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let person = &self.people[who];
            let mut got: HashSet<u64> = person.shown.values().flatten().copied().collect();
            got.extend(&person.acked);
            for ((_, to), names) in &self.sent {
                let lost = names.iter().filter(|name| *to == who && !got.contains(name));
                assert_eq!(lost.count(), 0, "G1: {names:?} and only {got:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_order_holds_between_relays(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.step(step).await;
            }
            world.finish().await;
        });
    }
}
