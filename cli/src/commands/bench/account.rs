//! What is told of a run: its report, in whatever form.

use std::collections::BTreeMap;
use std::fs;

use chatctl_loadgen::report::build::Material;
use chatctl_loadgen::report::{Report, csv, hlog, html, junit, markdown, screen};
use chatctl_loadgen::scenario::Scenario;
use chatctl_loadgen::server::Process;
use chatctl_loadgen::threshold::Threshold;
use schemars::JsonSchema;
use serde::Serialize;

use super::measure::Measured;
use super::place::Target;
use super::{ceiling, host};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out, to_json};
use crate::when::rfc3339;

/// What else goes into a report.
#[derive(Debug)]
pub(super) struct Told {
    /// Of the person, and of what was done to the relay.
    pub(super) labels: BTreeMap<String, String>,
    /// Threads that generated.
    pub(super) workers: u32,
}

/// A report as a document of ours. It names its schema itself.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub(crate) struct Reported(Report);

impl Document for Reported {
    const SCHEMA: &'static str = chatctl_loadgen::report::SCHEMA;
}

/// A form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A page.
    Html,
    /// A table.
    Markdown,
    /// XML for a build server.
    Junit,
    /// Seconds.
    Csv,
    /// Histograms.
    Hlog,
}

impl Form {
    /// A report in this form.
    ///
    /// # Errors
    ///
    /// When a histogram in it cannot be read.
    pub(super) fn of(self, report: &Report) -> Result<String, Failure> {
        Ok(match self {
            Self::Html => html::page(report, None),
            Self::Markdown => markdown::markdown(report),
            Self::Junit => junit::junit(report),
            Self::Csv => csv::csv(report),
            Self::Hlog => hlog::hlog(report).map_err(|error| Failure::from_error(Exit::DataErr, &error))?,
        })
    }
}

/// Judges a run.
///
/// # Errors
///
/// [`Exit::Usage`] for thresholds that make no sense; they were looked at before.
pub(super) fn report(
    scenario: &Scenario,
    target: &Target,
    measured: Measured,
    told: Told,
) -> Result<Report, Failure> {
    let thresholds = Threshold::with_always(&scenario.thresholds);
    let thresholds = thresholds.map_err(|error| Failure::from_error(Exit::Usage, &error))?;
    let own = Process::own();
    let environment = chatctl_loadgen::report::Environment {
        target: target.name.to_owned(),
        url: target.url.clone(),
        server_version: target
            .introduction
            .as_ref()
            .map(|introduction| introduction.version.clone()),
        store: target.own.as_ref().map(|own| own.store().to_owned()),
        same_host: target.is_here,
        workers: told.workers,
        agents: measured.agents,
        ..host::environment()
    };
    Ok(Report::build(Material {
        run_id: format!("{:016x}", measured.run),
        started: rfc3339(measured.started),
        scenario,
        ceiling_per_second: ceiling::ceiling(&environment),
        environment,
        labels: told.labels,
        thresholds: &thresholds,
        outcome: &measured.outcome,
        glances: &measured.glances,
        server_pid: target.watched.pid.get(),
        rss_max_bytes: own.rss_max.unwrap_or_default(),
        open_files: fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
    }))
}

/// Tells a report, on stdout or in the file of `-o`: the screen, or the document.
///
/// # Errors
///
/// As [`Out::verbatim`].
pub(super) fn tell(report: &Report, out: &Out) -> Result<(), Failure> {
    match out.is_json() {
        true => out.verbatim(to_json(report)?.as_bytes()),
        false => out.verbatim(screen::screen(report, out.colors_stdout()).as_bytes()),
    }
}

/// Reads a report that was kept.
///
/// # Errors
///
/// [`Exit::NoInput`] when it is not there; [`Exit::DataErr`] when it is none.
pub(super) fn read(path: &std::path::Path) -> Result<Report, Failure> {
    let name = path.display();
    let text = fs::read(path)
        .map_err(|error| Failure::new(Exit::NoInput, format!("cannot read {name}")).caused_by(&error))?;
    let report: Report = serde_json::from_slice(&text)
        .map_err(|error| Failure::new(Exit::DataErr, format!("{name} is no report")).caused_by(&error))?;
    match report.schema == chatctl_loadgen::report::SCHEMA {
        true => Ok(report),
        false => Err(Failure::new(
            Exit::Protocol,
            format!("{name} is of another version: {}", report.schema),
        )),
    }
}
