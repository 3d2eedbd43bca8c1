//! The chores, by kin: what a step does, and what a look finds.

mod absence;
mod budget;
mod compact;
mod devices;
mod forget;
mod low_keys;
mod mail;
mod rotation;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::config::jobs::JobName;
use crate::jobs::{Chore, Desk, Findings, Nobody, Step};
use crate::store::{Error, Litter};

use self::forget::{Forget, What};

/// The chore of a job.
#[must_use]
pub fn of(job: JobName) -> Box<dyn Chore> {
    match job {
        JobName::ExpireMail => Box::new(mail::ExpireMail::default()),
        JobName::PruneRecords => Box::new(Forget::new(What::Records)),
        JobName::PruneRevocations => Box::new(Forget::new(What::Revocations)),
        JobName::PruneTombstones => Box::new(Forget::new(What::Tombstones)),
        JobName::RemoveIdleDevices => Box::new(devices::RemoveIdleDevices::default()),
        JobName::SweepDeparted => Box::new(devices::SweepDeparted),
        JobName::ReportLowKeys => Box::new(low_keys::ReportLowKeys::default()),
        JobName::RemindKeyRotation => Box::new(rotation::RemindKeyRotation),
        JobName::CompactStore => Box::new(compact::CompactStore::default()),
        JobName::TrimHistory => Box::new(Forget::new(What::Runs)),
    }
}

/// What a run would do now. Changes nothing, and tells nobody else. Devices that are here and were not stamped today
/// may be counted as idle; a run stamps them first. How much space could be given back only a run can tell.
///
/// # Errors
///
/// [`Error`].
pub async fn look(job: JobName, desk: &Desk) -> Result<Findings, Error> {
    let mut findings = Findings::default();
    let now = desk.clock.now();
    let found = match job {
        JobName::ExpireMail => Some((Litter::Mail { now }, "envelopes")),
        JobName::PruneRecords => Some((What::Records.litter(desk), What::Records.word())),
        JobName::PruneRevocations => Some((What::Revocations.litter(desk), What::Revocations.word())),
        JobName::PruneTombstones => Some((What::Tombstones.litter(desk), What::Tombstones.word())),
        JobName::TrimHistory => Some((What::Runs.litter(desk), What::Runs.word())),
        JobName::RemoveIdleDevices => devices::idle(desk).await?.map(|idle| (idle, "devices")),
        JobName::SweepDeparted => Some((Litter::Departed { now }, "mailboxes")),
        JobName::ReportLowKeys => {
            let alone = Desk {
                audience: Arc::new(Nobody),
                ..desk.clone()
            };
            let mut report = of(job);
            while report.step(&alone, &mut findings).await? == Step::More {}
            None
        }
        JobName::RemindKeyRotation => {
            rotation::report(desk, &mut findings);
            None
        }
        JobName::CompactStore => None,
    };
    if let Some((litter, word)) = found {
        let due = desk.store.due(litter).await?;
        findings.work.affected = due.count;
        findings.work.oldest = due.oldest;
        findings.bytes = due.bytes;
        add(&mut findings, word, due.count);
    }
    Ok(findings)
}

/// Adds to a count by name.
fn add(findings: &mut Findings, name: &'static str, more: u64) {
    let counts = &mut findings.work.counts;
    match counts.iter_mut().find(|(known, _)| &**known == name) {
        Some((_, count)) => *count += more,
        None => counts.push((name.into(), more)),
    }
}

/// Adds a line, if there is room for it.
fn say(findings: &mut Findings, line: impl FnOnce() -> String) {
    if findings.lines.len() < MAX_LINES {
        findings.lines.push(line());
    }
}

/// Most lines of a report.
const MAX_LINES: usize = 1_000;
