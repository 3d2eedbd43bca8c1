//! Settings: one struct is flag, variable, key of the configuration file, default and manual.
//!
//! An argument's id is its key in the file: `store.data_dir` stands as `data_dir` in `[store]`, and as
//! `CHATCTL_STORE__DATA_DIR` in the environment. Must not know where values come from; that is the command
//! line's business, which puts what a file says in the place of the defaults.

pub mod jobs;
pub mod live;
pub mod network;
pub mod schedule;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chatctl_protocol::Limits;

mod trust;

use crate::config::jobs::JobsConfig;
use crate::config::network::Network;

pub use trust::{Trust, TrustedKeys};

/// Everything that `chatctl serve` can be told.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Where it listens, and for how many.
    #[command(flatten)]
    pub server: ServerConfig,

    /// Where state lives.
    #[command(flatten)]
    pub store: StoreConfig,

    /// Whose tokens are good.
    #[command(flatten)]
    pub auth: AuthConfig,

    /// How mail is carried.
    #[command(flatten)]
    pub mail: MailConfig,

    /// How the key directory serves.
    #[command(flatten)]
    pub directory: DirectoryConfig,

    /// What is cleaned up, and when.
    #[command(flatten)]
    pub jobs: JobsConfig,

    /// Bounds that clients see in HelloOk and at /v1/limits, as JSON
    #[arg(id = "limits", long = "limits", env = "CHATCTL_LIMITS", value_name = "JSON", default_value = "{}", value_parser = limits)]
    pub limits: Limits,
}

/// Where the relay listens, for how many, and how long it waits for them.
#[derive(Debug, Clone, clap::Args)]
pub struct ServerConfig {
    /// Address to listen on; port 0 picks a free one
    #[arg(
        id = "server.listen",
        long = "listen",
        env = "CHATCTL_SERVER__LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:8480"
    )]
    pub listen: SocketAddr,

    /// Address for /metrics, /healthz and /readyz alone, in plain HTTP (default: they are on the public address,
    /// where everybody can read how much the relay is used; with this, /metrics is not)
    #[arg(
        id = "server.metrics_listen",
        long = "metrics-listen",
        env = "CHATCTL_SERVER__METRICS_LISTEN",
        value_name = "ADDR"
    )]
    pub metrics_listen: Option<SocketAddr>,

    /// Most WebSocket sessions at once; more are answered 503, as where seven eighths of the open files are taken
    #[arg(
        id = "server.max_sessions",
        long = "max-sessions",
        env = "CHATCTL_SERVER__MAX_SESSIONS",
        value_name = "COUNT",
        default_value_t = 100_000
    )]
    pub max_sessions: usize,

    /// Time without a successful write, or without an ack at a full window, after which a session is closed
    #[arg(id = "server.slow_consumer", long = "slow-consumer", env = "CHATCTL_SERVER__SLOW_CONSUMER", value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    pub slow_consumer: Duration,

    /// Time over which sessions are told to leave at shutdown
    #[arg(id = "server.drain_window", long = "drain-window", env = "CHATCTL_SERVER__DRAIN_WINDOW", value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub drain_window: Duration,

    /// Socket for the operator's commands on this machine (default: `admin.sock` in the data directory, or in
    /// systemd's runtime directory)
    #[arg(
        id = "server.admin_socket",
        long = "admin-socket",
        env = "CHATCTL_SERVER__ADMIN_SOCKET",
        value_name = "FILE"
    )]
    pub admin_socket: Option<PathBuf>,

    /// Certificate in PEM, the leaf first, then those between it and its authority; the relay speaks TLS alone then
    /// (default: the systemd credential `tls-certificate`)
    #[arg(
        id = "server.tls_certificate",
        long = "tls-certificate",
        env = "CHATCTL_SERVER__TLS_CERTIFICATE",
        value_name = "FILE"
    )]
    pub tls_certificate: Option<PathBuf>,

    /// The certificate's private key in PEM, without a passphrase (mode 0600, or 0640; default: the systemd
    /// credential `tls-key`)
    #[arg(
        id = "server.tls_key",
        long = "tls-key",
        env = "CHATCTL_SERVER__TLS_KEY",
        value_name = "FILE"
    )]
    pub tls_key: Option<PathBuf>,

    /// Proxies whose word on a client's address is believed, for --connect-rate: an address or a network such as
    /// 10.0.0.0/8 (repeatable, or separated by commas)
    #[arg(
        id = "server.trusted_proxies",
        long = "trusted-proxy",
        env = "CHATCTL_SERVER__TRUSTED_PROXIES",
        value_name = "NETWORK",
        value_delimiter = ','
    )]
    pub trusted_proxies: Vec<Network>,

    /// New sessions per minute and client address (IPv6: /64); more are answered 429; 0 for no bound
    #[arg(
        id = "server.connect_rate",
        long = "connect-rate",
        env = "CHATCTL_SERVER__CONNECT_RATE",
        value_name = "COUNT",
        default_value_t = 0
    )]
    pub connect_rate: u32,

    /// Serve the manual of the API at /docs
    #[arg(id = "server.docs", long = "docs", env = "CHATCTL_SERVER__DOCS", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub docs: bool,

    /// Tell load generators on other machines, at /v1/info, that they may measure this relay
    #[arg(
        id = "server.allow_bench",
        long = "allow-bench",
        env = "CHATCTL_SERVER__ALLOW_BENCH"
    )]
    pub allow_bench: bool,
}

/// Whose tokens are good, for every command that makes or checks tokens.
#[derive(Debug, Clone, clap::Args)]
pub struct AuthConfig {
    /// Keyset file with the token keys (mode 0600)
    #[arg(
        id = "auth.keys",
        long = "keys",
        env = "CHATCTL_AUTH__KEYS",
        value_name = "FILE"
    )]
    pub keys: Option<PathBuf>,

    /// `iss` that every token must carry
    #[arg(
        id = "auth.issuer",
        long = "issuer",
        visible_alias = "iss",
        env = "CHATCTL_AUTH__ISSUER",
        value_name = "TEXT",
        default_value = "chatctl"
    )]
    pub issuer: String,

    /// `aud` that every token must carry
    #[arg(
        id = "auth.audience",
        long = "audience",
        visible_alias = "aud",
        env = "CHATCTL_AUTH__AUDIENCE",
        value_name = "TEXT",
        default_value = "chatctl"
    )]
    pub audience: String,

    /// Longest life that a token may have
    #[arg(id = "auth.max_token_life", long = "max-token-life", env = "CHATCTL_AUTH__MAX_TOKEN_LIFE", value_name = "DURATION", default_value = "30d", value_parser = humantime::parse_duration)]
    pub max_token_life: Duration,

    /// Outside issuer whose tokens are good too, with its public keys: `ISSUER=FILE` or
    /// `ISSUER=https://HOST/PATH` (repeatable, or separated by commas)
    #[arg(
        id = "auth.trust",
        long = "trust",
        env = "CHATCTL_AUTH__TRUST",
        value_name = "ISSUER=KEYS",
        value_delimiter = ','
    )]
    pub trust: Vec<Trust>,
}

/// How mail is accepted and carried.
#[derive(Debug, Clone, clap::Args)]
pub struct MailConfig {
    /// Shortest time from a send to its commit, the same for every envelope (0 to 100ms); a busy relay makes it up to four
    /// times as long where acks come then that spare the disk
    #[arg(id = "mail.commit_interval", long = "commit-interval", env = "CHATCTL_MAIL__COMMIT_INTERVAL", value_name = "DURATION", default_value = "5ms", value_parser = commit_interval)]
    pub commit_interval: Duration,

    /// Memory for envelopes accepted lately
    #[arg(id = "mail.tail_bytes", long = "tail-bytes", env = "CHATCTL_MAIL__TAIL_BYTES", value_name = "BYTES", default_value_t = 64 * 1024 * 1024)]
    pub tail_bytes: usize,

    /// Sends per second and device, sustained
    #[arg(
        id = "mail.send_rate",
        long = "send-rate",
        env = "CHATCTL_MAIL__SEND_RATE",
        value_name = "COUNT",
        default_value_t = 100
    )]
    pub send_rate: u32,

    /// Sends of a device in one burst
    #[arg(
        id = "mail.send_burst",
        long = "send-burst",
        env = "CHATCTL_MAIL__SEND_BURST",
        value_name = "COUNT",
        default_value_t = 1_000
    )]
    pub send_burst: u32,

    /// How often a session looks for mail that another relay on the same database has accepted (100ms to 1h)
    #[arg(id = "mail.look_again", long = "look-again", env = "CHATCTL_MAIL__LOOK_AGAIN", value_name = "DURATION", default_value = "30s", value_parser = look_again)]
    pub look_again: Duration,
}

/// How the directory of keys serves.
#[derive(Debug, Clone, clap::Args)]
pub struct DirectoryConfig {
    /// Items left in a pool at which the owner is told
    #[arg(
        id = "directory.keys_low",
        long = "keys-low",
        env = "CHATCTL_DIRECTORY__KEYS_LOW",
        value_name = "COUNT",
        default_value_t = 25
    )]
    pub keys_low: u32,

    /// Longest random delay of a low-key notice, so that a refill does not tell when a key was claimed
    #[arg(id = "directory.keys_low_jitter", long = "keys-low-jitter", env = "CHATCTL_DIRECTORY__KEYS_LOW_JITTER", value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    pub keys_low_jitter: Duration,

    /// Check signatures of uploaded signal and olm items
    #[arg(id = "directory.key_lint", long = "key-lint", env = "CHATCTL_DIRECTORY__KEY_LINT", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub key_lint: bool,

    /// One-time items that one device may claim from another before it gets the fallback
    #[arg(
        id = "directory.claim_pair_burst",
        long = "claim-pair-burst",
        env = "CHATCTL_DIRECTORY__CLAIM_PAIR_BURST",
        value_name = "COUNT",
        default_value_t = 6
    )]
    pub claim_pair_burst: u32,

    /// One-time items per hour that all callers together may claim from a device before they get the fallback
    #[arg(
        id = "directory.claim_target_hourly",
        long = "claim-target-hourly",
        env = "CHATCTL_DIRECTORY__CLAIM_TARGET_HOURLY",
        value_name = "COUNT",
        default_value_t = 120
    )]
    pub claim_target_hourly: u32,

    /// Claimed devices per minute and caller; more are refused
    #[arg(
        id = "directory.claim_caller_minute",
        long = "claim-caller-minute",
        env = "CHATCTL_DIRECTORY__CLAIM_CALLER_MINUTE",
        value_name = "COUNT",
        default_value_t = 600
    )]
    pub claim_caller_minute: u32,
}

/// Where state lives and how it is reached, for every command that uses the store.
#[derive(Debug, Clone, clap::Args)]
pub struct StoreConfig {
    /// Directory of the embedded store (created if missing)
    #[arg(
        id = "store.data_dir",
        long = "data-dir",
        env = "CHATCTL_STORE__DATA_DIR",
        value_name = "DIR"
    )]
    pub data_dir: Option<PathBuf>,

    /// Where state lives instead: `mongodb://HOST,HOST/DATABASE`, without a password (see --store-uri-file)
    #[arg(
        id = "store.uri",
        long = "store",
        env = "CHATCTL_STORE__URI",
        value_name = "URI",
        conflicts_with = "store.data_dir"
    )]
    pub uri: Option<String>,

    /// File with the store's URI, password and all (mode 0600, or the systemd credential `store-uri`)
    #[arg(id = "store.uri_file", long = "store-uri-file", env = "CHATCTL_STORE__URI_FILE", value_name = "FILE", conflicts_with_all = ["store.data_dir", "store.uri"])]
    pub uri_file: Option<PathBuf>,

    /// Longest time for one request to the database, all its round trips and tries included (1s to 60s)
    #[arg(id = "store.timeout", long = "store-timeout", env = "CHATCTL_STORE__TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = store_timeout)]
    pub timeout: Duration,

    /// Most connections to each member of the database
    #[arg(id = "store.pool", long = "store-pool", env = "CHATCTL_STORE__POOL", value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub pool: u32,

    /// Free disk space below which sends are refused, so that acks and claims still have room (at least 2 MiB)
    #[arg(id = "store.disk_reserve", long = "disk-reserve", env = "CHATCTL_STORE__DISK_RESERVE", value_name = "BYTES", default_value_t = 64 * 1024 * 1024)]
    pub disk_reserve: u64,

    /// Idempotency records kept in memory; the oldest leave early when there are more
    #[arg(
        id = "store.idempotency_records",
        long = "idempotency-records",
        env = "CHATCTL_STORE__IDEMPOTENCY_RECORDS",
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
    /// The defaults of the flags, whatever the environment says.
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            config: Config,
        }
        let command = <Flags as clap::CommandFactory>::command().mut_args(|arg| arg.env(None::<&str>));
        let mut matches = command.get_matches_from(["chatctl"]);
        match <Flags as clap::FromArgMatches>::from_arg_matches_mut(&mut matches) {
            Ok(flags) => flags.config,
            Err(error) => error.exit(),
        }
    }
}

impl Default for DirectoryConfig {
    /// The defaults of the flags.
    fn default() -> Self {
        Config::default().directory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_parse() {
        let config = Config::default();
        assert_eq!(config.mail.commit_interval, Duration::from_millis(5));
        assert_eq!(config.limits, Limits::default());
    }

    #[test]
    fn a_limit_that_does_not_exist_is_refused() {
        assert!(limits(r#"{"max_payload_bytes": 1, "max_pay": 2}"#).is_err());
        assert_eq!(limits(r#"{"window": 3}"#).map(|limits| limits.window), Ok(3));
    }
}
