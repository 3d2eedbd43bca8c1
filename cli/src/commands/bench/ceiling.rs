//! What `chatctl bench calibrate` found on this machine, kept for the reports that come after it.
//!
//! Owns the file and where it is. A ceiling counts only on the machine on which it was found, and for the wire over which it
//! was found: to a report without one nothing is said.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use chatctl_loadgen::calibrate::{self, Calibration};
use chatctl_loadgen::report::Environment;
use chatctl_relay::auth::private_file::{self, Access, Existing};
use serde::{Deserialize, Serialize};

use super::host;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::to_json;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Model of the processor.
    cpu: String,
    #[serde(flatten)]
    calibration: Calibration,
}

/// Where a calibration is kept.
#[derive(Debug)]
pub(super) struct Shelf(PathBuf);

impl Shelf {
    /// The person's folder for state; none where the environment names none.
    pub(super) fn of_person() -> Option<Self> {
        let folder = |name: &str| {
            let path = PathBuf::from(std::env::var_os(name)?);
            // Anything else is to be ignored, the standard says.
            path.is_absolute().then_some(path)
        };
        let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
        Some(Self(state.join("chatctl").join(FILE)))
    }

    /// Makes the folder, so that what is measured can be kept.
    ///
    /// # Errors
    ///
    /// [`Exit::CantCreate`].
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        let folder = self.0.parent().unwrap_or(&self.0);
        fs::create_dir_all(folder).map_err(|error| {
            let message = format!("cannot make the directory {}", folder.display());
            Failure::new(Exit::CantCreate, message)
                .caused_by(&error)
                .hint("--no-store only tells what was found")
        })
    }

    /// Keeps what was found, in the place of what was there.
    ///
    /// # Errors
    ///
    /// [`Exit::CantCreate`].
    pub(super) fn keep(&self, calibration: &Calibration) -> Result<&Path, Failure> {
        let kept = Kept {
            cpu: host::environment().cpu,
            calibration: calibration.clone(),
        };
        let text = to_json(&kept)?;
        private_file::write(&self.0, text.as_bytes(), Access::Everybody, Existing::Replace)?;
        Ok(&self.0)
    }

    /// What was found over a wire, if it was found on this machine.
    fn ceiling(&self, machine: &Environment, wire: &str) -> Option<f64> {
        let mut text = Vec::new();
        File::open(&self.0)
            .ok()?
            .take(LONGEST)
            .read_to_end(&mut text)
            .ok()?;
        let kept: Kept = serde_json::from_slice(&text).ok()?;
        let found = &kept.calibration;
        let is_here = kept.cpu == machine.cpu && found.cores == machine.cores;
        if !is_here || found.schema != calibrate::SCHEMA {
            return None;
        }
        let ceiling = found.ceilings.iter().find(|ceiling| ceiling.wire == wire)?;
        Some(ceiling.messages_per_second).filter(|rate| rate.is_finite() && *rate > 0.0)
    }
}

/// The ceiling that a report has; none where others generated, of whose machines nothing is known here.
pub(super) fn ceiling(environment: &Environment) -> Option<f64> {
    match environment.agents.is_empty() {
        true => Shelf::of_person()?.ceiling(environment, &environment.target),
        false => None,
    }
}

const FILE: &str = "calibration.json";
/// Bytes of it at most.
const LONGEST: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use chatctl_loadgen::calibrate::Ceiling;

    use super::*;

    fn calibration() -> Calibration {
        Calibration {
            schema: calibrate::SCHEMA.to_owned(),
            cores: host::cores(),
            workers: 1,
            payload_bytes: 256,
            ceilings: vec![Ceiling {
                wire: "chatctl".to_owned(),
                cpu_seconds_per_message: 1e-5,
                messages_per_second: 1e5,
                reached_per_second: 5e4,
                busiest_worker: 0.9,
            }],
        }
    }

    #[test]
    fn a_ceiling_is_of_one_machine_and_one_wire() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf(folder.path().join("chatctl").join(FILE));
        let here = host::environment();
        assert_eq!(shelf.ceiling(&here, "chatctl"), None);
        shelf.prepare().unwrap();
        shelf.keep(&calibration()).unwrap();
        assert_eq!(shelf.ceiling(&here, "chatctl"), Some(1e5));
        assert_eq!(shelf.ceiling(&here, "nats-core"), None);
        let other = Environment {
            cpu: "another".to_owned(),
            ..here.clone()
        };
        assert_eq!(shelf.ceiling(&other, "chatctl"), None);
        let larger = Environment {
            cores: here.cores + 1,
            ..here
        };
        assert_eq!(shelf.ceiling(&larger, "chatctl"), None);
    }

    #[test]
    fn a_file_that_is_something_else_is_no_ceiling() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf(folder.path().join(FILE));
        for text in ["", "{}", "[1]", "\u{0}"] {
            fs::write(&shelf.0, text).unwrap();
            assert_eq!(shelf.ceiling(&host::environment(), "chatctl"), None, "{text:?}");
        }
    }
}
