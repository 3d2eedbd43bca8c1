//! What a client says, as it stands in its frame: nothing is copied, and names are not checked yet.
//!
//! Owns the reading of the two frames of which there are many, Send and Ack, without building the schema's
//! structures. Must not know what a frame means; everything else is read as the schema has it.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::frame::{self, FrameError};
use crate::v1;
use crate::v1::frame::Body;

/// One frame of a client.
#[derive(Debug)]
pub enum Spoken<'a> {
    /// A message for the devices of one account.
    Send(SendRef<'a>),
    /// Ids of envelopes that the device has stored.
    Ack(SmallVec<[u64; 8]>),
    /// Anything else.
    Other(Body),
}

/// [`v1::Send`], borrowed from its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendRef<'a> {
    /// The sender's number for the answer.
    pub id: u64,
    /// Whose devices.
    pub to_account: &'a str,
    /// One for each device.
    pub messages: SmallVec<[MessageRef<'a>; 1]>,
    /// The sender's name for the message.
    pub client_msg_id: &'a [u8],
    /// Seconds it may wait.
    pub ttl: u32,
    /// A wake-up hint.
    pub urgent: bool,
    /// Never stored.
    pub ephemeral: bool,
    /// The sender's clock.
    pub sent_at: i64,
}

/// [`v1::DeviceMessage`], borrowed from its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRef<'a> {
    /// Which device.
    pub device_id: &'a str,
    /// What the sender encrypted for.
    pub registration_id: u32,
    /// The app's message type.
    pub kind: u32,
    /// Ciphertext.
    pub payload: &'a [u8],
}

impl<'a> From<&'a v1::Send> for SendRef<'a> {
    fn from(send: &'a v1::Send) -> Self {
        let messages = send.messages.iter().map(|message| MessageRef {
            device_id: &message.device_id,
            registration_id: message.registration_id,
            kind: message.kind,
            payload: &message.payload,
        });
        Self {
            id: send.id,
            to_account: &send.to_account,
            messages: messages.collect(),
            client_msg_id: &send.client_msg_id,
            ttl: send.ttl,
            urgent: send.urgent,
            ephemeral: send.ephemeral,
            sent_at: send.sent_at,
        }
    }
}

/// Reads one protobuf frame.
///
/// # Errors
///
/// As [`frame::decode_proto`].
pub fn read_proto(bytes: &[u8]) -> Result<Spoken<'_>, FrameError> {
    frame::decode_proto(Bytes::copy_from_slice(bytes)).map(Spoken::Other)
}

/// Reads one JSON frame.
///
/// # Errors
///
/// As [`frame::decode_json`].
pub fn read_json(text: &str) -> Result<Spoken<'_>, FrameError> {
    frame::decode_json(text).map(Spoken::Other)
}
