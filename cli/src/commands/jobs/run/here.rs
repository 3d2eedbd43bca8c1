//! A run in this process, on a store that is nobody else's or made for many.

use std::pin::pin;
use std::time::Duration;

use chatctl_relay::config::jobs::JobName;
use chatctl_relay::jobs::hand::{self, Refusal, Wish};
use chatctl_relay::jobs::{Desk, Findings};
use chatctl_relay::store::holder;
use tokio_util::sync::CancellationToken;

use super::screen::Screen;
use super::signals::{STOPPING, left};
use super::{Ended, held};
use crate::commands::jobs::entry::{Found, Held};
use crate::failure::Failure;
use crate::signals::Signals;
use crate::store::store_failure;

/// Runs a job to its end, or until a signal stops it.
///
/// # Errors
///
/// When somebody else runs it, of the store, and at a second signal.
pub(super) async fn run(
    job: JobName,
    timeout: Duration,
    desk: Desk,
    screen: &Screen<'_>,
) -> Result<Ended, Failure> {
    let mut signals = Signals::listen()?;
    let clock = desk.clock.clone();
    let wish = Wish {
        job,
        timeout,
        holder: holder(),
    };
    let progress = |findings: &Findings| {
        // Lines are for the end, and there may be a thousand.
        let counted = Findings {
            lines: Vec::new(),
            ..findings.clone()
        };
        if let Ok(found) = Found::of(counted) {
            screen.show(&found);
        }
    };
    let stop = CancellationToken::new();
    let mut running = pin!(hand::run(wish, desk, &progress, stop.clone()));
    let mut told = None;
    let ran = loop {
        tokio::select! {
            ran = &mut running => break ran,
            exit = signals.next() => {
                if told.is_some() {
                    return Err(left(exit));
                }
                told = Some(exit);
                stop.cancel();
                screen.say(STOPPING);
            }
        }
    };
    match ran {
        Ok(ran) => Ok(Ended {
            run: chatctl_relay::http::admin::jobs::answers::name(&ran.run),
            outcome: ran.outcome.as_str().to_owned(),
            found: Found::of(ran.findings)?,
            took: ran.took,
            error: ran.error.map(|error| error.to_string()),
            told,
        }),
        Err(Refusal::Held(lease)) => Err(held(job, &Held::of(lease)?, clock.now())),
        Err(Refusal::Store(error)) => Err(store_failure(&error)),
    }
}
