//! Connections of simulated clients to what is measured: the relay, or one of its peers.
//!
//! A [`Wire`] is one client's connection, and nothing more: it puts messages into a buffer, flushes, and says what
//! came. It measures nothing, keeps no history and never waits by itself. The engine is compiled once for each kind,
//! so the others cost the default one nothing.

mod accounts;
pub mod chatctl;
mod dial;
pub mod direct;
mod fence;
pub mod mqtt;
pub mod nats;
mod pipe;
pub mod ws_echo;
pub mod xmpp;

pub use dial::{Address, AddressError};

use std::future::Future;
use std::task::{Context, Poll};

use bytes::Bytes;
use chatctl_client::Token;
use chatctl_protocol::{AccountId, ClientMsgId, DeviceId};
use smallvec::SmallVec;

use crate::crypto::{self, Keyring};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::scenario::Crypto;

/// A client's connection.
pub trait Wire: Sized + 'static {
    /// What all clients of a run share: where the server is, and how to sign on.
    type Place: Clone + Send + Sync + 'static;

    /// Sets everybody up before the first connection: registers devices, publishes keys. Bounded in how much it asks
    /// at once.
    ///
    /// # Errors
    ///
    /// [`Trouble`] when somebody cannot be set up.
    fn prepare(
        place: &Self::Place,
        plan: &Plan,
        passes: &dyn Passes,
        progress: &Progress,
    ) -> impl Future<Output = Result<(), Trouble>> {
        let _ = (place, plan, passes, progress);
        async { Ok(()) }
    }

    /// What everybody encrypts and decrypts with; called between [`Wire::prepare`] and the first connection. Sessions that are
    /// made in the generator, unless the server has a directory to make them through.
    ///
    /// # Errors
    ///
    /// [`Trouble`] when there is no directory, or it does not do its part.
    fn meet(
        place: &Self::Place,
        plan: &Plan,
        passes: &dyn Passes,
        crypto: Crypto,
    ) -> impl Future<Output = Result<Vec<Keyring>, Trouble>> {
        let _ = (place, passes);
        std::future::ready(match crypto {
            Crypto::Session => Err(no_directory()),
            Crypto::Staged | Crypto::None => Ok(crypto::staged(plan, crypto)),
        })
    }

    /// Removes what [`Wire::prepare`] made, as far as that is possible.
    fn tidy(place: &Self::Place, plan: &Plan, passes: &dyn Passes) -> impl Future<Output = ()> {
        let _ = (place, plan, passes);
        async {}
    }

    /// Publishes so many one-time keys of a device, and one that is never used up.
    ///
    /// # Errors
    ///
    /// [`Trouble`]; always where there is no directory of keys.
    fn publish(place: &Self::Place, who: &Who, keys: u32) -> impl Future<Output = Result<(), Trouble>> {
        let _ = (place, who, keys);
        async { Err(no_directory()) }
    }

    /// Claims a key of a device.
    ///
    /// # Errors
    ///
    /// [`Trouble`]; always where there is no directory of keys.
    fn claim(place: &Self::Place, who: &Who, of: &Who) -> impl Future<Output = Result<Claimed, Trouble>> {
        let _ = (place, who, of);
        async { Err(no_directory()) }
    }

    /// Connects and signs on. Ready when mail can come.
    ///
    /// # Errors
    ///
    /// [`Trouble`].
    fn connect(place: &Self::Place, who: &Who) -> impl Future<Output = Result<Self, Trouble>>;

    /// Ready when [`Wire::post`] has room for a message.
    ///
    /// # Errors
    ///
    /// [`Trouble`] when the connection is over.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>>;

    /// Puts a message into the buffer. Only after [`Wire::poll_ready`].
    ///
    /// # Errors
    ///
    /// [`Trouble`] when the connection is over.
    fn post(&mut self, post: Post<'_>) -> Result<(), Trouble>;

    /// Notes that a parcel was received; it is told with the next flush at the latest.
    fn ack(&mut self, receipt: Receipt);

    /// Writes what is in the buffer.
    ///
    /// # Errors
    ///
    /// [`Trouble`] when the connection is over.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>>;

    /// What came. Never starves [`Wire::poll_flush`]: pending when there is nothing more to read now.
    ///
    /// # Errors
    ///
    /// [`Trouble`] when the connection is over.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Heard, Trouble>>;
}

/// Makes the tokens of simulated devices. Called once before each device's first session, and again when the
/// server says that a token is no good any more.
pub trait Passes: Send + Sync + 'static {
    /// A token for a device.
    ///
    /// # Errors
    ///
    /// When there is none to be had: why, in a sentence.
    fn token(&self, account: &AccountId, device_id: &DeviceId) -> Result<Token, String>;
}

/// A client that connects.
#[derive(Debug, Clone)]
pub struct Who {
    /// Its account.
    pub account: AccountId,
    /// Its device.
    pub device_id: DeviceId,
    /// Its token, where the server wants one.
    pub token: Token,
    /// Where it connects from, when it is not left to the system.
    pub source: Option<std::net::IpAddr>,
}

/// A message to the devices of one account.
#[derive(Debug)]
pub struct Post<'a> {
    /// Comes back in [`Heard::Ok`]; grows with each message of a connection.
    pub serial: u64,
    /// Whose devices.
    pub to: &'a AccountId,
    /// The message's name, the same when it is sent again.
    pub name: ClientMsgId,
    /// One for each device.
    pub parts: SmallVec<[Part; 1]>,
}

/// What one device gets.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its device.
    pub device_id: DeviceId,
    /// Its registration id.
    pub registration_id: u32,
    /// Olm's type of message; 0 without cryptography.
    pub kind: u32,
    /// The label and the body.
    pub payload: Bytes,
}

/// What the server wants to hear when a parcel was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt(pub u64);

/// What came.
#[derive(Debug)]
pub enum Heard {
    /// A message is safe, or as safe as this server ever says.
    Ok {
        /// As posted.
        serial: u64,
    },
    /// A message was refused.
    Refused {
        /// As posted.
        serial: u64,
        /// Why: a class for the report.
        word: String,
    },
    /// Mail.
    Mail(Parcel),
    /// Everything that waited has been acked.
    Empty,
    /// Something that means nothing here.
    Nothing,
}

/// Mail.
#[derive(Debug)]
pub struct Parcel {
    /// For the ack.
    pub receipt: Receipt,
    /// Olm's type of message.
    pub kind: u32,
    /// The label and the body.
    pub payload: Bytes,
    /// The server says that it was delivered before.
    pub again: bool,
}

/// What was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// A one-time key, and its name.
    Key(String),
    /// The key that is never used up.
    Fallback,
    /// There was no key.
    Nothing,
}

/// A connection that is over, or never began.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{class}")]
pub struct Trouble {
    /// A class for the report: `connect.refused`, `close.1013`, `upgrade.503`.
    pub class: String,
    /// Whether it is no use to try again.
    pub fatal: bool,
}

fn no_directory() -> Trouble {
    Trouble {
        class: "no_directory".to_owned(),
        fatal: true,
    }
}
