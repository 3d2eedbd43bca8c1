//! `chatctl bench capacity`: short runs at one rate after the other, until it is known at which a promise still holds.

use chatctl_loadgen::capacity::{Answer, Search};
use chatctl_loadgen::report::Report;
use chatctl_loadgen::scenario::{Arrival, Load, Preset, Stage};
use chatctl_loadgen::units::{Rate, Span};
use schemars::JsonSchema;
use serde::Serialize;

use super::course::{Options, sound};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::figures::table;
use crate::out::{Document, Out};

/// Search for the highest rate at which a promise holds
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl bench capacity --slo 'e2e.p99<100ms' --start 500/s --max 50k/s
  chatctl bench capacity --crypto none --clients 1000 --each-run 10s --resolution 5%")]
pub(super) struct Capacity {
    /// What has to hold at a rate, as thresholds are written (repeatable)
    #[arg(long, value_name = "EXPR", default_value = "e2e.p99 < 100ms")]
    slo: Vec<String>,

    /// The rate to begin with
    #[arg(long, value_name = "RATE", default_value = "500/s")]
    start: Rate,

    /// No rate above this is tried
    #[arg(long, value_name = "RATE", default_value = "50k/s")]
    max: Rate,

    /// How near what held and what did not shall be
    #[arg(long, value_name = "SHARE", default_value = "10%", value_parser = resolution)]
    resolution: f64,

    /// How long each rate is measured
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    each_run: Span,

    #[command(flatten)]
    options: Options,
}

/// What a search found.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Found {
    /// What had to hold.
    slo: Vec<String>,
    /// The highest rate at which it did; null when it never did.
    holds_at_per_second: Option<f64>,
    /// Whether the search ended at its highest rate: the relay can do more.
    is_at_least: bool,
    /// Every rate that was tried, in this order.
    steps: Vec<Step>,
}

/// A rate that was tried.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Step {
    /// The rate.
    rate_per_second: f64,
    /// Whether everything held.
    holds: bool,
    /// Messages that arrived.
    delivered_per_second: f64,
    /// From due to arrival.
    e2e_p50_seconds: Option<f64>,
    /// From due to arrival.
    e2e_p99_seconds: Option<f64>,
    /// Why not.
    reasons: Vec<String>,
}

impl Document for Found {
    const SCHEMA: &'static str = "chatctl.bench.capacity/v1";
}

impl Capacity {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        if self.start > self.max {
            return Err(Failure::new(Exit::Usage, "--start is above --max"));
        }
        let mut scenario = self.options.preset(Preset::Pairs);
        self.options.shape.clone().apply(&mut scenario)?;
        scenario.name = "capacity".to_owned();
        scenario.thresholds.extend(self.slo.iter().cloned());
        let arrival = match scenario.load {
            Load::Open { arrival, .. } => arrival,
            Load::Closed { .. }
            | Load::Offline { .. }
            | Load::Claims { .. }
            | Load::Hold { .. }
            | Load::Storm { .. } => {
                return Err(Failure::new(
                    Exit::Usage,
                    "the search sets the rates: no --in-flight here",
                ));
            }
        };
        scenario.load = self.at(self.start, arrival);
        sound(&scenario)?;
        let mut search = Search::new(self.start, self.max, self.resolution);
        let mut steps = Vec::new();
        let ended = self.options.series(&mut scenario, out, |scenario, last| {
            if let Some((rate, report)) = last {
                let step = Step::of(rate, report);
                out.note(&step.line());
                search.tell(rate, step.holds);
                steps.push(step);
            }
            let next = search.next()?;
            scenario.load = self.at(next, arrival);
            Some(next)
        })?;
        let (rate, is_at_least) = match search.answer() {
            Some(Answer::Knee(rate)) => (Some(rate), false),
            Some(Answer::Beyond(rate)) => (Some(rate), true),
            Some(Answer::Below(_)) | None => (None, false),
        };
        let document = Found {
            slo: self.slo,
            holds_at_per_second: rate.map(Rate::get),
            is_at_least,
            steps,
        };
        out.result(&text(&document), &document)?;
        match (ended, rate) {
            (Some(exit), _) => Ok(exit),
            (None, Some(_)) => Ok(Exit::Ok),
            (None, None) => Ok(Exit::Threshold),
        }
    }

    fn at(&self, rate: Rate, arrival: Arrival) -> Load {
        Load::Open {
            stages: vec![Stage {
                from: None,
                rate,
                lasts: self.each_run,
            }],
            arrival,
        }
    }
}

impl Step {
    fn of(rate: Rate, report: &Report) -> Self {
        let e2e = report.latency.get("e2e");
        Self {
            rate_per_second: rate.get(),
            // Latency counts from when a message was due: what holds although the generator was late, holds.
            holds: report.load.missed == 0 && report.thresholds.iter().all(|judged| judged.holds),
            delivered_per_second: report.load.delivered_per_second,
            e2e_p50_seconds: e2e.map(|figures| figures.p50_seconds),
            e2e_p99_seconds: e2e.map(|figures| figures.p99_seconds),
            reasons: report.reasons.clone(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let shown = |seconds: Option<f64>| {
            seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{:.1}ms", seconds * 1000.0))
        };
        let verdict = match self.holds {
            true => "holds",
            false => "does not hold",
        };
        vec![
            format!("{:.0}/s", self.rate_per_second),
            verdict.to_owned(),
            format!("{:.0}/s", self.delivered_per_second),
            shown(self.e2e_p50_seconds),
            shown(self.e2e_p99_seconds),
            self.reasons.join(" "),
        ]
    }

    fn line(&self) -> String {
        let cells = self.cells();
        format!(
            "{}: {}, delivered {}, e2e p50 {}, p99 {}",
            cells[0], cells[1], cells[2], cells[3], cells[4]
        )
    }
}

fn text(found: &Found) -> String {
    let slo = found.slo.join(", ");
    let answer = match (found.holds_at_per_second, found.is_at_least) {
        (Some(rate), false) => format!("{rate:.0}/s is the highest rate at which {slo} holds"),
        (Some(rate), true) => format!("{slo} holds at {rate:.0}/s, the highest rate that was tried"),
        (None, _) => format!("{slo} did not hold at any rate that was tried"),
    };
    let head = ["RATE", "", "DELIVERED", "E2E P50", "E2E P99", ""].map(str::to_owned);
    let mut rows = vec![head.to_vec()];
    rows.extend(found.steps.iter().map(Step::cells));
    format!("{answer}\n\n{}", table(&rows))
}

fn resolution(text: &str) -> Result<f64, String> {
    let number = text
        .strip_suffix('%')
        .and_then(|number| number.parse::<f64>().ok());
    let good = number.filter(|number| (1.0..=100.0).contains(number));
    good.ok_or_else(|| "must be a share such as 10%, from 1% to 100%".to_owned())
}
