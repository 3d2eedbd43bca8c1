//! Bytes to a peer and back, over TCP or over WebSocket, for protocols that are streams of bytes.

use std::future::Future as _;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::wire::Trouble;
use crate::wire::dial::{Address, READ_BUFFER_BYTES, Web, broken, closed, cut, trouble};

/// A pipe. What is put into `out` leaves with the next flush; `input` holds what came and was not taken yet.
pub(crate) struct Pipe {
    line: Line,
    pub(crate) out: BytesMut,
    pub(crate) input: BytesMut,
}

enum Line {
    Plain(TcpStream),
    Web(Box<Web>),
}

impl Pipe {
    /// Connects. `subprotocol` is what a WebSocket offers.
    pub(crate) async fn connect(
        address: &Address,
        source: Option<IpAddr>,
        subprotocol: Option<&'static str>,
    ) -> Result<Self, Trouble> {
        let line = match address.is_web() {
            true => Line::Web(Box::new(address.dial_web(source, subprotocol).await?)),
            false => Line::Plain(address.dial(source).await?),
        };
        Ok(Self {
            line,
            out: BytesMut::new(),
            input: BytesMut::new(),
        })
    }

    /// Ready when `out` is not too full already; writes if it is.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        match self.out.len() < OUT_BYTES {
            true => Poll::Ready(Ok(())),
            false => self.poll_flush(cx),
        }
    }

    /// Writes all of `out`.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        match &mut self.line {
            Line::Plain(stream) => {
                while !self.out.is_empty() {
                    let written = ready!(Pin::new(&mut *stream).poll_write(cx, &self.out));
                    match written {
                        Ok(0) => return Poll::Ready(Err(trouble("close.1006"))),
                        Err(error) => return Poll::Ready(Err(cut(&error))),
                        Ok(written) => self.out.advance(written),
                    }
                }
                Poll::Ready(Ok(()))
            }
            Line::Web(web) => {
                if !self.out.is_empty() {
                    ready!(Pin::new(&mut **web).poll_ready(cx)).map_err(broken)?;
                    let message = Message::Binary(self.out.split().freeze());
                    Pin::new(&mut **web).start_send(message).map_err(broken)?;
                }
                Pin::new(&mut **web).poll_flush(cx).map_err(broken)
            }
        }
    }

    /// Reads once into `input`.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        match &mut self.line {
            Line::Plain(stream) => {
                if self.input.capacity() - self.input.len() < LEAST_READ_BYTES {
                    self.input.reserve(READ_BUFFER_BYTES);
                }
                match ready!(pin!(stream.read_buf(&mut self.input)).poll(cx)) {
                    Ok(0) => Poll::Ready(Err(trouble("close.1006"))),
                    Err(error) => Poll::Ready(Err(cut(&error))),
                    Ok(_) => Poll::Ready(Ok(())),
                }
            }
            Line::Web(web) => match ready!(Pin::new(&mut **web).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => {
                    self.input.extend_from_slice(&bytes);
                    Poll::Ready(Ok(()))
                }
                Some(Ok(close @ Message::Close(_))) => Poll::Ready(Err(closed(&close))),
                Some(Ok(_)) => Poll::Ready(Ok(())),
                Some(Err(error)) => Poll::Ready(Err(broken(error))),
                None => Poll::Ready(Err(trouble("close.1006"))),
            },
        }
    }
}

/// Above this, posting waits for the socket.
const OUT_BYTES: usize = 64 * 1024;
/// Room that a read wants; less is not worth a system call.
const LEAST_READ_BYTES: usize = 1024;
