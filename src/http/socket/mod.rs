//! The WebSocket under `/v1/ws`: the upgrade, frames in, frames out.
//!
//! Owns encodings, patience and the codes of broken input; must not know what a frame means. The upgrade goes through
//! hyper, and the messages of RFC 6455 are the wire's.

mod bytes;
mod messages;
mod pool;
#[cfg(test)]
mod tests;
mod upgrade;
mod wire;
mod writing;

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use chatctl_protocol::{CloseCode, Encoding, FrameError, Spoken, spoken};
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, OpCode};

use crate::http::socket::messages::Breach;
use crate::session::{Leave, Said};
use crate::tls::Line;

pub use crate::http::socket::upgrade::upgrade;
pub use crate::http::socket::wire::{BINARY, Message, TEXT, Wire};

/// What came over a socket, where it was read.
#[derive(Debug)]
pub enum Heard<'a> {
    /// A frame.
    Frame(Spoken<'a>),
    /// The answer to a ping, with its mark.
    Pong(&'a [u8]),
    /// A sign of life without meaning.
    Life,
}

/// Why nothing more comes over a socket.
#[derive(Debug)]
pub enum Ended {
    /// The other side closed it, or the connection is lost.
    Gone,
    /// The other side broke the protocol. The word is for the metric.
    Broken(Leave, &'static str),
}

impl From<Breach> for Ended {
    fn from(breach: Breach) -> Self {
        let (code, reason, word) = match breach {
            Breach::TooLarge => (CloseCode::TooLarge, "the message is too large", "too_large"),
            Breach::NotUtf8 => (CloseCode::NotUtf8, "the text is not UTF-8", "utf8"),
            Breach::Protocol => (
                CloseCode::ProtocolError,
                "not the WebSocket protocol",
                "websocket",
            ),
        };
        Self::Broken(Leave::new(code, reason), word)
    }
}

/// The upgraded connection as a WebSocket, with messages of at most so many bytes. `None` when the connection was lost
/// meanwhile.
pub async fn connect(on_upgrade: OnUpgrade, max_frame_bytes: usize) -> Option<Wire> {
    let upgraded = on_upgrade.await.ok()?;
    let Parts { io, read_buf, .. } = upgraded.downcast::<TokioIo<Line>>().ok()?;
    Some(Wire::new(io.into_inner(), &read_buf, max_frame_bytes))
}

/// One connection that speaks frames in one encoding.
#[derive(Debug)]
pub struct Socket {
    wire: Wire,
    encoding: Encoding,
    patience: Duration,
}

impl Socket {
    /// A socket whose writes may take `patience`.
    #[must_use]
    pub const fn new(wire: Wire, encoding: Encoding, patience: Duration) -> Self {
        Self {
            wire,
            encoding,
            patience,
        }
    }

    /// Ready as soon as there is something for [`Self::take`].
    ///
    /// # Errors
    ///
    /// [`Ended`] when nothing more will come.
    pub fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        self.wire.poll_found(cx)
    }

    /// The next of what has come, without waiting and without looking whether there is more.
    ///
    /// # Errors
    ///
    /// [`Ended`] when nothing more will come.
    pub fn take(&mut self) -> Result<Option<Heard<'_>>, Ended> {
        let encoding = self.encoding;
        let message = self.wire.take()?;
        message.map(|message| understand(message, encoding)).transpose()
    }

    /// Waits for what comes next. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Ended`] when nothing more will come.
    pub async fn hear(&mut self) -> Result<Heard<'_>, Ended> {
        let encoding = self.encoding;
        understand(self.wire.hear().await?, encoding)
    }

    /// Writes frames, and answers to pings, at once.
    ///
    /// # Errors
    ///
    /// [`Ended`] when the connection is lost, or takes nothing for as long as the patience lasts.
    pub async fn say(&mut self, frames: &mut Vec<Said>) -> Result<(), Ended> {
        if frames.is_empty() && !self.wire.has_unwritten() {
            return Ok(());
        }
        match poll_fn(|cx| Poll::Ready(self.try_say(frames, cx))).await {
            Ok(true) => Ok(()),
            Ok(false) => Box::pin(self.say_on(frames)).await,
            Err(_) => Err(Ended::Gone),
        }
    }

    /// Writes until the other side takes no more. True when that was everything.
    fn try_say(&mut self, frames: &mut Vec<Said>, cx: &mut Context<'_>) -> io::Result<bool> {
        let encoding = self.encoding;
        loop {
            let mut rest = frames.drain(..);
            let is_written = self.wire.write(cx, |out| {
                while out.len() < PIECE_BYTES
                    && let Some(said) = rest.next()
                {
                    writing::write(said, encoding, out);
                }
            })?;
            if rest.len() == 0 {
                return Ok(is_written);
            }
            let left: Vec<Said> = rest.collect();
            *frames = left;
            if !is_written {
                return Ok(false);
            }
        }
    }

    /// The same for a side that is slow to take it.
    async fn say_on(&mut self, frames: &mut Vec<Said>) -> Result<(), Ended> {
        let patience = self.patience;
        let writing = async {
            loop {
                poll_fn(|cx| self.wire.poll_written(cx)).await?;
                if frames.is_empty() || poll_fn(|cx| Poll::Ready(self.try_say(frames, cx))).await? {
                    return Ok::<(), io::Error>(());
                }
            }
        };
        match timeout(patience, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::Gone),
            Err(_) => {
                let leave = Leave::new(CloseCode::SlowConsumer, "the connection takes no more");
                Err(Ended::Broken(leave, "slow"))
            }
        }
    }

    /// Pings, with a mark that the answer brings back.
    ///
    /// # Errors
    ///
    /// [`Ended::Gone`] when the connection is lost, or takes nothing for as long as the patience lasts.
    pub async fn ping(&mut self, mark: &'static [u8]) -> Result<(), Ended> {
        let sending = self.wire.send(OpCode::Control(Control::Ping), mark);
        match timeout(self.patience, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Ended::Gone),
        }
    }

    /// Answers the other side's close, if there was one: the answer waits for the next write.
    pub async fn part(mut self) {
        // A lost connection fails at once, and nobody is left to be told.
        let _ = timeout(FAREWELL, self.wire.part()).await;
    }

    /// Says goodbye, closes, and waits a moment for the other side to do so too.
    pub async fn leave(mut self, leave: Leave) {
        let mut goodbye = vec![Said::Other(leave.goodbye())];
        let closing = async {
            if poll_fn(|cx| Poll::Ready(self.try_say(&mut goodbye, cx)))
                .await
                .is_ok()
            {
                self.wire.close(leave.code, leave.reason).await;
            }
        };
        let _ = timeout(FAREWELL, closing).await;
    }
}

fn understand(message: Message<'_>, encoding: Encoding) -> Result<Heard<'_>, Ended> {
    let read = match (message, encoding) {
        (Message::Binary(bytes), Encoding::Proto) => spoken::read_proto(bytes),
        (Message::Text(text), Encoding::Json) => spoken::read_json(text),
        (Message::Binary(_), Encoding::Json) => {
            return Err(bad_frame("a binary message on the JSON subprotocol", "binary"));
        }
        (Message::Text(_), Encoding::Proto) => {
            return Err(bad_frame("a text message on the protobuf subprotocol", "text"));
        }
        (Message::Pong(mark), _) => return Ok(Heard::Pong(mark)),
        (Message::Ping, _) => return Ok(Heard::Life),
        (Message::Close, _) => return Err(Ended::Gone),
    };
    read.map(Heard::Frame).map_err(|error| match error {
        FrameError::Proto(_) => bad_frame("not a protobuf frame", "proto"),
        FrameError::Json(_) => bad_frame("not a JSON frame", "json"),
        FrameError::Empty => bad_frame("an empty or unknown frame", "empty"),
    })
}

const fn bad_frame(reason: &'static str, word: &'static str) -> Ended {
    Ended::Broken(Leave::new(CloseCode::BadFrame, reason), word)
}

/// Bytes after which a write begins, although there is more to say.
const PIECE_BYTES: usize = 64 * 1024;

/// Longest time for a goodbye.
const FAREWELL: Duration = Duration::from_secs(2);
