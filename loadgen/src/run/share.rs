//! Who lives on which worker. Clients that write to each other live together, as long as no worker gets much more
//! than its share.

use crate::plan::Plan;

/// Clients' places of each worker, sorted. What is too large for one worker is dealt out, if that is allowed.
pub(super) fn shares(plan: &Plan, workers: usize, may_split: bool) -> Vec<Vec<u32>> {
    let workers = workers.max(1);
    let mut shares = vec![Vec::new(); workers];
    let fair = plan.clients.len().div_ceil(workers);
    for group in plan.groups() {
        if may_split && group.len() > fair + fair / 2 {
            for client in group {
                least(&mut shares).push(client);
            }
        } else {
            least(&mut shares).extend(group);
        }
    }
    for share in &mut shares {
        share.sort_unstable();
    }
    shares
}

fn least(shares: &mut [Vec<u32>]) -> &mut Vec<u32> {
    let least = (0..shares.len()).min_by_key(|worker| shares[*worker].len());
    &mut shares[least.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(clients: u32, topology: &str) -> Plan {
        let text = format!("schema = \"x\"\nclients.count = {clients}\ntopology = {topology}");
        Plan::new(&toml::from_str(&text).unwrap(), 1, (0, 1)).unwrap()
    }

    #[test]
    fn pairs_stay_together() {
        let plan = plan(6, "{kind = \"pairs\"}");
        assert_eq!(shares(&plan, 2, true), [vec![0, 1, 4, 5], vec![2, 3]]);
    }

    #[test]
    fn a_crowd_is_dealt_out_only_where_that_is_allowed() {
        let plan = plan(4, "{kind = \"fanout\", recipients = 3}");
        assert_eq!(shares(&plan, 2, true), [vec![0, 2], vec![1, 3]]);
        assert_eq!(shares(&plan, 2, false), [vec![0, 1, 2, 3], vec![]]);
    }
}
