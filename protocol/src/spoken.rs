//! What a client says, as it stands in its frame: nothing is copied, and names are not checked yet.
//!
//! Owns the reading of the two frames of which there are many, Send and Ack, without building the schema's
//! structures. Must not know what a frame means; everything else is read as the schema has it.
//!
//! # Why
//!
//! prost allocates for each name and each list, and half of what a session did with a Send was that. Here is only the
//! form in which every writer of protobuf puts these frames: one member, of the length of the rest, with fields of this
//! schema. Whatever else the encoding allows (unknown fields, members that are merged, errors) is left to prost, so that
//! there are no rules of our own.

use std::fmt;

use bytes::{Buf as _, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};
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
#[derive(Clone, Copy, PartialEq, Eq)]
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

impl fmt::Debug for MessageRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageRef")
            .field("device_id", &self.device_id)
            .field("registration_id", &self.registration_id)
            .field("kind", &self.kind)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .finish()
    }
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

/// Reads one protobuf frame: what prost says of it, without its structures where it is a plain Send or Ack.
///
/// # Errors
///
/// As [`frame::decode_proto`].
pub fn read_proto(bytes: &[u8]) -> Result<Spoken<'_>, FrameError> {
    match read_plain(bytes) {
        Some(spoken) => Ok(spoken),
        None => frame::decode_proto(Bytes::copy_from_slice(bytes)).map(Spoken::Other),
    }
}

/// Reads one JSON frame.
///
/// # Errors
///
/// As [`frame::decode_json`].
pub fn read_json(text: &str) -> Result<Spoken<'_>, FrameError> {
    frame::decode_json(text).map(Spoken::Other)
}

/// A Send or an Ack in its plain form; `None` for everything that prost is to read.
fn read_plain(mut bytes: &[u8]) -> Option<Spoken<'_>> {
    let (tag, body) = (decode_key(&mut bytes).ok()?, delimited(&mut bytes)?);
    match tag {
        // Nothing behind it: what is repeated would have to be merged.
        _ if !bytes.is_empty() => None,
        (SEND, WireType::LengthDelimited) => read_send(body).map(Spoken::Send),
        (ACK, WireType::LengthDelimited) => read_ack(body).map(Spoken::Ack),
        _ => None,
    }
}

fn read_send(mut bytes: &[u8]) -> Option<SendRef<'_>> {
    let mut send = SendRef {
        id: 0,
        to_account: "",
        messages: SmallVec::new(),
        client_msg_id: &[],
        ttl: 0,
        urgent: false,
        ephemeral: false,
        sent_at: 0,
    };
    while !bytes.is_empty() {
        match decode_key(&mut bytes).ok()? {
            (1, WireType::Varint) => send.id = varint(&mut bytes)?,
            (2, WireType::LengthDelimited) => send.to_account = text(&mut bytes)?,
            (3, WireType::LengthDelimited) => send.messages.push(read_message(delimited(&mut bytes)?)?),
            (4, WireType::LengthDelimited) => send.client_msg_id = delimited(&mut bytes)?,
            (5, WireType::Varint) => send.ttl = short_varint(&mut bytes)?,
            (6, WireType::Varint) => send.urgent = varint(&mut bytes)? != 0,
            (7, WireType::Varint) => send.ephemeral = varint(&mut bytes)? != 0,
            (8, WireType::Varint) => send.sent_at = varint(&mut bytes)?.cast_signed(),
            _ => return None,
        }
    }
    Some(send)
}

fn read_message(mut bytes: &[u8]) -> Option<MessageRef<'_>> {
    let mut message = MessageRef {
        device_id: "",
        registration_id: 0,
        kind: 0,
        payload: &[],
    };
    while !bytes.is_empty() {
        match decode_key(&mut bytes).ok()? {
            (1, WireType::LengthDelimited) => message.device_id = text(&mut bytes)?,
            (2, WireType::Varint) => message.registration_id = short_varint(&mut bytes)?,
            (3, WireType::Varint) => message.kind = short_varint(&mut bytes)?,
            (4, WireType::LengthDelimited) => message.payload = delimited(&mut bytes)?,
            _ => return None,
        }
    }
    Some(message)
}

/// Ids may stand packed, as proto3 writes them, or one by one, as every reader must take them.
fn read_ack(mut bytes: &[u8]) -> Option<SmallVec<[u64; 8]>> {
    let mut ids = SmallVec::new();
    while !bytes.is_empty() {
        match decode_key(&mut bytes).ok()? {
            (1, WireType::LengthDelimited) => {
                let (packed, rest) = delimited(&mut bytes)?.as_chunks();
                if !rest.is_empty() {
                    return None;
                }
                ids.extend(packed.iter().map(|id| u64::from_le_bytes(*id)));
            }
            (1, WireType::SixtyFourBit) => ids.push(bytes.try_get_u64_le().ok()?),
            _ => return None,
        }
    }
    Some(ids)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    decode_varint(bytes).ok()
}

/// A 32-bit field of a number that may be longer: the rest is cut off, as the encoding has it.
fn short_varint(bytes: &mut &[u8]) -> Option<u32> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what protobuf says of longer numbers"
    )]
    varint(bytes).map(|number| number as u32)
}

fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(delimited(bytes)?).ok()
}

fn delimited<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(bytes)?).ok()?;
    bytes.split_off(..length)
}

/// The member `send` of a frame.
const SEND: u32 = 2;

/// The member `ack` of a frame.
const ACK: u32 = 4;
