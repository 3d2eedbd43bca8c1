//! `chatctl jobs unlock`: for a holder that is gone while its lease is not over.

use chatctl_relay::config::jobs::JobName;
use chatctl_relay::model::{Clock, UnixMs};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::desk::{Door, Where};
use super::entry::{Held, Job, read};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::store::store_failure;

/// Break the lease of a job whose holder is gone
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl jobs unlock expire-mail --store mongodb://db1/chat?replicaSet=rs0
  chatctl jobs unlock expire-mail --data-dir /var/lib/chatctl --confirm expire-mail")]
pub(super) struct Unlock {
    /// Which job
    #[arg(value_name = "JOB", value_parser = super::job())]
    job: JobName,

    /// The name of the job again: a run that is under way loses its lease and stops
    #[arg(long, value_name = "JOB", value_parser = super::job())]
    confirm: Option<JobName>,

    #[command(flatten)]
    place: Where,
}

/// What was broken.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Unlocked {
    job: &'static str,
    /// Who had the lease; null when nobody had.
    broken: Option<Held>,
    /// The relay that was told; null when there was none.
    through: Option<String>,
}

impl Document for Unlocked {
    const SCHEMA: &'static str = "chatctl.jobs.unlock/v1";
}

impl Unlock {
    pub(super) async fn run(self, out: &Out) -> Result<Exit, Failure> {
        let now = Clock::system().now();
        let job = self.job;
        let door = self.place.open().await?;
        let held = held(job, &door, now).await?;
        let broken = match (held, self.confirm == Some(job)) {
            (None, _) => None,
            (Some(held), false) => {
                door.close().await?;
                return Err(refusal(job, self.confirm, &held, now));
            }
            (Some(held), true) => {
                out.note(&held.liveness(now));
                broken(job, &door, now).await?
            }
        };
        let document = Unlocked {
            job: job.as_str(),
            broken,
            through: door.through(),
        };
        door.close().await?;
        out.result(&text(job, document.broken.as_ref(), now), &document)?;
        Ok(Exit::Ok)
    }
}

async fn held(job: JobName, door: &Door, now: UnixMs) -> Result<Option<Held>, Failure> {
    match door {
        Door::Relay(relay) => {
            let answer = relay.get(&format!("/v1/admin/jobs/{job}")).await?;
            Ok(read::<Job>(answer)?.held)
        }
        Door::Store(store) => {
            let states = store.job_states(now).await;
            let states = states.map_err(|error| store_failure(&error))?;
            let state = states.into_iter().find(|state| &*state.job == job.as_str());
            state.and_then(|state| state.held).map(Held::of).transpose()
        }
    }
}

async fn broken(job: JobName, door: &Door, now: UnixMs) -> Result<Option<Held>, Failure> {
    match door {
        Door::Relay(relay) => {
            let mut answer = relay.delete(&format!("/v1/admin/jobs/{job}/lease")).await?;
            read(answer.get_mut("broken").map(Value::take).unwrap_or_default())
        }
        Door::Store(store) => {
            let broken = store.unlock(job.as_str(), now).await;
            let broken = broken.map_err(|error| store_failure(&error))?;
            broken.map(Held::of).transpose()
        }
    }
}

fn refusal(job: JobName, confirm: Option<JobName>, held: &Held, now: UnixMs) -> Failure {
    let message = match confirm {
        None => format!("the lease of {job} is not broken without --confirm {job}"),
        Some(other) => format!("--confirm names {other}, and the lease is that of {job}"),
    };
    Failure::new(Exit::Usage, message)
        .because([held.liveness(now)])
        .hint("a holder that lives renews it, one that is gone does not: look again in a minute")
}

fn text(job: JobName, broken: Option<&Held>, now: UnixMs) -> String {
    match broken {
        Some(held) => {
            let (run, sentence) = (crate::figures::tame(&held.run), held.sentence(now));
            format!("broke the lease of {job}: {sentence}\nits run {run} is noted as lease-lost\n")
        }
        None => format!("nobody has the lease of {job}: nothing to break\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::Format;

    const NOW: UnixMs = UnixMs(1_795_348_820_000);

    fn held(remaining_ms: u64) -> Held {
        Held {
            run: "expire-mail/1795348800000/1".into(),
            holder: "relay-2:4711".into(),
            fence: 7,
            since: "2026-11-22T12:00:00Z".into(),
            remaining_ms,
        }
    }

    #[test]
    fn without_a_word_nothing_is_broken_and_the_holder_is_shown() {
        let refusal = refusal(JobName::ExpireMail, None, &held(40_500), NOW);
        assert_eq!(
            refusal.report(Format::Text),
            "\
error: the lease of expire-mail is not broken without --confirm expire-mail
  caused by: relay-2:4711 has it since 2026-11-22T12:00:00Z (20s ago); the lease is good for 41s without a renewal
hint: a holder that lives renews it, one that is gone does not: look again in a minute
"
        );
    }

    #[test]
    fn what_was_broken_is_said() {
        assert_eq!(
            text(JobName::ExpireMail, Some(&held(41_000)), NOW),
            "\
broke the lease of expire-mail: relay-2:4711 since 2026-11-22T12:00:00Z (lease until 2026-11-22T12:01:01Z)
its run expire-mail/1795348800000/1 is noted as lease-lost
"
        );
        assert_eq!(
            text(JobName::ExpireMail, None, NOW),
            "nobody has the lease of expire-mail: nothing to break\n"
        );
    }
}
