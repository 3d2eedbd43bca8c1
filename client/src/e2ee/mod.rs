//! End-to-end encryption over a relay: Olm sessions (X3DH and the Double Ratchet, by vodozemac) that are made through
//! the relay's key directory.
//!
//! Must not know how mail travels: it turns words into a [`crate::Message`] and [`crate::Mail`] into words.
//!
//! Two layers. A [`Vault`] has the secrets of one installation and does no input or output. An [`Installation`] is a
//! vault with its [`crate::Device`] and [`crate::Directory`], and does things in the order that loses nothing:
//!
//! ```no_run
//! # async fn story(keep: chatctl_client::e2ee::Keep) -> Result<(), Box<dyn std::error::Error>> {
//! use chatctl_client::e2ee::{Installation, Vault};
//! use chatctl_client::{Device, Event, Http, Options, Token};
//! use chatctl_protocol::{AccountId, Address, DeviceId};
//!
//! let token = Token::new("eyJ…");
//! let directory = Http::new("http://127.0.0.1:8480")?.directory(token.clone());
//! let device = Device::new(Options::new("ws://127.0.0.1:8480/v1/ws"), token);
//! // The first start. Later ones read what was kept: `Vault::from_pickle`.
//! let me = Address { account: AccountId::parse("alice")?, device_id: DeviceId::parse("1")? };
//! let vault = Vault::new(me, 4711);
//! let mut alice = Installation::new(device, directory, vault, keep);
//! alice.enrol(50).await?;
//! alice.send(&AccountId::parse("bob")?, b"hello").await?;
//! loop {
//!     match alice.next_event().await? {
//!         Event::Mail(mail) => {
//!             for mail in mail {
//!                 if let Ok(Some(decrypted)) = alice.open(&mail) {
//!                     // Store `decrypted.words` first.
//!                 }
//!                 alice.ack([mail.id])?;
//!             }
//!         }
//!         Event::KeysLow(_) | Event::FallbackUsed(_) => alice.publish(50).await?,
//!         _other => {}
//!     }
//! }
//! # }
//! ```
//!
//! # What an app must keep
//!
//! A ratchet never turns back, so a vault that was used and not kept is a vault that cannot read. [`Vault::pickle`] is kept
//! before a message leaves, before keys are published and before mail is acked; an [`Installation`] does that with the
//! app's [`Keep`]. The app stores the words of mail before it acks, or together with the vault. A vault is
//! written whole: about 3 KB for each session.
//!
//! # Whom to trust
//!
//! The identity of another device is pinned when it is seen first. Another one later is an error
//! ([`SealError::IdentityChanged`], [`OpenError::IdentityChanged`]) until the app accepts it. People compare [`Identity::fingerprint`]s or a
//! [`safety_number`]; then the app calls [`Vault::verify`]. A relay that lies about keys from the start is found by that, and by nothing else.

mod bundle;
mod identity;
mod installation;
mod letter;
mod open;
mod peer;
mod pickle;
mod seal;
mod seen;
#[cfg(test)]
mod tests;
mod upkeep;
mod vault;

pub use bundle::{Bundle, POOL, checked, pool};
pub use identity::{Identity, IdentityError, safety_number};
pub use installation::{Answer, Installation, Keep, SendError};
pub use letter::Letter;
pub use open::{Decrypted, OpenError};
pub use peer::Trust;
pub use pickle::{Pickle, PickleError};
pub use seal::SealError;
pub use vault::{Known, Vault};
