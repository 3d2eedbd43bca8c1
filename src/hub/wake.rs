//! What one task sleeps on: it is rung by many, and rings before it sleeps are not lost.
//!
//! # Why
//!
//! Everything that happens to a session rings it, most often while it is awake or on its way: a ring then costs one
//! exchange of a flag. `tokio::sync::Notify` takes a lock for each wait, since it serves many who wait.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};

use chatctl_protocol::EnvelopeId;
use futures_util::task::AtomicWaker;

use crate::hub::{Notices, Rung};

/// A bell with one sleeper. Many rings count as one.
#[derive(Debug, Default)]
pub struct Wake {
    rung: AtomicBool,
    sleeper: AtomicWaker,
    /// What the hub rang for. Here, so that a ring touches one place in memory.
    mail: AtomicU64,
    notices: AtomicU32,
}

impl Wake {
    /// Wakes who sleeps, or whoever comes to sleep next. Never blocks.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.sleeper.wake();
        }
    }

    /// Ready once after each ring. Of several tasks only the last one to ask is woken.
    pub fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.take() {
            return Poll::Ready(());
        }
        self.sleeper.register(cx.waker());
        // Rung between the two: that ring found nobody to wake.
        match self.take() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Waits for a ring. Cancel safe.
    pub async fn rung(&self) {
        std::future::poll_fn(|cx| self.poll_rung(cx)).await;
    }

    /// There may be mail up to here.
    pub(super) fn ring_for_mail(&self, up_to: EnvelopeId) {
        self.mail.fetch_max(up_to.as_u64(), Ordering::Release);
        self.ring();
    }

    /// There is something else to look at.
    pub(super) fn notify(&self, notices: Notices) {
        self.notices.fetch_or(notices.0, Ordering::Release);
        self.ring();
    }

    /// Takes what the hub rang for. Mostly nothing, which costs two loads.
    pub(super) fn take_rung(&self) -> Rung {
        let mail = match self.mail.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.mail.swap(0, Ordering::Acquire),
        };
        let notices = match self.notices.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.notices.swap(0, Ordering::Acquire),
        };
        Rung {
            mail: EnvelopeId::from_u64(mail),
            notices: Notices(notices),
        }
    }

    fn take(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_ring_before_the_sleep_is_not_lost_and_counts_once() {
        let wake = Wake::default();
        wake.ring();
        wake.ring();
        wake.rung().await;
        let again = futures_util::poll!(std::pin::pin!(wake.rung()));
        assert_eq!(again, Poll::Pending);
    }

    #[test]
    fn every_ring_between_two_threads_arrives() {
        let (here, there) = (Arc::new(Wake::default()), Arc::new(Wake::default()));
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (theirs, ours) = (Arc::clone(&here), Arc::clone(&there));
        let other = std::thread::spawn(move || {
            runtime().block_on(async {
                for _ in 0..10_000 {
                    ours.rung().await;
                    theirs.ring();
                }
            });
        });
        runtime().block_on(async {
            for _ in 0..10_000 {
                there.ring();
                here.rung().await;
            }
        });
        other.join().unwrap();
    }
}
