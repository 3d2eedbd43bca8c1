//! `chatctl bench`: measures encrypted chat from end to end, on a relay of its own or on one that runs.
//!
//! Owns the command line, the relay that is started for a run, and what is told. What is measured, and how, is the
//! load generator's business.

mod account;
mod address;
mod agent;
mod calibrate;
mod capacity;
mod ceiling;
mod compare;
mod course;
mod echo;
mod files;
mod host;
mod list;
mod measure;
mod own;
mod passes;
mod peer;
mod place;
mod report;
mod run;
mod scenario;
mod shape;
mod watching;

pub(crate) use account::Reported;
pub(crate) use agent::Listening;
pub(crate) use calibrate::Calibrated;
pub(crate) use capacity::Found;
pub(crate) use compare::Compared;
pub(crate) use list::Presets;
pub(crate) use scenario::Written;

use chatctl_loadgen::scenario::Preset;

use self::course::Options;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// Measure encrypted chat from end to end, and what it costs the relay
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl bench pairs --clients 1000 --rate 2000/s --duration 30s --threshold 'e2e.p99<50ms' --out-dir runs
  chatctl bench list
  chatctl bench capacity --slo 'e2e.p99<100ms' --start 500/s --max 50k/s")]
pub(crate) struct Bench {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Connect clients at a fixed rate: time to a session, memory of each
    #[command(after_help = "Example:
  chatctl bench conn --clients 5000 --connect-rate 500/s")]
    Conn(Box<Options>),
    /// Clients two by two, one of each pair writing: latency from end to end
    #[command(after_help = "Examples:
  chatctl bench pairs --clients 1000 --rate 2000/s --duration 30s --html pairs.html
  chatctl bench pairs --rate max --in-flight 32 --crypto none
  chatctl bench pairs --url http://127.0.0.1:8480 --keys keys.json --threshold 'e2e.p99<50ms'
  chatctl bench pairs --target nats --url nats://127.0.0.1:4222 --peer-mode jetstream")]
    Pairs(Box<Options>),
    /// One writes to many: time to the first recipient, and to the last
    #[command(after_help = "Example:
  chatctl bench fanout --clients 510 --recipients 50 --rate 20/s")]
    Fanout(Box<Options>),
    /// Groups whose members write to everybody else
    #[command(after_help = "Example:
  chatctl bench rooms --clients 400 --room-size 8 --rate 200/s --arrival poisson")]
    Rooms(Box<Options>),
    /// Fill the mailboxes of clients that are away, then drain them
    #[command(after_help = "Example:
  chatctl bench offline --clients 40 --each 1000 --verify-restart")]
    Offline(Box<Options>),
    /// Claim one-time keys of few devices at once: was one given twice?
    #[command(after_help = "Example:
  chatctl bench prekeys --clients 50 --targets 10 --rate 500/s")]
    Prekeys(Box<Options>),
    /// Throw everybody out at once, again and again: time until all are back
    #[command(after_help = "Example:
  chatctl bench storm --clients 2000 --times 3")]
    Storm(Box<Options>),
    /// Connections that say nothing: memory and processor time of being there
    #[command(after_help = "Example:
  chatctl bench idle --clients 10000 --duration 30s --source-ip 127.0.0.2,127.0.0.3")]
    Idle(Box<Options>),
    /// Run a scenario of one's own
    Run(Box<run::Run>),
    /// Search for the highest rate at which a promise holds
    Capacity(Box<capacity::Capacity>),
    /// Show a report that was kept, in another form
    Report(report::Show),
    /// Compare two reports: better, worse, or noise
    Compare(compare::Compare),
    /// Find out how many messages the generator itself can make here
    Calibrate(calibrate::Calibrate),
    /// Relay over bare WebSockets, to compare with
    #[command(hide = true)]
    Echo(echo::Echo),
    /// Simulate a share of the clients of runs that are led from another host
    Agent(agent::Agent),
    /// List the presets, and what they do
    List(list::List),
    /// Print a preset as a scenario file, with the flags in it
    Scenario(Box<scenario::Print>),
}

impl Bench {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        let preset = |preset: Preset, options: Box<Options>| {
            let scenario = options.preset(preset);
            options.run(scenario, out)
        };
        match self.verb {
            Verb::Conn(options) => preset(Preset::Conn, options),
            Verb::Pairs(options) => preset(Preset::Pairs, options),
            Verb::Fanout(options) => preset(Preset::Fanout, options),
            Verb::Rooms(options) => preset(Preset::Rooms, options),
            Verb::Offline(options) => preset(Preset::Offline, options),
            Verb::Prekeys(options) => preset(Preset::Prekeys, options),
            Verb::Storm(options) => preset(Preset::Storm, options),
            Verb::Idle(options) => preset(Preset::Idle, options),
            Verb::Run(run) => run.run(out),
            Verb::Capacity(capacity) => capacity.run(out),
            Verb::Report(show) => show.run(out),
            Verb::Compare(compare) => compare.run(out),
            Verb::Calibrate(calibrate) => calibrate.run(out),
            Verb::Echo(echo) => echo.run(out),
            Verb::Agent(agent) => agent.run(out),
            Verb::List(list) => list.run(out),
            Verb::Scenario(print) => print.run(out),
        }
    }
}
