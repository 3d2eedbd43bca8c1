//! `chatctl bench calibrate`.

use std::fmt::Write as _;

use chatctl_loadgen::calibrate::{self, Calibration, How, calibrate};
use chatctl_loadgen::units::{Size, Span};
use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::ceiling::Shelf;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out, to_json};

/// Find out how many messages the generator itself can make here
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chatctl bench calibrate --duration 3s")]
pub(super) struct Calibrate {
    /// Threads that generate load
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: u32,

    /// Payloads
    #[arg(long, value_name = "SIZE")]
    size: Option<Size>,

    /// How long each wire is measured
    #[arg(long, value_name = "DURATION")]
    duration: Option<Span>,

    /// Only tell what was found: later reports do not have it
    #[arg(long)]
    no_store: bool,
}

/// A calibration as a document of ours. It names its schema itself.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub(crate) struct Calibrated(Calibration);

impl Document for Calibrated {
    const SCHEMA: &'static str = calibrate::SCHEMA;
}

impl Calibrate {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        let usual = How::default();
        let how = How {
            workers: self.workers,
            payload: self.size.unwrap_or(usual.payload),
            duration: self.duration.map_or(usual.duration, |duration| duration.0),
            ..usual
        };
        let shelf = self.shelf(out)?;
        let found = calibrate(&how, &CancellationToken::new())
            .map_err(|error| Failure::from_error(Exit::Failure, &error))?;
        match out.is_json() {
            true => out.verbatim(to_json(&found)?.as_bytes())?,
            false => out.verbatim(text(&found).as_bytes())?,
        }
        if let Some(shelf) = shelf {
            let path = shelf.keep(&found)?;
            out.note(&format!(
                "kept in {}: reports of this machine have it",
                path.display()
            ));
        }
        Ok(Exit::Ok)
    }

    /// Where it will be kept, if it will.
    fn shelf(&self, out: &Out) -> Result<Option<Shelf>, Failure> {
        if self.no_store {
            return Ok(None);
        }
        let shelf = Shelf::of_person();
        match &shelf {
            Some(shelf) => shelf.prepare()?,
            None => out.note("it is not kept: neither XDG_STATE_HOME nor HOME names a folder"),
        }
        Ok(shelf)
    }
}

fn text(found: &Calibration) -> String {
    let mut text = format!(
        "{} B payloads, {} workers, {} cores\n",
        found.payload_bytes, found.workers, found.cores
    );
    for ceiling in &found.ceilings {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<10}{:.1}us of processor a message: {:.0}/s at most; {:.0}/s with the other side on the same processors",
            ceiling.wire,
            ceiling.cpu_seconds_per_message * 1e6,
            ceiling.messages_per_second,
            ceiling.reached_per_second,
        );
    }
    text
}
