//! `chatctl jobs next`.

use std::fmt::Write as _;

use chatctl_relay::config::jobs::{JobName, JobsConfig};
use chatctl_relay::config::schedule::{ClockChange, Effect, Local, Schedule, Zone, local};
use chatctl_relay::jobs::plan::Plan;
use chatctl_relay::model::{Clock, UnixMs};
use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::when::{self, rfc3339};

/// Show when jobs are due next
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl jobs next
  chatctl jobs next expire-mail --count 3
  chatctl jobs next --time-zone Europe/Berlin --from 2027-03-27T12:00:00Z")]
pub(super) struct Next {
    /// Which job; all of them without it
    #[arg(value_name = "JOB")]
    job: Option<JobName>,

    /// How many times of each
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,

    /// After which time (RFC 3339); now without it
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    from: Option<UnixMs>,

    #[command(flatten)]
    config: JobsConfig,
}

/// When jobs are due.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Coming {
    /// The time after which that is (RFC 3339).
    from: String,
    /// Whether the relay leaves the jobs to somebody else.
    external: bool,
    jobs: Vec<Due>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Due {
    job: &'static str,
    about: &'static str,
    /// As it was written; null when the job is off.
    schedule: Option<String>,
    /// What was understood.
    sentence: Option<String>,
    /// The zone that the schedule is in (IANA name).
    time_zone: Option<String>,
    /// Longest random delay after a tick.
    jitter_ms: u64,
    ticks: Vec<Tick>,
    /// Changes of the clock there within a year.
    clock_changes: Vec<Change>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Tick {
    /// RFC 3339, in UTC.
    at: String,
    /// The same there.
    local: String,
    /// What people there call that time: CET.
    zone: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Change {
    /// RFC 3339, in UTC.
    at: String,
    date: String,
    /// What the clock does not show, or shows twice, begins here: `02:00`.
    from: String,
    /// And ends here.
    to: String,
    /// Whether it shows that twice.
    twice: bool,
    /// `unaffected`, `put-off`, `once`, `lost` or `twice`.
    effect: &'static str,
    message: String,
}

impl Document for Coming {
    const SCHEMA: &'static str = "chatctl.jobs.next/v1";
}

impl Next {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        let from = self.from.unwrap_or_else(|| Clock::system().now());
        let plans = match self.job {
            Some(job) => vec![Plan::of(job, &self.config)],
            None => Plan::all(&self.config),
        };
        let mut text = String::new();
        let mut jobs = Vec::new();
        for plan in &plans {
            let ticks = plan.schedule.as_ref().map_or_else(Vec::new, |schedule| {
                let most = usize::from(self.count);
                schedule.ticks(from, UnixMs(u64::MAX), most).0
            });
            let changes = plan
                .schedule
                .as_ref()
                .map_or_else(Vec::new, |schedule| schedule.clock_changes(from));
            tell(&mut text, plan, &ticks, from);
            // Of one job people want to know that nothing happens, too.
            let shown = changes
                .iter()
                .filter(|change| self.job.is_some() || change.effect != Effect::Unaffected);
            for change in shown {
                let severity = if change.matters() { "warning" } else { "note" };
                let _ = writeln!(text, "{severity}: {change}");
            }
            jobs.push(due(plan, &ticks, &changes));
        }
        if self.config.external {
            text.push_str("note: the relay runs none of them by schedule here (jobs.external)\n");
        }
        let coming = Coming {
            from: rfc3339(from),
            external: self.config.external,
            jobs,
        };
        out.result(&text, &coming)?;
        Ok(Exit::Ok)
    }
}

/// Writing to a string does not fail.
fn tell(text: &mut String, plan: &Plan, ticks: &[UnixMs], from: UnixMs) {
    let Some(schedule) = &plan.schedule else {
        let _ = writeln!(text, "{}  off", plan.job);
        return;
    };
    let (sentence, zone) = (schedule.sentence(), schedule.zone());
    let jitter = humantime::format_duration(plan.jitter);
    let _ = writeln!(
        text,
        "{}  \"{schedule}\"  {sentence}  tz {zone}  jitter ≤{jitter}",
        plan.job
    );
    if ticks.is_empty() {
        text.push_str("  not within eight years\n");
    }
    let locals: Vec<_> = ticks.iter().map(|tick| local(zone, *tick)).collect();
    let has_seconds = locals.iter().any(|local| !local.time.ends_with(":00"));
    for (index, (tick, local)) in ticks.iter().zip(&locals).enumerate() {
        let mut line = format!("  {}", shown(local, has_seconds));
        let in_utc = self::local(Zone::UTC, *tick);
        if in_utc.name != local.name {
            let _ = write!(line, "   {}Z", utc(&in_utc, local, has_seconds));
        }
        if index == 0 {
            let _ = write!(line, "   {}", soon(*tick, from));
        }
        let _ = writeln!(text, "{line}");
    }
}

fn shown(local: &Local, has_seconds: bool) -> String {
    format!("{} {} {}", local.date, clock(local, has_seconds), local.name)
}

/// With the date where it is another day there.
fn utc(utc: &Local, local: &Local, has_seconds: bool) -> String {
    match utc.date == local.date {
        true => clock(utc, has_seconds).to_owned(),
        false => format!("{} {}", utc.date, clock(utc, has_seconds)),
    }
}

fn clock(local: &Local, has_seconds: bool) -> &str {
    match has_seconds {
        true => &local.time,
        false => local.time.get(..5).unwrap_or(&local.time),
    }
}

/// Without seconds when it is more than an hour away.
fn soon(tick: UnixMs, from: UnixMs) -> String {
    let seconds = tick.0.saturating_sub(from.0).div_ceil(1000);
    let seconds = match seconds {
        seconds if seconds >= 3600 => seconds / 60 * 60,
        seconds => seconds,
    };
    when::relative(UnixMs(0).plus_seconds(seconds), UnixMs(0))
}

fn due(plan: &Plan, ticks: &[UnixMs], changes: &[ClockChange]) -> Due {
    let schedule = plan.schedule.as_ref();
    let tick = |schedule: &Schedule, at: UnixMs| {
        let local = local(schedule.zone(), at);
        Tick {
            at: rfc3339(at),
            local: local.rfc3339(),
            zone: local.name,
        }
    };
    Due {
        job: plan.job.as_str(),
        about: plan.job.about(),
        schedule: schedule.map(ToString::to_string),
        sentence: schedule.map(Schedule::sentence),
        time_zone: schedule.map(|schedule| schedule.zone().to_string()),
        jitter_ms: u64::try_from(plan.jitter.as_millis()).unwrap_or(u64::MAX),
        ticks: schedule.map_or_else(Vec::new, |schedule| {
            ticks.iter().map(|at| tick(schedule, *at)).collect()
        }),
        clock_changes: changes.iter().map(change).collect(),
    }
}

fn change(change: &ClockChange) -> Change {
    Change {
        at: rfc3339(change.at),
        date: change.date.clone(),
        from: change.from.clone(),
        to: change.to.clone(),
        twice: change.is_twice,
        effect: match change.effect {
            Effect::Unaffected => "unaffected",
            Effect::PutOff => "put-off",
            Effect::Once => "once",
            Effect::Lost(_) => "lost",
            Effect::Twice(_) => "twice",
        },
        message: change.to_string(),
    }
}
