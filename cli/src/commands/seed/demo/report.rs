//! What a run of `seed demo` tells: a table for few devices, counts for many, one document for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use chatctl_protocol::Address;
use schemars::JsonSchema;
use serde::Serialize;

use super::cast::{Role, Talk};
use super::stage::Outcome;
use super::state;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};

/// What was done so far.
#[derive(Debug)]
pub(super) struct Report {
    seed: u64,
    directory: Option<PathBuf>,
    began: Instant,
    is_dry: bool,
    stopped: bool,
    accounts: usize,
    counts: BTreeMap<Outcome, usize>,
    conversations: Conversations,
    rows: Vec<Row>,
    conflicts: Vec<Row>,
}

#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
struct Conversations {
    stored: usize,
    kept: usize,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Row {
    account: String,
    device: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_id: Option<u32>,
    outcome: Option<Outcome>,
    state_file: Option<PathBuf>,
}

/// What a run did.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Demonstrated {
    dry_run: bool,
    interrupted: bool,
    rng_seed: u64,
    accounts: usize,
    devices: BTreeMap<Outcome, usize>,
    conversations: Conversations,
    elapsed_ms: u64,
    /// Every device, when there are few.
    list: Vec<Row>,
    /// The first devices that were left alone.
    conflicts: Vec<Row>,
}

impl Document for Demonstrated {
    const SCHEMA: &'static str = "chatctl.seed.demo/v1";
}

impl Report {
    pub(super) fn new(seed: u64, directory: Option<PathBuf>) -> Self {
        Self {
            seed,
            directory,
            began: Instant::now(),
            is_dry: false,
            stopped: false,
            accounts: 0,
            counts: BTreeMap::new(),
            conversations: Conversations::default(),
            rows: Vec::new(),
            conflicts: Vec::new(),
        }
    }

    /// Nothing is done; this is what would be there.
    pub(super) fn would_be(&mut self, cast: &[Role], talks: &[Talk]) {
        self.is_dry = true;
        self.accounts = cast.len();
        let devices: usize = cast.iter().map(|role| role.devices.len()).sum();
        self.counts.insert(Outcome::Created, devices);
        self.conversations.stored = talks.len();
        for part in cast.iter().flat_map(|role| &role.devices).take(FEW + 1) {
            let row = self.row(&part.address, None, Some(part.registration_id));
            self.rows.push(row);
        }
    }

    /// An account is in the store.
    pub(super) fn entered(&mut self, role: &Role, outcomes: &[Outcome]) {
        self.accounts += 1;
        for (part, outcome) in role.devices.iter().zip(outcomes) {
            *self.counts.entry(*outcome).or_default() += 1;
            let row = self.row(&part.address, Some(*outcome), None);
            if outcome.is_conflict() && self.conflicts.len() < FEW {
                self.conflicts.push(row.clone());
            }
            if self.rows.len() <= FEW {
                self.rows.push(row);
            }
        }
    }

    /// A conversation is stored, or was.
    pub(super) fn held(&mut self, is_new: bool) {
        match is_new {
            true => self.conversations.stored += 1,
            false => self.conversations.kept += 1,
        }
    }

    /// The run ends before its end.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Devices that are somebody else's.
    pub(super) fn conflicts(&self) -> usize {
        let conflicts = self.counts.iter().filter(|(outcome, _)| outcome.is_conflict());
        conflicts.map(|(_, count)| count).sum()
    }

    /// Why a run with conflicts is none that went well.
    pub(super) fn refusal(&self) -> Failure {
        let message = format!(
            "{} devices are in the store with keys that the state files do not have",
            self.conflicts()
        );
        Failure::new(Exit::DataErr, message).hint(
            "name the --state-dir that they were made with, or another --prefix or --rng-seed; \
             --reinstall makes them anew and deletes their mail",
        )
    }

    /// Writes the result.
    ///
    /// # Errors
    ///
    /// As [`Out::result`].
    pub(super) fn tell(&mut self, out: &Out) -> Result<(), Failure> {
        let by_name = |row: &Row| (row.account.clone(), row.device.clone());
        self.rows.sort_by_key(by_name);
        self.conflicts.sort_by_key(by_name);
        let list = if self.rows.len() > FEW {
            &[][..]
        } else {
            &self.rows
        };
        let document = Demonstrated {
            dry_run: self.is_dry,
            interrupted: self.stopped,
            rng_seed: self.seed,
            accounts: self.accounts,
            devices: Outcome::ALL.map(|outcome| (outcome, self.count(outcome))).into(),
            conversations: self.conversations.clone(),
            elapsed_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            list: list.to_vec(),
            conflicts: self.conflicts.clone(),
        };
        out.result(&self.text(list), &document)
    }

    fn text(&self, list: &[Row]) -> String {
        let mut text = table(list);
        if list.is_empty() {
            text += &table(&self.conflicts);
        }
        let devices: usize = self.counts.values().sum();
        let (accounts, conversations) = (self.accounts, &self.conversations);
        let seconds = self.began.elapsed().as_secs_f64();
        // Writing to a String does not fail.
        let _ = if self.is_dry {
            let talks = conversations.stored;
            writeln!(
                text,
                "would be: {accounts} accounts, {devices} devices, {talks} conversations"
            )
        } else {
            let counts = self
                .counts
                .iter()
                .map(|(outcome, count)| format!("{count} {}", outcome.words()));
            let counts = counts.collect::<Vec<_>>().join(", ");
            writeln!(
                text,
                "{accounts} accounts, {devices} devices ({counts}) in {seconds:.1} s"
            )
        };
        if !self.is_dry && conversations.stored + conversations.kept > 0 {
            let Conversations { stored, kept } = conversations;
            let _ = writeln!(
                text,
                "{} conversations ({stored} stored, {kept} kept)",
                stored + kept
            );
        }
        text
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.counts.get(&outcome).copied().unwrap_or(0)
    }

    fn row(&self, address: &Address, outcome: Option<Outcome>, registration_id: Option<u32>) -> Row {
        let has_file = !matches!(outcome, Some(Outcome::NoFile));
        let file = |directory: &Path| state::file(directory, address);
        Row {
            account: address.account.to_string(),
            device: address.device_id.to_string(),
            registration_id,
            outcome,
            state_file: self.directory.as_deref().map(file).filter(|_| has_file),
        }
    }
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let wide = rows.iter().map(|row| row.account.len()).max().unwrap_or(0).max(7);
    let mut text = format!("{:wide$}  DEVICE  STATE\n", "ACCOUNT");
    for row in rows {
        let file = row.state_file.as_ref().map(|path| path.display().to_string());
        let outcome = row
            .outcome
            .filter(|outcome| outcome.is_conflict())
            .map(Outcome::words);
        let state = match (outcome, file) {
            (Some(words), _) => words.to_owned(),
            (None, Some(file)) => file,
            (None, None) => "-".to_owned(),
        };
        let _ = writeln!(text, "{:wide$}  {:6}  {state}", row.account, row.device);
    }
    text
}

/// Rows that are shown one by one.
const FEW: usize = 30;
