//! NATS: core publish and subscribe, or JetStream, over TCP or WebSocket.
//!
//! An account is a subject. A byte in front of the payload says Olm's kind of message. Without TLS and without users.
//!
//! # What an OK means
//!
//! - *Core* keeps nothing and says nothing about a message. Each flush ends with a ping; its pong says that the server
//!   has taken everything before. Whether a recipient was there is not known: mail to one who is away is lost.
//! - *JetStream*: the server's `PubAck`, that is: the message is in its store (in a file; synced every two minutes unless
//!   the server is told otherwise). Mail is acked one by one, and comes again if it is not.

mod codec;
mod stream;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};

use crate::plan::Plan;
use crate::progress::Progress;
use crate::wire::dial::{Address, AddressError, fatal, trouble};
use crate::wire::fence::Fence;
use crate::wire::pipe::Pipe;
use crate::wire::{Heard, Parcel, Passes, Post, Receipt, Trouble, Who, Wire};
use codec::{Malformed, Reply, Word};

/// A NATS server.
#[derive(Debug, Clone)]
pub struct Place {
    address: Address,
    mode: Mode,
}

/// Which of its two servers is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Publish and subscribe, without a store.
    #[default]
    Core,
    /// A stream in a file, and a durable consumer for each account.
    JetStream,
}

impl Place {
    /// The server at a `nats://` or `ws://` URL.
    ///
    /// # Errors
    ///
    /// [`AddressError`].
    pub fn new(url: &str, mode: Mode) -> Result<Self, AddressError> {
        let address = Address::parse(url, "nats", 4222)?;
        Ok(Self { address, mode })
    }
}

/// A connection.
pub struct Nats {
    link: Link,
    mode: Mode,
    /// Core: what no pong covers yet.
    fence: Fence,
    /// JetStream: where its answers come; a serial follows.
    inbox: String,
    /// JetStream: how mail is acked, in the order in which it came.
    unacked: VecDeque<(u64, Bytes)>,
    parcels: u64,
    waiting: Waiting,
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Nats({:?}, {} unacked)", self.mode, self.unacked.len())
    }
}

impl Wire for Nats {
    type Place = Place;

    async fn prepare(
        place: &Place,
        plan: &Plan,
        _passes: &dyn Passes,
        progress: &Progress,
    ) -> Result<(), Trouble> {
        match place.mode {
            Mode::Core => Ok(()),
            Mode::JetStream => stream::create(&place.address, plan, progress).await,
        }
    }

    async fn tidy(place: &Place, _plan: &Plan, _passes: &dyn Passes) {
        if place.mode == Mode::JetStream {
            // What cannot be removed now is removed before the next run.
            let _ = stream::remove(&place.address).await;
        }
    }

    async fn connect(place: &Place, who: &Who) -> Result<Self, Trouble> {
        let mut link = Link::open(&place.address, who.source).await?;
        let inbox = format!("_INBOX.{:016x}.", rand::random::<u64>());
        let mut waiting = Waiting::Nothing;
        let subjects = match place.mode {
            Mode::Core => SUBJECTS,
            Mode::JetStream => {
                codec::subscribe(&mut link.pipe.out, &format!("{inbox}*"), ANSWERS);
                if stream::mail_waits(&mut link, &inbox, &who.account).await? {
                    waiting = Waiting::Something;
                }
                DELIVERIES
            }
        };
        codec::subscribe(&mut link.pipe.out, &format!("{subjects}{}", who.account), MAIL);
        link.sync().await?;
        Ok(Self {
            link,
            mode: place.mode,
            fence: Fence::default(),
            inbox,
            unacked: VecDeque::new(),
            parcels: 0,
            waiting,
        })
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        self.link.pipe.poll_ready(cx)
    }

    fn post(&mut self, post: Post<'_>) -> Result<(), Trouble> {
        let [part] = &*post.parts else {
            return Err(fatal("devices.many"));
        };
        let reply = match self.mode {
            Mode::Core => Reply::None,
            Mode::JetStream => Reply::To(&self.inbox, post.serial),
        };
        let to = (SUBJECTS, post.to.as_str());
        codec::publish(
            &mut self.link.pipe.out,
            to,
            reply,
            [&[part.kind as u8], &part.payload],
        );
        if self.mode == Mode::Core {
            self.fence.push(post.serial);
        }
        Ok(())
    }

    fn ack(&mut self, receipt: Receipt) {
        let place = self.unacked.iter().position(|(parcel, _)| *parcel == receipt.0);
        if let Some((_, reply)) = place.and_then(|place| self.unacked.remove(place)) {
            let reply = String::from_utf8_lossy(&reply);
            codec::publish(&mut self.link.pipe.out, ("", &reply), Reply::None, [b"", b""]);
        }
        if self.waiting == Waiting::Until(receipt.0) {
            self.waiting = Waiting::Nothing;
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        if self.fence.cover() {
            self.link.pipe.out.extend_from_slice(b"PING\r\n");
        }
        self.link.pipe.poll_flush(cx)
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
            let word = match self.link.early.pop_front() {
                Some(word) => word,
                None => ready!(self.link.poll_word(cx))?,
            };
            match word {
                Word::Pong => self.fence.answer(),
                Word::Other | Word::Ping => {}
                Word::Error(_) => return Poll::Ready(Err(trouble("nats.error"))),
                Word::Message {
                    subject,
                    subscription,
                    reply,
                    payload,
                } => {
                    let heard = match subscription {
                        MAIL => self.mail(reply, payload),
                        _ => Ok(self.answer(&subject, &payload)),
                    };
                    return Poll::Ready(heard);
                }
            }
        }
    }
}

impl Nats {
    fn mail(&mut self, reply: Option<Bytes>, mut payload: Bytes) -> Result<Heard, Trouble> {
        if payload.is_empty() {
            return Err(trouble("frame.unreadable"));
        }
        let kind = u32::from(payload.get_u8());
        self.parcels += 1;
        let mut again = false;
        if let Some(reply) = reply {
            let delivery = stream::delivery(&reply).ok_or_else(|| trouble("frame.unreadable"))?;
            again = delivery.attempt > 1;
            if delivery.behind == 0 && self.waiting == Waiting::Something {
                self.waiting = Waiting::Until(self.parcels);
            }
            self.unacked.push_back((self.parcels, reply));
        }
        Ok(Heard::Mail(Parcel {
            receipt: Receipt(self.parcels),
            kind,
            payload,
            again,
        }))
    }

    /// What JetStream says about the message whose serial is the subject's last token.
    fn answer(&self, subject: &Bytes, payload: &Bytes) -> Heard {
        let serial = subject
            .strip_prefix(self.inbox.as_bytes())
            .and_then(|serial| std::str::from_utf8(serial).ok()?.parse().ok());
        match (serial, stream::refusal(payload)) {
            (None, _) => Heard::Nothing,
            (Some(serial), None) => Heard::Ok { serial },
            (Some(serial), Some(word)) => Heard::Refused { serial, word },
        }
    }
}

/// What waited when the connection began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// Something; which parcel is its last is not known yet.
    Something,
    /// This parcel is its last.
    Until(u64),
    /// Nothing, or nothing any more.
    Nothing,
    /// And that was told.
    Told,
}

/// A pipe that speaks NATS.
struct Link {
    pipe: Pipe,
    /// Mail that came while something else was waited for.
    early: VecDeque<Word>,
}

impl Link {
    /// Connects and says who is there.
    async fn open(address: &Address, source: Option<IpAddr>) -> Result<Self, Trouble> {
        let pipe = Pipe::connect(address, source, None).await?;
        let mut link = Self {
            pipe,
            early: VecDeque::new(),
        };
        link.pipe.out.extend_from_slice(CONNECT.as_bytes());
        link.sync().await?;
        Ok(link)
    }

    /// Waits until the server has taken everything that was written.
    async fn sync(&mut self) -> Result<(), Trouble> {
        self.pipe.out.extend_from_slice(b"PING\r\n");
        loop {
            match self.word().await? {
                Word::Pong => return Ok(()),
                Word::Error(_) => return Err(trouble("nats.error")),
                word @ Word::Message { .. } => self.early.push_back(word),
                Word::Ping | Word::Other => {}
            }
        }
    }

    /// Writes everything, then waits for the next word.
    async fn word(&mut self) -> Result<Word, Trouble> {
        std::future::poll_fn(|cx| self.pipe.poll_flush(cx)).await?;
        std::future::poll_fn(|cx| self.poll_word(cx)).await
    }

    fn poll_word(&mut self, cx: &mut Context<'_>) -> Poll<Result<Word, Trouble>> {
        loop {
            match codec::take(&mut self.pipe.input) {
                Ok(Some(word)) => {
                    if word == Word::Ping {
                        self.pipe.out.extend_from_slice(b"PONG\r\n");
                        // If the socket is full, it leaves with the next flush.
                        if let Poll::Ready(Err(trouble)) = self.pipe.poll_flush(cx) {
                            return Poll::Ready(Err(trouble));
                        }
                    }
                    return Poll::Ready(Ok(word));
                }
                Ok(None) => ready!(self.pipe.poll_fill(cx))?,
                Err(Malformed) => return Poll::Ready(Err(trouble("frame.unreadable"))),
            }
        }
    }
}

const CONNECT: &str = concat!(
    r#"CONNECT {"verbose":false,"pedantic":false,"lang":"rust","protocol":1,"name":"chatctl bench","version":""#,
    env!("CARGO_PKG_VERSION"),
    "\"}\r\n"
);
/// In front of an account: where its messages are published.
const SUBJECTS: &str = "chatctl-bench.mail.";
/// In front of an account: where JetStream delivers them.
const DELIVERIES: &str = "chatctl-bench.push.";
/// Subscriptions of a connection.
const MAIL: u32 = 1;
const ANSWERS: u32 = 2;
