//! What a client receives: every parcel is opened, compared with its stream's ledger, counted, and only then acked.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use crate::clock::{Nanos, nanos};
use crate::crypto::Keyring;
use crate::label::{Label, LabelError};
use crate::ledger::{Arrival, Ledger};
use crate::run::gauges::Turn;
use crate::run::rules::SLOW;
use crate::run::shop::Shop;
use crate::run::trail::Trail;
use crate::scenario::{Crypto, Until};
use crate::tally::{Count, Latency};
use crate::wire::{Parcel, Receipt, Wire};

/// An inbox.
pub(super) struct Inbox {
    /// By stream.
    incoming: Vec<Incoming>,
    /// Of a client that acks late.
    late: Option<Late>,
}

/// A stream that ends here.
pub(super) struct Incoming {
    pub(super) stream: u32,
    pub(super) ledger: Ledger,
    /// What is below it came on earlier connections.
    pub(super) floor: u64,
    /// Who writes: a place in the plan, and its desk when it is on this worker.
    pub(super) from: u32,
    pub(super) desk: Option<usize>,
    /// Devices that each of its messages goes to.
    pub(super) devices: u64,
    pub(super) trail: Arc<Trail>,
}

/// Acks that wait.
struct Late {
    receipts: VecDeque<(Nanos, Receipt)>,
    alarm: Pin<Box<Sleep>>,
}

/// Whose inbox it is.
pub(super) struct Reader<'a> {
    pub(super) shop: &'a Shop,
    pub(super) keyring: &'a mut Keyring,
    pub(super) turn: &'a mut Turn,
}

impl Inbox {
    /// An inbox for these streams.
    pub(super) fn new(mut incoming: Vec<Incoming>, is_slow: bool) -> Self {
        incoming.sort_unstable_by_key(|incoming| incoming.stream);
        Self {
            incoming,
            late: is_slow.then(|| Late {
                receipts: VecDeque::new(),
                alarm: Box::pin(tokio::time::sleep(SLOW)),
            }),
        }
    }

    /// What arrived; at the end.
    pub(super) fn take_incoming(&mut self) -> Vec<Incoming> {
        std::mem::take(&mut self.incoming)
    }

    /// On a new connection: what was to be acked will come again.
    pub(super) fn restart(&mut self) {
        for incoming in &mut self.incoming {
            incoming.floor = incoming.ledger.next();
        }
        if let Some(late) = &mut self.late {
            late.receipts.clear();
        }
    }

    /// Counts a parcel, and acks it.
    pub(super) fn receive<W: Wire>(&mut self, parcel: Parcel, wire: &mut W, reader: &mut Reader<'_>) {
        let now = reader.shop.now();
        match &mut self.late {
            Some(late) => late.receipts.push_back((now + nanos(SLOW), parcel.receipt)),
            None => wire.ack(parcel.receipt),
        }
        match Label::open(&parcel.payload) {
            Ok((label, body)) if label.run == reader.shop.common.run => {
                self.count(&parcel, (label, body), now, reader);
            }
            Ok(_) | Err(LabelError::Foreign) => reader.shop.tally(true).add(Count::Foreign, 1),
            Err(LabelError::Corrupt) => reader.shop.tally(true).add(Count::Corrupt, 1),
        }
    }

    /// Acks that have waited long enough. True when there were some.
    pub(super) fn ack_late<W: Wire>(&mut self, wire: &mut W, cx: &mut Context<'_>, shop: &Shop) -> bool {
        let Some(late) = &mut self.late else { return false };
        let mut has_acked = false;
        loop {
            let now = shop.now();
            while let Some((_, receipt)) = late.receipts.pop_front_if(|(due, _)| *due <= now) {
                wire.ack(receipt);
                has_acked = true;
            }
            let Some((due, _)) = late.receipts.front() else {
                return has_acked;
            };
            let at = Instant::from_std(shop.common.clock.instant(*due));
            late.alarm.as_mut().reset(at);
            if late.alarm.as_mut().poll(cx).is_pending() {
                return has_acked;
            }
        }
    }

    fn count(&mut self, parcel: &Parcel, (label, body): (Label, Bytes), now: Nanos, reader: &mut Reader<'_>) {
        let shop = reader.shop;
        let found = self
            .incoming
            .binary_search_by_key(&label.stream, |incoming| incoming.stream);
        let Some(incoming) = found.ok().and_then(|place| self.incoming.get_mut(place)) else {
            return shop.tally(true).add(Count::Foreign, 1);
        };
        let mut tally = shop.tally(label.measured);
        match incoming.ledger.arrived(label.seq) {
            Arrival::InOrder => {}
            Arrival::Late => tally.add(Count::Reordered, 1),
            Arrival::Again => {
                // Its ack may have been lost with the connection that it first came on. On one and the same
                // connection nothing may come twice.
                let is_allowed = label.seq < incoming.floor;
                let count = if is_allowed {
                    Count::Redelivered
                } else {
                    Count::Duplicated
                };
                return tally.add(count, 1);
            }
        }
        tally.add(Count::Delivered, 1);
        tally.add(Count::DeliveredBytes, parcel.payload.len() as u64);
        if !shop.common.rules.is_offline() {
            tally.record(Latency::E2e, now.saturating_sub(label.due));
            tally.record(Latency::Service, now.saturating_sub(label.sent));
        }
        drop(tally);
        reader.turn.delivered += 1;
        landed(shop, incoming, &label, now);
        if shop.bodies.borrow().crypto() != Crypto::None {
            decrypt(reader, incoming.from, &label, (parcel.kind, &body));
        }
    }
}

/// Tells the sender that a copy of a message arrived.
fn landed(shop: &Shop, incoming: &Incoming, label: &Label, now: Nanos) {
    if let Some(took) = incoming.trail.landed(label.seq, incoming.devices, now) {
        shop.tally(label.measured).record(Latency::Spread, took);
    }
    if shop.common.rules.until == Until::Delivered
        && let Some(desk) = incoming.desk.and_then(|desk| shop.desks.get(desk))
    {
        desk.arrived.set(desk.arrived.get() + 1);
        desk.wake();
    }
}

/// After the time of arrival was taken, so that it is in no latency.
fn decrypt(reader: &mut Reader<'_>, from: u32, label: &Label, (kind, body): (u32, &[u8])) {
    let began = reader.shop.now();
    let opened = reader
        .keyring
        .decrypt(from, (label.stream, label.seq), kind, body);
    let took = reader.shop.now() - began;
    let mut tally = reader.shop.tally(label.measured);
    match opened {
        Ok(()) => tally.record(Latency::Decrypt, took),
        Err(_) => tally.add(Count::Undecryptable, 1),
    }
}
