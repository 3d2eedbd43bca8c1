//! Flags that say what a run does, over what a preset or a file says.
//!
//! A flag that means nothing for the load at hand is refused: a bench never measures something else than was asked for.

use std::time::Duration;

use chatctl_loadgen::scenario::{Arrival, Crypto, Load, Scenario, Sizes, Stage, Topology, Until};
use chatctl_loadgen::units::{Rate, Size, Span};

use crate::exit::Exit;
use crate::failure::Failure;

/// What a run does.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What is done")]
pub(super) struct Shape {
    /// Devices that are simulated
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    clients: Option<u32>,

    /// Devices of each account
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    devices_per_account: Option<u32>,

    /// How fast clients connect, as 500/s (default: all at once)
    #[arg(long, value_name = "RATE")]
    connect_rate: Option<Rate>,

    /// Messages per second of all together, whatever the server does, as 2000/s; or max
    #[arg(long, value_name = "RATE", value_parser = pace, conflicts_with = "stages")]
    rate: Option<Pace>,

    /// Messages that a sender has out at most: each waits for an earlier one (a closed model, and labelled so)
    #[arg(long, value_name = "N", conflicts_with = "stages", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    in_flight: Option<u32>,

    /// When a message is over, with --in-flight: ok (the relay has it safe), or delivered
    #[arg(long, value_name = "WHEN", value_parser = until)]
    until: Option<Until>,

    /// How messages are spread over the time: constant (evenly), or poisson (as from very many people)
    #[arg(long, value_name = "HOW", value_parser = arrival)]
    arrival: Option<Arrival>,

    /// Rates one after the other, as 0:10s,1000/s:30s; after a 0, or with FROM..TO, it grows evenly
    #[arg(long, value_name = "STAGES", value_parser = stages, conflicts_with = "duration")]
    stages: Option<Stages>,

    /// How long it is measured
    #[arg(long, value_name = "DURATION")]
    duration: Option<Span>,

    /// Load before that, which is not measured
    #[arg(long, value_name = "DURATION")]
    warmup: Option<Span>,

    /// How long to wait for what is under way at the end
    #[arg(long, value_name = "DURATION")]
    drain: Option<Span>,

    /// How long to wait for everybody to be connected
    #[arg(long, value_name = "DURATION")]
    connect_timeout: Option<Span>,

    /// Payloads: 256B, chat, lognormal(MEDIAN,SIGMA) or file:PATH
    #[arg(long, value_name = "SIZE")]
    size: Option<Sizes>,

    /// No payload is larger
    #[arg(long, value_name = "SIZE")]
    max_size: Option<Size>,

    /// Who writes to whom: pairs, dialogues, fanout:N, fanin:N or rooms:N
    #[arg(long, value_name = "WHO", value_parser = topology)]
    topology: Option<Topology>,

    /// Recipients of each sender, of a fan-out
    #[arg(long, value_name = "N", conflicts_with = "topology", value_parser = clap::value_parser!(u32).range(1..))]
    recipients: Option<u32>,

    /// Members of each room
    #[arg(long, value_name = "N", conflicts_with = "topology", value_parser = clap::value_parser!(u32).range(2..))]
    room_size: Option<u32>,

    /// How bodies are made: session is real end-to-end encryption through the relay's directory, staged the same without
    /// the directory, none random bytes
    #[arg(long, value_name = "HOW", value_parser = crypto)]
    crypto: Option<Crypto>,

    /// Messages for each recipient, of offline
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    each: Option<u32>,

    /// Devices whose keys are claimed, of prekeys
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    targets: Option<u32>,

    /// One-time keys that each of them publishes, of prekeys
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keys_each: Option<u32>,

    /// How often everybody is thrown out, of storm
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    times: Option<u32>,

    /// How long they stay in between, of storm
    #[arg(long, value_name = "DURATION")]
    pause: Option<Span>,

    /// Connections that break, as a share of all in each minute: 5%/min
    #[arg(long, value_name = "SHARE", value_parser = per_minute)]
    reconnect: Option<f64>,

    /// Clients that read late, as a share of all: 1%
    #[arg(long, value_name = "SHARE", value_parser = percent)]
    slow_consumers: Option<f64>,

    /// What must hold, as 'e2e.p99 < 50ms' (repeatable); no loss, no duplicates, order and integrity always must
    #[arg(long, value_name = "EXPR")]
    threshold: Vec<String>,

    /// Drives every random choice
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pace {
    /// By a schedule.
    By(Rate),
    /// As fast as it goes.
    Max,
}

/// Stages of an open load. A type of its own: an argument that is a list would be one for each.
#[derive(Debug, Clone, PartialEq)]
struct Stages(Vec<Stage>);

impl Shape {
    /// Puts what was said over a scenario.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] for what means nothing there.
    pub(super) fn apply(self, scenario: &mut Scenario) -> Result<(), Failure> {
        put(&mut scenario.clients.count, self.clients);
        put(
            &mut scenario.clients.devices_per_account,
            self.devices_per_account,
        );
        scenario.clients.connect_rate = self.connect_rate.or(scenario.clients.connect_rate);
        put(&mut scenario.phases.warmup, self.warmup);
        put(&mut scenario.phases.drain, self.drain);
        put(&mut scenario.phases.connect, self.connect_timeout);
        put(&mut scenario.payload.size, self.size.clone());
        put(&mut scenario.payload.max, self.max_size);
        put(&mut scenario.payload.crypto, self.crypto);
        put(&mut scenario.faults.reconnect_percent_per_minute, self.reconnect);
        put(&mut scenario.faults.slow_consumers_percent, self.slow_consumers);
        put(&mut scenario.seed, self.seed);
        put(&mut scenario.topology, self.topology);
        scenario.thresholds.extend(self.threshold.iter().cloned());
        self.group(&mut scenario.topology)?;
        self.model(&mut scenario.load);
        self.pace(&mut scenario.load)?;
        self.rest(&mut scenario.load)
    }

    fn group(&self, topology: &mut Topology) -> Result<(), Failure> {
        match (topology, self.recipients, self.room_size) {
            (_, None, None) => Ok(()),
            (Topology::Fanout { recipients }, Some(number), None) => {
                *recipients = number;
                Ok(())
            }
            (Topology::Rooms { size }, None, Some(number)) => {
                *size = number;
                Ok(())
            }
            (_, Some(_), _) => Err(senseless("--recipients", "is for a fan-out: --topology fanout:N")),
            (_, None, Some(_)) => Err(senseless("--room-size", "is for rooms: --topology rooms:N")),
        }
    }

    /// Makes an open load a closed one, or the other way, where a flag asks for it.
    fn model(&self, load: &mut Load) {
        let lasts = match load {
            Load::Open { stages, .. } => Span(stages.iter().map(|stage| stage.lasts.0).sum()),
            Load::Closed { duration, .. } => *duration,
            Load::Offline { .. } | Load::Claims { .. } | Load::Hold { .. } | Load::Storm { .. } => return,
        };
        let is_open = matches!(load, Load::Open { .. });
        let by_rate = match self.rate {
            Some(Pace::By(rate)) => Some(rate),
            Some(Pace::Max) | None => None,
        };
        match (is_open, by_rate, &self.stages) {
            (false, Some(rate), _) => {
                *load = open(vec![Stage {
                    from: None,
                    rate,
                    lasts,
                }]);
            }
            (false, None, Some(Stages(stages))) => *load = open(stages.clone()),
            (true, None, None) if self.in_flight.is_some() || self.rate == Some(Pace::Max) => {
                *load = Load::Closed {
                    in_flight: IN_FLIGHT,
                    until: Until::Ok,
                    duration: lasts,
                };
            }
            (true | false, _, _) => {}
        }
    }

    fn pace(&self, load: &mut Load) -> Result<(), Failure> {
        let by_rate = match (self.rate, &*load) {
            (None, _) => None,
            (Some(Pace::By(_)), _) if self.in_flight.is_some() => {
                return Err(senseless(
                    "--rate",
                    "and --in-flight are two models; `--rate max --in-flight N` is one",
                ));
            }
            (Some(Pace::By(rate)), _) => Some(rate),
            (Some(Pace::Max), Load::Closed { .. }) => None,
            (Some(Pace::Max), _) => return Err(senseless("--rate max", NOT_HERE)),
        };
        match (load, by_rate, &self.stages) {
            (_, None, None) => Ok(()),
            (Load::Open { stages, .. }, None, Some(Stages(own))) => {
                stages.clone_from(own);
                Ok(())
            }
            (Load::Open { stages, .. }, Some(rate), _) => {
                let lasts = Span(stages.iter().map(|stage| stage.lasts.0).sum());
                *stages = vec![Stage {
                    from: None,
                    rate,
                    lasts,
                }];
                Ok(())
            }
            (Load::Claims { rate: own, .. }, Some(rate), None) => {
                *own = rate;
                Ok(())
            }
            (_, Some(_), _) => Err(senseless("--rate", NOT_HERE)),
            (_, None, Some(_)) => Err(senseless("--stages", NOT_HERE)),
        }
    }

    /// What is of one kind of load each.
    fn rest(&self, load: &mut Load) -> Result<(), Failure> {
        let mut left = self.clone();
        match load {
            Load::Open { stages, arrival } => {
                put(arrival, left.arrival.take());
                if let Some(duration) = left.duration.take() {
                    last(stages, duration)?;
                }
            }
            Load::Closed {
                in_flight,
                until,
                duration,
            } => {
                put(in_flight, left.in_flight.take());
                put(until, left.until.take());
                put(duration, left.duration.take());
            }
            Load::Offline { each, in_flight } => {
                put(each, left.each.take());
                put(in_flight, left.in_flight.take());
            }
            Load::Claims {
                duration,
                targets,
                keys_each,
                ..
            } => {
                put(duration, left.duration.take());
                put(targets, left.targets.take());
                put(keys_each, left.keys_each.take());
            }
            Load::Hold { duration } => put(duration, left.duration.take()),
            Load::Storm { times, pause } => {
                put(times, left.times.take());
                put(pause, left.pause.take());
            }
        }
        let unused = [
            ("--arrival", left.arrival.is_some()),
            ("--duration", left.duration.is_some()),
            ("--in-flight", left.in_flight.is_some()),
            ("--until", left.until.is_some()),
            ("--each", left.each.is_some()),
            ("--targets", left.targets.is_some()),
            ("--keys-each", left.keys_each.is_some()),
            ("--times", left.times.is_some()),
            ("--pause", left.pause.is_some()),
        ];
        match unused.iter().find(|(_, is_left)| *is_left) {
            Some((flag, _)) => Err(senseless(flag, NOT_HERE)),
            None => Ok(()),
        }
    }
}

/// Stretches or shortens the only stage there is.
fn last(stages: &mut [Stage], duration: Span) -> Result<(), Failure> {
    match stages {
        [only] => {
            only.lasts = duration;
            Ok(())
        }
        _ => Err(senseless(
            "--duration",
            "does not go with several stages: each has its own",
        )),
    }
}

const fn open(stages: Vec<Stage>) -> Load {
    Load::Open {
        stages,
        arrival: Arrival::Constant,
    }
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn senseless(flag: &str, why: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{flag} {why}"))
        .hint("`chatctl bench list` shows what each preset does")
}

fn pace(text: &str) -> Result<Pace, String> {
    match text {
        "max" => Ok(Pace::Max),
        text => text
            .parse()
            .map(Pace::By)
            .map_err(|error: chatctl_loadgen::units::UnitError| error.to_string()),
    }
}

fn until(text: &str) -> Result<Until, String> {
    match text {
        "ok" => Ok(Until::Ok),
        "delivered" => Ok(Until::Delivered),
        _ => Err("must be ok or delivered".to_owned()),
    }
}

fn arrival(text: &str) -> Result<Arrival, String> {
    match text {
        "constant" => Ok(Arrival::Constant),
        "poisson" => Ok(Arrival::Poisson),
        _ => Err("must be constant or poisson".to_owned()),
    }
}

fn crypto(text: &str) -> Result<Crypto, String> {
    match text {
        "none" => Ok(Crypto::None),
        "staged" => Ok(Crypto::Staged),
        "session" => Ok(Crypto::Session),
        _ => Err("must be none, staged or session".to_owned()),
    }
}

fn topology(text: &str) -> Result<Topology, String> {
    let (kind, number) = match text.split_once(':') {
        Some((kind, number)) => (kind, number.parse::<u32>().ok().filter(|number| *number > 0)),
        None => (text, None),
    };
    match (kind, number) {
        ("pairs", None) if !text.contains(':') => Ok(Topology::Pairs),
        ("dialogues", None) if !text.contains(':') => Ok(Topology::Dialogues),
        ("fanout", Some(recipients)) => Ok(Topology::Fanout { recipients }),
        ("fanin", Some(senders)) => Ok(Topology::Fanin { senders }),
        ("rooms", Some(size)) => Ok(Topology::Rooms { size }),
        _ => Err("must be pairs, dialogues, fanout:N, fanin:N or rooms:N".to_owned()),
    }
}

/// `0:10s,1000/s:30s,1000/s..4000/s:1m`: a 0 says that the next one begins at nothing and grows.
fn stages(text: &str) -> Result<Stages, String> {
    let bad = |part: &str| format!("`{part}` is no stage such as 1000/s:30s or 500/s..2000/s:1m");
    let mut stages: Vec<Stage> = Vec::new();
    let mut nothing: Option<Span> = None;
    for part in text.split(',') {
        let (rates, lasts) = part.rsplit_once(':').ok_or_else(|| bad(part))?;
        let lasts: Span = lasts.parse().map_err(|_| bad(part))?;
        if lasts.0 == Duration::ZERO {
            return Err(bad(part));
        }
        if rates == "0" {
            if nothing.is_some() || !stages.is_empty() {
                return Err("only the first stage may begin at 0".to_owned());
            }
            nothing = Some(lasts);
            continue;
        }
        let (from, rate) = match rates.split_once("..") {
            Some((from, rate)) => (Some(from.parse().map_err(|_| bad(part))?), rate),
            None => (None, rates),
        };
        let rate: Rate = rate.parse().map_err(|_| bad(part))?;
        if let Some(lasts) = nothing.take() {
            let least =
                Rate::per_second((rate.get() / 1000.0).max(1.0)).map_err(|error| error.to_string())?;
            stages.push(Stage {
                from: Some(least),
                rate,
                lasts,
            });
        }
        stages.push(Stage { from, rate, lasts });
    }
    match (stages.is_empty(), nothing) {
        (false, None) => Ok(Stages(stages)),
        (true, _) | (_, Some(_)) => Err(bad(text)),
    }
}

fn per_minute(text: &str) -> Result<f64, String> {
    let share = text
        .strip_suffix("/min")
        .ok_or("must be a share of each minute such as 5%/min")?;
    percent(share)
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text
        .strip_suffix('%')
        .and_then(|number| number.parse::<f64>().ok());
    let good = number.filter(|number| (0.0..=100.0).contains(number));
    good.ok_or_else(|| "must be a share such as 1%, at most 100%".to_owned())
}

/// Messages of a sender under way at `--rate max`.
const IN_FLIGHT: u32 = 32;
const NOT_HERE: &str = "means nothing for this load";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        shape: Shape,
    }

    fn scenario(load: Load) -> Scenario {
        let text = format!("schema = \"{}\"", chatctl_loadgen::scenario::SCHEMA);
        let mut scenario: Scenario = toml::from_str(&text).unwrap();
        scenario.load = load;
        scenario
    }

    fn applied(load: Load, args: &str) -> Result<Scenario, String> {
        let line = Line::try_parse_from(std::iter::once("bench").chain(args.split_whitespace()));
        let mut scenario = scenario(load);
        let applied = line
            .map_err(|error| error.to_string())?
            .shape
            .apply(&mut scenario);
        applied.map_err(|failure| failure.report(crate::out::Format::Text))?;
        Ok(scenario)
    }

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    fn seconds(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }

    fn an_open_one() -> Load {
        open(vec![Stage {
            from: None,
            rate: rate("10/s"),
            lasts: seconds(5),
        }])
    }

    #[test]
    fn flags_stand_over_what_was_there() {
        let made = applied(
            an_open_one(),
            "--clients 7 --rate 2k/s --duration 9s --arrival poisson --size chat --reconnect 5%/min --threshold lost==0",
        );
        let made = made.unwrap();
        assert_eq!(made.clients.count, 7);
        assert_eq!(made.payload.size, Sizes::Chat);
        assert_eq!(made.faults.reconnect_percent_per_minute, 5.0);
        assert_eq!(made.thresholds, ["lost==0"]);
        let stage = Stage {
            from: None,
            rate: rate("2000/s"),
            lasts: seconds(9),
        };
        assert_eq!(
            made.load,
            Load::Open {
                stages: vec![stage],
                arrival: Arrival::Poisson
            }
        );
    }

    #[test]
    fn a_model_is_changed_where_a_flag_asks_for_it() {
        let closed = |in_flight| Load::Closed {
            in_flight,
            until: Until::Ok,
            duration: seconds(5),
        };
        assert_eq!(
            applied(an_open_one(), "--rate max").unwrap().load,
            closed(IN_FLIGHT)
        );
        assert_eq!(applied(an_open_one(), "--in-flight 3").unwrap().load, closed(3));
        assert_eq!(
            applied(an_open_one(), "--rate max --in-flight 3").unwrap().load,
            closed(3)
        );
        assert_eq!(applied(closed(1), "--rate 10/s").unwrap().load, an_open_one());
    }

    #[test]
    fn a_flag_that_means_nothing_is_refused() {
        let hold = Load::Hold { duration: seconds(1) };
        for (load, args) in [
            (hold.clone(), "--rate 5/s"),
            (hold.clone(), "--rate max"),
            (hold.clone(), "--stages 5/s:1s"),
            (hold, "--each 5"),
            (an_open_one(), "--until delivered"),
            (an_open_one(), "--rate 5/s --in-flight 2"),
            (an_open_one(), "--recipients 5"),
            (an_open_one(), "--room-size 5"),
            (an_open_one(), "--times 2"),
        ] {
            let refused = applied(load, args).unwrap_err();
            assert!(refused.starts_with("error: --"), "{args}: {refused}");
        }
    }

    #[test]
    fn stages_are_read_as_people_write_them() {
        let ramp = |from, to: &str, lasts| Stage {
            from,
            rate: rate(to),
            lasts: seconds(lasts),
        };
        assert_eq!(
            stages("0:10s,1000/s:30s,1000/s..4000/s:1m"),
            Ok(Stages(vec![
                ramp(Some(rate("1/s")), "1000/s", 10),
                ramp(None, "1000/s", 30),
                ramp(Some(rate("1000/s")), "4000/s", 60),
            ]))
        );
        for bad in ["", "5/s", "0:1s", "5/s:0s", "x:1s", "5/s:1s,0:1s", "5/s..x:1s"] {
            assert!(stages(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_and_topologies_are_read() {
        assert_eq!((per_minute("5%/min"), percent("0.5%")), (Ok(5.0), Ok(0.5)));
        for bad in ["5", "5%", "101%/min", "x%/min"] {
            assert!(per_minute(bad).is_err(), "{bad}");
        }
        assert_eq!(topology("rooms:8"), Ok(Topology::Rooms { size: 8 }));
        for bad in ["rooms", "rooms:0", "pairs:2", "mesh"] {
            assert!(topology(bad).is_err(), "{bad}");
        }
    }
}
