//! The relay's log: its settings, and the level, which can change while it runs.

use std::fmt;
use std::io;

use tracing_subscriber::EnvFilter;

use crate::out::Out;

/// How the log is written, and what of it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LogConfig {
    /// How the log is written, on stderr
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
}

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

/// Begins to write the log.
pub(crate) fn start(config: &LogConfig, out: &Out) -> Level {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter(config))
        .with_ansi(out.colors_stderr())
        .with_writer(io::stderr);
    // A log that is set already, and one that is gone, happen only where a test runs two commands in a process.
    match config.format {
        LogFormat::Text => {
            let log = log.with_filter_reloading();
            let handle = log.reload_handle();
            let _ = log.try_init();
            Level(Box::new(move |filter| drop(handle.reload(filter))))
        }
        LogFormat::Json => {
            let log = log.json().with_filter_reloading();
            let handle = log.reload_handle();
            let _ = log.try_init();
            Level(Box::new(move |filter| drop(handle.reload(filter))))
        }
    }
}

/// What is logged. The tick source tells of its own start as if it mattered; who wants to hear it names it.
fn filter(config: &LogConfig) -> EnvFilter {
    EnvFilter::new(format!("tokio_cron_scheduler=warn,{}", config.level))
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
