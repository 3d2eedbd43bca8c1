//! What a client sends: it takes what is due, seals it, and keeps it until it was answered. What was not is sent
//! again on the next connection, the same bytes under the same name.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::clock::Nanos;
use crate::crypto::Keyring;
use crate::label::Label;
use crate::plan::{Plan, Sender};
use crate::run::bodies::{Body, Sealed};
use crate::run::desk::{Desk, Due};
use crate::run::gauges::Turn;
use crate::run::integrity;
use crate::run::shop::Shop;
use crate::run::target::{Target, name};
use crate::run::trail::Trail;
use crate::run::unanswered::{Limits, Sent, Unanswered};
use crate::scenario::{Crypto, Until};
use crate::tally::{Count, Latency};
use crate::wire::{Post, Trouble, Wire};

/// An outbox.
pub(super) struct Outbox {
    targets: Vec<Target>,
    /// Devices that each message goes to.
    devices: u64,
    trail: Arc<Trail>,
    next_seq: u64,
    /// The message that is being put into the buffer, target by target.
    under_way: Option<UnderWay>,
    /// Encrypted ahead of time for `next_seq`.
    ready: Option<Body>,
    unanswered: Unanswered,
    /// Whether messages wait for the connection, or for answers.
    is_blocked: bool,
    /// Since when they do not.
    free_since: Nanos,
    /// Devices' copies that left, and those that were refused.
    sent: u64,
    refused: u64,
}

struct UnderWay {
    due: Due,
    body: Body,
    target: usize,
}

/// Whose outbox it is.
pub(super) struct Owner<'a> {
    pub(super) shop: &'a Shop,
    pub(super) desk: &'a Desk,
    pub(super) keyring: &'a mut Keyring,
    pub(super) turn: &'a mut Turn,
}

impl Outbox {
    pub(super) fn new(plan: &Plan, sender: &Sender, trail: Arc<Trail>, limits: Limits) -> Self {
        let (targets, devices) = Target::all(plan, sender);
        Self {
            targets,
            devices: devices as u64,
            trail,
            next_seq: 0,
            under_way: None,
            ready: None,
            unanswered: Unanswered::new(limits),
            is_blocked: true,
            free_since: 0,
            sent: 0,
            refused: 0,
        }
    }

    /// Devices that each message goes to.
    pub(super) const fn devices(&self) -> u64 {
        self.devices
    }

    /// What became of each stream, at the end.
    pub(super) fn sent(&self) -> Vec<integrity::Sent> {
        let begun = self.under_way.as_ref().map_or(0, |message| message.target);
        let streams = self
            .targets
            .iter()
            .zip(0..)
            .map(|(target, place)| integrity::Sent {
                stream: target.stream,
                sent: self.next_seq + u64::from(place < begun),
                refused: target.refused,
                unsure: self
                    .unanswered
                    .seqs(place)
                    .chain(target.unsure.iter().copied())
                    .collect(),
            });
        streams.collect()
    }

    /// On a new connection: what was not answered comes first.
    pub(super) fn restart(&mut self) {
        self.is_blocked = true;
        self.unanswered.restart();
    }

    /// Puts into the buffer what may be sent. True when something was put, and so is to be flushed.
    pub(super) fn write<W: Wire>(
        &mut self,
        wire: &mut W,
        cx: &mut Context<'_>,
        owner: &mut Owner<'_>,
    ) -> Result<bool, Trouble> {
        let mut has_put = false;
        for _ in 0..MOST_AT_ONCE {
            if !self.has_work(owner) {
                self.is_blocked |= owner.desk.feed.borrow().has_some(owner.shop.now());
                return Ok(has_put);
            }
            match wire.poll_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    self.is_blocked = true;
                    return Ok(has_put);
                }
            }
            if std::mem::take(&mut self.is_blocked) {
                self.free_since = owner.shop.now();
            }
            match self.unanswered.take_again() {
                Some(sent) => self.put(wire, sent)?,
                None => self.put_next(wire, owner)?,
            }
            has_put = true;
        }
        // There may be more: another turn, after the others had theirs.
        cx.waker().wake_by_ref();
        Ok(has_put)
    }

    /// Encrypts the next message ahead of time.
    pub(super) fn prepare(&mut self, owner: &mut Owner<'_>) {
        let is_needed = self.ready.is_none() && owner.shop.bodies.borrow().crypto() != Crypto::None;
        if is_needed && owner.desk.feed.borrow().is_on() {
            self.ready = self.encrypt(owner);
        }
    }

    /// A message is safe.
    pub(super) fn accepted(&mut self, serial: u64, owner: &mut Owner<'_>) {
        let Some(sent) = self.answered(serial, owner) else {
            return;
        };
        let (now, devices) = (owner.shop.now(), sent.parts.len() as u64);
        let mut tally = owner.shop.tally(sent.measured);
        tally.add(Count::Accepted, devices);
        tally.record(Latency::Ok, now.saturating_sub(sent.due));
        owner.turn.accepted += devices as i64;
    }

    /// A message was refused.
    pub(super) fn refused(&mut self, serial: u64, word: &str, owner: &mut Owner<'_>) {
        let Some(sent) = self.answered(serial, owner) else {
            return;
        };
        let devices = sent.parts.len() as u64;
        let mut tally = owner.shop.tally(sent.measured);
        tally.add(Count::Refused, devices);
        tally.error(&format!("refused.{word}"));
        self.refused += devices;
        owner.turn.errors += 1;
        if let Some(target) = self.targets.get_mut(sent.target) {
            target.refuse(sent.seq, sent.again);
        }
    }

    fn answered(&mut self, serial: u64, owner: &mut Owner<'_>) -> Option<Sent> {
        let sent = self.unanswered.answered(serial)?;
        owner.turn.unanswered -= 1;
        Some(sent)
    }

    fn has_work(&self, owner: &Owner<'_>) -> bool {
        let is_begun = self.unanswered.has_again() || self.under_way.is_some();
        is_begun || (self.has_room(owner) && owner.desk.feed.borrow().has_some(owner.shop.now()))
    }

    /// Whether another message may be out.
    fn has_room(&self, owner: &Owner<'_>) -> bool {
        let rules = &owner.shop.common.rules;
        let targets = self.targets.len() as u64;
        match (rules.in_flight, rules.until) {
            (None, _) => self.unanswered.has_room(),
            (Some(most), Until::Ok) => self.unanswered.count() + targets <= most * targets,
            (Some(most), Until::Delivered) => {
                let over = owner.desk.arrived.get() + self.refused;
                self.sent.saturating_sub(over) + self.devices <= most * self.devices
            }
        }
    }

    /// Puts the next message to the next of its accounts.
    fn put_next<W: Wire>(&mut self, wire: &mut W, owner: &mut Owner<'_>) -> Result<(), Trouble> {
        if self.under_way.is_none() {
            self.begin(owner);
        }
        let Some(mut message) = self.under_way.take() else {
            return Ok(());
        };
        let sent = self.seal(&message, owner);
        message.target += 1;
        if message.target < self.targets.len() {
            self.under_way = Some(message);
        } else {
            self.next_seq += 1;
        }
        match sent {
            Some(sent) => {
                owner.turn.unanswered += 1;
                self.put(wire, sent)
            }
            None => Ok(()),
        }
    }

    /// Takes what is due.
    fn begin(&mut self, owner: &mut Owner<'_>) {
        let due = owner.desk.feed.borrow_mut().take(owner.shop.now());
        let Some(due) = due else { return };
        owner.turn.queued -= i64::from(due.waited);
        if due.at.is_none() {
            owner.shop.tally(due.measured).add(Count::Due, self.devices);
        }
        let crypto = owner.shop.bodies.borrow().crypto();
        let body = match crypto {
            Crypto::None => None,
            Crypto::Session | Crypto::Staged => Some(self.ready.take().or_else(|| self.encrypt(owner))),
        };
        let Some(body) = body.unwrap_or_else(|| Some(owner.shop.bodies.borrow_mut().noise())) else {
            owner.shop.tally(true).error("crypto.encrypt");
            owner.shop.missed(self.devices);
            return;
        };
        self.trail.sent(self.next_seq, self.devices);
        self.under_way = Some(UnderWay { due, body, target: 0 });
    }

    fn seal(&mut self, message: &UnderWay, owner: &mut Owner<'_>) -> Option<Sent> {
        let target = self.targets.get(message.target)?;
        let shop = owner.shop;
        let (bodies, left) = (shop.bodies.borrow(), shop.now());
        let measured = message.due.measured;
        let due = message.due.at.unwrap_or(left);
        let label = Label {
            run: shop.common.run,
            stream: target.stream,
            measured,
            seq: self.next_seq,
            due,
            sent: left,
        };
        let sent = Sent {
            name: name(&label)?,
            target: message.target,
            seq: self.next_seq,
            due,
            measured,
            again: false,
            parts: target.parts(&label, &message.body, &bodies),
        };
        let devices = sent.parts.len() as u64;
        self.sent += devices;
        owner.turn.sent += devices as i64;
        let mut tally = shop.tally(measured);
        tally.add(Count::Sent, devices);
        tally.add(Count::SentBytes, sent.bytes() as u64);
        if message.due.at.is_some() {
            // What waited for the connection or for answers was not late by the generator's fault.
            tally.record(Latency::Late, left.saturating_sub(due.max(self.free_since)));
        }
        Some(sent)
    }

    /// Puts a message into the buffer, and remembers it until it is answered.
    fn put<W: Wire>(&mut self, wire: &mut W, sent: Sent) -> Result<(), Trouble> {
        let Some(target) = self.targets.get(sent.target) else {
            return Ok(());
        };
        let post = Post {
            serial: self.unanswered.serial(),
            to: &target.account,
            name: sent.name,
            parts: sent.parts.clone(),
        };
        let put = wire.post(post);
        self.unanswered.push(sent);
        put
    }

    /// The next message's body for each of its devices; none when it cannot be made.
    fn encrypt(&self, owner: &mut Owner<'_>) -> Option<Body> {
        let bytes = owner.shop.bodies.borrow_mut().size();
        let mut sealed = Vec::with_capacity(usize::try_from(self.devices).unwrap_or(0));
        for target in &self.targets {
            for device in &target.devices {
                let began = owner.shop.now();
                let encrypted = owner
                    .keyring
                    .encrypt(device.place, target.stream, self.next_seq, bytes);
                let (kind, bytes) = encrypted.ok()?;
                let ended = owner.shop.now();
                let mut tally = owner.shop.tally(owner.shop.is_measured(ended));
                tally.record(Latency::Encrypt, ended - began);
                sealed.push(Sealed { kind, bytes });
            }
        }
        Some(Body::Sealed(sealed))
    }
}

/// Messages put in one turn. The others get theirs, then.
const MOST_AT_ONCE: usize = 256;
