//! The life of a message over a store in memory: what is promised, and random interleavings of it.

mod neighbours;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId, Code, DeviceId, EnvelopeId, Limits};
use proptest::prelude::*;
use smallvec::smallvec;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::committer::{Calls, Committer, Mail, Outcome, Pace, Part, Receipts};
use crate::hub::Wake;
use crate::mailbox::{Delivery, Mailbox, Window};
use crate::metrics::Metrics;
use crate::model::{Clock, MailboxId, UnixMs};
use crate::store::model::Model;
use crate::store::{DeviceStore as _, Error, MailStore as _, Registered, Registration, SendKey};

const WIDE: Window = Window {
    envelopes: 64,
    bytes: 1 << 20,
};
const T0: u64 = EnvelopeId::EPOCH_MS + 86_400_000;

/// A relay's middle: a committer over a model store, with devices.
struct Desk {
    store: Arc<Model>,
    committer: Arc<Committer>,
    running: JoinHandle<Result<(), Error>>,
    stop: CancellationToken,
    metrics: Arc<Metrics>,
    hand: Arc<AtomicU64>,
    limits: Limits,
}

impl Desk {
    async fn over(store: Arc<Model>, limits: Limits, now: u64) -> Self {
        Self::with_tail(store, limits, now, 1 << 20).await
    }

    async fn with_tail(store: Arc<Model>, limits: Limits, now: u64, tail_bytes: usize) -> Self {
        let (clock, hand) = Clock::manual(UnixMs(now));
        let metrics = Arc::new(Metrics::new());
        let pace = Pace {
            interval: Duration::from_millis(5),
            tail_bytes,
            limits: limits.clone(),
        };
        let committer = Committer::new(Arc::clone(&store) as _, pace, clock, Arc::clone(&metrics)).await;
        let committer = Arc::new(committer.unwrap());
        let stop = CancellationToken::new();
        let task = (Arc::clone(&committer), stop.clone());
        #[expect(clippy::disallowed_methods, reason = "a test is its own server")]
        let running = tokio::spawn(async move { task.0.run(task.1).await });
        Self {
            store,
            committer,
            running,
            stop,
            metrics,
            hand,
            limits,
        }
    }

    async fn new() -> Self {
        Self::over(Model::new(), Limits::default(), T0).await
    }

    async fn device(&self, account: &str) -> MailboxId {
        let registration = Registration {
            registration_id: 1,
            attributes: None,
            max_devices: 8,
            now: UnixMs(T0),
        };
        match self
            .store
            .register(&address(account), registration)
            .await
            .unwrap()
        {
            Registered::Created(device) | Registered::Updated(device) => device.mailbox,
            Registered::Replaced { .. } | Registered::TooMany => unreachable!(),
        }
    }

    /// Loses everything that was not committed.
    async fn crash(self) -> Self {
        self.running.abort();
        let now = self.hand.load(Ordering::Relaxed);
        // A clock that steps back over the crash must not bring ids back.
        let (store, limits) = (self.store.reopen(), self.limits.clone());
        Self::with_tail(store, limits, now - 5_000, self.committer.pace.tail_bytes).await
    }

    fn open(&self, mailbox: MailboxId) -> Mailbox {
        Mailbox::open(Arc::clone(&self.committer), mailbox, WIDE)
    }

    async fn put(&self, receipts: &Arc<Receipts>, mail: Mail) {
        let _ = self.committer.accept(mail, receipts.ticket(0)).await;
    }

    /// As [`Self::put`], on the way of those that need no waiting, or not even trying it.
    async fn put_on(&self, receipts: &Arc<Receipts>, mail: Mail, quick: bool) {
        let ticket = receipts.ticket(0);
        match quick {
            true => match self
                .committer
                .try_accept(mail, ticket, self.committer.clock.now())
            {
                Ok(_) => {}
                Err((mail, ticket)) => drop(self.committer.accept(mail, ticket).await),
            },
            false => match self.committer.admit(mail, ticket).await {
                Ok(_) => {}
                Err((ticket, code)) => ticket.settle(Outcome::Refused(code)),
            },
        }
    }

    async fn send(&self, from: MailboxId, to: MailboxId, name: u64) -> Outcome {
        let receipts = Receipts::new(Arc::default());
        self.put(&receipts, mail(from, to, name)).await;
        receipts.next().await
    }
}

fn address(account: &str) -> Address {
    Address {
        account: AccountId::parse(account).unwrap(),
        device_id: DeviceId::parse("1").unwrap(),
    }
}

fn mail(from: MailboxId, to: MailboxId, name: u64) -> Mail {
    Mail {
        key: SendKey {
            sender: from,
            client_msg_id: ClientMsgId::parse(name.to_be_bytes()).unwrap(),
        },
        digest: name.to_be_bytes().into(),
        from: Arc::new(address("sender")),
        sent_at: 0,
        expires_at: UnixMs(T0).plus_seconds(30 * 86_400),
        urgent: false,
        ephemeral: false,
        parts: smallvec![Part {
            mailbox: to,
            kind: 0,
            payload: Bytes::from(name.to_string()),
            is_here: true
        }],
    }
}

fn names(page: &[Delivery]) -> Vec<String> {
    let text = |delivery: &Delivery| String::from_utf8(delivery.envelope.payload.to_vec()).unwrap();
    page.iter().map(text).collect()
}

fn ids(page: &[Delivery]) -> Vec<u64> {
    page.iter()
        .map(|delivery| delivery.envelope.id.as_u64())
        .collect()
}

fn safe(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Safe { duplicate: false, .. })
}

#[tokio::test]
async fn a_live_envelope_arrives_before_the_disk_has_it_and_is_elided_when_acked() {
    let desk = Desk::new().await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    assert!(safe(&desk.send(alice, bob, 0).await));
    desk.store.hold_commits();
    let receipts = Receipts::new(Arc::default());
    // One batch hangs at the gate, so that the next send waits in memory.
    desk.put(&receipts, mail(alice, bob, 1)).await;
    desk.store.commits_waiting(1).await;
    desk.put(&receipts, mail(alice, bob, 2)).await;
    let mut inbox = desk.open(bob);
    let page = inbox.next().await.unwrap();
    assert_eq!(names(&page), ["0", "1", "2"]);
    inbox.ack(&ids(&page)[2..]).await;
    let mut early = Vec::new();
    receipts.take(&mut early);
    assert_eq!(early, []);
    desk.store.release_commits();
    assert!(safe(&receipts.next().await) && safe(&receipts.next().await));
    assert_eq!(desk.metrics.envelopes_elided.get(), 1);
    assert_eq!(desk.metrics.envelopes_stored.get(), 2);
}

#[tokio::test]
async fn a_retry_adds_nothing_under_way_when_done_and_after_a_crash() {
    let desk = Desk::new().await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    desk.store.hold_commits();
    let receipts = Receipts::new(Arc::default());
    desk.put(&receipts, mail(alice, bob, 7)).await;
    desk.store.commits_waiting(1).await;
    desk.put(&receipts, mail(alice, bob, 7)).await;
    desk.store.release_commits();
    let (second, first) = (receipts.next().await, receipts.next().await);
    let Outcome::Safe { ids: first, .. } = first else {
        panic!("{first:?}")
    };
    assert_eq!(
        second,
        Outcome::Safe {
            ids: first.clone(),
            duplicate: true
        }
    );
    assert_eq!(
        desk.send(alice, bob, 7).await,
        Outcome::Safe {
            ids: first.clone(),
            duplicate: true
        }
    );
    let desk = desk.crash().await;
    assert_eq!(
        desk.send(alice, bob, 7).await,
        Outcome::Safe {
            ids: first,
            duplicate: true
        }
    );
    let other = Mail {
        digest: [9; 8].into(),
        ..mail(alice, bob, 7)
    };
    let receipts = Receipts::new(Arc::default());
    desk.put(&receipts, other).await;
    assert_eq!(receipts.next().await, Outcome::Refused(Code::Conflict));
    assert_eq!(names(&desk.open(bob).next().await.unwrap()), ["7"]);
}

#[tokio::test]
async fn an_ack_names_only_what_this_session_delivered() {
    let desk = Desk::new().await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    desk.send(alice, bob, 1).await;
    desk.send(alice, bob, 2).await;
    let page = desk.open(bob).next().await.unwrap();
    let mut other = desk.open(bob);
    assert_eq!(other.ack(&ids(&page)).await, 0);
    let again = other.next().await.unwrap();
    assert_eq!(names(&again), ["1", "2"]);
    assert_eq!(again[0].attempt, 2);
    assert_eq!(other.ack(&ids(&again)[..1]).await, 1);
    drop(other);
    assert_eq!(names(&desk.open(bob).next().await.unwrap()), ["2"]);
}

#[tokio::test]
async fn a_full_store_refuses_sends_keeps_acks_and_recovers() {
    let desk = Desk::new().await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    desk.send(alice, bob, 1).await;
    desk.store.fail_next_commit(Error::Full);
    assert_eq!(
        desk.send(alice, bob, 2).await,
        Outcome::Refused(Code::StorageFull)
    );
    assert_eq!(
        desk.send(alice, bob, 3).await,
        Outcome::Refused(Code::StorageFull)
    );
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(safe(&desk.send(alice, bob, 2).await));
    assert_eq!(names(&desk.open(bob).next().await.unwrap()), ["1", "2"]);
    assert_eq!(desk.committer.recount(bob).await.unwrap(), 2);
}

#[tokio::test]
async fn an_unknown_outcome_is_asked_again_and_adds_nothing() {
    let desk = Desk::new().await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    desk.send(alice, bob, 1).await;
    desk.store.lose_next_answer();
    assert!(safe(&desk.send(alice, bob, 2).await));
    let desk = desk.crash().await;
    assert_eq!(names(&desk.open(bob).next().await.unwrap()), ["1", "2"]);
}

fn away() -> Error {
    Error::Unavailable("nobody answers".into())
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_refuses_in_time_then_at_once_and_comes_back_by_itself() {
    let desk = Desk::new().await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    desk.send(alice, bob, 1).await;
    desk.store.fail_commits(away());
    let begin = tokio::time::Instant::now();
    let receipts = Receipts::new(Arc::default());
    for name in 2..10 {
        desk.put(&receipts, mail(alice, bob, name)).await;
    }
    for _ in 2..10 {
        assert_eq!(receipts.next().await, Outcome::Refused(Code::Unavailable));
    }
    assert!(
        begin.elapsed() <= Duration::from_secs(11),
        "{:?}",
        begin.elapsed()
    );
    let begin = tokio::time::Instant::now();
    assert_eq!(
        desk.send(alice, bob, 10).await,
        Outcome::Refused(Code::Unavailable)
    );
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert!(desk.committer.is_away());
    desk.store.mend_commits();
    while desk.committer.is_away() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What was refused left no trace: the same names go in again, in their order.
    for name in 2..4 {
        assert!(safe(&desk.send(alice, bob, name).await));
    }
    assert_eq!(names(&desk.open(bob).next().await.unwrap()), ["1", "2", "3"]);
    assert_eq!(desk.committer.recount(bob).await.unwrap(), 3);
    assert_eq!(
        desk.committer.room.available_permits(),
        desk.committer.pace.tail_bytes / 2
    );
}

#[tokio::test(start_paused = true)]
async fn a_given_up_commit_that_came_through_is_answered_from_its_record_and_looked_for() {
    let desk = Desk::new().await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    desk.store.lose_answers();
    assert_eq!(
        desk.send(alice, bob, 1).await,
        Outcome::Refused(Code::Unavailable)
    );
    desk.store.mend_commits();
    while desk.committer.is_away() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(safe(&desk.send(alice, bob, 2).await));
    let mut inbox = desk.open(bob);
    // The cursor passes the place where it should have been.
    assert_eq!(names(&inbox.next().await.unwrap()), ["2"]);
    let receipts = Receipts::new(Arc::default());
    let calls = desk
        .committer
        .accept(mail(alice, bob, 1), receipts.ticket(0))
        .await;
    assert!(matches!(
        receipts.next().await,
        Outcome::Safe { duplicate: true, .. }
    ));
    assert_eq!(calls, Calls::Look(smallvec![bob]));
    assert_eq!(names(&inbox.next().await.unwrap()), [""; 0]);
    inbox.look_again();
    let found = inbox.next().await.unwrap();
    assert_eq!(names(&found), ["1"]);
    // Once: neither what is unacked nor what is acked and not deleted yet comes again.
    inbox.look_again();
    assert_eq!(names(&inbox.next().await.unwrap()), [""; 0]);
    inbox.ack(&ids(&found)).await;
    inbox.look_again();
    assert_eq!(names(&inbox.next().await.unwrap()), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn acks_wait_for_a_store_that_is_away_but_not_for_ever_and_come_again() {
    let desk = Desk::new().await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    desk.send(alice, bob, 1).await;
    desk.send(alice, bob, 2).await;
    let mut inbox = desk.open(bob);
    let page = inbox.next().await.unwrap();
    desk.store.fail_commits(away());
    // All places are taken by acks of others.
    let others = desk.committer.ack_room.available_permits() - 1;
    let taken = desk
        .committer
        .ack_room
        .acquire_many(u32::try_from(others).unwrap())
        .await
        .unwrap();
    let begin = tokio::time::Instant::now();
    assert_eq!(inbox.ack(&ids(&page)).await, 2);
    assert_eq!(begin.elapsed(), super::PATIENCE);
    drop(taken);
    desk.store.mend_commits();
    drop(inbox);
    let again = desk.open(bob).next().await.unwrap();
    assert_eq!(
        (names(&again), again[0].attempt),
        (vec!["1".to_owned(), "2".to_owned()], 2)
    );
}

#[tokio::test]
async fn a_number_that_was_taken_over_stops_the_relay_before_another_id_is_minted() {
    let desk = Desk::new().await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    desk.send(alice, bob, 1).await;
    desk.store
        .fail_next_commit(Error::Poisoned("the number is taken".into()));
    // Two minutes later the ceiling is in the way, and nothing is pending that would raise it.
    desk.hand.fetch_add(120_000, Ordering::Relaxed);
    assert_eq!(
        desk.send(alice, bob, 2).await,
        Outcome::Refused(Code::Unavailable)
    );
    assert!(matches!(desk.running.await.unwrap(), Err(Error::Poisoned(_))));
}

#[tokio::test]
async fn a_stopped_store_answers_everybody_and_ends_the_committer() {
    let desk = Desk::new().await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    desk.send(alice, bob, 1).await;
    desk.store.fail_next_commit(Error::Poisoned("EIO".into()));
    assert_eq!(
        desk.send(alice, bob, 2).await,
        Outcome::Refused(Code::Unavailable)
    );
    assert!(matches!(desk.running.await.unwrap(), Err(Error::Poisoned(_))));
    let desk = Desk::over(desk.store.reopen(), Limits::default(), T0).await;
    assert_eq!(names(&desk.open(bob).next().await.unwrap()), ["1"]);
}

#[tokio::test]
async fn a_mailbox_over_its_quota_refuses_and_an_ack_makes_room() {
    let limits = Limits {
        mailbox_envelopes: 4,
        ..Limits::default()
    };
    let desk = Desk::over(Model::new(), limits, T0).await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    assert!(safe(&desk.send(alice, bob, 1).await) && safe(&desk.send(alice, bob, 2).await));
    assert_eq!(
        desk.send(alice, bob, 3).await,
        Outcome::Refused(Code::MailboxFull)
    );
    // A refused send leaves no trace: it may be retried under the same name.
    let mut inbox = desk.open(bob);
    let page = inbox.next().await.unwrap();
    inbox.ack(&ids(&page)).await;
    assert!(safe(&desk.send(alice, bob, 3).await));
    assert_eq!(names(&inbox.next().await.unwrap()), ["3"]);
}

#[tokio::test]
async fn ephemeral_mail_is_never_stored_and_is_gone_after_its_time() {
    let desk = Desk::new().await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    let receipts = Receipts::new(Arc::default());
    let typing = |name| Mail {
        ephemeral: true,
        ..mail(alice, bob, name)
    };
    desk.put(&receipts, typing(1)).await;
    assert!(safe(&receipts.next().await));
    let mut inbox = desk.open(bob);
    assert_eq!(names(&inbox.next().await.unwrap()), ["1"]);
    drop(inbox);
    assert_eq!(names(&desk.open(bob).next().await.unwrap()), [""; 0]);
    desk.put(&receipts, typing(2)).await;
    assert!(safe(&receipts.next().await));
    desk.hand.fetch_add(10_001, Ordering::Relaxed);
    assert_eq!(names(&desk.open(bob).next().await.unwrap()), [""; 0]);
    let mut away = typing(3);
    away.parts[0].is_here = false;
    desk.put(&receipts, away).await;
    assert!(safe(&receipts.next().await));
    assert_eq!(names(&desk.open(bob).next().await.unwrap()), [""; 0]);
    assert_eq!(desk.metrics.envelopes_stored.get(), 0);
}

#[tokio::test]
async fn a_stop_commits_everything_that_was_accepted() {
    let desk = Desk::new().await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    let receipts = Receipts::new(Arc::default());
    for name in 0..100 {
        desk.put(&receipts, mail(alice, bob, name)).await;
    }
    desk.stop.cancel();
    desk.running.await.unwrap().unwrap();
    let mut done = Vec::new();
    receipts.take(&mut done);
    assert_eq!(done.iter().filter(|(_, outcome)| safe(outcome)).count(), 100);
}

#[tokio::test]
async fn a_stop_on_a_full_disk_ends_and_what_was_acked_comes_again() {
    let desk = Desk::new().await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    desk.send(alice, bob, 1).await;
    let mut inbox = desk.open(bob);
    let page = inbox.next().await.unwrap();
    desk.store.fail_commits(Error::Full);
    inbox.ack(&ids(&page)).await;
    let receipts = Receipts::new(Arc::default());
    desk.put(&receipts, mail(alice, bob, 2)).await;
    desk.stop.cancel();
    desk.running.await.unwrap().unwrap();
    assert_eq!(receipts.next().await, Outcome::Refused(Code::StorageFull));
    let desk = Desk::over(desk.store.reopen(), Limits::default(), T0).await;
    assert_eq!(names(&desk.open(bob).next().await.unwrap()), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn every_send_waits_the_same_time_for_its_commit() {
    let desk = Desk::new().await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    let (first, second) = (Receipts::new(Arc::default()), Receipts::new(Arc::default()));
    let begin = tokio::time::Instant::now();
    desk.put(&first, mail(alice, bob, 1)).await;
    tokio::time::advance(Duration::from_millis(3)).await;
    desk.put(&second, mail(alice, bob, 2)).await;
    assert!(safe(&first.next().await));
    assert_eq!(begin.elapsed(), Duration::from_millis(5));
    assert_eq!(desk.metrics.envelopes_stored.get(), 1);
    assert!(safe(&second.next().await));
    assert_eq!(begin.elapsed(), Duration::from_millis(8));
}

#[tokio::test]
async fn what_the_tail_has_needs_no_waiting_and_what_it_has_not_is_given_back() {
    let desk = Desk::new().await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    let wake = Arc::new(Wake::default());
    let receipts = Receipts::new(Arc::clone(&wake));
    let now = desk.committer.clock.now();
    let put = |name| {
        desk.committer
            .try_accept(mail(alice, bob, name), receipts.ticket(name), now)
    };
    // Nobody has counted what bob holds.
    let (first, ticket) = put(1).unwrap_err();
    assert_eq!(first.key, mail(alice, bob, 1).key);
    let first = desk.committer.accept(first, ticket).await;
    desk.store.hold_commits();
    desk.store.commits_waiting(1).await;
    let second = put(2).unwrap();
    let Calls::Ring(rings) = &second else {
        panic!("{second:?}")
    };
    assert!(matches!(first, Calls::Ring(first) if first[0].1 < rings[0].1));
    assert_eq!(put(2).unwrap(), Calls::Ring(smallvec![]));
    let mut inbox = desk.open(bob);
    let page = inbox.try_next().unwrap();
    assert_eq!(names(&page), ["1", "2"]);
    assert_eq!(inbox.try_ack(&ids(&page)), Some(2));
    assert_eq!(inbox.try_next().map(|page| names(&page)), Some(vec![]));
    let third = put(3).unwrap();
    assert!(matches!(third, Calls::Ring(rings) if rings.len() == 1));
    assert_eq!(
        inbox.try_next().map(|page| names(&page)),
        Some(vec!["3".to_owned()])
    );
    desk.store.release_commits();
    let mut told = HashMap::new();
    while told.len() < 3 {
        let mut some = Vec::new();
        wake.rung().await;
        receipts.take(&mut some);
        for (name, outcome) in some {
            told.entry(name).or_insert_with(Vec::new).push(safe(&outcome));
        }
    }
    assert_eq!(
        told,
        HashMap::from([(1, vec![true]), (2, vec![true, false]), (3, vec![true])])
    );
    // The store has a record of the first, and says so: that is for those who may wait.
    assert!(put(1).is_err());
    assert!(desk.store.may_know(&mail(alice, bob, 1).key));
    assert!(!desk.store.may_know(&mail(alice, bob, 2).key));
}

#[tokio::test]
async fn what_the_store_said_before_a_send_left_the_recents_is_not_believed() {
    let desk = Desk::new().await;
    let (alice, bob) = (desk.device("alice").await, desk.device("bob").await);
    assert!(safe(&desk.send(alice, bob, 1).await));
    let receipts = Receipts::new(Arc::default());
    let now = desk.committer.clock.now();
    // As if so many sends had come and gone between the question and the lock.
    desk.committer.settled_to.store(0, Ordering::Release);
    let untouched = desk
        .committer
        .try_accept(mail(alice, bob, 2), receipts.ticket(0), now);
    assert!(untouched.is_err());
}

/// One step of a random run.
#[derive(Debug, Clone)]
enum Step {
    /// Sends; `retry` names an earlier message again.
    Send {
        from: usize,
        to: usize,
        retry: bool,
        quick: bool,
    },
    /// Lets the recipient read a page, and ack every envelope whose turn the bits pick.
    Read { who: usize, acks: u8, quick: bool },
    /// A new session.
    Reconnect { who: usize },
    /// Waits for all answers.
    Settle,
    /// Commits hang from now on, or go on.
    Hold { held: bool },
    /// Everything in memory is lost.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..3, 0usize..3, prop::bool::weighted(0.2), any::<bool>())
            .prop_map(|(from, to, retry, quick)| Step::Send { from, to, retry, quick }),
        4 => (0usize..3, any::<u8>(), any::<bool>())
            .prop_map(|(who, acks, quick)| Step::Read { who, acks, quick }),
        2 => (0usize..3).prop_map(|who| Step::Reconnect { who }),
        2 => Just(Step::Settle),
        1 => any::<bool>().prop_map(|held| Step::Hold { held }),
        1 => Just(Step::Crash),
    ]
}

/// What a run knows about the world outside the relay.
#[derive(Default)]
struct Outside {
    /// Names by sender and recipient, in the order of their first acceptance.
    sent: BTreeMap<(usize, usize), Vec<u64>>,
    /// Whom each name was sent by and to.
    routes: HashMap<u64, (usize, usize)>,
    /// Names whose sender was told OK.
    safe: HashSet<u64>,
    /// Names that their recipient has stored and acked.
    acked: HashSet<u64>,
    /// What each recipient's present session has brought.
    shown: [HashSet<u64>; 3],
    /// Names under way whose first answer is still out.
    open: Vec<(u64, Arc<Receipts>)>,
    crashes: u32,
}

impl Outside {
    /// The name of the next message on a route, and whether it is new; with `retry`, that of an earlier
    /// one, if there is one.
    fn name(&mut self, route: (usize, usize), retry: bool) -> (u64, bool) {
        let sent = self.sent.entry(route).or_default();
        match sent.first() {
            Some(name) if retry => (*name, false),
            Some(_) | None => {
                let name = self.routes.len() as u64 + 1;
                sent.push(name);
                self.routes.insert(name, route);
                (name, true)
            }
        }
    }

    /// A new message was not accepted: it has no place in the order.
    fn gave_up(&mut self, route: (usize, usize), name: u64) {
        self.sent.entry(route).or_default().retain(|sent| *sent != name);
    }

    /// Takes a page in; the ids of those that the recipient stores and acks.
    fn read(&mut self, who: usize, page: &[Delivery], acks: u8) -> Vec<u64> {
        let mut stored = Vec::new();
        for (turn, (name, id)) in names(page).iter().zip(ids(page)).enumerate() {
            let name: u64 = name.parse().unwrap();
            assert_eq!(self.routes[&name].1, who, "G7: mail of another mailbox");
            assert!(
                self.crashes > 0 || !self.acked.contains(&name),
                "{name} was acked and came again"
            );
            assert!(self.shown[who].insert(name), "{name} came twice in one session");
            if acks & (1 << (turn % 8)) != 0 {
                stored.push(id);
                self.acked.insert(name);
            }
        }
        stored
    }

    async fn settle(&mut self) {
        for (name, receipts) in self.open.drain(..) {
            if let Outcome::Safe { .. } = receipts.next().await {
                self.safe.insert(name);
            }
        }
    }
}

async fn run(steps: Vec<Step>) {
    // A tail of a few envelopes, so that readers go through the store too.
    let mut desk = Desk::with_tail(Model::new(), Limits::default(), T0, 2048).await;
    let people = [
        desk.device("a").await,
        desk.device("b").await,
        desk.device("c").await,
    ];
    let mut inboxes: Vec<Mailbox> = people.iter().map(|person| desk.open(*person)).collect();
    let mut outside = Outside::default();
    for step in steps {
        match step {
            Step::Send {
                from,
                to,
                retry,
                quick,
            } => {
                let (name, is_new) = outside.name((from, to), retry);
                let receipts = Receipts::new(Arc::default());
                let put = desk.put_on(&receipts, mail(people[from], people[to], name), quick);
                // While commits hang and the tail is full, senders wait, and some give up.
                match tokio::time::timeout(Duration::from_secs(1), put).await {
                    Ok(()) => outside.open.push((name, receipts)),
                    Err(_) if is_new => outside.gave_up((from, to), name),
                    Err(_) => {}
                }
            }
            Step::Read { who, acks, quick } => {
                read_some(&mut outside, (who, &mut inboxes[who]), acks, quick).await;
            }
            Step::Reconnect { who } => {
                inboxes[who] = desk.open(people[who]);
                outside.shown[who].clear();
            }
            Step::Settle => {
                desk.store.release_commits();
                outside.settle().await;
            }
            Step::Hold { held: true } => desk.store.hold_commits(),
            Step::Hold { held: false } => desk.store.release_commits(),
            Step::Crash => {
                outside.crashes += 1;
                // Answers that were not read before the crash are lost; the sender does not know.
                outside.open.clear();
                desk = desk.crash().await;
                inboxes = people.iter().map(|person| desk.open(*person)).collect();
                outside.shown = Default::default();
            }
        }
    }
    desk.store.release_commits();
    outside.settle().await;
    for (who, inbox) in inboxes.iter_mut().enumerate() {
        read_to_the_end(&mut outside, who, inbox).await;
    }
    check(&desk, &people, &outside).await;
}

/// A session reads a page, and acks some of it.
async fn read_some(outside: &mut Outside, (who, inbox): (usize, &mut Mailbox), acks: u8, quick: bool) {
    let page = match quick {
        true => inbox.next().await,
        false => inbox.seek().await,
    };
    let stored = outside.read(who, &page.unwrap(), acks);
    if inbox.try_ack(&stored).is_none() {
        inbox.ack(&stored).await;
    }
}

/// A session that is there brings everything that is safe, without a reconnect.
async fn read_to_the_end(outside: &mut Outside, who: usize, inbox: &mut Mailbox) {
    loop {
        let page = inbox.next().await.unwrap();
        if page.is_empty() {
            break;
        }
        outside.read(who, &page, 0);
    }
    let mine = outside.safe.iter().filter(|name| outside.routes[name].1 == who);
    let lost = mine.filter(|name| !outside.acked.contains(name) && !outside.shown[who].contains(name));
    assert_eq!(lost.count(), 0, "the session passed over mail");
}

/// Drains every mailbox in fresh sessions and holds the guarantees against what the outside knows.
async fn check(desk: &Desk, people: &[MailboxId; 3], outside: &Outside) {
    let mut left = HashSet::new();
    for (who, person) in people.iter().enumerate() {
        let mut inbox = desk.open(*person);
        let mut order: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        loop {
            let page = inbox.next().await.unwrap();
            if page.is_empty() {
                break;
            }
            for name in names(&page) {
                let name: u64 = name.parse().unwrap();
                assert!(left.insert(name), "G4: {name} waits twice");
                order.entry(outside.routes[&name].0).or_default().push(name);
            }
            inbox.ack(&ids(&page)).await;
        }
        for (from, got) in order {
            let sent = &outside.sent[&(from, who)];
            let place = |name: &u64| sent.iter().position(|sent| sent == name);
            // A name whose first try was lost in a crash may have been accepted later, by a retry.
            if outside.crashes == 0 {
                assert!(got.iter().map(place).is_sorted(), "G3: {got:?} of {sent:?}");
            }
        }
    }
    for name in &outside.safe {
        assert!(
            left.contains(name) || outside.acked.contains(name),
            "G1: {name} was OK and is lost"
        );
    }
    if outside.crashes == 0 {
        for name in &outside.acked {
            assert!(!left.contains(name), "{name} was acked and came again");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn the_guarantees_hold_over_random_interleavings(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(steps));
    }
}
