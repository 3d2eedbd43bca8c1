//! A simulated device: it connects, comes back after every break, and in between takes turns of reading, writing and
//! flushing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{sleep, sleep_until, timeout};

use crate::clock::Nanos;
use crate::crypto::Keyring;
use crate::run::desk::Desk;
use crate::run::gauges::Turn;
use crate::run::inbox::{Inbox, Reader};
use crate::run::outbox::{Outbox, Owner};
use crate::run::shop::Shop;
use crate::tally::{Count, Latency};
use crate::wire::{Heard, Trouble, Who, Wire};

/// A client.
pub(super) struct Client {
    pub(super) shop: Rc<Shop>,
    pub(super) desk: Rc<Desk>,
    /// Its place in the plan.
    pub(super) place: u32,
    pub(super) inbox: RefCell<Inbox>,
    pub(super) outbox: Option<RefCell<Outbox>>,
    pub(super) keyring: RefCell<Keyring>,
    /// When its session began, until its mailbox was empty.
    pub(super) draining: Cell<Option<Nanos>>,
}

/// How a session ended.
enum Parted {
    /// It was ordered to drop the connection.
    Thrown,
    /// The other side, or the network.
    Broken(Trouble),
}

impl Client {
    /// Lives until nobody polls it any more, or the server does not want it back.
    pub(super) async fn live<W: Wire>(self: Rc<Self>, place: W::Place) {
        std::future::poll_fn(|cx| self.poll_door(cx)).await;
        let Some(mut who) = self.who() else { return };
        let mut permit = self.pace().await;
        let (mut failures, mut parted) = (0, None);
        loop {
            let trouble = match self.connect::<W>(&place, &who, parted).await {
                Ok(wire) => {
                    drop(permit.take());
                    failures = 0;
                    let ended = self.session(wire).await;
                    parted = Some(self.shop.now());
                    match ended {
                        Parted::Thrown => None,
                        Parted::Broken(trouble) => {
                            self.shop.tally(true).add(Count::Broken, 1);
                            Some(trouble)
                        }
                    }
                }
                Err(trouble) => Some(trouble),
            };
            if let Some(trouble) = trouble {
                self.shop.went_wrong(&trouble);
                if trouble.fatal {
                    return;
                }
                if STALE.contains(&&*trouble.class) {
                    let Some(fresh) = self.who() else { return };
                    who = fresh;
                }
            }
            failures += 1;
            sleep(pause(failures)).await;
        }
    }

    fn poll_door(&self, cx: &Context<'_>) -> Poll<()> {
        self.desk.attend(cx);
        match self.desk.is_open() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Who it is, with a token that was not used yet.
    fn who(&self) -> Option<Who> {
        let common = &self.shop.common;
        let client = common.plan.clients.get(self.place as usize)?;
        let account = common.plan.accounts.get(client.account as usize)?;
        let token = common.passes.token(&account.name, &client.device_id);
        let Ok(token) = token else {
            let trouble = Trouble {
                class: "token".to_owned(),
                fatal: true,
            };
            self.shop.went_wrong(&trouble);
            return None;
        };
        let turn = self.place as usize % common.sources.len().max(1);
        Some(Who {
            account: account.name.clone(),
            device_id: client.device_id.clone(),
            token,
            source: common.sources.get(turn).copied(),
        })
    }

    /// Waits until it is its turn to connect for the first time.
    async fn pace(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        match self.shop.common.rules.connect_rate {
            Some(rate) => {
                let after = Duration::from_secs_f64(f64::from(self.place) / rate);
                sleep_until(self.shop.opened.get() + after).await;
                None
            }
            None => self.shop.entrance.acquire().await.ok(),
        }
    }

    async fn connect<W: Wire>(
        &self,
        place: &W::Place,
        who: &Who,
        parted: Option<Nanos>,
    ) -> Result<W, Trouble> {
        let began = self.shop.now();
        let connected = timeout(LONGEST_CONNECT, W::connect(place, who)).await;
        let wire = connected.unwrap_or_else(|_| {
            Err(Trouble {
                class: "connect.timeout".to_owned(),
                fatal: false,
            })
        })?;
        let now = self.shop.now();
        let mut tally = self.shop.tally(true);
        tally.add(Count::Connected, 1);
        match parted {
            None => tally.record(Latency::Connect, now - began),
            Some(parted) => tally.record(Latency::Reconnect, now - parted),
        }
        self.draining
            .set(self.shop.common.rules.is_offline().then_some(now));
        Ok(wire)
    }

    async fn session<W: Wire>(&self, mut wire: W) -> Parted {
        self.inbox.borrow_mut().restart();
        if let Some(outbox) = &self.outbox {
            outbox.borrow_mut().restart();
        }
        let _alive = Alive::begin(&self.shop);
        std::future::poll_fn(|cx| self.poll_turns(&mut wire, cx)).await
    }

    fn poll_turns<W: Wire>(&self, wire: &mut W, cx: &mut Context<'_>) -> Poll<Parted> {
        self.desk.attend(cx);
        if self.desk.is_thrown() {
            return Poll::Ready(Parted::Thrown);
        }
        let mut turn = Turn::default();
        let taken = self.take_turn(wire, cx, &mut turn);
        self.shop.turn(&turn);
        match taken {
            Ok(()) => Poll::Pending,
            Err(trouble) => Poll::Ready(Parted::Broken(trouble)),
        }
    }

    /// Reads, writes and flushes once. Everything that makes another turn worthwhile wakes it.
    fn take_turn<W: Wire>(&self, wire: &mut W, cx: &mut Context<'_>, turn: &mut Turn) -> Result<(), Trouble> {
        let (mut inbox, mut keyring) = (self.inbox.borrow_mut(), self.keyring.borrow_mut());
        let mut outbox = self.outbox.as_ref().map(RefCell::borrow_mut);
        for heard in 0.. {
            if heard == MOST_AT_ONCE {
                cx.waker().wake_by_ref();
                break;
            }
            let Poll::Ready(heard) = wire.poll_next(cx) else {
                break;
            };
            let heard = heard?;
            let mut owner = Owner {
                shop: &self.shop,
                desk: &self.desk,
                keyring: &mut keyring,
                turn,
            };
            match (heard, &mut outbox) {
                (Heard::Mail(parcel), _) => {
                    let mut reader = Reader {
                        shop: &self.shop,
                        keyring: &mut keyring,
                        turn,
                    };
                    inbox.receive(parcel, wire, &mut reader);
                }
                (Heard::Ok { serial }, Some(outbox)) => outbox.accepted(serial, &mut owner),
                (Heard::Refused { serial, word }, Some(outbox)) => outbox.refused(serial, &word, &mut owner),
                (Heard::Empty, _) => self.drained(),
                (Heard::Ok { .. } | Heard::Refused { .. }, None) | (Heard::Nothing, _) => {}
            }
        }
        inbox.ack_late(wire, cx, &self.shop);
        if let Some(outbox) = &mut outbox {
            let mut owner = Owner {
                shop: &self.shop,
                desk: &self.desk,
                keyring: &mut keyring,
                turn,
            };
            outbox.write(wire, cx, &mut owner)?;
            flush(wire, cx)?;
            outbox.prepare(&mut owner);
            return Ok(());
        }
        flush(wire, cx)
    }

    /// Everything that waited has been received.
    fn drained(&self) {
        if let (Some(began), None) = (self.draining.take(), &self.outbox) {
            self.shop.record(Latency::Drain, self.shop.now() - began);
        }
    }
}

/// Pending is as good: the socket wakes when there is room.
fn flush<W: Wire>(wire: &mut W, cx: &mut Context<'_>) -> Result<(), Trouble> {
    match wire.poll_flush(cx) {
        Poll::Ready(flushed) => flushed,
        Poll::Pending => Ok(()),
    }
}

/// A session that lives.
struct Alive<'a>(&'a Shop);

impl<'a> Alive<'a> {
    fn begin(shop: &'a Shop) -> Self {
        shop.common.gauges.joined(&shop.common.progress);
        Self(shop)
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.common.gauges.left(&self.0.common.progress);
    }
}

/// Evenly from zero, so that clients that lost the same server do not come back together.
fn pause(failures: u32) -> Duration {
    let range = BASE
        .saturating_mul(1 << failures.saturating_sub(1).min(10))
        .min(CAP);
    range.mul_f64(rand::random_range(0.0..=1.0))
}

const BASE: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(2);
const LONGEST_CONNECT: Duration = Duration::from_secs(10);
/// Frames that are read in one turn.
const MOST_AT_ONCE: u32 = 256;
/// What a server says of a token that is no good any more.
const STALE: [&str; 2] = ["close.4401", "upgrade.401"];
