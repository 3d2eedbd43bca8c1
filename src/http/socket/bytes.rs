//! What has come over a connection and is not read yet.
//!
//! Owns the bytes: a lent buffer while there are some to work on, a small one of its own for a frame of which only a
//! part has come, nothing at all otherwise. Must not know what the bytes mean.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use crate::http::socket::pool::{self, READ_BYTES};

/// Unread bytes.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    buffer: Vec<u8>,
    is_lent: bool,
    from: usize,
    to: usize,
}

impl Bytes {
    /// Bytes that came before there was a socket.
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self {
            buffer: bytes.to_vec(),
            is_lent: false,
            from: 0,
            to: bytes.len(),
        }
    }

    /// All of them.
    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.from..self.to]
    }

    /// Marks the first ones as read, and gives them with their place. They stay there until the next read.
    pub(super) fn advance(&mut self, length: usize) -> (usize, &mut [u8]) {
        let start = self.from;
        self.from = (start + length).min(self.to);
        (start, &mut self.buffer[start..self.from])
    }

    /// What stands at a place where [`Self::advance`] was.
    pub(super) fn at(&self, start: usize, length: usize) -> &[u8] {
        self.buffer.get(start..start + length).unwrap_or_default()
    }

    /// Reads more, where `wanted` bytes make what is unread whole, as far as that is known. Says how many came; none at
    /// the end of the connection. What was marked as read is gone.
    pub(super) fn poll_more(
        &mut self,
        line: &mut (impl AsyncRead + Unpin),
        wanted: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.make_room(wanted);
        let mut room = ReadBuf::new(&mut self.buffer[self.to..]);
        match Pin::new(line).poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) => {
                let came = room.filled().len();
                self.to += came;
                Poll::Ready(Ok(came))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.rest();
                Poll::Pending
            }
        }
    }

    /// Holds no more than what is unread: for a connection that waits.
    pub(super) fn rest(&mut self) {
        if self.is_lent {
            let own = self.unread().to_vec();
            self.own(own);
        } else if self.from == self.to {
            self.own(Vec::new());
        }
    }

    /// The memory that they take.
    #[cfg(test)]
    pub(super) const fn held(&self) -> usize {
        self.buffer.capacity()
    }

    /// Room behind what is unread, with all of it at the front.
    fn make_room(&mut self, wanted: usize) {
        let unread = self.to - self.from;
        if unread < READ_BYTES {
            if self.is_lent {
                self.buffer.copy_within(self.from..self.to, 0);
            } else {
                let mut lent = pool::take_for_reading();
                lent[..unread].copy_from_slice(self.unread());
                (self.buffer, self.is_lent) = (lent, true);
            }
            (self.from, self.to) = (0, unread);
            return;
        }
        if self.is_lent || self.from > 0 {
            let own = self.unread().to_vec();
            self.own(own);
        }
        // It grows with what has come, whatever a header claims; and to no more than the frame, so that what follows
        // is read into a lent buffer again.
        self.buffer.resize(wanted.clamp(unread + 1, 2 * unread), 0);
    }

    fn own(&mut self, bytes: Vec<u8>) {
        let length = bytes.len();
        let old = std::mem::replace(&mut self.buffer, bytes);
        if self.is_lent {
            pool::give_for_reading(old);
        }
        (self.is_lent, self.from, self.to) = (false, 0, length);
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if self.is_lent {
            pool::give_for_reading(std::mem::take(&mut self.buffer));
        }
    }
}
