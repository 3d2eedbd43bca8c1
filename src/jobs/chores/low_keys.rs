//! Devices whose one-time keys run low: found page by page, and told if they are here.

use async_trait::async_trait;

use super::{add, say};
use crate::directory::is_watched;
use crate::jobs::{Chore, Desk, Findings, Step};
use crate::model::MailboxId;
use crate::store::{Error, LowPool};

/// Finds those who should upload keys.
#[derive(Debug)]
pub(super) struct ReportLowKeys {
    after: MailboxId,
    low: u64,
}

impl Default for ReportLowKeys {
    fn default() -> Self {
        Self {
            after: MailboxId(0),
            low: 0,
        }
    }
}

#[async_trait]
impl Chore for ReportLowKeys {
    async fn step(&mut self, desk: &Desk, findings: &mut Findings) -> Result<Step, Error> {
        let page = desk
            .store
            .low_pools(desk.terms.keys_low, self.after, DEVICES)
            .await?;
        let watched = |pool: &&LowPool| is_watched(&pool.suite, &pool.pool);
        let mut last = None;
        for pool in page.low.iter().filter(watched) {
            if last.replace(pool.mailbox) != Some(pool.mailbox) {
                self.low += 1;
                findings.work.affected += 1;
            }
            add(findings, "pools", 1);
            add(findings, "empty", u64::from(pool.count == 0));
            say(findings, || line(pool));
            desk.audience.keys_low(pool);
        }
        add(findings, "devices", page.looked);
        let Some(next) = page.next else {
            desk.audience.devices_low(self.low);
            return Ok(Step::Done);
        };
        self.after = next;
        Ok(Step::More)
    }
}

fn line(pool: &LowPool) -> String {
    let LowPool {
        address,
        suite,
        pool: name,
        count,
        fallback,
        ..
    } = pool;
    let rest = match fallback {
        true => "and the fallback",
        false => "and no fallback",
    };
    format!(
        "{}/{} {} {}: {count} left {rest}",
        address.account,
        address.device_id,
        suite.as_str(),
        name.as_str()
    )
}

/// Devices with keys that one step looks at.
const DEVICES: usize = 200;
