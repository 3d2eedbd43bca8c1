//! Sends again what the relay refused for now.
//!
//! Must not know how a send is written or answered.

use std::future::{Future as _, poll_fn};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::device::{Device, Error};
use crate::{Message, SendOutcome};

impl Device {
    /// Sends one message as [`Device::send`] does, and sends it again while the relay refuses it for now (the mailbox is
    /// full, too much too fast, the disk is full): not before the relay's hint and the back-off have passed, and not after
    /// `patience`. The answer is an acceptance, a refusal for good, or the last refusal.
    ///
    /// It is one message however often it is sent. Messages that are posted meanwhile may overtake it. `patience` bounds
    /// refusals, not breaks of the connection: a message without an answer stays posted, as with [`Device::send`].
    ///
    /// If the call is dropped while the message is posted, its answer becomes an event; between two tries, it is not sent
    /// again.
    ///
    /// # Errors
    ///
    /// As [`Device::send`].
    pub async fn deliver(&mut self, message: Message, patience: Duration) -> Result<SendOutcome, Error> {
        let started = Instant::now();
        let mut refusals = 0_u32;
        loop {
            let outcome = self.send(message.clone()).await?;
            let hint = match &outcome {
                SendOutcome::Refused(refusal) if refusal.retryable => refusal.retry_after,
                SendOutcome::Refused(_) | SendOutcome::Accepted { .. } => return Ok(outcome),
            };
            refusals = refusals.saturating_add(1);
            let wait = hint.saturating_add(self.options.backoff.draw(refusals));
            if started.elapsed().saturating_add(wait) > patience {
                return Ok(outcome);
            }
            self.idle(wait).await?;
        }
    }

    /// Keeps the session alive for a while. What happens waits for [`Device::next_event`].
    async fn idle(&mut self, wait: Duration) -> Result<(), Error> {
        let mut alarm = Box::pin(sleep(wait));
        poll_fn(|cx| {
            loop {
                if alarm.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(()));
                }
                std::task::ready!(self.poll_step(cx))?;
            }
        })
        .await
    }
}
