//! What is on the screen: the last status, rates of the last minutes, and what the person chose.
//!
//! Pure: it is told what was answered and which key was pressed. Must not know terminals.

use std::collections::{BTreeMap, VecDeque};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::rates::{self, Rates};
use crate::commands::status::Status;

/// Everything that a frame is drawn from.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// The last answer.
    pub(super) status: Option<Status>,
    /// The oldest first.
    pub(super) history: VecDeque<Moment>,
    /// Whether the screen stands still.
    pub(super) paused: bool,
    /// Whether the keys are explained.
    pub(super) help: bool,
    /// How reasons are ordered.
    pub(super) sort: Sort,
    /// Since when the relay does not answer, and why.
    pub(super) gone: Option<Gone>,
    /// When the relay was last seen to have been started anew.
    pub(super) restarted: Option<String>,
    /// Where the relay is.
    pub(super) place: String,
    /// Refusals and closes, per second.
    pub(super) reasons: BTreeMap<(&'static str, String), f64>,
}

/// A point of the sparklines.
#[derive(Debug, Clone, Default)]
pub(super) struct Moment {
    pub(super) sessions: u64,
    pub(super) rates: Rates,
}

/// A relay that does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gone {
    /// By the clock here.
    pub(super) since: String,
    pub(super) why: String,
}

/// How reasons are ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// What comes most often now.
    #[default]
    Rate,
    /// What came most often since the start.
    Total,
    /// By kind and name.
    Name,
}

impl Sort {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Total => "total",
            Self::Name => "name",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Rate => Self::Total,
            Self::Total => Self::Name,
            Self::Name => Self::Rate,
        }
    }
}

impl Model {
    pub(super) fn new(place: String) -> Self {
        Self {
            place,
            ..Self::default()
        }
    }

    /// The relay has answered. Returns what moved since its last answer, and whether it was started anew between.
    pub(super) fn answered(&mut self, status: Status) -> (Option<Rates>, bool) {
        self.gone = None;
        let before = self.status.take();
        let restarted = before
            .as_ref()
            .is_some_and(|before| !rates::is_same(before, &status));
        if restarted {
            // What was counted by another process says nothing of this one.
            self.history.clear();
            self.reasons.clear();
            self.restarted = Some(status.started_at.clone());
        }
        let moved = before.as_ref().and_then(|before| rates::between(before, &status));
        if let (Some(before), Some(moved)) = (&before, &moved) {
            let earlier = rates::reasons(before);
            let count = |reason: &_| earlier.get(reason).copied().unwrap_or(0);
            let now = rates::reasons(&status).into_iter();
            let per_second = now.map(|(reason, total)| {
                let rate = total.saturating_sub(count(&reason)) as f64 / moved.seconds;
                (reason, rate)
            });
            self.reasons = per_second.collect();
            if self.history.len() == REMEMBERED {
                self.history.pop_front();
            }
            self.history.push_back(Moment {
                sessions: status.sessions.open,
                rates: moved.clone(),
            });
        }
        self.status = Some(status);
        (moved, restarted)
    }

    /// The relay has not answered; what it said last stays.
    pub(super) fn missed(&mut self, now: String, why: String) {
        match &mut self.gone {
            Some(gone) => gone.why = why,
            None => self.gone = Some(Gone { since: now, why }),
        }
    }

    /// A key was pressed; whether the person wants to leave.
    pub(super) fn pressed(&mut self, key: KeyEvent) -> bool {
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Char('q') => return true,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Esc => return true,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            _ => {}
        }
        false
    }

    /// What moved last.
    pub(super) fn rates(&self) -> Option<&Rates> {
        self.history.back().map(|moment| &moment.rates)
    }

    /// Refusals and closes in their order: kind, word, total, per second.
    pub(super) fn reasons(&self) -> Vec<(&'static str, String, u64, f64)> {
        let Some(status) = &self.status else {
            return Vec::new();
        };
        let all = rates::reasons(status).into_iter();
        let mut all: Vec<_> = all
            .map(|(reason, total)| {
                let rate = self.reasons.get(&reason).copied().unwrap_or(0.0);
                (reason.0, reason.1, total, rate)
            })
            .collect();
        match self.sort {
            Sort::Rate => all.sort_by(|a, b| b.3.total_cmp(&a.3).then(b.2.cmp(&a.2))),
            Sort::Total => all.sort_by_key(|reason| std::cmp::Reverse(reason.2)),
            Sort::Name => {}
        }
        all
    }
}

/// Points that a sparkline can have.
const REMEMBERED: usize = 300;
