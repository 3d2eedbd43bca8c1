//! `chatctl token keys rotate`.

use chatctl_relay::auth::private_file::Existing;
use chatctl_relay::auth::{Change, Keyset, Patience, Phase, Rotation, RotationError};
use chatctl_relay::config::AuthConfig;
use chatctl_relay::model::{Clock, UnixMs};
use schemars::JsonSchema;
use serde::Serialize;

use super::list::Next;
use super::{Alg, Cache, OpenFile, coming};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::when::{relative, rfc3339};

/// Take the next step from an old key to a new one
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl token keys rotate --keys keys.json --phase publish
  chatctl token keys rotate --keys keys.json --phase auto --dry-run")]
pub(super) struct Rotate {
    #[command(flatten)]
    auth: AuthConfig,

    #[command(flatten)]
    cache: Cache,

    /// Which step
    #[arg(long, value_enum, value_name = "PHASE", default_value = "auto")]
    phase: Wish,

    /// What a published key signs with; like the active key if it is not said
    #[arg(long, value_enum, value_name = "ALG")]
    alg: Option<Alg>,

    /// A published key's name; `auto` is the day and chance
    #[arg(long, value_name = "NAME", default_value = "auto")]
    kid: String,

    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not wait: good tokens may be refused
    #[arg(long)]
    override_wait: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Wish {
    /// Make a new key known; it signs nothing yet
    Publish,
    /// Let the new key sign; the old one only verifies from now on
    Activate,
    /// Refuse the old key's tokens
    Retire,
    /// Whatever is due
    Auto,
}

/// A step that was taken.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RotatedKeys {
    /// The keyset.
    file: String,
    /// publish, activate, retire.
    phase: &'static str,
    /// True when nothing was written.
    dry_run: bool,
    /// The keys whose states are other ones now.
    changed: Vec<Changed>,
    /// The steps that come next.
    next: Vec<Coming>,
}

#[derive(Serialize, JsonSchema)]
struct Changed {
    kid: String,
    state: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct Coming {
    kid: String,
    #[serde(flatten)]
    step: Next,
}

impl Document for RotatedKeys {
    const SCHEMA: &'static str = "chatctl.token.keys.rotate/v1";
}

impl Rotate {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let now = Clock::system().now();
        let file = OpenFile::open(&self.auth)?;
        super::changes_the_keyset(out, &file.path)?;
        if self.override_wait {
            out.warn("WARNING: --override-wait: whoever has not seen the new key yet refuses its tokens, and tokens of a key that is retired early are refused at once");
        }
        let (keyset, change) = self
            .step(&file.keyset, now)
            .map_err(|error| refused(&error, now))?;
        if !self.dry_run {
            keyset.save(&file.path, Existing::Replace)?;
            out.note("the relay uses it after a reload (`chatctl reload`, or SIGHUP)");
        }
        let (text, document) = self.report(&file, &keyset, &change, now);
        out.result(&text, &document)
    }

    fn step(&self, keyset: &Keyset, now: UnixMs) -> Result<(Keyset, Change), RotationError> {
        let rotation = Rotation {
            keyset,
            waits: self.cache.waits(&self.auth),
            patience: match self.override_wait {
                true => Patience::Override,
                false => Patience::Wait,
            },
            now,
        };
        let phase = match self.phase {
            Wish::Publish => Phase::Publish,
            Wish::Activate => Phase::Activate,
            Wish::Retire => Phase::Retire,
            Wish::Auto => rotation.due()?,
        };
        match phase {
            Phase::Publish => {
                let kid = Some(self.kid.as_str()).filter(|kid| *kid != "auto");
                let algorithm = self.alg.map(Alg::algorithm);
                rotation.publish(rotation.new_key(algorithm, kid, &mut rand::rng())?)
            }
            Phase::Activate => rotation.activate(),
            Phase::Retire => rotation.retire(),
        }
    }

    fn report(
        &self,
        file: &OpenFile,
        keyset: &Keyset,
        change: &Change,
        now: UnixMs,
    ) -> (String, RotatedKeys) {
        let waits = self.cache.waits(&self.auth);
        let mut text = String::new();
        for (kid, state) in &change.keys {
            let would = if self.dry_run { "would be " } else { "" };
            text.push_str(&format!("key {kid}: {would}{}\n", state.as_str()));
        }
        let mut next = Vec::new();
        for key in keyset.facts() {
            if let (Some((phase, at)), Some(step)) = (waits.next(&key), Next::of(&key, &waits)) {
                text.push_str(&format!("next: {} (key {})\n", coming(phase, at, now), key.kid));
                next.push(Coming { kid: key.kid, step });
            }
        }
        let changed = change.keys.iter().map(|(kid, state)| Changed {
            kid: kid.clone(),
            state: state.as_str(),
        });
        let document = RotatedKeys {
            file: file.path.display().to_string(),
            phase: change.phase.as_str(),
            dry_run: self.dry_run,
            changed: changed.collect(),
            next,
        };
        (text, document)
    }
}

fn refused(error: &RotationError, now: UnixMs) -> Failure {
    match error {
        RotationError::NotDue { until, .. } => {
            let failure = Failure::from_error(Exit::TempFail, error);
            failure.hint(match until {
                Some(until) => format!(
                    "try again {} at {}; --override-wait does not wait",
                    relative(*until, now),
                    rfc3339(*until)
                ),
                None => "--override-wait does not wait".to_owned(),
            })
        }
        RotationError::Published { .. } => {
            Failure::from_error(Exit::TempFail, error).hint("--phase activate comes next")
        }
        RotationError::Nothing { phase } => Failure::from_error(Exit::DataErr, error).hint(match phase {
            Phase::Publish | Phase::Activate => "--phase publish makes a key known first",
            Phase::Retire => "--phase activate puts the old key aside first",
        }),
        RotationError::Keyset(error) => Failure::from_error(Exit::Config, error),
    }
}
