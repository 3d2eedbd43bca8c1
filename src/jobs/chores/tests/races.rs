//! Chores beside everything that devices do, in random order and truly interleaved: between any two verbs of the store
//! others get their turn. What the relay promised to the world outside must hold at each step.

use std::collections::BTreeMap;
use std::sync::Arc;

use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::v1::{self};
use chatctl_protocol::{CloseCode, Code, EnvelopeId, Spoken, Suite};
use parking_lot::Mutex;
use proptest::prelude::*;

use super::house::{DAY, House, WEEK, address, otk};
use super::outside::{Letter, Life, Outside, Route, Witness};
use super::swaying::Swaying;
use crate::committer::Outcome;
use crate::config::jobs::JobName;
use crate::directory::{self, ClaimRequest};
use crate::jobs::{Chore, Findings, Step, chore};
use crate::model::{MailboxId, UnixMs};
use crate::session::{Leave, Said, Session};
use crate::store::digest::TOMBSTONE_SECONDS;
use crate::store::embedded::{Embedded, Options};
use crate::store::model::Model;
use crate::store::{Registered, Store};

const PEOPLE: usize = 3;

/// Something that somebody does.
#[derive(Debug, Clone)]
enum Act {
    /// Sends; with `again`, an earlier message once more.
    Send {
        from: usize,
        to: usize,
        hours: u32,
        again: Option<u8>,
    },
    /// A session reads, and acks every envelope whose turn the bits pick.
    Read {
        who: usize,
        acks: u8,
    },
    SignOn {
        who: usize,
    },
    SignOff {
        who: usize,
    },
    /// Registers, maybe as a new installation.
    Register {
        who: usize,
        anew: bool,
    },
    /// Somebody removes a device.
    Remove {
        who: usize,
    },
    Upload {
        who: usize,
        items: Vec<u8>,
    },
    Claim {
        who: usize,
        whose: usize,
    },
    /// Steps of a chore, which goes on where it was.
    Chore {
        job: JobName,
        steps: u8,
    },
    /// The server's housekeeping.
    StampPresent,
}

/// What happens at once, and how much time passes then.
#[derive(Debug, Clone)]
struct Round {
    acts: Vec<Act>,
    passes: u64,
}

fn act() -> impl Strategy<Value = Act> {
    let who = 0..PEOPLE;
    let job = prop::sample::select(vec![
        JobName::ExpireMail,
        JobName::ExpireMail,
        JobName::PruneRecords,
        JobName::PruneTombstones,
        JobName::RemoveIdleDevices,
        JobName::RemoveIdleDevices,
        JobName::RemoveIdleDevices,
        JobName::SweepDeparted,
        JobName::ReportLowKeys,
        JobName::TrimHistory,
    ]);
    let hours = prop::sample::select(vec![1_u32, 30, 24 * 10, 24 * 30]);
    prop_oneof![
        8 => (who.clone(), who.clone(), hours, prop::option::weighted(0.3, any::<u8>()))
            .prop_map(|(from, to, hours, again)| Act::Send { from, to, hours, again }),
        5 => (who.clone(), any::<u8>()).prop_map(|(who, acks)| Act::Read { who, acks }),
        5 => who.clone().prop_map(|who| Act::SignOn { who }),
        3 => who.clone().prop_map(|who| Act::SignOff { who }),
        5 => (who.clone(), prop::bool::weighted(0.2)).prop_map(|(who, anew)| Act::Register { who, anew }),
        1 => who.clone().prop_map(|who| Act::Remove { who }),
        3 => (who.clone(), prop::collection::vec(0_u8..8, 0..5)).prop_map(|(who, items)| Act::Upload { who, items }),
        4 => (who.clone(), who).prop_map(|(who, whose)| Act::Claim { who, whose }),
        12 => (job, 1_u8..4).prop_map(|(job, steps)| Act::Chore { job, steps }),
        1 => Just(Act::StampPresent),
    ]
}

fn rounds(most: usize) -> impl Strategy<Value = Vec<Round>> {
    let passes = prop_oneof![
        4 => Just(0),
        3 => 1_u64..2 * 3600 * 1000,
        3 => DAY / 2..3 * DAY,
        3 => 6 * DAY..8 * DAY,
        1 => 20 * DAY..100 * DAY,
    ];
    let round = (prop::collection::vec(act(), 1..7), passes);
    let round = round.prop_map(|(acts, passes)| Round { acts, passes });
    prop::collection::vec(round, 1..most)
}

/// A session, and the mailbox that it is of.
type Seat = (Session, MailboxId);

/// The relay, the people at it, and what they know.
struct World {
    house: House,
    outside: Arc<Mutex<Outside>>,
    seats: [tokio::sync::Mutex<Option<Seat>>; PEOPLE],
    chores: tokio::sync::Mutex<BTreeMap<JobName, Box<dyn Chore>>>,
}

impl World {
    async fn over(store: Arc<dyn Store>) -> Arc<Self> {
        let mut house = House::over(store).await;
        let outside = Arc::<Mutex<Outside>>::default();
        house.desk.audience = Arc::new(Witness {
            residents: Arc::clone(&house.desk.audience),
            outside: Arc::clone(&outside),
            clock: house.clock.clone(),
        });
        let world = Arc::new(Self {
            house,
            outside,
            seats: Default::default(),
            chores: Default::default(),
        });
        for who in 0..PEOPLE {
            world.register(who, true).await;
        }
        // Long enough for the first of them to be idle.
        world.house.pass(8 * DAY);
        world
    }

    fn now(&self) -> UnixMs {
        self.house.clock.now()
    }

    fn mailbox(&self, who: usize) -> Option<MailboxId> {
        self.outside.lock().mailboxes[who]
    }

    fn said_gone(&self, who: usize, mailbox: MailboxId) {
        let mut outside = self.outside.lock();
        outside.said_gone.push(mailbox);
        if outside.mailboxes[who] == Some(mailbox) {
            outside.mailboxes[who] = None;
        }
    }

    async fn act(&self, act: Act) {
        match act {
            Act::Send {
                from,
                to,
                hours,
                again,
            } => self.send(from, to, hours, again).await,
            Act::Read { who, acks } => {
                let mut seat = self.seats[who].lock().await;
                if let Some(taken) = seat.take() {
                    *seat = self.read(who, taken, acks).await;
                }
            }
            Act::SignOn { who } => self.sign_on(who).await,
            Act::SignOff { who } => self.sign_off(who).await,
            Act::Register { who, anew } => self.register(who, anew).await,
            Act::Remove { who } => {
                if let Some(mailbox) = self.mailbox(who) {
                    self.outside.lock().gone.insert(mailbox);
                }
                let removed = self.house.switchboard.remove_device(&person(who)).await.unwrap();
                self.outside.lock().gone.extend(removed);
            }
            Act::Upload { who, items } => self.upload(who, items).await,
            Act::Claim { who, whose } => self.claim(who, whose).await,
            Act::Chore { job, steps } => self.chore(job, steps).await,
            Act::StampPresent => self.house.switchboard.stamp_present().await.unwrap(),
        }
    }

    async fn chore(&self, job: JobName, steps: u8) {
        // As under its lease: one run of a job at a time.
        let mut chore = self
            .chores
            .lock()
            .await
            .remove(&job)
            .unwrap_or_else(|| chore(job));
        let mut findings = Findings::default();
        for _ in 0..steps {
            if chore.step(&self.house.desk, &mut findings).await.unwrap() == Step::Done {
                return;
            }
        }
        self.chores.lock().await.insert(job, chore);
    }

    async fn register(&self, who: usize, anew: bool) {
        let seat = self.seats[who].lock().await;
        let (installation, before) = {
            let mut outside = self.outside.lock();
            let before = outside.mailboxes[who];
            let known = before.map(|mailbox| outside.lives[&mailbox].installation);
            match known {
                Some(installation) if !anew => (installation, before),
                Some(_) | None => {
                    outside.gone.extend(before);
                    outside.installations += 1;
                    (outside.installations, before)
                }
            }
        };
        let registered = self.house.register(&person(who), installation).await;
        let mut outside = self.outside.lock();
        let device = match registered {
            Registered::Updated(device) => {
                assert_eq!(Some(device.mailbox), before);
                outside.see(device.mailbox, self.now());
                return;
            }
            Registered::Created(device) => device,
            Registered::Replaced { device, old } => {
                outside.gone.insert(old);
                device
            }
            Registered::TooMany => panic!("one device is not too many"),
        };
        if let Some(before) = before.filter(|_| !anew) {
            outside.said_gone.push(before);
            outside.returned.insert(installation);
        }
        outside.generations += 1;
        let life = Life {
            installation,
            generation: outside.generations,
            seen_at: self.now(),
            ..Life::default()
        };
        outside.lives.insert(device.mailbox, life);
        outside.mailboxes[who] = Some(device.mailbox);
        drop(seat);
    }

    async fn sign_on(&self, who: usize) {
        let mut seat = self.seats[who].lock().await;
        self.leave(&mut seat);
        let Some(mailbox) = self.mailbox(who) else { return };
        match self.house.sign_on(&person(who)).await {
            Ok((session, out)) => {
                {
                    let mut outside = self.outside.lock();
                    let life = outside.lives.get_mut(&mailbox).unwrap();
                    life.is_here = true;
                    life.shown.clear();
                }
                *seat = Some(self.take((session, mailbox), out, 0).await);
            }
            Err(leave) => self.left(who, mailbox, leave),
        }
    }

    async fn sign_off(&self, who: usize) {
        let mut seat = self.seats[who].lock().await;
        self.leave(&mut seat);
    }

    fn leave(&self, seat: &mut Option<Seat>) {
        if let Some((_, mailbox)) = seat.take() {
            self.gone_off(mailbox);
        }
    }

    fn gone_off(&self, mailbox: MailboxId) {
        let mut outside = self.outside.lock();
        outside.see(mailbox, self.now());
        if let Some(life) = outside.lives.get_mut(&mailbox) {
            life.is_here = false;
        }
    }

    /// A session ended, or did not begin.
    fn left(&self, who: usize, mailbox: MailboxId, leave: Leave) {
        let is_gone = matches!(leave.code, CloseCode::DeviceRemoved | CloseCode::Reregistered);
        assert!(is_gone, "{leave:?}");
        self.said_gone(who, mailbox);
        self.gone_off(mailbox);
    }

    async fn read(&self, who: usize, (mut session, mailbox): Seat, acks: u8) -> Option<Seat> {
        let mut out = Vec::new();
        match session.pump(&mut out).await {
            Ok(()) => Some(self.take((session, mailbox), bodies(out), acks).await),
            Err(leave) => {
                self.left(who, mailbox, leave);
                None
            }
        }
    }

    /// Takes what a session has brought.
    async fn take(&self, (mut session, mailbox): Seat, mut out: Vec<Body>, acks: u8) -> Seat {
        let mut ids = Vec::new();
        while !out.is_empty() {
            let mut told = 0;
            for body in std::mem::take(&mut out) {
                match body {
                    Body::Deliver(v1::Deliver { envelopes }) => {
                        for envelope in envelopes {
                            let name: u64 = std::str::from_utf8(&envelope.payload).unwrap().parse().unwrap();
                            let id = EnvelopeId::from_u64(envelope.id);
                            self.outside.lock().deliver(mailbox, id, name, self.now());
                            ids.push(envelope.id);
                        }
                    }
                    Body::Gap(gap) => told += gap.dropped,
                    _other => {}
                }
            }
            if told > 0 {
                let mut said = Vec::new();
                session.confirmed(&mut said).await;
                out = bodies(said);
                if let Some(life) = self.outside.lock().lives.get_mut(&mailbox) {
                    life.told += told;
                }
            }
        }
        let picked = ids
            .iter()
            .enumerate()
            .filter(|(turn, _)| acks & (1 << (turn % 8)) != 0);
        let ids: Vec<u64> = picked.map(|(_, id)| *id).collect();
        if let Some(life) = self.outside.lock().lives.get_mut(&mailbox) {
            life.acked.extend(ids.iter().map(|id| EnvelopeId::from_u64(*id)));
        }
        let mut said = Vec::new();
        let spoken = Spoken::Ack(ids.into());
        if let Some(later) = session.hear(spoken, &mut said).unwrap() {
            session.receive(later, &mut said).await.unwrap();
        }
        (session, mailbox)
    }

    /// As a door does: the device acts, if it is there.
    async fn acting(&self, who: usize, mailbox: MailboxId) -> bool {
        match self.house.switchboard.acting(&person(who)).await {
            Ok(device) if device.mailbox == mailbox => {
                self.outside.lock().see(mailbox, self.now());
                true
            }
            Ok(_) => false,
            Err(directory::Error::NotRegistered) => {
                self.said_gone(who, mailbox);
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The name of a message, and when its earlier try was answered.
    fn name(&self, from: MailboxId, to: usize, ttl: u32, again: Option<u8>) -> Option<(u64, Route)> {
        let mut outside = self.outside.lock();
        let now = self.now();
        let earlier: Vec<u64> = outside
            .routes
            .iter()
            .filter(|(_, route)| route.from == from && route.answered.is_some())
            .map(|(name, _)| *name)
            .collect();
        if let (Some(again), false) = (again, earlier.is_empty()) {
            let name = earlier[usize::from(again) % earlier.len()];
            let route = outside.routes.get_mut(&name)?;
            route.until = now.plus_seconds(route.ttl.into()).max(route.until);
            return Some((name, route.clone()));
        }
        let mailbox = outside.mailboxes[to]?;
        let route = Route {
            from,
            to,
            installation: outside.lives[&mailbox].installation,
            ttl,
            until: now.plus_seconds(ttl.into()),
            answered: None,
        };
        let name = outside.routes.len() as u64 + 1;
        outside.routes.insert(name, route.clone());
        Some((name, route))
    }

    async fn send(&self, from: usize, to: usize, hours: u32, again: Option<u8>) {
        let Some(mailbox) = self.mailbox(from) else { return };
        let Some((name, route)) = self.name(mailbox, to, hours * 3600, again) else {
            return;
        };
        if !self.acting(from, mailbox).await {
            return;
        }
        let whom = (&person(route.to), route.installation);
        let sent = self
            .house
            .send((&person(from), mailbox), whom, name, route.ttl)
            .await;
        let mut outside = self.outside.lock();
        let now = self.now();
        let is_retry = route
            .answered
            .is_some_and(|(_, at)| now.0 <= at.0 + WEEK.as_millis() as u64)
            && !outside.gone.contains(&mailbox);
        match sent {
            Ok(Outcome::Safe { ids, duplicate }) => {
                if let (true, Some((id, _))) = (is_retry, route.answered) {
                    assert_eq!(
                        (&ids[..], duplicate),
                        (&[id][..], true),
                        "{name} was answered before"
                    );
                }
                if !duplicate {
                    let letter = Letter {
                        installation: route.installation,
                        expires_at: now.plus_seconds(route.ttl.into()),
                        is_dropped: false,
                    };
                    outside.letters.insert(ids[0], letter);
                    if let Some(route) = outside.routes.get_mut(&name) {
                        route.answered = Some((ids[0], now));
                    }
                }
            }
            Ok(Outcome::Refused(code)) => refused(name, is_retry, code),
            Err(refusal) => refused(name, is_retry, refusal.code),
        }
    }

    async fn upload(&self, who: usize, items: Vec<u8>) {
        let Some(mailbox) = self.mailbox(who) else { return };
        let generation = self.outside.lock().lives[&mailbox].generation;
        let items = items.into_iter().map(|item| (generation, item));
        match self
            .house
            .upload(&person(who), items, Some((generation, 99)))
            .await
        {
            Ok(()) => {
                self.acting(who, mailbox).await;
            }
            Err(directory::Error::NotRegistered) => self.said_gone(who, mailbox),
            Err(error) => panic!("{error}"),
        }
    }

    async fn claim(&self, who: usize, whose: usize) {
        let Some(mailbox) = self.mailbox(who) else { return };
        let request = ClaimRequest {
            suite: Suite::Olm,
            pools: vec![otk()],
            targets: BTreeMap::from([(person(whose).account, None)]),
        };
        let claimed = self
            .house
            .switchboard
            .directory()
            .claim(&person(who), request)
            .await;
        let answer = match claimed {
            Ok(answer) => answer,
            Err(directory::Error::NotRegistered) => return self.said_gone(who, mailbox),
            Err(error) => panic!("{error}"),
        };
        let devices = answer.accounts.into_iter().flat_map(|account| account.devices);
        for item in devices.flat_map(|device| device.items).flatten() {
            if !item.id.ends_with("-99") {
                let (mut outside, now) = (self.outside.lock(), self.now());
                let before = outside.handed_out.insert(item.id.clone(), now);
                let is_free = before.is_none_or(|at| at.plus_seconds(TOMBSTONE_SECONDS) <= now);
                assert!(is_free, "{} was handed out twice", item.id);
            }
        }
        self.acting(who, mailbox).await;
    }

    /// Everybody reads to the end, everything that is over is dropped, and nothing is missing.
    async fn check(&self) {
        for who in 0..PEOPLE {
            self.sign_on(who).await;
            for _ in 0..4 {
                self.act(Act::Read { who, acks: 255 }).await;
            }
        }
        self.house.run(JobName::ExpireMail).await;
        for who in 0..PEOPLE {
            for _ in 0..2 {
                self.act(Act::Read { who, acks: 255 }).await;
            }
        }
        let mut outside = self.outside.lock();
        outside.settle();
        for mailbox in outside.mailboxes.iter().flatten() {
            let life = &outside.lives[mailbox];
            assert_eq!(
                life.told, life.dropped,
                "losses of {mailbox:?} that were told, and that there were"
            );
            let is_mine = |letter: &Letter| {
                letter.installation == life.installation
                    && !outside.gone.contains(mailbox)
                    && !outside.returned.contains(&life.installation)
            };
            for (id, letter) in outside.letters.iter().filter(|(_, letter)| is_mine(letter)) {
                let is_well = life.delivered.contains(id) || letter.is_dropped;
                assert!(is_well, "{id:?} of {letter:?} is lost");
            }
        }
    }
}

fn refused(name: u64, is_retry: bool, code: Code) {
    assert!(!is_retry, "{name} was answered before, and was refused: {code:?}");
    assert!(
        matches!(code, Code::DeviceMismatch | Code::UnknownAccount),
        "{code:?}"
    );
}

fn person(who: usize) -> chatctl_protocol::Address {
    address(["alice", "bob", "carol"][who])
}

/// Plays the rounds over a store; how many devices were removed since they were idle.
async fn play(store: Arc<dyn Store>, rounds: Vec<Round>, seed: u64) -> u64 {
    let world = World::over(Swaying::over(store, seed)).await;
    for Round { acts, passes } in rounds {
        let mut acting = Vec::new();
        let mut jobs = Vec::new();
        for act in acts {
            if let Act::Chore { job, .. } = act {
                // Its lease is with one run.
                if jobs.contains(&job) {
                    continue;
                }
                jobs.push(job);
            }
            let world = Arc::clone(&world);
            let tasks = world.house.tasks.clone();
            acting.push(tasks.spawn(async move { world.act(act).await }));
        }
        for act in acting {
            act.await.unwrap();
        }
        world.outside.lock().settle();
        world.house.pass(passes);
        // The server's housekeeping: it has stamped those who are here soon after each day began.
        world.house.switchboard.stamp_present().await.unwrap();
    }
    world.check().await;
    let removals = world.outside.lock().removals;
    for seat in &world.seats {
        drop(seat.lock().await.take());
    }
    assert!(world.house.hub.is_empty());
    removals
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn chores_beside_everything_else_never_take_what_is_live(rounds in rounds(30), seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(play(Model::new(), rounds, seed));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The same over files, in real time.
    #[test]
    fn chores_beside_everything_else_never_take_what_is_live_on_disk(rounds in rounds(20), seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let store = Embedded::open(directory.path(), &Options::default()).unwrap();
            play(store, rounds, seed).await;
        });
    }
}

/// The property is about something: a device that nobody uses goes in these runs.
#[tokio::test(start_paused = true)]
async fn a_run_removes_those_who_stayed_away() {
    let idle = Act::Chore {
        job: JobName::RemoveIdleDevices,
        steps: 3,
    };
    let rounds = vec![
        Round {
            acts: vec![Act::SignOn { who: 0 }],
            passes: 9 * DAY,
        },
        Round {
            acts: vec![idle, Act::SignOn { who: 1 }],
            passes: 0,
        },
    ];
    assert!((1..=2).contains(&play(Model::new(), rounds, 1).await));
}

fn bodies(said: Vec<Said>) -> Vec<Body> {
    said.into_iter().map(Said::into_body).collect()
}
