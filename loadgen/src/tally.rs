//! What was counted: every latency and every event of one worker in one second, and sums of those.
//!
//! Tallies add up without loss: of workers, of seconds, of agents. A run's tally is the sum of all.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::packed;

/// A latency that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Latency {
    /// From the moment a message was due to its arrival: what users feel.
    E2e,
    /// From the moment it left to its arrival.
    Service,
    /// From the moment it was due to the server's OK.
    Ok,
    /// From the first recipient of one message to the last.
    Spread,
    /// From the first byte to a session.
    Connect,
    /// From a connection that broke to a session again.
    Reconnect,
    /// From a session to an empty mailbox.
    Drain,
    /// A claim of one-time keys.
    Claim,
    /// Encrypting a message. In no other latency.
    Encrypt,
    /// Decrypting one. In no other latency.
    Decrypt,
    /// How late the generator itself was with a message that was due, once there was a session to send it on.
    Late,
}

impl Latency {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 11] = [
        Self::E2e,
        Self::Service,
        Self::Ok,
        Self::Spread,
        Self::Connect,
        Self::Reconnect,
        Self::Drain,
        Self::Claim,
        Self::Encrypt,
        Self::Decrypt,
        Self::Late,
    ];

    /// Its name in thresholds and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::E2e => "e2e",
            Self::Service => "service",
            Self::Ok => "ok",
            Self::Spread => "spread",
            Self::Connect => "connect",
            Self::Reconnect => "reconnect",
            Self::Drain => "drain",
            Self::Claim => "claim",
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Late => "late",
        }
    }
}

/// An event that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// Messages that were due.
    Due,
    /// Messages that left, one for each recipient.
    Sent,
    /// Bytes of their payloads.
    SentBytes,
    /// Messages that the server said are safe.
    Accepted,
    /// Messages that the server refused.
    Refused,
    /// Messages that arrived, each device's first copy.
    Delivered,
    /// Bytes of their payloads.
    DeliveredBytes,
    /// Messages that came again after a reconnect, because their ack was lost: what at-least-once allows.
    Redelivered,
    /// Messages that came twice for no such reason.
    Duplicated,
    /// Messages that came after a later one of their stream.
    Reordered,
    /// Messages that were changed on their way.
    Corrupt,
    /// Messages that could not be decrypted.
    Undecryptable,
    /// Mail that is not of this run.
    Foreign,
    /// Sessions that began.
    Connected,
    /// Sessions that ended unasked.
    Broken,
    /// Claims that were answered with keys.
    Claimed,
    /// One-time keys that were handed out more than once.
    ClaimedTwice,
    /// Claims that got a fallback because the queue was empty.
    Fallback,
}

impl Count {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Due,
        Self::Sent,
        Self::SentBytes,
        Self::Accepted,
        Self::Refused,
        Self::Delivered,
        Self::DeliveredBytes,
        Self::Redelivered,
        Self::Duplicated,
        Self::Reordered,
        Self::Corrupt,
        Self::Undecryptable,
        Self::Foreign,
        Self::Connected,
        Self::Broken,
        Self::Claimed,
        Self::ClaimedTwice,
        Self::Fallback,
    ];

    /// Its name in thresholds and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Sent => "sent",
            Self::SentBytes => "sent_bytes",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Delivered => "delivered",
            Self::DeliveredBytes => "delivered_bytes",
            Self::Redelivered => "redelivered",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Corrupt => "corrupt",
            Self::Undecryptable => "undecryptable",
            Self::Foreign => "foreign",
            Self::Connected => "connected",
            Self::Broken => "broken",
            Self::Claimed => "claimed",
            Self::ClaimedTwice => "claimed_twice",
            Self::Fallback => "fallback",
        }
    }
}

/// A tally.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Text", try_from = "Text")]
pub struct Tally {
    latencies: [Option<Box<Histogram<u64>>>; Latency::ALL.len()],
    counts: [u64; Count::ALL.len()],
    errors: BTreeMap<String, u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            latencies: [const { None }; Latency::ALL.len()],
            counts: [0; Count::ALL.len()],
            errors: BTreeMap::new(),
        }
    }
}

impl Tally {
    /// Notes a latency. Above [`LONGEST`] it counts as that; constant time.
    pub fn record(&mut self, latency: Latency, took: Nanos) {
        let histogram = self.latencies[latency as usize].get_or_insert_with(|| Box::new(histogram()));
        histogram.saturating_record(took.clamp(1, LONGEST));
    }

    /// Counts events.
    pub fn add(&mut self, count: Count, events: u64) {
        self.counts[count as usize] += events;
    }

    /// Counts an error of a class such as `close.1013` or `refused.mailbox_full`. At most [`MOST_CLASSES`] classes are
    /// kept apart; the rest is `other`.
    pub fn error(&mut self, class: &str) {
        self.add_error(class, 1);
    }

    /// How often something happened.
    #[must_use]
    pub const fn count(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }

    /// What was noted of a latency, if anything.
    #[must_use]
    pub fn latency(&self, latency: Latency) -> Option<&Histogram<u64>> {
        self.latencies[latency as usize].as_deref()
    }

    /// Errors by class.
    #[must_use]
    pub const fn errors(&self) -> &BTreeMap<String, u64> {
        &self.errors
    }

    /// Adds another tally to this one. Nothing is lost.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.latencies.iter_mut().zip(&other.latencies) {
            let Some(theirs) = theirs else { continue };
            let mine = mine.get_or_insert_with(|| Box::new(histogram()));
            // All have the same bounds, so there is nothing that does not fit.
            let _ = mine.add(&**theirs);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        for (class, events) in &other.errors {
            self.add_error(class, *events);
        }
    }

    /// The counts and errors alone.
    #[must_use]
    pub fn without_latencies(&self) -> Self {
        Self {
            counts: self.counts,
            errors: self.errors.clone(),
            ..Self::default()
        }
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        for histogram in self.latencies.iter_mut().flatten() {
            histogram.reset();
        }
        self.counts = [0; Count::ALL.len()];
        self.errors.clear();
    }

    fn add_error(&mut self, class: &str, events: u64) {
        let is_known = self.errors.contains_key(class) || self.errors.len() < MOST_CLASSES;
        let class = if is_known { class } else { "other" };
        match self.errors.get_mut(class) {
            Some(known) => *known += events,
            None => {
                self.errors.insert(class.to_owned(), events);
            }
        }
    }
}

/// A tally as it travels between hosts.
#[derive(Serialize, Deserialize)]
struct Text {
    latencies: BTreeMap<Latency, String>,
    counts: BTreeMap<Count, u64>,
    errors: BTreeMap<String, u64>,
}

/// A text with a histogram that is none, or not one of nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a histogram of latencies")]
struct TextError;

impl From<Tally> for Text {
    fn from(tally: Tally) -> Self {
        let latencies = Latency::ALL.into_iter().filter_map(|one| {
            let histogram = tally.latency(one)?;
            Some((one, packed::pack(histogram)))
        });
        let counts = Count::ALL.into_iter().map(|one| (one, tally.count(one)));
        Self {
            latencies: latencies.collect(),
            counts: counts.filter(|(_, events)| *events > 0).collect(),
            errors: tally.errors,
        }
    }
}

impl TryFrom<Text> for Tally {
    type Error = TextError;

    fn try_from(text: Text) -> Result<Self, TextError> {
        let mut tally = Self::default();
        for (one, packed) in text.latencies {
            let mut histogram = histogram();
            let theirs = packed::unpack(&packed).ok_or(TextError)?;
            histogram.add(theirs).map_err(|_| TextError)?;
            tally.latencies[one as usize] = Some(Box::new(histogram));
        }
        for (one, events) in text.counts {
            tally.add(one, events);
        }
        for (class, events) in text.errors {
            tally.add_error(&class, events);
        }
        Ok(tally)
    }
}

/// An empty histogram of nanoseconds, as every tally has them: 1 µs apart at least, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LEAST, LONGEST, DIGITS).unwrap_or_else(|_| unreachable_bounds())
}

#[expect(
    clippy::unreachable,
    reason = "the bounds are constants, and a test makes a histogram of them"
)]
fn unreachable_bounds() -> Histogram<u64> {
    unreachable!("constant bounds")
}

/// The longest latency that is told apart: an hour.
pub const LONGEST: Nanos = 3600 * 1_000_000_000;
/// Errors kept apart.
pub const MOST_CLASSES: usize = 64;
/// What is told apart at least.
const LEAST: Nanos = 1_000;
const DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_lists() {
        assert!(
            Latency::ALL
                .iter()
                .enumerate()
                .all(|(at, one)| *one as usize == at)
        );
        assert!(Count::ALL.iter().enumerate().all(|(at, one)| *one as usize == at));
    }

    #[test]
    fn tallies_add_up() {
        let (mut one, mut two) = (Tally::default(), Tally::default());
        for took in [1_000, 5_000_000, LONGEST * 2] {
            one.record(Latency::E2e, took);
            two.record(Latency::E2e, took);
        }
        two.add(Count::Sent, 3);
        two.error("close.1013");
        one.merge(&two);
        let e2e = one.latency(Latency::E2e).unwrap();
        assert_eq!((e2e.len(), one.count(Count::Sent)), (6, 3));
        assert_eq!(one.errors()["close.1013"], 1);
        assert!(e2e.max() >= LONGEST && one.latency(Latency::Ok).is_none());
        one.clear();
        assert_eq!(
            (one.latency(Latency::E2e).unwrap().len(), one.count(Count::Sent)),
            (0, 0)
        );
    }

    #[test]
    fn a_tally_travels_without_loss() {
        let mut tally = Tally::default();
        for took in [1_000, 2_345_678, LONGEST] {
            tally.record(Latency::E2e, took);
        }
        tally.add(Count::Sent, 3);
        tally.error("close.1013");
        let text = serde_json::to_string(&tally).unwrap();
        let there: Tally = serde_json::from_str(&text).unwrap();
        assert_eq!(there.latency(Latency::E2e), tally.latency(Latency::E2e));
        assert_eq!((there.counts, there.errors), (tally.counts, tally.errors));
        assert!(
            serde_json::from_str::<Tally>(r#"{"latencies":{"e2e":"AAAA"},"counts":{},"errors":{}}"#).is_err()
        );
    }

    #[test]
    fn errors_of_endless_kinds_do_not_fill_the_memory() {
        let mut tally = Tally::default();
        for class in 0..1000 {
            tally.error(&format!("class {class}"));
        }
        assert_eq!(tally.errors().len(), MOST_CLASSES + 1);
        assert_eq!(tally.errors()["other"], 1000 - MOST_CLASSES as u64);
    }
}
