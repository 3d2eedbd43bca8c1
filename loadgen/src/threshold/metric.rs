//! What thresholds look at, by name.

use std::fmt;
use std::str::FromStr;

use crate::tally::{Count, Latency};
use crate::threshold::{Amount, ThresholdError};

/// What can be looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// `e2e.p99`: seconds, or how often it was measured.
    Latency(Latency, Aggregate),
    /// `delivered`: so many in the measured part.
    Count(Count),
    /// `delivered.rate`: so many per second.
    PerSecond(Count),
    /// `lost`: so many in the whole run.
    Fault(Fault),
    /// `lost.rate`: a share of all messages that left; of errors, of everything that was tried.
    Share(Fault),
    /// `throughput`: delivered per second.
    Throughput,
    /// `server.rss` and the like.
    Cost(Cost),
}

/// What is taken of a latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aggregate {
    /// Above 0, at most 100.
    Percentile(f64),
    /// The mean.
    Mean,
    /// The shortest.
    Min,
    /// The longest.
    Max,
    /// How often it was measured.
    Count,
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $one:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$each])* $one,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$one),*];

            /// Its name in thresholds.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$one => $word,)*
                }
            }
        }
    };
}

named! {
    /// Something that should not happen.
    Fault {
        /// Safe and not arrived.
        Lost = "lost",
        /// Not said to be safe, and not arrived.
        Unanswered = "unanswered",
        /// Arrived twice.
        Duplicated = "duplicated",
        /// Arrived again because an ack was lost.
        Redelivered = "redelivered",
        /// Arrived after a later one.
        Reordered = "reordered",
        /// Changed on its way.
        Corrupt = "corrupt",
        /// Could not be decrypted.
        Undecryptable = "undecryptable",
        /// A one-time key that was handed out twice.
        KeysTwice = "keys_twice",
        /// Due, and never left.
        Missed = "missed",
        /// An error of any class.
        Errors = "errors",
    }
}

named! {
    /// What a side spent.
    Cost {
        /// The server's share of a processor.
        ServerCpu = "server.cpu",
        /// Its processor time for each message that arrived.
        ServerCpuPerMessage = "server.cpu_per_message",
        /// Its resident memory at the most.
        ServerRss = "server.rss",
        /// What each connection added to that.
        ServerRssPerConnection = "server.rss_per_connection",
        /// Bytes to the disk for each accepted message.
        ServerWrittenPerMessage = "server.written_per_message",
        /// Commits for each accepted message.
        ServerCommitsPerMessage = "server.commits_per_message",
        /// The share of messages that were acked before they had to be stored.
        ServerElided = "server.elided",
        /// The busiest thread's share of a processor.
        GeneratorCpu = "generator.cpu",
        /// Processor time for each message that left.
        GeneratorCpuPerMessage = "generator.cpu_per_message",
    }
}

impl Metric {
    /// What its figures are amounts of.
    #[must_use]
    pub const fn amount(self) -> Amount {
        match self {
            Self::Latency(_, Aggregate::Count) | Self::Count(_) | Self::Fault(_) => Amount::Events,
            Self::Latency(..) => Amount::Time,
            Self::PerSecond(_) | Self::Throughput => Amount::Rate,
            Self::Share(_) => Amount::Share,
            Self::Cost(cost) => match cost {
                Cost::ServerCpu | Cost::ServerElided | Cost::GeneratorCpu => Amount::Share,
                Cost::ServerCpuPerMessage | Cost::GeneratorCpuPerMessage => Amount::Time,
                Cost::ServerRss | Cost::ServerRssPerConnection | Cost::ServerWrittenPerMessage => {
                    Amount::Bytes
                }
                Cost::ServerCommitsPerMessage => Amount::Events,
            },
        }
    }

    /// Every metric, with an aggregate that people often want.
    pub fn all() -> impl Iterator<Item = Self> {
        let latencies = Latency::ALL
            .into_iter()
            .map(|one| Self::Latency(one, Aggregate::Percentile(99.0)));
        let counts = Count::ALL.into_iter().filter(|one| !is_fault(*one));
        let faults = Fault::ALL
            .iter()
            .flat_map(|one| [Self::Fault(*one), Self::Share(*one)]);
        let costs = Cost::ALL.iter().map(|one| Self::Cost(*one));
        latencies
            .chain(counts.flat_map(|one| [Self::Count(one), Self::PerSecond(one)]))
            .chain(faults)
            .chain([Self::Throughput])
            .chain(costs)
    }
}

/// Whether a count is the measured part of what a fault is in the whole run.
fn is_fault(count: Count) -> bool {
    Fault::ALL.iter().any(|fault| fault.name() == count.name())
}

impl FromStr for Metric {
    type Err = ThresholdError;

    fn from_str(word: &str) -> Result<Self, ThresholdError> {
        if let Some(known) = Self::all().find(|known| known.to_string() == word) {
            return Ok(known);
        }
        let (name, aggregate) = word.split_once('.').unwrap_or((word, ""));
        if let Some(latency) = Latency::ALL.into_iter().find(|one| one.name() == name) {
            let aggregate = aggregate_of(name, aggregate)?;
            return Ok(Self::Latency(latency, aggregate));
        }
        match Self::all()
            .find(|known| matches!(known, Self::Count(_) | Self::Fault(_)) && known.to_string() == name)
        {
            Some(known) if aggregate == "count" => Ok(known),
            Some(_) => Err(ThresholdError::Aggregate {
                metric: name.to_owned(),
                aggregate: aggregate.to_owned(),
                has: "`rate`, or stands alone",
            }),
            None => Err(ThresholdError::Metric {
                word: word.to_owned(),
                nearest: nearest(name, aggregate),
            }),
        }
    }
}

fn aggregate_of(metric: &str, word: &str) -> Result<Aggregate, ThresholdError> {
    let percentile = || {
        let number: f64 = word.strip_prefix('p')?.parse().ok()?;
        (number > 0.0 && number <= 100.0).then_some(Aggregate::Percentile(number))
    };
    match word {
        "mean" => Ok(Aggregate::Mean),
        "min" => Ok(Aggregate::Min),
        "max" => Ok(Aggregate::Max),
        "count" => Ok(Aggregate::Count),
        _ => percentile().ok_or_else(|| ThresholdError::Aggregate {
            metric: metric.to_owned(),
            aggregate: word.to_owned(),
            has: "`p50`, `p99`, `p99.9` or any `p` and a number up to 100, `mean`, `min`, `max`, `count`",
        }),
    }
}

/// What somebody may have meant: the known word that is most alike, with the aggregate that was written if it may
/// have it.
fn nearest(name: &str, aggregate: &str) -> String {
    let word = format!("{name}.{aggregate}");
    let alike = |known: &Metric| {
        let known = known.to_string();
        let head = known.split('.').next().unwrap_or_default();
        let of_heads = strsim::jaro_winkler(head, name);
        let of_words = strsim::jaro_winkler(&known, word.trim_end_matches('.'));
        of_heads.max(of_words) + of_words / 100.0
    };
    let best = Metric::all().max_by(|one, two| alike(one).total_cmp(&alike(two)));
    match best {
        Some(Metric::Latency(latency, _)) if aggregate_of(name, aggregate).is_ok() => {
            format!("{}.{aggregate}", latency.name())
        }
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency(latency, aggregate) => {
                write!(f, "{}.", latency.name())?;
                match aggregate {
                    Aggregate::Percentile(number) => write!(f, "p{number}"),
                    Aggregate::Mean => f.write_str("mean"),
                    Aggregate::Min => f.write_str("min"),
                    Aggregate::Max => f.write_str("max"),
                    Aggregate::Count => f.write_str("count"),
                }
            }
            Self::Count(count) => f.write_str(count.name()),
            Self::PerSecond(count) => write!(f, "{}.rate", count.name()),
            Self::Fault(fault) => f.write_str(fault.name()),
            Self::Share(fault) => write!(f, "{}.rate", fault.name()),
            Self::Throughput => f.write_str("throughput"),
            Self::Cost(cost) => f.write_str(cost.name()),
        }
    }
}
