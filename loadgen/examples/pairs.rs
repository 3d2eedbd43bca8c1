//! What the engine costs for each message: closed pairs on one worker, against a relay in the same process.
//!
//! `cargo run --release -p chatctl-loadgen --example pairs [PAIRS] [IN_FLIGHT] [SECONDS]`

#![expect(clippy::print_stdout, reason = "an example says what it found")]

#[path = "../tests/run/relay.rs"]
#[expect(clippy::unwrap_used, dead_code, reason = "shared with the tests")]
mod relay;

use std::sync::Arc;

use chatctl_loadgen::plan::Plan;
use chatctl_loadgen::run::{self, Stage};
use chatctl_loadgen::tally::{Count, Latency};
use chatctl_loadgen::wire::chatctl::RelayWire;

use crate::relay::{TestPasses, TestRelay};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let mut number = |or: u32| words.next().map_or(Ok(or), |word| word.parse());
    let (pairs, in_flight, seconds) = (number(4)?, number(32)?, number(5)?);
    let text = format!(
        "schema = 'chatctl.bench.scenario/v1'
         clients.count = {}
         load = {{model = 'closed', in_flight = {in_flight}, duration = '{seconds}s'}}
         phases = {{warmup = '1s'}}",
        pairs * 2
    );
    let scenario = toml::from_str(&text)?;
    let relay = TestRelay::start();
    let run = rand::random();
    let plan = Plan::new(&scenario, run, (0, 1))?;
    let stage = Stage::<RelayWire>::alone(relay.place(relay.address()), plan, Arc::new(TestPasses), run);
    let outcome = run::run(&scenario, stage)?;
    let delivered = outcome.measured.count(Count::Delivered) as f64;
    let worker = outcome.busiest_worker * outcome.seconds;
    println!(
        "{:.0} messages/s, {:.2} µs of the worker for each, {:.2} µs of the process (relay included)",
        delivered / outcome.seconds,
        worker / delivered * 1e6,
        outcome.cpu / delivered * 1e6,
    );
    for latency in [Latency::E2e, Latency::Ok, Latency::Late] {
        if let Some(found) = outcome.measured.latency(latency) {
            let [half, most] = [0.5, 0.99].map(|part| found.value_at_quantile(part) as f64 / 1e6);
            println!("{}: p50 {half:.3} ms, p99 {most:.3} ms", latency.name());
        }
    }
    println!("{:?}", outcome.integrity);
    Ok(())
}
