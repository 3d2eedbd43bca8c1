//! Events that wait for the app, bounded.
//!
//! # Why
//!
//! An app that only sends does not read events, and the relay must not be able to fill its memory. Mail is
//! bounded by the window and outcomes by the outbox; gaps are summed up by reason, because loss is never
//! silent; of all else the oldest goes.

use std::collections::VecDeque;

use crate::{Event, SendId, SendOutcome};

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: VecDeque<Event>,
    answers: usize,
}

impl Events {
    pub(crate) fn push(&mut self, event: Event) {
        if let Event::Gap(gap) = &event {
            for queued in &mut self.queue {
                if let Event::Gap(earlier) = queued
                    && earlier.reason == gap.reason
                {
                    earlier.dropped = earlier.dropped.saturating_add(gap.dropped);
                    return;
                }
            }
        }
        if self.queue.len() >= MAX_EVENTS
            && let Some(oldest) = self.queue.iter().position(Event::is_notice)
        {
            self.queue.remove(oldest);
        }
        self.answers += usize::from(is_answer(&event));
        self.queue.push_back(event);
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        let event = self.queue.pop_front()?;
        self.answers -= usize::from(is_answer(&event));
        Some(event)
    }

    /// Outcomes that the app has not read.
    pub(crate) fn answers(&self) -> usize {
        self.answers
    }

    /// Takes one outcome out of the middle.
    pub(crate) fn take_answer(&mut self, wanted: SendId) -> Option<SendOutcome> {
        let is_it = |event: &Event| matches!(event, Event::Sent { id, .. } if *id == wanted);
        let at = self.queue.iter().position(is_it)?;
        match self.queue.remove(at) {
            Some(Event::Sent { outcome, .. }) => {
                self.answers -= 1;
                Some(outcome)
            }
            Some(_) | None => None,
        }
    }
}

fn is_answer(event: &Event) -> bool {
    matches!(event, Event::Sent { .. })
}

/// Events that may wait before notices are dropped.
const MAX_EVENTS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use chatctl_protocol::v1;

    fn gap(dropped: u64) -> Event {
        Event::Gap(v1::Gap {
            reason: v1::GapReason::Ttl.into(),
            dropped,
        })
    }

    #[test]
    fn a_flood_of_notices_pushes_out_notices_only() {
        let outcome = SendOutcome::Accepted {
            envelope_ids: Vec::new(),
            duplicate: false,
        };
        let id = SendId(1);
        let mut events = Events::default();
        events.push(Event::Sent {
            id,
            outcome: outcome.clone(),
        });
        for number in 0..10_000 {
            events.push(Event::Pong(number));
            events.push(gap(1));
        }
        assert_eq!(events.queue.len(), MAX_EVENTS);
        assert_eq!(events.take_answer(id), Some(outcome));
        assert_eq!(events.answers(), 0);
        assert_eq!(
            events.queue.iter().find(|event| !event.is_notice()),
            Some(&gap(10_000))
        );
    }
}
