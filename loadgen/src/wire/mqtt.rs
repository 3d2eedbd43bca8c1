//! MQTT 3.1.1, over TCP or WebSocket.
//!
//! An account is a client id and a topic. A byte in front of the payload says Olm's kind of message. Without TLS and
//! without users.
//!
//! # What an OK means
//!
//! - *QoS 0*: the server says nothing about a message. Each flush ends with a `PINGREQ`; its answer says that the server
//!   has taken everything before. Mail to somebody who is away is lost.
//! - *QoS 1*: the server's `PUBACK`: it keeps the message for the recipient's session, which is persistent. Whether
//!   that survives a crash is the server's setting (Mosquitto writes its file every half an hour unless told otherwise).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, BytesMut};
use chatctl_protocol::AccountId;
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, Disconnect, Packet, PingReq, PubAck, Publish, Subscribe,
};
use rumqttc::mqttbytes::{Error as CodecError, QoS};

use crate::plan::Plan;
use crate::progress::Progress;
use crate::wire::accounts;
use crate::wire::dial::{Address, AddressError, fatal, trouble};
use crate::wire::fence::Fence;
use crate::wire::pipe::Pipe;
use crate::wire::{Heard, Parcel, Passes, Post, Receipt, Trouble, Who, Wire};

/// An MQTT server.
#[derive(Debug, Clone)]
pub struct Place {
    address: Address,
    mode: Mode,
}

/// How sure a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// At most once, in sessions that end with their connection.
    AtMostOnce,
    /// At least once, in sessions that persist.
    #[default]
    AtLeastOnce,
}

impl Place {
    /// The server at an `mqtt://` or `ws://` URL.
    ///
    /// # Errors
    ///
    /// [`AddressError`].
    pub fn new(url: &str, mode: Mode) -> Result<Self, AddressError> {
        let address = Address::parse(url, "mqtt", 1883)?;
        Ok(Self { address, mode })
    }

    const fn qos(&self) -> QoS {
        match self.mode {
            Mode::AtMostOnce => QoS::AtMostOnce,
            Mode::AtLeastOnce => QoS::AtLeastOnce,
        }
    }
}

/// A connection.
pub struct Mqtt {
    pipe: Pipe,
    mode: Mode,
    /// QoS 0: what no ping covers yet.
    fence: Fence,
    /// QoS 1: packet ids of what left, oldest first.
    unanswered: VecDeque<(u16, u64)>,
    last_id: u16,
    /// Mail that came before the subscription was confirmed.
    early: VecDeque<Publish>,
    waiting: Waiting,
}

impl std::fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mqtt({:?}, {} unanswered)", self.mode, self.unanswered.len())
    }
}

impl Wire for Mqtt {
    type Place = Place;

    /// Opens each account's session, so that mail is kept for it from now on.
    async fn prepare(
        place: &Place,
        plan: &Plan,
        _passes: &dyn Passes,
        progress: &Progress,
    ) -> Result<(), Trouble> {
        if place.mode == Mode::AtMostOnce {
            return Ok(());
        }
        accounts::set_up(plan, progress, async |account| {
            let mut session = Self::open(place, account, None, false).await?;
            session.subscribe(account, place.qos()).await?;
            session.leave().await
        })
        .await
    }

    async fn tidy(place: &Place, plan: &Plan, _passes: &dyn Passes) {
        if place.mode == Mode::AtMostOnce {
            return;
        }
        accounts::remove(plan, async |account| {
            // A clean session takes the place of the persistent one, and ends at once.
            if let Ok(mut session) = Self::open(place, account, None, true).await {
                let _ = session.leave().await;
            }
        })
        .await;
    }

    async fn connect(place: &Place, who: &Who) -> Result<Self, Trouble> {
        let is_clean = place.mode == Mode::AtMostOnce;
        let mut session = Self::open(place, &who.account, who.source, is_clean).await?;
        session.subscribe(&who.account, place.qos()).await?;
        if place.mode == Mode::AtLeastOnce {
            // A letter to itself stands behind everything that waits.
            let mark: u64 = rand::random();
            let sure = (QoS::AtLeastOnce, session.next_id());
            put(
                &mut session.pipe.out,
                &who.account,
                sure,
                [&[CLOSING], &mark.to_le_bytes()],
            );
            session.waiting = Waiting::Until(mark);
        }
        Ok(session)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        // Room comes with an answer, which poll_next is woken for.
        match self.unanswered.len() < UNANSWERED {
            true => self.pipe.poll_ready(cx),
            false => Poll::Pending,
        }
    }

    fn post(&mut self, post: Post<'_>) -> Result<(), Trouble> {
        let [part] = &*post.parts else {
            return Err(fatal("devices.many"));
        };
        let sure = match self.mode {
            Mode::AtMostOnce => {
                self.fence.push(post.serial);
                (QoS::AtMostOnce, 0)
            }
            Mode::AtLeastOnce => {
                let id = self.next_id();
                self.unanswered.push_back((id, post.serial));
                (QoS::AtLeastOnce, id)
            }
        };
        put(
            &mut self.pipe.out,
            post.to,
            sure,
            [&[part.kind as u8], &part.payload],
        );
        Ok(())
    }

    fn ack(&mut self, receipt: Receipt) {
        if let (Mode::AtLeastOnce, Ok(id)) = (self.mode, u16::try_from(receipt.0)) {
            // Only an id of zero cannot be written.
            let _ = PubAck::new(id).write(&mut self.pipe.out);
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        if self.fence.cover() {
            let _ = PingReq.write(&mut self.pipe.out);
        }
        self.pipe.poll_flush(cx)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Heard, Trouble>> {
        loop {
            if let Some(serial) = self.fence.pop() {
                return Poll::Ready(Ok(Heard::Ok { serial }));
            }
            if self.waiting == Waiting::Nothing {
                self.waiting = Waiting::Told;
                return Poll::Ready(Ok(Heard::Empty));
            }
            let packet = match self.early.pop_front() {
                Some(publish) => Packet::Publish(publish),
                None => ready!(self.poll_packet(cx))?,
            };
            match packet {
                Packet::Publish(publish) => {
                    if let Some(parcel) = self.mail(publish, cx)? {
                        return Poll::Ready(Ok(Heard::Mail(parcel)));
                    }
                }
                Packet::PubAck(ack) => {
                    let place = self.unanswered.iter().position(|(id, _)| *id == ack.pkid);
                    if let Some((_, serial)) = place.and_then(|place| self.unanswered.remove(place)) {
                        return Poll::Ready(Ok(Heard::Ok { serial }));
                    }
                }
                Packet::PingResp => self.fence.answer(),
                // Nothing else comes to a client of these levels.
                _ => {}
            }
        }
    }
}

impl Mqtt {
    /// Connects and signs on.
    async fn open(
        place: &Place,
        account: &AccountId,
        source: Option<IpAddr>,
        is_clean: bool,
    ) -> Result<Self, Trouble> {
        if account.as_str().contains('+') {
            // A wildcard there.
            return Err(fatal("name.unfit"));
        }
        let mut session = Self {
            pipe: Pipe::connect(&place.address, source, Some("mqtt")).await?,
            mode: place.mode,
            fence: Fence::default(),
            unanswered: VecDeque::new(),
            last_id: 0,
            early: VecDeque::new(),
            waiting: Waiting::Nothing,
        };
        let mut connect = Connect::new(account.as_str());
        connect.keep_alive = 0;
        connect.clean_session = is_clean;
        connect.write(&mut session.pipe.out).map_err(malformed)?;
        match session.packet().await? {
            Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => Ok(session),
            Packet::ConnAck(ack) => Err(fatal(&format!("mqtt.{}", ack.code as u8))),
            _ => Err(trouble("frame.unreadable")),
        }
    }

    /// Subscribes to the own topic. Mail that comes meanwhile is kept.
    async fn subscribe(&mut self, account: &AccountId, qos: QoS) -> Result<(), Trouble> {
        let mut subscribe = Subscribe::new(format!("{TOPICS}{account}"), qos);
        subscribe.pkid = self.next_id();
        subscribe.write(&mut self.pipe.out).map_err(malformed)?;
        loop {
            match self.packet().await? {
                Packet::SubAck(_) => return Ok(()),
                Packet::Publish(publish) => self.early.push_back(publish),
                _ => return Err(trouble("frame.unreadable")),
            }
        }
    }

    /// Says goodbye.
    async fn leave(&mut self) -> Result<(), Trouble> {
        Disconnect.write(&mut self.pipe.out).map_err(malformed)?;
        std::future::poll_fn(|cx| self.pipe.poll_flush(cx)).await
    }

    /// Writes everything, then waits for the next packet.
    async fn packet(&mut self) -> Result<Packet, Trouble> {
        std::future::poll_fn(|cx| self.pipe.poll_flush(cx)).await?;
        std::future::poll_fn(|cx| self.poll_packet(cx)).await
    }

    fn poll_packet(&mut self, cx: &mut Context<'_>) -> Poll<Result<Packet, Trouble>> {
        loop {
            match Packet::read(&mut self.pipe.input, LARGEST_PACKET) {
                Ok(packet) => return Poll::Ready(Ok(packet)),
                Err(CodecError::InsufficientBytes(_)) => ready!(self.pipe.poll_fill(cx))?,
                Err(error) => return Poll::Ready(Err(malformed(error))),
            }
        }
    }

    /// A parcel; or nothing, for a letter to itself.
    fn mail(&mut self, mut publish: Publish, cx: &mut Context<'_>) -> Result<Option<Parcel>, Trouble> {
        if publish.payload.is_empty() {
            return Err(trouble("frame.unreadable"));
        }
        let kind = publish.payload.get_u8();
        let receipt = Receipt(u64::from(publish.pkid));
        if kind != CLOSING {
            return Ok(Some(Parcel {
                receipt,
                kind: u32::from(kind),
                payload: publish.payload,
                again: publish.dup,
            }));
        }
        self.ack(receipt);
        // That of an earlier connection means nothing any more.
        if let Waiting::Until(mark) = self.waiting
            && *publish.payload == mark.to_le_bytes()
        {
            self.waiting = Waiting::Nothing;
        }
        match self.pipe.poll_flush(cx) {
            Poll::Ready(Err(trouble)) => Err(trouble),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(None),
        }
    }

    /// A packet id that no packet under way has.
    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }
}

/// What waited when the connection began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// What stands before the letter with this mark.
    Until(u64),
    /// Nothing, or nothing any more.
    Nothing,
    /// And that was told.
    Told,
}

/// Writes a `PUBLISH`. By hand, because the codec wants the payload in one piece of its own.
fn put(out: &mut BytesMut, to: &AccountId, sure: (QoS, u16), parts: [&[u8]; 2]) {
    let (qos, id) = sure;
    let topic_bytes = TOPICS.len() + to.as_str().len();
    let id_bytes = if qos == QoS::AtMostOnce { 0 } else { 2 };
    let mut remaining = 2 + topic_bytes + id_bytes + parts[0].len() + parts[1].len();
    out.reserve(5 + remaining);
    out.put_u8(0b0011_0000 | (qos as u8) << 1);
    while remaining > 0x7f {
        out.put_u8(0x80 | (remaining & 0x7f) as u8);
        remaining >>= 7;
    }
    out.put_u8(remaining as u8);
    // Names are 128 bytes at most.
    out.put_u16(topic_bytes as u16);
    out.put_slice(TOPICS.as_bytes());
    out.put_slice(to.as_str().as_bytes());
    if id_bytes > 0 {
        out.put_u16(id);
    }
    out.put_slice(parts[0]);
    out.put_slice(parts[1]);
}

fn malformed(_error: CodecError) -> Trouble {
    trouble("frame.unreadable")
}

/// In front of an account.
const TOPICS: &str = "chatctl-bench/";
/// In place of a kind: a letter to itself.
const CLOSING: u8 = 0xff;
/// Messages without an answer at most: packet ids are two bytes.
const UNANSWERED: usize = 32 * 1024;
const LARGEST_PACKET: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_is_what_the_codec_reads() {
        let bob = AccountId::parse("bob").unwrap();
        for (qos, pkid) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 300)] {
            for size in [0, 100, 127, 128, 20_000] {
                let payload = vec![7; size];
                let mut out = BytesMut::new();
                put(&mut out, &bob, (qos, pkid), [&[1], &payload]);
                let Ok(Packet::Publish(publish)) = Packet::read(&mut out, LARGEST_PACKET) else {
                    panic!("not a publish")
                };
                assert_eq!(
                    (&*publish.topic, publish.qos, publish.pkid),
                    ("chatctl-bench/bob", qos, pkid)
                );
                assert_eq!((publish.payload[0], &publish.payload[1..]), (1, &*payload));
                assert!(out.is_empty());
            }
        }
    }
}
