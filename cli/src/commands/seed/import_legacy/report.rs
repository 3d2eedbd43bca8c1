//! What an import tells: every user who came, those who did not and why; counts when there are many.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;

use super::people::{People, Person, Skipped};
use crate::failure::Failure;
use crate::out::{Document, Out};

/// What became of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// The account is new.
    Created,
    /// It was imported before, and nothing changed since.
    Same,
    /// It was imported before, and has the old database's new attributes now.
    Updated,
    /// The account has attributes that are not the old database's. Nothing changed.
    Taken,
    /// Nothing was done; the account would be.
    WouldBe,
}

impl Outcome {
    const fn words(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Same => "same",
            Self::Updated => "updated",
            Self::Taken => "taken by another account",
            Self::WouldBe => "would be",
        }
    }
}

/// What was done so far.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Imported {
    dry_run: bool,
    documents: usize,
    duplicates: usize,
    counts: BTreeMap<Outcome, usize>,
    accounts: Vec<Row>,
    skipped: Vec<Skipped>,
}

impl Document for Imported {
    const SCHEMA: &'static str = "chatctl.seed.import-legacy/v1";
}

#[derive(Debug, Serialize, JsonSchema)]
struct Row {
    account: String,
    name: String,
    id: String,
    merged: Vec<String>,
    outcome: Outcome,
}

impl Imported {
    pub(super) fn new(dry_run: bool, people: &People) -> Self {
        Self {
            dry_run,
            documents: people.documents,
            duplicates: people.people.iter().map(|person| person.merged.len()).sum(),
            counts: BTreeMap::new(),
            accounts: Vec::new(),
            skipped: people.skipped.clone(),
        }
    }

    /// A user was dealt with.
    pub(super) fn person(&mut self, person: &Person, outcome: Outcome) {
        *self.counts.entry(outcome).or_default() += 1;
        self.accounts.push(Row {
            account: person.account.to_string(),
            name: person.name.clone(),
            id: person.id.clone(),
            merged: person.merged.clone(),
            outcome,
        });
    }

    /// Entries that were not imported.
    pub(super) fn bad(&self) -> usize {
        self.skipped.len() + self.counts.get(&Outcome::Taken).copied().unwrap_or(0)
    }

    /// Writes the result.
    ///
    /// # Errors
    ///
    /// As [`Out::result`].
    pub(super) fn tell(&self, out: &Out) -> Result<(), Failure> {
        out.result(&self.text(), self)
    }

    fn text(&self) -> String {
        let is_told = |row: &&Row| self.accounts.len() <= FEW || row.outcome == Outcome::Taken;
        let rows: Vec<_> = self.accounts.iter().filter(is_told).take(FEW).collect();
        let wide = rows.iter().map(|row| row.account.len()).max().unwrap_or(0).max(7);
        let mut text = String::new();
        if !rows.is_empty() {
            text = format!("{:wide$}  {:24}  NAME\n", "ACCOUNT", "RESULT");
        }
        for row in rows {
            let merged = match row.merged.len() {
                0 => String::new(),
                count => format!(", {count} merged"),
            };
            let result = format!("{}{merged}", row.outcome.words());
            // Names come from somebody else's database: nothing in them reaches the terminal as it is.
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "{:wide$}  {result:24}  {}",
                row.account,
                row.name.escape_debug()
            );
        }
        for skipped in self.skipped.iter().take(FEW) {
            let ids = skipped.ids.iter().take(3).map(String::as_str).collect::<Vec<_>>();
            let more = if skipped.ids.len() > ids.len() {
                ", …"
            } else {
                ""
            };
            let _ = writeln!(text, "skipped {}{more}: {}", ids.join(", "), skipped.why);
        }
        let counts = self
            .counts
            .iter()
            .map(|(outcome, count)| format!("{count} {}", outcome.words()));
        let counts = counts.collect::<Vec<_>>().join(", ");
        let (documents, duplicates, skipped) = (self.documents, self.duplicates, self.skipped.len());
        let accounts = self.accounts.len();
        let _ = writeln!(
            text,
            "{documents} documents: {accounts} accounts ({counts}), {duplicates} duplicates, {skipped} skipped"
        );
        text
    }
}

/// Rows that are shown one by one.
const FEW: usize = 30;
