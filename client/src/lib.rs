//! A device's side of the chatctl protocol, as an app developer would want it.
//!
//! Two layers. [`Socket`] carries frames and knows no policy. [`Device`] is one installation of an
//! account: it connects, comes back after a break, sends again what was not answered, and gives
//! each message to the app once. Neither spawns a task: everything happens inside the calls.
//!
//! Payloads are opaque bytes here, except in [`e2ee`]: it encrypts and decrypts, with keys from the relay's [`Directory`].
//!
//! ```no_run
//! # async fn story() -> Result<(), Box<dyn std::error::Error>> {
//! use chatctl_client::{Device, Event, Message, Options, Token};
//! use chatctl_protocol::{AccountId, DeviceId};
//!
//! let mut device = Device::new(Options::new("ws://127.0.0.1:8480/v1/ws"), Token::new("eyJ…"));
//! let hello = Message::new(AccountId::parse("bob")?).device(DeviceId::parse("1")?, 7, 0, "ciphertext");
//! let _outcome = device.send(hello).await?;
//! loop {
//!     if let Event::Mail(mail) = device.next_event().await? {
//!         // Store it first, then ack it: what is not acked comes again.
//!         device.ack(mail.iter().map(|mail| mail.id));
//!     }
//! }
//! # }
//! ```

mod attempt;
mod backoff;
mod device;
mod directory;
pub mod e2ee;
mod event;
mod events;
mod incoming;
mod live;
mod mail;
mod message;
mod options;
mod outbox;
mod parting;
mod seen;
mod socket;
mod tls;
mod token;

pub use backoff::Backoff;
pub use device::{Device, Error};
pub use directory::{
    Claimed, ClaimedKeys, DeviceList, Directory, DirectoryError, Http, Item, KeyUpload, ListedDevice,
    PoolCount, PoolUpload,
};
pub use event::{Event, Session};
pub use mail::{Mail, MailError};
pub use message::{Message, Refusal, SendId, SendOutcome};
pub use options::{Mode, Options};
pub use parting::{Stop, Why};
pub use socket::{Socket, SocketError};
pub use tls::{Tls, TlsError};
pub use token::{Token, TokenFuture, TokenSource};
