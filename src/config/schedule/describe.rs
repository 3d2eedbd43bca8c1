//! What was understood, in a sentence.

use chrono_tz::Tz;

use crate::config::schedule::{Schedule, When};

impl Schedule {
    /// What was understood, as a sentence, and in which zone if that is not UTC.
    #[must_use]
    pub fn describe(&self) -> String {
        match self.zone {
            Tz::UTC | Tz::Etc__UTC => self.sentence(),
            zone => format!("{} In {zone}.", self.sentence()),
        }
    }

    /// What was understood, as a sentence, without the zone.
    #[must_use]
    pub fn sentence(&self) -> String {
        match &self.when {
            When::Cron(pattern) => pattern.sentence(),
            When::Every(period) => format!("Every {}.", humantime::format_duration(*period)),
        }
    }

    /// How it was written: `5 fields`, `6 fields (seconds first)`, `a name`, `a period`.
    #[must_use]
    pub fn form(&self) -> String {
        match &self.when {
            When::Cron(pattern) => pattern.form.to_string(),
            When::Every(_) => "a period".to_owned(),
        }
    }
}
