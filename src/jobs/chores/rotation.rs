//! Keys for tokens that have been what they are for too long.

use std::time::Duration;

use async_trait::async_trait;
use tracing::warn;

use super::{add, say};
use crate::auth::{self, Finding, Waits};
use crate::jobs::{Chore, Desk, Findings, Step};
use crate::store::Error;

/// Says when the keys should be rotated.
#[derive(Debug, Default)]
pub(super) struct RemindKeyRotation;

#[async_trait]
impl Chore for RemindKeyRotation {
    async fn step(&mut self, desk: &Desk, findings: &mut Findings) -> Result<Step, Error> {
        for Finding { kid, message, .. } in overdue(desk) {
            warn!(kid = kid.as_deref(), "a key for tokens: {message}");
        }
        report(desk, findings);
        Ok(Step::Done)
    }
}

/// What a run would say.
pub(super) fn report(desk: &Desk, findings: &mut Findings) {
    for Finding { kid, message, .. } in overdue(desk) {
        findings.work.affected += 1;
        add(findings, "keys", 1);
        say(findings, || format!("{}: {message}", kid.unwrap_or_default()));
    }
}

fn overdue(desk: &Desk) -> Vec<Finding> {
    let waits = Waits {
        // Whoever caches the public set for longer says so when keys are rotated.
        verifier_cache: Duration::ZERO,
        token_life: desk.terms.token_life,
    };
    auth::overdue(&(desk.keys)(), &waits, desk.terms.key_age, desk.clock.now())
}
