//! From the frames of RFC 6455 to whole messages.
//!
//! Owns the rules: masks, reserved bits, opcodes, control frames between fragments, the bound on a message. Headers are
//! read by tungstenite. Must not know where bytes come from, nor answer anybody.

use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::http::socket::bytes::Bytes;

/// What stands in the bytes that have come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A whole message.
    Whole(Whole),
    /// Not all of the next frame, which has so many bytes; 0 where that is not known yet.
    Part(usize),
}

/// A message of which everything is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) kind: Kind,
    /// Where it stands in the bytes; nowhere, if it came in fragments: those are joined.
    place: Option<(usize, usize)>,
}

/// What kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Binary,
    Ping,
    Pong,
    Close,
}

/// How a stream broke the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breach {
    TooLarge,
    NotUtf8,
    Protocol,
}

/// What is remembered of a stream from frame to frame.
#[derive(Debug)]
pub(super) struct Messages {
    most: usize,
    joined: Option<Box<Joined>>,
}

/// A message of which the fragments are collected.
#[derive(Debug)]
struct Joined {
    kind: Kind,
    bytes: Vec<u8>,
    /// How much of a text is known to be one.
    checked: usize,
    is_whole: bool,
}

impl Messages {
    /// Messages of at most so many bytes.
    pub(super) const fn new(most: usize) -> Self {
        Self { most, joined: None }
    }

    /// The next message, whose bytes are marked as read. The one before is gone.
    pub(super) fn next(&mut self, bytes: &mut Bytes) -> Result<Step, Breach> {
        self.joined.take_if(|joined| joined.is_whole);
        loop {
            let mut cursor = Cursor::new(bytes.unread());
            let header = FrameHeader::parse(&mut cursor).map_err(|_| Breach::Protocol)?;
            let Some((header, length)) = header else {
                return Ok(Step::Part(0));
            };
            let length = usize::try_from(length).map_err(|_| Breach::TooLarge)?;
            let mask = self.check(&header, length)?;
            let head = usize::try_from(cursor.position()).map_err(|_| Breach::TooLarge)?;
            if bytes.unread().len() < head + length {
                return Ok(Step::Part(head + length));
            }
            bytes.advance(head);
            let (start, payload) = bytes.advance(length);
            unmask(payload, mask);
            let place = Some((start, length));
            let kind = match header.opcode {
                OpCode::Control(Control::Ping) => Kind::Ping,
                OpCode::Control(Control::Pong) => Kind::Pong,
                OpCode::Control(Control::Close) => Kind::Close,
                OpCode::Data(Data::Text) if header.is_final => Kind::Text,
                OpCode::Data(Data::Binary) if header.is_final => Kind::Binary,
                OpCode::Data(Data::Text) => {
                    self.join(Some(Kind::Text), payload, false)?;
                    continue;
                }
                OpCode::Data(Data::Binary) => {
                    self.join(Some(Kind::Binary), payload, false)?;
                    continue;
                }
                OpCode::Data(Data::Continue) => match self.join(None, payload, header.is_final)? {
                    Some(kind) => return Ok(Step::Whole(Whole { kind, place: None })),
                    None => continue,
                },
                OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => {
                    return Err(Breach::Protocol);
                }
            };
            return Ok(Step::Whole(Whole { kind, place }));
        }
    }

    /// The bytes of the message that was found last.
    pub(super) fn payload<'a>(&'a self, bytes: &'a Bytes, whole: Whole) -> &'a [u8] {
        match (whole.place, &self.joined) {
            (Some((start, length)), _) => bytes.at(start, length),
            (None, Some(joined)) => &joined.bytes,
            (None, None) => &[],
        }
    }

    /// What a header alone tells; a client that breaks a rule there need not send the rest. Gives the mask.
    fn check(&self, header: &FrameHeader, length: usize) -> Result<[u8; 4], Breach> {
        let before = match header.opcode {
            OpCode::Data(_) => self.joined.as_ref().map_or(0, |joined| joined.bytes.len()),
            OpCode::Control(_) => 0,
        };
        if length > self.most.saturating_sub(before) {
            return Err(Breach::TooLarge);
        }
        let is_allowed = match header.opcode {
            OpCode::Control(_) => header.is_final && length <= MOST_CONTROL_BYTES,
            OpCode::Data(Data::Continue) => self.joined.is_some(),
            OpCode::Data(_) => self.joined.is_none(),
        };
        if !is_allowed || header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Breach::Protocol);
        }
        header.mask.ok_or(Breach::Protocol)
    }

    /// Takes a fragment: the first one of a kind, or one more. Tells what the last one has made whole.
    fn join(&mut self, first: Option<Kind>, payload: &[u8], is_last: bool) -> Result<Option<Kind>, Breach> {
        if let Some(kind) = first {
            self.joined = Some(Box::new(Joined {
                kind,
                bytes: Vec::new(),
                checked: 0,
                is_whole: false,
            }));
        }
        let joined = self.joined.as_mut().ok_or(Breach::Protocol)?;
        joined.bytes.extend_from_slice(payload);
        if joined.kind == Kind::Text {
            joined.check()?;
        }
        joined.is_whole = is_last;
        Ok(is_last.then_some(joined.kind))
    }
}

impl Joined {
    /// Fails at the first byte that no text can have: its rest need not be waited for.
    fn check(&mut self) -> Result<(), Breach> {
        match std::str::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(Breach::NotUtf8),
        }
        Ok(())
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// RFC 6455 section 5.5.
const MOST_CONTROL_BYTES: usize = 125;
