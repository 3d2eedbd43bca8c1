//! Many hosts: agents that simulate clients, and a coordinator that leads them and adds up what they found.
//!
//! Clients that write to each other are always one agent's, so that no latency is measured between two clocks. Clocks matter
//! for the start alone, and how far they are apart is measured and told.

mod lead;
mod offset;
mod secret;
mod serve;
mod words;

pub use lead::{AgentError, Found, Lead};
pub use offset::{Exchange, Offset};
pub use secret::{Secret, SecretError};
pub use serve::{News, Part, Perform, serve};
