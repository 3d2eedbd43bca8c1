//! The wire protocol of chatctl: schema, frames, names, limits and codes.
//!
//! Owns everything that both ends of a socket must agree on, and nothing else: no I/O, no clock, no
//! runtime, so that any client can depend on it. The schema is `proto/chatctl/v1/relay.proto`; both
//! encodings come from it.

pub mod close;
pub mod code;
pub mod frame;
pub mod limits;
pub mod names;
pub mod schema;
pub mod spoken;
pub mod v1;
pub mod writing;

pub use close::CloseCode;
pub use code::Code;
pub use frame::{Encoding, FrameError};
pub use limits::Limits;
pub use names::{
    AccountId, Address, ClientMsgId, DeviceId, EnvelopeId, NameError, PoolName, Suite, SuiteName,
};
pub use spoken::{MessageRef, SendRef, Spoken};
