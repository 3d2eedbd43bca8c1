//! The relay's log: its settings, and the level, which can change while it runs.

use std::fmt;
use std::io;

use chatctl_relay::trace;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt as lines, reload};

use crate::out::Out;

/// How the log is written, and what of it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LogConfig {
    /// How the log is written: text or json on stderr, or to the journal with each field for itself
    #[arg(
        id = "log.format",
        long = "log-format",
        env = "CHATCTL_LOG__FORMAT",
        value_enum,
        value_name = "FORMAT",
        default_value = "text"
    )]
    format: LogFormat,

    /// What is logged: a level, or levels by module as in `info,chatctl_relay::session=debug`
    #[arg(id = "log.level", long = "log-level", env = "CHATCTL_LOG__LEVEL", value_name = "LEVEL", default_value = "info", value_parser = log_level)]
    pub(crate) level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
    Journal,
}

/// Something that hears what is logged or traced.
pub(crate) type Listener = Box<dyn Layer<Registry> + Send + Sync>;

/// A handle on the level of a log that is being written.
pub(crate) struct Level(Box<dyn Fn(EnvFilter) + Send + Sync>);

impl Level {
    /// Logs so much from now on.
    pub(crate) fn follow(&self, config: &LogConfig) {
        (self.0)(filter(config));
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Level")
    }
}

/// Begins to write the log, and to tell another listener of what it wants to hear, if there is one.
pub(crate) fn start(config: &LogConfig, other: Option<Listener>, out: &Out) -> Level {
    let (filter, handle) = reload::Layer::new(filter(config));
    let mut listeners: Vec<Listener> = vec![writer(config.format, out).with_filter(filter).boxed()];
    listeners.extend(other);
    // A log that is set already, and one that is gone, happen only where a test runs two commands in a process.
    let _ = tracing_subscriber::registry().with(listeners).try_init();
    Level(Box::new(move |filter| drop(handle.reload(filter))))
}

fn writer(format: LogFormat, out: &Out) -> Listener {
    let stderr = || {
        lines::layer()
            .with_ansi(out.colors_stderr())
            .with_writer(io::stderr)
    };
    match format {
        // The journal has the time already.
        LogFormat::Text if is_in_journal() => stderr().without_time().boxed(),
        LogFormat::Text => stderr().boxed(),
        LogFormat::Json => stderr().json().boxed(),
        LogFormat::Journal => match tracing_journald::layer() {
            Ok(journal) => journal
                .with_syslog_identifier("chatctl".to_owned())
                .with_field_prefix(Some("CHATCTL".to_owned()))
                .with_priority_mappings(priorities())
                .boxed(),
            Err(error) => {
                out.warn(&format!(
                    "warning: the journal does not answer ({error}), the log is text on stderr"
                ));
                stderr().boxed()
            }
        },
    }
}

/// Whether stderr ends in the journal, as the service manager says (systemd.exec(5), `JOURNAL_STREAM`).
fn is_in_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    // Whoever started us from a service may have put stderr elsewhere.
    let own = rustix::fs::fstat(io::stderr()).map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino));
    own.is_ok_and(|own| stream.to_str() == Some(own.as_str()))
}

/// What others call these levels: `journalctl -p info` leaves out what `--log-level info` does.
fn priorities() -> PriorityMappings {
    PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    }
}

/// What is logged. The tick source tells of its own start as if it mattered, and spans are for traces; who wants to
/// hear them names them. The library of WebSockets writes whole frames at its lowest level, tokens and all: never.
fn filter(config: &LogConfig) -> EnvFilter {
    EnvFilter::new(format!(
        "tokio_cron_scheduler=warn,{}=off,{},tungstenite=debug",
        trace::TARGET,
        config.level
    ))
}

fn log_level(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_level_that_means_nothing_is_refused() {
        assert!(log_level("info,chatctl_relay::session=debug").is_ok());
        assert!(log_level("a=b=c").is_err());
    }
}
