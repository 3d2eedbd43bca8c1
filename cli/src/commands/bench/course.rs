//! From flags to a verdict: checks everything before the first connection, measures, judges, and writes what was asked for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use chatctl_loadgen::report::{Report, Verdict};
use chatctl_loadgen::scenario::{Crypto, Preset, Scenario};
use chatctl_loadgen::units::Rate;

use super::account::{self, Told};
use super::agent::read_secret;
use super::files::Files;
use super::measure::{Blow, Manner, measure};
use super::place::{Target, Where};
use super::shape::Shape;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;
use crate::runtime::wait_for;

/// Everything that a run can be told.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) shape: Shape,

    #[command(flatten)]
    place: Where,

    #[command(flatten)]
    course: Course,

    #[command(flatten)]
    files: Files,
}

/// How it is done.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "How")]
struct Course {
    /// Threads that generate load (default: one for each two processors)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: Option<u32>,

    /// Addresses of this machine that clients connect from, in turn, for more clients than one address has ports
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    source_ip: Vec<IpAddr>,

    /// Agents that simulate the clients, as HOST:PORT (see `chatctl bench agent`); they reach the relay by its --url
    #[arg(
        long,
        value_name = "AGENT",
        value_delimiter = ',',
        requires = "agent_secret_file"
    )]
    agents: Vec<String>,

    /// File with the secret that the agents know, too (mode 0600)
    #[arg(long, value_name = "FILE", requires = "agents")]
    agent_secret_file: Option<PathBuf>,

    /// A word about the run, for its report (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Vec<(String, String)>,

    /// Runs one after the other; the middle one is told, all are kept by --out-dir
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,

    /// Kill the relay in the middle and start it again: nothing that was accepted may be lost. A command does it where
    /// the relay was not started for the run
    #[arg(long, value_name = "CMD", num_args = 0..=1, default_missing_value = "")]
    verify_restart: Option<String>,

    /// Do not fail where the generator itself was the bottleneck
    #[arg(long)]
    allow_invalid: bool,
}

impl Options {
    /// A preset's scenario, as far as the target has what it needs: only the relay has a directory of keys.
    pub(super) fn preset(&self, preset: Preset) -> Scenario {
        let mut scenario = preset.scenario();
        if !self.place.is_relay() && scenario.payload.crypto == Crypto::Session {
            scenario.payload.crypto = Crypto::None;
        }
        scenario
    }

    /// Measures, and tells.
    ///
    /// # Errors
    ///
    /// When nothing could be measured.
    pub(super) fn run(self, mut scenario: Scenario, out: &Out) -> Result<Exit, Failure> {
        self.shape.clone().apply(&mut scenario)?;
        sound(&scenario)?;
        self.place.check(&scenario)?;
        let manner = self.manner()?;
        self.files.check(out)?;
        manner.make_room(&scenario)?;
        wait_for(self.repeat(&scenario, &manner, out))
    }

    /// Runs on one relay, one after the other: `next` says what to change after each of them, until it says nothing. How a
    /// signal ended it, if one did.
    ///
    /// # Errors
    ///
    /// When nothing could be measured.
    pub(super) fn series(
        &self,
        scenario: &mut Scenario,
        out: &Out,
        mut next: impl FnMut(&mut Scenario, Option<(Rate, &Report)>) -> Option<Rate>,
    ) -> Result<Option<Exit>, Failure> {
        self.place.check(scenario)?;
        let manner = self.manner()?;
        self.files.check(out)?;
        manner.make_room(scenario)?;
        wait_for(async {
            let target = self.place.open(out).await?;
            target.takes(scenario)?;
            let mut rate = next(scenario, None);
            while let Some(at) = rate {
                let (report, exit) = self.once(scenario, &target, &manner, out).await?;
                self.files.keep(&report, out)?;
                if exit.is_some() {
                    return Ok(exit);
                }
                rate = next(scenario, Some((at, &report)));
            }
            Ok(None)
        })
    }

    async fn repeat(&self, scenario: &Scenario, manner: &Manner, out: &Out) -> Result<Exit, Failure> {
        let target = self.place.open(out).await?;
        target.takes(scenario)?;
        let mut reports = Vec::new();
        let mut stopped = None;
        for number in 1..=self.course.repeat {
            if self.course.repeat > 1 {
                out.note(&format!("run {number} of {}", self.course.repeat));
            }
            let (report, exit) = self.once(scenario, &target, manner, out).await?;
            self.files.keep(&report, out)?;
            reports.push(report);
            stopped = exit;
            if stopped.is_some() {
                break;
            }
        }
        drop(target);
        let exit = stopped.unwrap_or_else(|| self.exit(&reports));
        if let Some(report) = middle(reports) {
            self.files.write(&report, out)?;
            account::tell(&report, out)?;
        }
        if self.files.is_nothing_kept() {
            out.note("--out-dir DIR keeps the report as a page, as JSON and as a log of histograms");
        }
        Ok(exit)
    }

    async fn once(
        &self,
        scenario: &Scenario,
        target: &Target,
        manner: &Manner,
        out: &Out,
    ) -> Result<(Report, Option<Exit>), Failure> {
        let measured = measure(scenario, target, manner, out).await?;
        let mut labels: BTreeMap<_, _> = self.course.label.iter().cloned().collect();
        if let Some(blow) = &measured.blow {
            labels.insert("verify_restart".to_owned(), blow.clone());
        }
        let stopped = measured.stopped;
        let told = Told {
            labels,
            workers: manner.workers(),
        };
        Ok((account::report(scenario, target, measured, told)?, stopped))
    }

    fn manner(&self) -> Result<Manner, Failure> {
        if !self.course.agents.is_empty() && !self.place.is_relay() {
            return Err(Failure::new(Exit::Usage, "--agents is for relays")
                .hint("agents measure no peers: leave --agents out, and the clients are simulated here"));
        }
        let blow = match self.course.verify_restart.as_deref() {
            None => None,
            Some("") if self.place.is_own() => Some(Blow::Kill),
            Some("") => {
                return Err(Failure::new(
                    Exit::Usage,
                    "--verify-restart needs a command for a relay that runs already",
                )
                .hint("--verify-restart 'systemctl restart chatctl'"));
            }
            Some(command) => Some(Blow::Command(command.to_owned())),
        };
        let secret = self
            .course
            .agent_secret_file
            .as_deref()
            .map(read_secret)
            .transpose()?;
        Ok(Manner {
            workers: self.course.workers,
            agents: self.course.agents.clone(),
            secret,
            sources: self.course.source_ip.clone(),
            blow,
        })
    }

    /// How the command ends: as the worst of its runs.
    fn exit(&self, reports: &[Report]) -> Exit {
        let is = |verdict: Verdict| reports.iter().any(|report| report.verdict == verdict);
        let holds = reports
            .iter()
            .all(|report| report.thresholds.iter().all(|judged| judged.holds));
        if is(Verdict::Interrupted) {
            return Exit::Interrupted;
        }
        match (is(Verdict::Invalid), is(Verdict::Fail) || !holds) {
            (true, _) if !self.course.allow_invalid => Exit::DataErr,
            (_, true) => Exit::Threshold,
            (_, false) => Exit::Ok,
        }
    }
}

/// Whether a scenario can be run.
///
/// # Errors
///
/// [`Exit::Usage`] with everything that is wrong with it.
pub(super) fn sound(scenario: &Scenario) -> Result<(), Failure> {
    let complaints = scenario.check();
    match complaints.as_slice() {
        [] => Ok(()),
        [only] => Err(Failure::new(Exit::Usage, sentence(&only.what)).hint(only.hint.clone())),
        [first, ..] => {
            let lines = complaints
                .iter()
                .map(|complaint| format!("{} {}", complaint.what, complaint.hint));
            Err(Failure::new(Exit::Usage, "the scenario makes no sense")
                .because(lines)
                .hint(first.hint.clone()))
        }
    }
}

/// A sentence as errors are: without a full stop.
fn sentence(text: &str) -> String {
    text.trim_end_matches('.').to_owned()
}

/// The run in the middle by what users feel, or else by what got through.
fn middle(mut reports: Vec<Report>) -> Option<Report> {
    let figure = |report: &Report| match report.latency.get("e2e") {
        Some(e2e) => e2e.p99_seconds,
        None => -report.load.accepted_per_second,
    };
    reports.sort_by(|one, other| figure(one).total_cmp(&figure(other)));
    let at = reports.len().checked_sub(1)? / 2;
    Some(reports.swap_remove(at))
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be name=value")?;
    match name.is_empty() {
        true => Err("must be name=value".to_owned()),
        false => Ok((name.to_owned(), value.to_owned())),
    }
}
