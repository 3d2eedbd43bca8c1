//! A device's side of the chatctl protocol, as an app developer would want it: connect, send, receive, ack, come back.
//!
//! chatctl is a relay for end-to-end-encrypted chat. It keeps public keys and ciphertext; what opens them stays on the
//! devices, and this crate is where a device begins.
//!
//! - [`Device`]: one installation of an account. It connects, comes back after a break, sends again what was not answered,
//!   renews its token, and gives each message to the app once.
//! - [`Directory`]: who has which devices, and their public keys: register, publish, look up, claim.
//! - [`e2ee`]: encrypts for all devices of an account and decrypts what arrives, on the two above.
//! - [`Socket`]: frames in and frames out, without any policy, for whoever wants their own.
//!
//! Nothing here spawns a task or a thread for a session: everything happens inside the calls, on the app's Tokio
//! runtime. (The HTTP connections of a [`Directory`] are driven by tasks of that runtime.) Every queue is bounded.
//!
//! # Quick start
//!
//! `chatctl serve --dev` starts a relay with two accounts and prints their tokens.
//!
//! ```no_run
//! # async fn story() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! use chatctl_client::{Device, Event, Http, Message, Options, Token};
//! use chatctl_protocol::AccountId;
//!
//! // The app's login: asked at first, when a token ends soon, and when one is refused.
//! let login = |_spent: Option<Token>| async { Ok(Token::new(&std::fs::read_to_string("token")?)) };
//! let directory = Http::new("http://127.0.0.1:8480")?.directory(login);
//! let mut device = Device::new(Options::new("ws://127.0.0.1:8480/v1/ws"), login);
//!
//! // A message to all of Bob's devices: all of them or none.
//! let bob = AccountId::parse("bob")?;
//! let mut hello = Message::new(bob.clone());
//! for peer in directory.devices(&bob, None).await?.devices {
//!     hello = hello.device(peer.device_id, peer.registration_id, 0, "ciphertext");
//! }
//! let _outcome = device.send(hello).await?;
//!
//! loop {
//!     if let Event::Mail(mail) = device.next_event().await? {
//!         // Store it first, then ack it: what is not acked comes again.
//!         device.ack(mail.iter().map(|mail| mail.id));
//!     }
//! }
//! # }
//! ```
//!
//! The same as programs to run, in `examples/`: `send`, `receive`, `keys`.
//!
//! # What it promises
//!
//! - **Accepted is safe.** [`SendOutcome::Accepted`] means that the message is on the relay's disk, or acked already.
//! - **A retry is never a second message.** A [`Message`] has its name from the start and keeps it: over breaks, over
//!   [`Device::deliver`], and, with [`Message::named`], over restarts of the app.
//! - **In order.** Messages of [`Device::post`] are accepted in the order of the calls, also after a break; they arrive in that
//!   order. A message that is refused for now and sent again may be overtaken.
//! - **Once.** What the relay delivers twice is shown to the app once: among the last [`Options::remembered_messages`]
//!   of this [`Device`], and among those that it has not acked. Over restarts of the app, [`Mail::message_id`] tells.
//! - **Loss is said.** Mail that expired or did not fit is an [`Event::Gap`].
//! - **Bounded.** A relay cannot fill the app's memory: mail is bounded by the window, frames and answers by their size, other
//!   events by their number, the oldest goes first.
//! - **Quiet.** Tokens and payloads never print, neither in `Debug` nor in errors.
//!
//! # Acks
//!
//! Reading mail acks nothing. Store it where a crash cannot take it, then call [`Device::ack`]; the ack leaves with the next call
//! that waits ([`Device::flush`], if there is none). What is not acked comes again, on this session's successor or in the next life
//! of the app. A relay stops delivering when a window full of mail is not acked, and ends the session when it
//! stays so.
//!
//! # When a session ends
//!
//! The device comes back by itself, and says so with [`Event::Disconnected`]. It waits for what the relay asked for, plus a time drawn
//! evenly from a range that doubles with each failure ([`Backoff`]), so that clients that lost the same relay do not come back
//! together.
//!
//! | what happened | what the device does |
//! |---|---|
//! | the connection broke, or nothing was heard for longer than the keepalive | comes back |
//! | the relay restarts, is full, or did not hear the hello (1001, 1011–1013, 4408, 4429; 408, 425, 429, 5xx at the upgrade) | comes back when the relay said |
//! | the token was refused or ended (4401; 401) | asks the source for another one and comes back; stops if it has none |
//! | another session of the device took over (4409) | comes back after at least 30 s |
//! | too slow with acks (4490) | comes back with half the window |
//! | removed, registered anew, bad version, any other code of 4400–4449 (4403, 4410, 4426; other statuses) | stops: [`Error::Stopped`] |
//! | the certificate is not trusted, the URL is wrong, the relay sends nonsense | tells the app with an error, and tries again after a while |
//!
//! # Tokens
//!
//! A [`TokenSource`] is any function to a future of a [`Token`]. When the relay says that a token ends soon, the device asks
//! for the next one and hands it in on the same session: nothing is dropped, no mail comes twice. If the source fails,
//! [`Event::RenewalFailed`] says so and it is asked again until the token has ended. [`Options::renew_tokens`] leaves all of it to the app.
//!
//! # Dropped calls
//!
//! Every wait of a [`Device`] may be dropped, in `select!` or by a timeout, and nothing is lost: the state lives in the device. A
//! message whose [`Device::send`] was dropped is still sent, and its answer becomes an event. But the device lives only while one of
//! its calls is polled: an app that stops calling stops answering the relay's pings.
//!
//! Calls of a [`Directory`] are requests: when one is dropped, whether it was done is not known. All but a claim may be
//! repeated without harm; keys of a claim whose answer is lost are lost, too.
//!
//! # TLS
//!
//! `wss://` and `https://` use rustls with ring and the system's certificates. [`Options::dial`] and [`Http::with`] take a
//! [`Dial`]: other authorities, a configuration of the app's own, a local address to connect from. No provider is installed for the process.

mod attempt;
mod backoff;
mod device;
mod dial;
mod directory;
pub mod e2ee;
mod event;
mod events;
mod incoming;
mod line;
mod live;
mod mail;
mod message;
mod options;
mod outbox;
mod parting;
mod renewal;
mod seen;
mod socket;
mod tls;
mod token;

pub use backoff::Backoff;
pub use device::{Device, Error};
pub use dial::Dial;
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
