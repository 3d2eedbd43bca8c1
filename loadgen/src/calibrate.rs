//! The generator's own ceiling on this machine: what a message costs it when the other side costs next to nothing.
//!
//! # Why
//!
//! A figure near this ceiling says something about the generator, not about the server. So a run is told from it whether
//! its generator was the bottleneck, and a comparison that the difference between two wires is not that of two servers.
//!
//! The other side runs in threads of this process. Only the generator's threads are counted, but processors are
//! shared with it: the messages per second that were reached are less than the ceiling, which is worked out from
//! the processor time of one message.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use chatctl_client::Http;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::bare::{self, Speech};
use crate::plan::Plan;
use crate::run::{Outcome, RunError, Stage, run};
use crate::scenario::{Clients, Load, Payload, Phases, SCHEMA as SCENARIO, Scenario, Sizes, Topology, Until};
use crate::tally::Count;
use crate::units::{Size, Span};
use crate::wire::Wire;
use crate::wire::chatctl::{RelayPlace, RelayWire};
use crate::wire::direct::{Direct, NamesForTokens};
use crate::wire::ws_echo::{self, Kind, WsEcho};

/// What the generator can do here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Calibration {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Processors that there are.
    pub cores: u32,
    /// Threads that generated.
    pub workers: u32,
    /// How many bytes a message had.
    pub payload_bytes: u64,
    /// Each wire that was measured.
    pub ceilings: Vec<Ceiling>,
}

/// What the generator can do over one wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ceiling {
    /// `ws-echo` over the bare relay, or `chatctl` over one that speaks the relay's protocol and does nothing else.
    pub wire: String,
    /// Processor time of the generator for a message, from making it to having received it, in seconds.
    pub cpu_seconds_per_message: f64,
    /// Messages per second that all processors could generate, if they did nothing else.
    pub messages_per_second: f64,
    /// Messages per second that went through, with the other side on the same processors.
    pub reached_per_second: f64,
    /// The busiest worker's share of a processor meanwhile.
    pub busiest_worker: f64,
}

/// How to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct How {
    /// Threads that generate.
    pub workers: u32,
    /// Pairs of clients.
    pub pairs: u32,
    /// Messages that each sender has out.
    pub in_flight: u32,
    /// How many bytes a message has.
    pub payload: Size,
    /// How long to measure each wire.
    pub duration: Duration,
}

impl Default for How {
    fn default() -> Self {
        Self {
            workers: 1,
            pairs: 100,
            in_flight: 32,
            payload: Size(256),
            duration: Duration::from_secs(5),
        }
    }
}

/// Why there is no ceiling.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// The run did not come to an end.
    #[error("the run against a relay that does nothing failed")]
    Run(#[from] RunError),
    /// No message arrived.
    #[error("no message arrived over {wire}")]
    Silence {
        /// The wire.
        wire: &'static str,
    },
    /// The system has no thread or socket for the other side.
    #[error("the system gives no {what}")]
    System {
        /// What is wanted.
        what: &'static str,
        /// Why not.
        #[source]
        error: io::Error,
    },
}

/// Measures. Blocks for twice the duration and some seconds; `stop` ends it early, with what was found until then.
///
/// # Errors
///
/// [`CalibrationError`] when nothing could be measured.
pub fn calibrate(how: &How, stop: &CancellationToken) -> Result<Calibration, CalibrationError> {
    let cores =
        std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    let other = OtherSide::start(Speech::Bare)?;
    let place = ws_echo::Place::new(&other.url(), Kind::Relay).map_err(|_| no_address())?;
    let bare = measure::<WsEcho>(place, how, stop)?;
    let other = OtherSide::start(Speech::Frames)?;
    let http = Http::new(&other.url().replace("ws:", "http:")).map_err(|_| no_address())?;
    let frames = measure::<Direct<RelayWire>>(RelayPlace::new(&other.url(), http), how, stop)?;
    Ok(Calibration {
        schema: SCHEMA.to_owned(),
        cores,
        workers: how.workers,
        payload_bytes: how.payload.0,
        ceilings: vec![
            ceiling("ws-echo", &bare, cores)?,
            ceiling("chatctl", &frames, cores)?,
        ],
    })
}

fn measure<W: Wire>(
    place: W::Place,
    how: &How,
    stop: &CancellationToken,
) -> Result<Outcome, CalibrationError> {
    let scenario = scenario(how);
    let name = rand::random();
    let plan = Plan::new(&scenario, name, (0, 1)).map_err(|_| no_address())?;
    let stage = Stage {
        workers: how.workers,
        stop: stop.clone(),
        ..Stage::alone(place, plan, Arc::new(NamesForTokens), name)
    };
    Ok(run::<W>(&scenario, stage)?)
}

/// Pairs, closed, without cryptography: a message is over when it has arrived, because nothing else says so on both
/// wires.
fn scenario(how: &How) -> Scenario {
    Scenario {
        schema: SCENARIO.to_owned(),
        name: "calibration".to_owned(),
        seed: 42,
        clients: Clients {
            count: 2 * how.pairs,
            ..Clients::default()
        },
        topology: Topology::Pairs,
        load: Load::Closed {
            in_flight: how.in_flight,
            until: Until::Delivered,
            duration: Span(how.duration),
        },
        phases: Phases {
            warmup: Span(WARM_UP),
            ..Phases::default()
        },
        payload: Payload {
            size: Sizes::Fixed(how.payload),
            ..Payload::default()
        },
        faults: crate::scenario::Faults::default(),
        thresholds: Vec::new(),
    }
}

fn ceiling(wire: &'static str, outcome: &Outcome, cores: u32) -> Result<Ceiling, CalibrationError> {
    let messages = outcome.measured.count(Count::Delivered) as f64;
    if messages == 0.0 || outcome.seconds <= 0.0 {
        return Err(CalibrationError::Silence { wire });
    }
    Ok(Ceiling {
        wire: wire.to_owned(),
        cpu_seconds_per_message: outcome.cpu / messages,
        messages_per_second: f64::from(cores) * messages / outcome.cpu,
        reached_per_second: messages / outcome.seconds,
        busiest_worker: outcome.busiest_worker,
    })
}

/// The other side: a relay that does nothing, in a thread of its own, until it is dropped.
struct OtherSide {
    address: std::net::SocketAddr,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl OtherSide {
    fn start(speech: Speech) -> Result<Self, CalibrationError> {
        let system = |what| move |error| CalibrationError::System { what, error };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(system("socket"))?;
        listener.set_nonblocking(true).map_err(system("socket"))?;
        let address = listener.local_addr().map_err(system("socket"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(system("runtime"))?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener).map_err(system("socket"))?
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("bare-relay".to_owned())
            .spawn(move || {
                runtime.block_on(stopped.run_until_cancelled(bare::serve(listener, speech)));
            })
            .map_err(system("thread"))?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

impl Drop for OtherSide {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // Its panic, if there was one, has been printed.
            let _ = thread.join();
        }
    }
}

/// Loopback has an address, so this does not happen.
fn no_address() -> CalibrationError {
    CalibrationError::System {
        what: "address",
        error: io::ErrorKind::AddrNotAvailable.into(),
    }
}

/// The version of the document.
pub const SCHEMA: &str = "chatctl.bench.calibration/v1";
const WARM_UP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_wires_have_a_ceiling() {
        let how = How {
            pairs: 4,
            duration: Duration::from_millis(300),
            ..How::default()
        };
        let found = calibrate(&how, &CancellationToken::new()).unwrap();
        assert_eq!(
            (&*found.schema, found.workers, found.payload_bytes),
            (SCHEMA, 1, 256)
        );
        let wires: Vec<_> = found.ceilings.iter().map(|ceiling| &*ceiling.wire).collect();
        assert_eq!(wires, ["ws-echo", "chatctl"]);
        for ceiling in found.ceilings {
            assert!(
                ceiling.cpu_seconds_per_message > 0.0 && ceiling.messages_per_second > 0.0,
                "{ceiling:?}"
            );
            assert!(
                ceiling.reached_per_second > 0.0 && ceiling.busiest_worker > 0.0,
                "{ceiling:?}"
            );
        }
    }
}
