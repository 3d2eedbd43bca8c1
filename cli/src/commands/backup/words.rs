//! Backups in words: what is in one, and what an operator does when there is none.

use std::path::Path;

use chatctl_relay::store::backup::{self, BackupError};
use chatctl_relay::store::embedded::OpenError;
use chatctl_relay::store::embedded::backup::RestoreError;
use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::figures::{bytes, thousands};
use crate::relay::Refused;
use crate::store::{self, embedded_failure};
use crate::when;

/// What a backup holds.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::commands) struct Contents {
    /// The version of chatctl that took it.
    version: String,
    /// The schema of what is in it.
    schema: u32,
    /// When it was taken (RFC 3339).
    at: String,
    /// Tells the store that it is of from others.
    store: String,
    accounts: u64,
    devices: u64,
    /// Envelopes that wait.
    envelopes: u64,
    /// Their payloads.
    payload_bytes: u64,
    /// One-time keys that nobody has claimed. A restore burns them.
    one_time_keys: u64,
    /// Sends whose retries are recognised.
    records: u64,
    /// Revocations of tokens.
    revocations: u64,
}

impl Contents {
    pub(in crate::commands) fn of(contents: &backup::Contents) -> Self {
        let backup::Contents {
            version,
            schema,
            at,
            store,
            accounts,
            devices,
            envelopes,
            payload_bytes,
            one_time_keys,
            records,
            revocations,
        } = contents.clone();
        Self {
            version,
            schema,
            at: when::rfc3339(at),
            store: format!("{store:016x}"),
            accounts,
            devices,
            envelopes,
            payload_bytes,
            one_time_keys,
            records,
            revocations,
        }
    }
}

/// What a backup holds, for people.
pub(in crate::commands) fn summary(contents: &backup::Contents) -> String {
    format!(
        "  taken {} by chatctl {}, schema {}\n  {} accounts, {} devices, {} envelopes ({}), {} one-time keys, {} revocations\n",
        when::rfc3339(contents.at),
        contents.version,
        contents.schema,
        thousands(contents.accounts),
        thousands(contents.devices),
        thousands(contents.envelopes),
        bytes(contents.payload_bytes),
        thousands(contents.one_time_keys),
        thousands(contents.revocations),
    )
}

/// The store is MongoDB.
pub(super) fn not_embedded() -> Failure {
    Failure::new(Exit::Config, "the store is MongoDB, which has its own backups")
        .hint("`mongodump --oplog --gzip --archive=FILE`, or your cluster's snapshots")
}

/// What an operator is told when the relay refuses.
pub(super) fn refused(refused: Refused) -> Failure {
    let Refused { code, mut failure } = refused;
    match code.as_str() {
        "not_found" => not_embedded(),
        "job_running" => {
            failure.exit = Exit::TempFail;
            failure.hint("one at a time; run the command again when that one is done")
        }
        "storage_full" => failure.hint(
            "the copy is made beside the store, and has to fit there for a moment without touching --disk-reserve",
        ),
        _ => failure,
    }
}

/// What an operator is told when a store at rest does not open.
pub(super) fn not_opened(directory: &Path, error: &OpenError) -> Failure {
    match error {
        OpenError::Held(_) => embedded_failure(directory, error).hint(
            "a relay that runs has it: reach that with --admin-socket FILE (systemd: /run/chatctl/admin.sock), or --url URL --token-file FILE",
        ),
        OpenError::NotAStore => {
            Failure::new(Exit::NoInput, format!("there is no store in {}", directory.display()))
                .hint("--data-dir DIR names the store's directory")
        }
        OpenError::Newer { .. }
        | OpenError::Older { .. }
        | OpenError::Backup
        | OpenError::NoWal
        | OpenError::Io(_)
        | OpenError::Database(_)
        | OpenError::Rows(_) => embedded_failure(directory, error),
    }
}

/// What an operator is told when a store at rest was not copied.
pub(in crate::commands) fn store_failure(error: &BackupError) -> Failure {
    match error {
        BackupError::Store(error) => store::store_failure(error),
        BackupError::Unsupported => not_embedded(),
        BackupError::NoRoom { .. } => Failure::from_error(Exit::Unavailable, error)
            .hint("the copy is made beside the store, and has to fit there for a moment"),
        BackupError::Running | BackupError::GivenUp => Failure::from_error(Exit::TempFail, error),
    }
}

/// What an operator is told when a backup is not good, or not restored.
pub(in crate::commands) fn failure(directory: &Path, error: &RestoreError) -> Failure {
    let (exit, hint) = match error {
        RestoreError::Io { what: "read", .. } => (Exit::NoInput, "is it there, and yours to read?"),
        RestoreError::Io { .. } => (
            Exit::CantCreate,
            "the store's directory has to be one that you may write, with room for the store",
        ),
        RestoreError::NoBackup(_) | RestoreError::Damaged(_) | RestoreError::Unsound { .. } => (
            Exit::DataErr,
            "nothing was changed; take another backup, or an earlier one",
        ),
        RestoreError::Stopped => (Exit::Interrupted, "nothing was changed"),
        RestoreError::InTheWay(_) => (
            Exit::CantCreate,
            "--force puts it aside, under another name in the same directory",
        ),
        RestoreError::Open(error) => return embedded_failure(directory, error),
        RestoreError::Store(error) => return store::store_failure(error),
    };
    Failure::from_error(exit, error).hint(hint)
}
