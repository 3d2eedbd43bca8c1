//! The load generator of chatctl as a library: it measures encrypted chat from end to end, and says whether a
//! server kept its promises meanwhile.
//!
//! A [`scenario::Scenario`] says what to do. [`run`] does it with simulated clients over a [`wire`], counts in
//! [`tally`], and ends in an outcome that [`report`] turns into a document and its pictures.
//!
//! # Why
//!
//! Messages are due by a schedule that is fixed before the run, and their latency counts from the moment at which
//! they were *due*: a server that stops for a second is charged for everything that waited meanwhile. Most load
//! generators slow down with the server instead, and so hide it ("coordinated omission").
//!
//! # Floors
//!
//! A room imports only from floors below its own; `tests/floors.rs` reads the imports.
//!
//! ```text
//! 8 capacity       agent (many hosts)      calibrate (the generator's own ceiling)
//! 7 run (phases, workers, clients, pacing; the collector)              report
//! 6 wire           server (what the other side costs)
//! 5 crypto (sessions)
//! 4 plan           schedule                outcome
//! 3 scenario
//! 2 threshold
//! 1 ledger         label                   tally                progress
//! 0 units          clock                    packed (histograms as text)        bare (relays that only relay)
//! ```

pub mod agent;
pub mod bare;
pub mod calibrate;
pub mod capacity;
pub mod clock;
pub mod crypto;
pub mod label;
pub mod ledger;
pub mod outcome;
pub mod packed;
pub mod plan;
pub mod progress;
pub mod report;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod server;
pub mod tally;
pub mod threshold;
pub mod units;
pub mod wire;
