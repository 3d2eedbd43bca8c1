//! Asks the token source for the next token while the session goes on with the old one.
//!
//! Must not know how a token reaches the relay. Ends when there is another token, or when the old one ends.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::{Backoff, Token, TokenSource};

/// A token on its way, or the wait before it is asked for again.
pub(crate) struct Renewal {
    step: Step,
    failures: u32,
    /// The session ends then; its successor asks anew.
    due: Instant,
}

enum Step {
    Ask,
    Asking(crate::TokenFuture),
    Waiting(Pin<Box<Sleep>>),
}

/// What came of asking.
pub(crate) enum Asked {
    Got(Token),
    /// It is asked again after this time; without one, never.
    Failed(String, Option<Duration>),
}

impl Renewal {
    pub(crate) fn new(life: Duration) -> Self {
        let now = Instant::now();
        Self {
            step: Step::Ask,
            failures: 0,
            due: now.checked_add(life).unwrap_or(now),
        }
    }

    /// The next answer of the source. Cancel safe.
    pub(crate) fn poll(
        &mut self,
        (source, spent): (&dyn TokenSource, Option<&Token>),
        backoff: &Backoff,
        cx: &mut Context<'_>,
    ) -> Poll<Asked> {
        loop {
            match &mut self.step {
                Step::Ask => self.step = Step::Asking(source.token(spent.cloned())),
                Step::Waiting(wait) => {
                    ready!(wait.as_mut().poll(cx));
                    self.step = Step::Ask;
                }
                Step::Asking(token) => {
                    let answer = ready!(token.as_mut().poll(cx));
                    self.step = Step::Ask;
                    let why = match answer {
                        Ok(token) if Some(&token) != spent => return Poll::Ready(Asked::Got(token)),
                        Ok(_) => "the source has no other token".to_owned(),
                        Err(error) => error.to_string(),
                    };
                    return Poll::Ready(Asked::Failed(why, self.again(backoff)));
                }
            }
        }
    }

    fn again(&mut self, backoff: &Backoff) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        let wait = backoff.draw(self.failures);
        let left = self.due.saturating_duration_since(Instant::now());
        if wait >= left {
            return None;
        }
        self.step = Step::Waiting(Box::pin(sleep(wait)));
        Some(wait)
    }
}
