//! What a relay says of itself before anybody signs on.

use std::time::Duration;

use chatctl_client::{DirectoryError, Http};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A relay that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// Its version.
    pub version: String,
    /// Whether it may be measured from another machine.
    pub allows_bench: bool,
    /// The largest payload that it takes, in bytes.
    pub max_payload: u64,
    /// Envelopes that a mailbox holds.
    pub mailbox: u64,
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum IntroductionError {
    /// Nobody answers.
    #[error("nobody answers at {url}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why not.
        #[source]
        error: DirectoryError,
    },
    /// Somebody answers who is no relay of ours.
    #[error("what answers at {url} is no chatctl relay")]
    Stranger {
        /// Where.
        url: String,
    },
}

#[derive(Deserialize)]
struct Info {
    name: String,
    version: String,
    #[serde(default)]
    allows_bench: bool,
}

#[derive(Deserialize)]
struct Limits {
    max_payload_bytes: u64,
    mailbox_envelopes: u64,
}

impl Introduction {
    /// Asks a relay by its doors; the URL is for people.
    ///
    /// # Errors
    ///
    /// [`IntroductionError`].
    pub async fn of(http: &Http, url: &str) -> Result<Self, IntroductionError> {
        let http = http.clone().patience(PATIENCE);
        let info: Info = ask(&http, url, "/v1/info").await?;
        if info.name != "chatctl" {
            return Err(IntroductionError::Stranger { url: url.to_owned() });
        }
        let limits: Limits = ask(&http, url, "/v1/limits").await?;
        Ok(Self {
            version: info.version,
            allows_bench: info.allows_bench,
            max_payload: limits.max_payload_bytes,
            mailbox: limits.mailbox_envelopes,
        })
    }
}

async fn ask<T: DeserializeOwned>(http: &Http, url: &str, path: &str) -> Result<T, IntroductionError> {
    let shown = http.show(path).await;
    let (_, bytes) = shown.map_err(|error| IntroductionError::Unreachable {
        url: url.to_owned(),
        error,
    })?;
    serde_json::from_slice(&bytes).map_err(|_| IntroductionError::Stranger { url: url.to_owned() })
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
