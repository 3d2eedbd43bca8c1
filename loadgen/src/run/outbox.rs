//! What a client sends: it takes what is due, seals it, and keeps it until it was answered. What was not is sent
//! again on the next connection, the same bytes under the same name.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use chatctl_protocol::{AccountId, ClientMsgId, DeviceId};
use smallvec::SmallVec;

use crate::clock::Nanos;
use crate::crypto::Keyring;
use crate::label::Label;
use crate::plan::{Plan, Sender};
use crate::run::bodies::{Body, Sealed};
use crate::run::desk::{Desk, Due};
use crate::run::gauges::Turn;
use crate::run::integrity;
use crate::run::shop::Shop;
use crate::run::trail::Trail;
use crate::scenario::{Crypto, Until};
use crate::tally::{Count, Latency};
use crate::wire::{Part, Post, Trouble, Wire};

/// An outbox.
pub(super) struct Outbox {
    targets: Vec<Target>,
    /// Devices that each message goes to.
    devices: u64,
    trail: Arc<Trail>,
    limits: Limits,
    next_seq: u64,
    /// The message that is being put into the buffer, target by target.
    under_way: Option<UnderWay>,
    /// Encrypted ahead of time for `next_seq`.
    ready: Option<Body>,
    /// By serial, from `first_serial`.
    unanswered: VecDeque<Option<Sent>>,
    first_serial: u64,
    outstanding: u64,
    bytes: usize,
    /// To be sent again before anything else.
    again: VecDeque<Sent>,
    /// Devices' copies that left, and those that were refused.
    sent: u64,
    refused: u64,
}

/// An account that gets every message.
struct Target {
    stream: u32,
    /// Messages that were refused.
    refused: u64,
    /// Messages whose answer says nothing: they were refused after they had been sent before.
    unsure: Vec<u64>,
    account: AccountId,
    devices: Vec<Recipient>,
    /// The place of its first device among all of a message's.
    first: usize,
}

struct Recipient {
    place: u32,
    device_id: DeviceId,
    registration_id: u32,
}

/// What a sender may have out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    unanswered: u64,
    bytes: usize,
}

struct UnderWay {
    due: Due,
    body: Body,
    target: usize,
}

/// A message to one account that was not answered.
struct Sent {
    name: ClientMsgId,
    target: usize,
    seq: u64,
    due: Nanos,
    measured: bool,
    again: bool,
    parts: SmallVec<[Part; 1]>,
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
        let accounts = sender.to.iter().filter_map(|to| plan.accounts.get(*to as usize));
        let mut first = 0;
        let targets: Vec<_> = (sender.first_stream..)
            .zip(accounts)
            .map(|(stream, account)| {
                let devices: Vec<_> = account
                    .devices
                    .clone()
                    .filter_map(|place| Recipient::of(plan, place))
                    .collect();
                let target = Target {
                    stream,
                    refused: 0,
                    unsure: Vec::new(),
                    account: account.name.clone(),
                    first,
                    devices,
                };
                first += target.devices.len();
                target
            })
            .collect();
        Self {
            targets,
            devices: first as u64,
            trail,
            limits,
            next_seq: 0,
            under_way: None,
            ready: None,
            unanswered: VecDeque::new(),
            first_serial: 1,
            outstanding: 0,
            bytes: 0,
            again: VecDeque::new(),
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
        let streams = self.targets.iter().zip(0..).map(|(target, place)| {
            let waiting = self.unanswered.iter().flatten().chain(&self.again);
            let unanswered = waiting.filter(|sent| sent.target == place).map(|sent| sent.seq);
            integrity::Sent {
                stream: target.stream,
                sent: self.next_seq + u64::from(place < begun),
                refused: target.refused,
                unsure: unanswered.chain(target.unsure.iter().copied()).collect(),
            }
        });
        streams.collect()
    }

    /// On a new connection: what was not answered comes first.
    pub(super) fn restart(&mut self) {
        let mut again: VecDeque<Sent> = self.unanswered.drain(..).flatten().collect();
        again.append(&mut self.again);
        for sent in &mut again {
            sent.again = true;
        }
        if let (Some(first), Some(last)) = (again.front(), again.back()) {
            self.trail.repeated(first.seq..last.seq + 1);
        }
        self.again = again;
        self.first_serial = 1;
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
                return Ok(has_put);
            }
            match wire.poll_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Ok(has_put),
            }
            match self.again.pop_front() {
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
        if let Some(target) = self.targets.get_mut(sent.target) {
            match sent.again && target.unsure.len() < MOST_UNSURE {
                true => target.unsure.push(sent.seq),
                false => target.refused += 1,
            }
        }
    }

    fn answered(&mut self, serial: u64, owner: &mut Owner<'_>) -> Option<Sent> {
        let place = usize::try_from(serial.checked_sub(self.first_serial)?).ok()?;
        let sent = self.unanswered.get_mut(place)?.take()?;
        while let Some(None) = self.unanswered.front() {
            self.unanswered.pop_front();
            self.first_serial += 1;
        }
        self.outstanding -= 1;
        self.bytes -= sent.bytes();
        owner.turn.unanswered -= 1;
        Some(sent)
    }

    fn has_work(&self, owner: &Owner<'_>) -> bool {
        let is_begun = !self.again.is_empty() || self.under_way.is_some();
        is_begun || (self.has_room(owner) && owner.desk.feed.borrow().has_some(owner.shop.now()))
    }

    /// Whether another message may be out.
    fn has_room(&self, owner: &Owner<'_>) -> bool {
        let rules = &owner.shop.common.rules;
        let targets = self.targets.len() as u64;
        match (rules.in_flight, rules.until) {
            (None, _) => self.outstanding < self.limits.unanswered && self.bytes < self.limits.bytes,
            (Some(most), Until::Ok) => self.outstanding + targets <= most * targets,
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
                self.outstanding += 1;
                self.bytes += sent.bytes();
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
        let body = match owner.shop.bodies.borrow().crypto() {
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
        let parts = target.devices.iter().zip(target.first..).map(|(device, place)| {
            let (kind, body) = bodies.part(&message.body, place);
            Part {
                device_id: device.device_id.clone(),
                registration_id: device.registration_id,
                kind,
                payload: label.seal(body),
            }
        });
        let sent = Sent {
            name: name(&label)?,
            target: message.target,
            seq: self.next_seq,
            due,
            measured,
            again: false,
            parts: parts.collect(),
        };
        let devices = sent.parts.len() as u64;
        self.sent += devices;
        owner.turn.sent += devices as i64;
        let mut tally = shop.tally(measured);
        tally.add(Count::Sent, devices);
        tally.add(Count::SentBytes, sent.bytes() as u64);
        if message.due.at.is_some() {
            tally.record(Latency::Late, left.saturating_sub(due));
        }
        Some(sent)
    }

    /// Puts a message into the buffer, and remembers it until it is answered.
    fn put<W: Wire>(&mut self, wire: &mut W, sent: Sent) -> Result<(), Trouble> {
        let Some(target) = self.targets.get(sent.target) else {
            return Ok(());
        };
        let serial = self.first_serial + self.unanswered.len() as u64;
        let post = Post {
            serial,
            to: &target.account,
            name: sent.name,
            parts: sent.parts.clone(),
        };
        let put = wire.post(post);
        self.unanswered.push_back(Some(sent));
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

impl Limits {
    /// What each of so many senders of a worker may have out, so that memory stays within bounds.
    pub(super) fn shared_by(senders: usize) -> Self {
        let senders = senders.max(1);
        Self {
            unanswered: (MOST_UNANSWERED / senders).clamp(16, 1024) as u64,
            bytes: (MOST_BYTES / senders).clamp(256 * 1024, 8 * 1024 * 1024),
        }
    }
}

impl Recipient {
    fn of(plan: &Plan, place: u32) -> Option<Self> {
        let client = plan.clients.get(place as usize)?;
        Some(Self {
            place,
            device_id: client.device_id.clone(),
            registration_id: client.registration_id,
        })
    }
}

impl Sent {
    fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.payload.len()).sum()
    }
}

/// A message's name at the server: no two of a sender's are the same, in whatever run.
fn name(label: &Label) -> Option<ClientMsgId> {
    let mut name = [0; 16];
    name[..5].copy_from_slice(&label.run.to_le_bytes()[..5]);
    name[5..9].copy_from_slice(&label.stream.to_le_bytes());
    name[9..].copy_from_slice(&label.seq.to_le_bytes()[..7]);
    ClientMsgId::parse(name).ok()
}

/// Of all senders of a worker together.
const MOST_UNANSWERED: usize = 256 * 1024;
const MOST_BYTES: usize = 256 * 1024 * 1024;
/// Messages put in one turn. The others get theirs, then.
const MOST_AT_ONCE: usize = 256;
/// Refused messages of a stream of which it is not known whether they were accepted before.
const MOST_UNSURE: usize = 4096;
