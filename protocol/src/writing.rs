//! Mail and answers, written as frames without the schema's structures.
//!
//! Owns the protobuf encoding of the two frames of which there are many, Deliver and SendOk, from plain fields that
//! stand anywhere; everything else is written by [`crate::frame`]. The bytes are those that prost writes.
//!
//! # Why
//!
//! The schema's structures own their names: for each envelope two strings and a slice were allocated, only to be
//! written once. Lengths come first in protobuf, so both frames are measured before they are written.

use std::fmt;

use bytes::BufMut as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// What [`crate::v1::Envelope`] says, wherever it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EnvelopeRef<'a> {
    /// What an ack names.
    pub id: u64,
    /// Who sent it.
    pub account: &'a str,
    /// Which of the sender's devices.
    pub device_id: &'a str,
    /// The app's message type.
    pub kind: u32,
    /// The sender's name for the message.
    pub client_msg_id: &'a [u8],
    /// The sender's clock.
    pub sent_at: i64,
    /// The relay's clock.
    pub accepted_at: i64,
    /// 1 at the first delivery.
    pub attempt: u32,
    /// Ciphertext.
    pub payload: &'a [u8],
    /// A wake-up hint.
    pub urgent: bool,
    /// Never stored.
    pub ephemeral: bool,
}

impl fmt::Debug for EnvelopeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvelopeRef")
            .field("id", &self.id)
            .field("account", &self.account)
            .field("device_id", &self.device_id)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .finish_non_exhaustive()
    }
}

/// A frame of envelopes, measured.
#[derive(Debug, Clone)]
pub struct DeliverFrame<I> {
    envelopes: I,
    body_len: usize,
}

impl<'a, I: Iterator<Item = EnvelopeRef<'a>> + Clone> DeliverFrame<I> {
    /// The frame of these envelopes, which are gone through twice.
    #[must_use]
    pub fn new(envelopes: I) -> Self {
        let body_len = envelopes
            .clone()
            .map(|envelope| delimited_len(1, envelope.len()))
            .sum();
        Self { envelopes, body_len }
    }

    /// How many bytes the frame has.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        delimited_len(DELIVER, self.body_len)
    }

    /// Appends the frame.
    pub fn write(self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        write_head(DELIVER, self.body_len, out);
        for envelope in self.envelopes {
            write_head(1, envelope.len(), out);
            envelope.write(out);
        }
    }
}

/// A frame that says that a send is safe, measured.
#[derive(Debug, Clone)]
pub struct SendOkFrame<I> {
    id: u64,
    envelope_ids: I,
    duplicate: bool,
    ids_len: usize,
}

impl<I: ExactSizeIterator<Item = u64>> SendOkFrame<I> {
    /// The frame of this answer.
    #[must_use]
    pub fn new(id: u64, envelope_ids: I, duplicate: bool) -> Self {
        let ids_len = envelope_ids.len() * 8;
        Self {
            id,
            envelope_ids,
            duplicate,
            ids_len,
        }
    }

    fn body_len(&self) -> usize {
        let ids = match self.ids_len {
            0 => 0,
            length => delimited_len(2, length),
        };
        number_len(1, self.id) + ids + number_len(3, u64::from(self.duplicate))
    }

    /// How many bytes the frame has.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        delimited_len(SEND_OK, self.body_len())
    }

    /// Appends the frame.
    pub fn write(self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        write_head(SEND_OK, self.body_len(), out);
        write_number(1, self.id, out);
        if self.ids_len > 0 {
            write_head(2, self.ids_len, out);
            for id in self.envelope_ids {
                out.put_u64_le(id);
            }
        }
        write_number(3, u64::from(self.duplicate), out);
    }
}

impl EnvelopeRef<'_> {
    fn len(&self) -> usize {
        let id = match self.id {
            0 => 0,
            _ => key_len(1) + 8,
        };
        id + delimited_len(2, self.sender_len())
            + number_len(3, u64::from(self.kind))
            + bytes_len(4, self.client_msg_id)
            + number_len(5, self.sent_at.cast_unsigned())
            + number_len(6, self.accepted_at.cast_unsigned())
            + number_len(7, u64::from(self.attempt))
            + bytes_len(8, self.payload)
            + number_len(9, u64::from(self.urgent))
            + number_len(10, u64::from(self.ephemeral))
    }

    fn sender_len(&self) -> usize {
        bytes_len(1, self.account.as_bytes()) + bytes_len(2, self.device_id.as_bytes())
    }

    fn write(&self, out: &mut Vec<u8>) {
        if self.id != 0 {
            encode_key(1, WireType::SixtyFourBit, out);
            out.put_u64_le(self.id);
        }
        write_head(2, self.sender_len(), out);
        write_bytes(1, self.account.as_bytes(), out);
        write_bytes(2, self.device_id.as_bytes(), out);
        write_number(3, u64::from(self.kind), out);
        write_bytes(4, self.client_msg_id, out);
        write_number(5, self.sent_at.cast_unsigned(), out);
        write_number(6, self.accepted_at.cast_unsigned(), out);
        write_number(7, u64::from(self.attempt), out);
        write_bytes(8, self.payload, out);
        write_number(9, u64::from(self.urgent), out);
        write_number(10, u64::from(self.ephemeral), out);
    }
}

// proto3 leaves out what is zero or empty.

fn number_len(tag: u32, number: u64) -> usize {
    match number {
        0 => 0,
        number => key_len(tag) + encoded_len_varint(number),
    }
}

fn bytes_len(tag: u32, bytes: &[u8]) -> usize {
    match bytes.len() {
        0 => 0,
        length => delimited_len(tag, length),
    }
}

fn delimited_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

fn write_number(tag: u32, number: u64, out: &mut Vec<u8>) {
    if number != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(number, out);
    }
}

fn write_bytes(tag: u32, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        write_head(tag, bytes.len(), out);
        out.extend_from_slice(bytes);
    }
}

fn write_head(tag: u32, length: usize, out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

/// The member `deliver` of a frame.
const DELIVER: u32 = 17;

/// The member `send_ok` of a frame.
const SEND_OK: u32 = 18;
