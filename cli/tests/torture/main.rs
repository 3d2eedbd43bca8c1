//! The built relay when things go wrong around it: it is killed at any moment, the power goes, the disk is full,
//! the database loses its primary or is away. Every promise must hold.
//!
//! `CHATCTL_TORTURE_ROUNDS` is the number of crashes (30; on MongoDB 10), `CHATCTL_TORTURE_SEED` repeats a run's
//! choices; `CHATCTL_TEST_MONGODB` and `CHATCTL_TEST_MONGOD` are what `scripts/mongodb env` says.
//! Processes and networks do not repeat themselves exactly; a seed only makes a failure likelier to return.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a run that goes wrong ends there, and says with which seed"
)]

mod absence;
mod alone;
mod app;
mod crowd;
mod disk;
mod failover;
mod full_disk;
mod http;
mod jobs;
mod keyring;
mod ledger;
mod login;
mod powerloss;
mod relay;
mod replica_set;
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chatctl_client::{Device, Event, Token};
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::crowd::{RECIPIENTS, Recipient, SENDERS, Sender, recipient_account};
use crate::http::Http;
use crate::relay::Relay;
use crate::world::{Phase, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_hold_when_the_process_is_killed() {
    let _alone = ALONE.lock().await;
    Run::start(Relay::new(), None).await.torture(30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_hold_when_the_process_is_killed_and_its_store_is_mongodb() {
    let _alone = ALONE.lock().await;
    let server = std::env::var("CHATCTL_TEST_MONGODB").expect(
        "CHATCTL_TEST_MONGODB is not set: eval \"$(scripts/mongodb env)\" starts a mongod and sets it",
    );
    let name = format!("/torture_{:016x}?", rand::random::<u64>());
    let mut relay = Relay::new();
    relay.keep_state_in(&["--store", &server.replacen("/?", &name, 1)]);
    Run::start(relay, None).await.torture(10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_hold_when_the_power_goes() {
    let _alone = ALONE.lock().await;
    let mut relay = Relay::new();
    let shadow = relay.root().join("shadow-0");
    powerloss::shadow_of(relay.data(), &shadow);
    relay.preload(powerloss::build_shim(&relay.root()), shadow.clone());
    Run::start(relay, Some(shadow)).await.torture(30).await;
}

/// One relay and its crowd.
struct Run {
    seed: u64,
    random: StdRng,
    relay: Relay,
    world: Arc<World>,
    /// Where synced bytes go, when each crash takes the power away.
    shadow: Option<PathBuf>,
    senders: JoinSet<()>,
    recipients: JoinSet<()>,
    checker: Http,
}

impl Run {
    /// Brings a crowd to a relay that has not been started yet.
    async fn start(mut relay: Relay, shadow: Option<PathBuf>) -> Self {
        let seed = number_from("CHATCTL_TORTURE_SEED").unwrap_or_else(rand::random);
        eprintln!("CHATCTL_TORTURE_SEED={seed}");
        relay.start().await;
        let world = World::new(relay.ws(), seed);
        let checker = member(&relay, "keys-checker").await;
        let mut run = Self {
            seed,
            random: world.random(300),
            relay,
            world,
            shadow,
            senders: JoinSet::new(),
            recipients: JoinSet::new(),
            checker,
        };
        run.bring_crowd().await;
        run
    }

    async fn bring_crowd(&mut self) {
        for number in 0..RECIPIENTS {
            let account = recipient_account(number);
            member(&self.relay, &account).await;
            let token = self.relay.token(&account);
            self.recipients
                .spawn(Recipient::new(Arc::clone(&self.world), number, &token).run());
        }
        for number in 0..SENDERS {
            let account = format!("sender-{number}");
            member(&self.relay, &account).await;
            let token = self.relay.token(&account);
            self.senders
                .spawn(Sender::new(Arc::clone(&self.world), number, &token).run());
        }
        let owner = member(&self.relay, keyring::OWNER).await;
        self.senders.spawn(keyring::own(Arc::clone(&self.world), owner));
        for number in 0..2 {
            let caller = member(&self.relay, &format!("keys-caller-{number}")).await;
            self.senders
                .spawn(keyring::claim(Arc::clone(&self.world), caller));
        }
    }

    async fn torture(mut self, rounds: u64) {
        let rounds = number_from("CHATCTL_TORTURE_ROUNDS").unwrap_or(rounds);
        for round in 1..=rounds {
            self.wait_for_load().await;
            sleep(Duration::from_millis(self.random.random_range(0..250))).await;
            self.crash(round);
            if self.random.random_ratio(1, 5) {
                // Once more, while it recovers or has just begun to serve.
                self.relay.spawn();
                sleep(Duration::from_millis(self.random.random_range(0..100))).await;
                self.crash(round);
            }
            self.relay.start().await;
            self.check();
        }
        self.wait_for_load().await;
        self.finish().await;
    }

    /// Kills the process, and takes away what a disk without power may not have.
    fn crash(&mut self, round: u64) {
        self.relay.kill();
        self.world.next_life();
        let Some(shadow) = &self.shadow else {
            return;
        };
        let chance = [0.0, 0.2, 0.5, 0.8][self.random.random_range(0..4)];
        let life = self.world.life();
        let image = self.relay.root().join(format!("data-{life}"));
        let pages = powerloss::tear(self.relay.data(), shadow, &image, chance, &mut self.random);
        eprintln!("round {round}: {pages} pages that were not synced survived (chance {chance})");
        let next_shadow = self.relay.root().join(format!("shadow-{life}"));
        powerloss::shadow_of(&image, &next_shadow);
        let (old_data, old_shadow) = (self.relay.data().to_owned(), shadow.clone());
        let library = self.relay.root().join("shim.so");
        self.relay.preload(library, next_shadow.clone());
        self.relay.move_data(image);
        self.shadow = Some(next_shadow);
        for old in [old_data, old_shadow] {
            std::fs::remove_dir_all(old).unwrap();
        }
    }

    /// Waits until this life of the relay has done some work.
    async fn wait_for_load(&self) {
        let before = self.world.ledger().accepted_count();
        let enough = || self.world.ledger().accepted_count() >= before + WORK;
        self.wait_until(enough, "no sends are accepted").await;
    }

    /// Lets everybody finish, and closes the books.
    async fn finish(mut self) {
        self.world.enter(Phase::Drain);
        let answered = timeout(PATIENCE, async { while join(&mut self.senders).await {} }).await;
        self.check();
        assert!(
            answered.is_ok(),
            "sends or uploads stay unanswered{}",
            self.story()
        );
        self.wait_until(
            || self.world.ledger().on_the_way() == 0,
            "accepted mail does not come",
        )
        .await;
        self.world.enter(Phase::Over);
        let left = timeout(PATIENCE, async { while join(&mut self.recipients).await {} }).await;
        assert!(left.is_ok(), "a recipient does not leave{}", self.story());
        for number in 0..RECIPIENTS {
            self.expect_empty_mailbox(number).await;
        }
        keyring::empty(&self.world, &self.checker).await;
        self.world.keyring().check_nothing_vanished();
        self.check();
        eprintln!(
            "{}\n{}",
            self.world.ledger().summary(),
            self.world.keyring().summary()
        );
    }

    /// Acks are lazy: looks until they have arrived where they belong.
    async fn expect_empty_mailbox(&self, number: u32) {
        let token = Token::new(&self.relay.token(&recipient_account(number)));
        let empty = timeout(PATIENCE, async {
            loop {
                let mut device = Device::new(self.world.options(), token.clone());
                if let Ok(Event::Connected(session)) = device.next_event().await
                    && session.pending == 0
                {
                    return;
                }
                if let Ok(Ok(Event::Mail(mail))) = timeout(A_MOMENT, device.next_event()).await {
                    device.ack(mail.iter().map(|mail| mail.id));
                }
                let _left = device.close().await;
            }
        });
        assert!(
            empty.await.is_ok(),
            "acked mail stays in mailbox {number}{}",
            self.story()
        );
    }

    async fn wait_until(&self, done: impl Fn() -> bool, otherwise: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            self.check();
            assert!(Instant::now() < deadline, "{otherwise}{}", self.story());
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn check(&self) {
        let violations = self.world.violations();
        assert!(violations.is_empty(), "{}{}", violations.join("\n"), self.story());
    }

    /// What helps to find out why.
    fn story(&self) -> String {
        let lost = self.world.ledger().lost();
        let (mail, keys) = (self.world.ledger().summary(), self.world.keyring().summary());
        let first: Vec<_> = lost.iter().take(10).collect();
        format!(
            "\nseed {}, life {}\n{mail}\n{keys}\n{} accepted and not arrived: {first:?}\nthe relay said:\n{}",
            self.seed,
            self.world.life(),
            lost.len(),
            self.relay.log()
        )
    }
}

/// Registers an account's device.
async fn member(relay: &Relay, account: &str) -> Http {
    let http = Http::new(&relay.http(), &relay.token(account));
    http.register().await;
    http
}

/// Waits for one actor; its panic is ours. False when there is none left.
async fn join(actors: &mut JoinSet<()>) -> bool {
    match actors.join_next().await {
        Some(Ok(())) => true,
        Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        None => false,
    }
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Two relays under load at once would only make both slow.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Sends that a life must have accepted before it ends.
const WORK: usize = 50;
const PATIENCE: Duration = Duration::from_secs(60);
const A_MOMENT: Duration = Duration::from_millis(200);
