//! Settings of the daemon: one struct is flag, variable, default and manual.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chatctl_protocol::Limits;

/// Everything that `chatctl serve` can be told.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Address to listen on; port 0 picks a free one
    #[arg(
        long,
        env = "CHATCTL_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:8480"
    )]
    pub listen: SocketAddr,

    /// Where state lives.
    #[command(flatten)]
    pub store: StoreConfig,

    /// Keyset file with the token keys (mode 0600)
    #[arg(long, env = "CHATCTL_KEYS", value_name = "FILE")]
    pub keys: Option<PathBuf>,

    /// `iss` that every token must carry
    #[arg(long, env = "CHATCTL_ISSUER", value_name = "TEXT", default_value = "chatctl")]
    pub issuer: String,

    /// `aud` that every token must carry
    #[arg(
        long,
        env = "CHATCTL_AUDIENCE",
        value_name = "TEXT",
        default_value = "chatctl"
    )]
    pub audience: String,

    /// Longest life that a token may have
    #[arg(long, env = "CHATCTL_MAX_TOKEN_LIFE", value_name = "DURATION", default_value = "30d", value_parser = humantime::parse_duration)]
    pub max_token_life: Duration,

    /// Shortest time between two commits, the same for every envelope (0 to 100ms)
    #[arg(long, env = "CHATCTL_COMMIT_INTERVAL", value_name = "DURATION", default_value = "5ms", value_parser = commit_interval)]
    pub commit_interval: Duration,

    /// Memory for envelopes accepted lately
    #[arg(long, env = "CHATCTL_TAIL_BYTES", value_name = "BYTES", default_value_t = 64 * 1024 * 1024)]
    pub tail_bytes: usize,

    /// Most WebSocket sessions at once; more are answered 503
    #[arg(
        long,
        env = "CHATCTL_MAX_SESSIONS",
        value_name = "COUNT",
        default_value_t = 100_000
    )]
    pub max_sessions: usize,

    /// Sends per second and device, sustained
    #[arg(long, env = "CHATCTL_SEND_RATE", value_name = "COUNT", default_value_t = 100)]
    pub send_rate: u32,

    /// Sends of a device in one burst
    #[arg(
        long,
        env = "CHATCTL_SEND_BURST",
        value_name = "COUNT",
        default_value_t = 1_000
    )]
    pub send_burst: u32,

    /// Time over which sessions are told to leave at shutdown
    #[arg(long, env = "CHATCTL_DRAIN_WINDOW", value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub drain_window: Duration,

    /// Time without a successful write, or without an ack at a full window, after which a session is closed
    #[arg(long, env = "CHATCTL_SLOW_CONSUMER", value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    pub slow_consumer: Duration,

    /// How often a session looks for mail that another relay on the same database has accepted (100ms to 1h)
    #[arg(long, env = "CHATCTL_LOOK_AGAIN", value_name = "DURATION", default_value = "30s", value_parser = look_again)]
    pub look_again: Duration,

    /// Items left in a pool at which the owner is told
    #[arg(long, env = "CHATCTL_KEYS_LOW", value_name = "COUNT", default_value_t = 25)]
    pub keys_low: u32,

    /// Longest random delay of a low-key notice, so that a refill does not tell when a key was claimed
    #[arg(long, env = "CHATCTL_KEYS_LOW_JITTER", value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    pub keys_low_jitter: Duration,

    /// Check signatures of uploaded signal and olm items
    #[arg(long, env = "CHATCTL_KEY_LINT", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub key_lint: bool,

    /// One-time items that one device may claim from another before it gets the fallback
    #[arg(
        long,
        env = "CHATCTL_CLAIM_PAIR_BURST",
        value_name = "COUNT",
        default_value_t = 6
    )]
    pub claim_pair_burst: u32,

    /// One-time items per hour that all callers together may claim from a device before they get the fallback
    #[arg(
        long,
        env = "CHATCTL_CLAIM_TARGET_HOURLY",
        value_name = "COUNT",
        default_value_t = 120
    )]
    pub claim_target_hourly: u32,

    /// Claimed devices per minute and caller; more are refused
    #[arg(
        long,
        env = "CHATCTL_CLAIM_CALLER_MINUTE",
        value_name = "COUNT",
        default_value_t = 600
    )]
    pub claim_caller_minute: u32,

    /// Bounds that clients see in HelloOk and at /v1/limits, as JSON
    #[arg(long, env = "CHATCTL_LIMITS", value_name = "JSON", default_value = "{}", value_parser = limits)]
    pub limits: Limits,
}

/// Where state lives and how it is reached, for every command that uses the store.
#[derive(Debug, Clone, clap::Args)]
pub struct StoreConfig {
    /// Directory of the embedded store (created if missing)
    #[arg(long, env = "CHATCTL_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Where state lives instead: `mongodb://HOST,HOST/DATABASE`, without a password (see --store-uri-file)
    #[arg(long, env = "CHATCTL_STORE", value_name = "URI", conflicts_with = "data_dir")]
    pub store: Option<String>,

    /// File with the store's URI, password and all (mode 0600, or the systemd credential `store-uri`)
    #[arg(long, env = "CHATCTL_STORE_URI_FILE", value_name = "FILE", conflicts_with_all = ["data_dir", "store"])]
    pub store_uri_file: Option<PathBuf>,

    /// Longest time for one request to the database, all its round trips and tries included (1s to 60s)
    #[arg(long, env = "CHATCTL_STORE_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = store_timeout)]
    pub store_timeout: Duration,

    /// Most connections to each member of the database
    #[arg(long, env = "CHATCTL_STORE_POOL", value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub store_pool: u32,

    /// Free disk space below which sends are refused, so that acks and claims still have room (at least 2 MiB)
    #[arg(long, env = "CHATCTL_DISK_RESERVE", value_name = "BYTES", default_value_t = 64 * 1024 * 1024)]
    pub disk_reserve: u64,

    /// Idempotency records kept in memory; the oldest leave early when there are more
    #[arg(
        long,
        env = "CHATCTL_IDEMPOTENCY_RECORDS",
        value_name = "COUNT",
        default_value_t = 4_000_000
    )]
    pub idempotency_records: usize,
}

fn store_timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&timeout) {
        return Err("must be between 1s and 60s".to_owned());
    }
    Ok(timeout)
}

fn look_again(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if !(Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&interval) {
        return Err("must be between 100ms and 1h".to_owned());
    }
    Ok(interval)
}

fn commit_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval > Duration::from_millis(100) {
        return Err("must be at most 100ms".to_owned());
    }
    Ok(interval)
}

fn limits(text: &str) -> Result<Limits, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

impl Default for Config {
    /// The defaults of the flags.
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            config: Config,
        }
        <Flags as clap::Parser>::parse_from(["chatctl"]).config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_parse() {
        let config = Config::default();
        assert_eq!(config.commit_interval, Duration::from_millis(5));
        assert_eq!(config.limits, Limits::default());
    }

    #[test]
    fn a_limit_that_does_not_exist_is_refused() {
        assert!(limits(r#"{"max_payload_bytes": 1, "max_pay": 2}"#).is_err());
        assert_eq!(limits(r#"{"window": 3}"#).map(|limits| limits.window), Ok(3));
    }
}
