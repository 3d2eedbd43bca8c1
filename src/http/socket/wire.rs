//! A connection as a WebSocket: messages in, frames out, the close handshake.
//!
//! Owns what is not read and what is not written yet. Must not know what a message means, and waits for as long as its
//! caller does.
//!
//! # Why
//!
//! tungstenite's own loop allocates for each message and moves it several times on its way in and out. Its headers are
//! used here, and nothing else: messages are handed out where they were read, and all that is to be written goes out at
//! once. TLS makes one record of it (more, where it is over 16 KiB).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use chatctl_protocol::CloseCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{
    CloseCode as WsCloseCode, Control, Data, OpCode,
};

use crate::http::socket::Ended;
use crate::http::socket::bytes::Bytes;
use crate::http::socket::messages::{Breach, Kind, Messages, Step, Whole};
use crate::http::socket::pool;
use crate::tls::Line;

/// A message, where it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// The answer to a ping, with its mark.
    Pong(&'a [u8]),
    /// A ping; the answer waits for the next write.
    Ping,
    /// The other side's goodbye; the answer waits for the next write.
    Close,
}

/// One end of a WebSocket: the server's.
#[derive(Debug)]
pub struct Wire<L = Line> {
    line: L,
    bytes: Bytes,
    messages: Messages,
    found: Option<Whole>,
    /// What nobody took yet.
    unwritten: Vec<u8>,
    /// Nothing more is to be heard: the other side has said goodbye, or broken the rules.
    is_over: bool,
}

impl<L: AsyncRead + AsyncWrite + Unpin> Wire<L> {
    /// A WebSocket over a connection from which something may have been read already, with messages of at most so many
    /// bytes.
    #[must_use]
    pub fn new(line: L, read: &[u8], max_message_bytes: usize) -> Self {
        Self {
            line,
            bytes: Bytes::new(read),
            messages: Messages::new(max_message_bytes),
            found: None,
            unwritten: Vec::new(),
            is_over: false,
        }
    }

    /// Ready as soon as there is a message for [`Self::take`].
    ///
    /// # Errors
    ///
    /// [`Ended`] when nothing more will come.
    pub fn poll_found(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        loop {
            let wanted = match self.find()? {
                Step::Whole(_) => return Poll::Ready(Ok(())),
                Step::Part(wanted) => wanted,
            };
            match ready!(self.bytes.poll_more(&mut self.line, wanted, cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(Ended::Gone)),
                Ok(_) => {}
            }
        }
    }

    /// The next message of those that have come, without looking whether there are more.
    ///
    /// # Errors
    ///
    /// [`Ended`] when nothing more will come.
    pub fn take(&mut self) -> Result<Option<Message<'_>>, Ended> {
        let whole = match self.find()? {
            Step::Whole(whole) => whole,
            Step::Part(_) => return Ok(None),
        };
        self.found = None;
        let payload = self.messages.payload(&self.bytes, whole);
        Ok(Some(match whole.kind {
            Kind::Text => match std::str::from_utf8(payload) {
                Ok(text) => Message::Text(text),
                Err(_) => {
                    self.is_over = true;
                    return Err(Breach::NotUtf8.into());
                }
            },
            Kind::Binary => Message::Binary(payload),
            Kind::Pong => Message::Pong(payload),
            Kind::Ping => {
                // Not all need an answer (RFC 6455 section 5.5.3), and who reads none gets no more of them.
                if self.unwritten.len() <= MOST_UNWRITTEN {
                    put(OpCode::Control(Control::Pong), payload, &mut self.unwritten);
                }
                Message::Ping
            }
            Kind::Close => {
                self.is_over = true;
                put_close(answer_to_close(payload)?, &mut self.unwritten);
                Message::Close
            }
        }))
    }

    /// Waits for the next message. What is still to be written is written meanwhile. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Ended`] when nothing more will come.
    pub async fn hear(&mut self) -> Result<Message<'_>, Ended> {
        poll_fn(|cx| {
            if self.has_unwritten() && matches!(self.poll_written(cx), Poll::Ready(Err(_))) {
                return Poll::Ready(Err(Ended::Gone));
            }
            self.poll_found(cx)
        })
        .await?;
        self.take()?.ok_or(Ended::Gone)
    }

    fn find(&mut self) -> Result<Step, Ended> {
        if let Some(whole) = self.found {
            return Ok(Step::Whole(whole));
        }
        if self.is_over {
            return Err(Ended::Gone);
        }
        match self.messages.next(&mut self.bytes) {
            Ok(step) => {
                if let Step::Whole(whole) = step {
                    self.found = Some(whole);
                }
                Ok(step)
            }
            Err(breach) => {
                self.is_over = true;
                Err(breach.into())
            }
        }
    }

    /// Bytes of memory that it holds for what is not read.
    #[cfg(test)]
    pub(super) const fn bytes_unwritten(&self) -> usize {
        self.unwritten.len()
    }

    #[cfg(test)]
    pub(super) const fn bytes_held(&self) -> usize {
        self.bytes.held()
    }

    /// Whether something waits to be written.
    #[must_use]
    pub const fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Lets frames be put behind what waits to be written, and writes as much as is taken at once. True when that was
    /// everything; the rest is for [`Self::poll_written`].
    ///
    /// # Errors
    ///
    /// [`io::Error`] when the connection is lost.
    pub fn write(&mut self, cx: &mut Context<'_>, frames: impl FnOnce(&mut Vec<u8>)) -> io::Result<bool> {
        let mut buffer = pool::take_for_writing();
        buffer.append(&mut self.unwritten);
        frames(&mut buffer);
        let mut rest = &buffer[..];
        while !rest.is_empty() {
            match Pin::new(&mut self.line).poll_write(cx, rest)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(taken) => rest = &rest[taken..],
                Poll::Pending => break,
            }
        }
        self.unwritten = rest.to_vec();
        pool::give_for_writing(buffer);
        // TLS may have taken all of it, and not be rid of it.
        Ok(!self.has_unwritten() && Pin::new(&mut self.line).poll_flush(cx)?.is_ready())
    }

    /// Ready when nothing waits to be written.
    ///
    /// # Errors
    ///
    /// [`io::Error`] when the connection is lost.
    pub fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.has_unwritten() {
            match ready!(Pin::new(&mut self.line).poll_write(cx, &self.unwritten))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => drop(self.unwritten.drain(..taken)),
            }
        }
        self.unwritten = Vec::new();
        Pin::new(&mut self.line).poll_flush(cx)
    }

    /// Writes one message, and everything before it.
    ///
    /// # Errors
    ///
    /// [`io::Error`] when the connection is lost.
    pub async fn send(&mut self, opcode: OpCode, payload: &[u8]) -> io::Result<()> {
        put(opcode, payload, &mut self.unwritten);
        poll_fn(|cx| self.poll_written(cx)).await
    }

    /// Writes what waits, such as the answer to the other side's goodbye, and ends the connection in order.
    pub async fn part(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_written(cx)).await?;
        // Who hears no end of TLS must take the connection for cut off.
        self.line.shutdown().await
    }

    /// Closes with a code, and reads on until the other side has closed too, so that it sees the code. Waits as long as
    /// the caller lets it.
    pub async fn close(&mut self, code: CloseCode, reason: &str) {
        put_close(Some((code.number(), reason.as_bytes())), &mut self.unwritten);
        if poll_fn(|cx| self.poll_written(cx)).await.is_err() {
            return;
        }
        let mut is_answered = false;
        while !self.is_over && !is_answered {
            match poll_fn(|cx| self.poll_found(cx)).await {
                Ok(()) => is_answered = matches!(self.take(), Ok(Some(Message::Close))),
                Err(Ended::Gone) => return,
                Err(Ended::Broken(..)) => {}
            }
        }
        // It has its answer: that nobody hears this is no loss.
        if self.line.shutdown().await.is_ok() && !is_answered {
            // What is unread when the connection is dropped makes the kernel answer with a reset, which can eat the
            // close frame on its way: a client that broke the protocol is read dry.
            let mut waste = pool::take_for_reading();
            while self.line.read(&mut waste).await.is_ok_and(|length| length > 0) {}
            pool::give_for_reading(waste);
        }
    }
}

/// Appends a frame.
pub(super) fn put(opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
    put_head(opcode, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends the head of a frame.
pub(super) fn put_head(opcode: OpCode, length: usize, out: &mut Vec<u8>) {
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    // A vector takes everything.
    let _ = header.format(length as u64, out);
}

fn put_close(close: Option<(u16, &[u8])>, out: &mut Vec<u8>) {
    let mut payload = Vec::new();
    if let Some((code, reason)) = close {
        payload.extend(code.to_be_bytes());
        payload.extend_from_slice(reason);
    }
    put(OpCode::Control(Control::Close), &payload, out);
}

/// The same code and reason, unless no such code may be sent.
fn answer_to_close(payload: &[u8]) -> Result<Option<(u16, &[u8])>, Breach> {
    match payload {
        [] => Ok(None),
        [_] => Err(Breach::Protocol),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if std::str::from_utf8(reason).is_err() {
                return Err(Breach::NotUtf8);
            }
            match WsCloseCode::from(code).is_allowed() {
                true => Ok(Some((code, reason))),
                false => Ok(Some((CloseCode::ProtocolError.number(), b""))),
            }
        }
    }
}

/// A text message's opcode.
pub const TEXT: OpCode = OpCode::Data(Data::Text);

/// A binary message's opcode.
pub const BINARY: OpCode = OpCode::Data(Data::Binary);

/// Bytes that wait to be written, beyond which pings are not answered.
const MOST_UNWRITTEN: usize = 64 * 1024;
