//! The words of NATS' client protocol, to bytes and back.
//!
//! # Why
//!
//! By hand: the protocol is five words, and the official client starts tasks and queues of its own behind each
//! connection, whose processor time would count as the generator's.

use std::fmt::Write as _;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// A message of a subscription.
    Message {
        subject: Bytes,
        subscription: u32,
        reply: Option<Bytes>,
        payload: Bytes,
    },
    /// Wants a pong.
    Ping,
    Pong,
    /// `INFO` and `+OK`: nothing that matters here.
    Other,
    /// `-ERR`: it closes the connection, or did not do what it was asked.
    Error(String),
}

/// Bytes that are not the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// `PUB`, with a byte in front of the payload if there is one.
pub(super) fn publish(out: &mut BytesMut, to: (&str, &str), reply: Reply<'_>, parts: [&[u8]; 2]) {
    let (prefix, name) = to;
    let [front, payload] = parts;
    out.reserve(64 + prefix.len() + name.len() + payload.len());
    // Writing to a BytesMut that grows cannot fail.
    let _ = match reply {
        Reply::None => write!(out, "PUB {prefix}{name} {}\r\n", front.len() + payload.len()),
        Reply::To(inbox, serial) => write!(
            out,
            "PUB {prefix}{name} {inbox}{serial} {}\r\n",
            front.len() + payload.len()
        ),
    };
    out.put_slice(front);
    out.put_slice(payload);
    out.put_slice(b"\r\n");
}

/// Where an answer goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reply<'a> {
    None,
    /// An inbox, and what its last token says.
    To(&'a str, u64),
}

/// `SUB`.
pub(super) fn subscribe(out: &mut BytesMut, subject: &str, subscription: u32) {
    let _ = write!(out, "SUB {subject} {subscription}\r\n");
}

/// Takes the next word out of `input`, if all of it is there.
pub(super) fn take(input: &mut BytesMut) -> Result<Option<Word>, Malformed> {
    let Some(end) = input.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n') else {
        return if input.len() < LONGEST_LINE {
            Ok(None)
        } else {
            Err(Malformed)
        };
    };
    if !input.starts_with(b"MSG ") {
        let line = input.split_to(end + 1);
        return other(line.trim_ascii_end()).map(Some);
    }
    let line = input[4..end].trim_ascii_end();
    let mut fields = [(0, 0); 4];
    let mut count = 0;
    let mut at = 4;
    for field in line.split(|byte| *byte == b' ') {
        *fields.get_mut(count).ok_or(Malformed)? = (at, at + field.len());
        count += 1;
        at += field.len() + 1;
    }
    if count < 3 {
        return Err(Malformed);
    }
    let number = |place: usize| -> Result<usize, Malformed> {
        let digits = std::str::from_utf8(&input[fields[place].0..fields[place].1]).map_err(|_| Malformed)?;
        digits.parse().map_err(|_| Malformed)
    };
    let (subscription, length) = (number(1)?, number(count - 1)?);
    let whole = end + 1 + length + 2;
    if length > LARGEST_PAYLOAD {
        return Err(Malformed);
    }
    if input.len() < whole {
        return Ok(None);
    }
    let mut message = input.split_to(whole).freeze();
    let subject = message.slice(fields[0].0..fields[0].1);
    let reply = (count == 4).then(|| message.slice(fields[2].0..fields[2].1));
    message.advance(end + 1);
    message.truncate(length);
    Ok(Some(Word::Message {
        subject,
        subscription: u32::try_from(subscription).map_err(|_| Malformed)?,
        reply,
        payload: message,
    }))
}

fn other(line: &[u8]) -> Result<Word, Malformed> {
    if line == b"PING" {
        Ok(Word::Ping)
    } else if line == b"PONG" {
        Ok(Word::Pong)
    } else if line == b"+OK" || line.starts_with(b"INFO") {
        Ok(Word::Other)
    } else if let Some(why) = line.strip_prefix(b"-ERR ") {
        Ok(Word::Error(String::from_utf8_lossy(why).into_owned()))
    } else {
        Err(Malformed)
    }
}

/// `INFO` of a large cluster is the longest line.
const LONGEST_LINE: usize = 64 * 1024;
const LARGEST_PAYLOAD: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(reply: Option<&'static str>) -> Word {
        Word::Message {
            subject: "cb.bob".into(),
            subscription: 7,
            reply: reply.map(Into::into),
            payload: Bytes::from_static(b"a\r\nb"),
        }
    }

    #[test]
    fn words_are_taken_as_they_become_whole() {
        let stream = b"INFO {}\r\nMSG cb.bob 7 4\r\na\r\nb\r\nPING\r\nMSG cb.bob 7 r.1 4\r\na\r\nb\r\n-ERR 'no'\r\nPONG\r\n";
        let mut input = BytesMut::new();
        let mut words = Vec::new();
        for byte in stream {
            input.put_u8(*byte);
            words.extend(take(&mut input).unwrap());
        }
        let error = Word::Error("'no'".to_owned());
        let told = [
            Word::Other,
            message(None),
            Word::Ping,
            message(Some("r.1")),
            error,
            Word::Pong,
        ];
        assert_eq!(words, told);
        assert!(input.is_empty());
    }

    #[test]
    fn what_is_not_the_protocol_is_refused() {
        for bytes in [
            "HTTP/1.1 400\r\n",
            "MSG a 1\r\n",
            "MSG a x 1\r\n",
            "MSG a 1 2 3 4\r\n",
            "MSG a 1 99999999999\r\n",
        ] {
            assert_eq!(take(&mut BytesMut::from(bytes)), Err(Malformed), "{bytes}");
        }
    }

    #[test]
    fn a_message_is_written_in_one_piece() {
        let mut out = BytesMut::new();
        publish(&mut out, ("cb.", "bob"), Reply::To("in.", 9), [&[0], b"x"]);
        publish(&mut out, ("", "ack"), Reply::None, [b"", b""]);
        assert_eq!(out, "PUB cb.bob in.9 2\r\n\0x\r\nPUB ack 0\r\n\r\n");
    }
}
