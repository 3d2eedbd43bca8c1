//! Tokens that are good no more although their time is not over, as this relay knows them.
//!
//! Owns how a token is compared with what operators have said: by its `jti`, its account, its device. Must not
//! know where that is kept. Forgets what is over by itself.

use std::collections::HashMap;
use std::sync::Arc;

use chatctl_protocol::{AccountId, Address, DeviceId};
use parking_lot::RwLock;

use crate::model::{Identity, Revocation, Revoked, UnixMs};

/// What is revoked. Three look-ups for a token, however much there is.
#[derive(Debug, Default)]
pub struct Revocations(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The number up to which the store was read.
    read_to: u64,
    /// By `jti`, and when it is over.
    tokens: HashMap<Arc<str>, UnixMs>,
    /// Of whole accounts.
    accounts: HashMap<AccountId, Moment>,
    /// Of single devices.
    devices: HashMap<(AccountId, DeviceId), Moment>,
}

/// Tokens issued at or before a moment.
#[derive(Debug, Clone, Copy)]
struct Moment {
    up_to: UnixMs,
    expires_at: UnixMs,
}

impl Revocations {
    /// Whether a token is revoked.
    #[must_use]
    pub fn cover(&self, identity: &Identity) -> bool {
        let known = self.0.read();
        let before = |moment: &Moment| identity.issued_at <= moment.up_to;
        if known.tokens.contains_key(&identity.jti) {
            return true;
        }
        if known.accounts.get(identity.account()).is_some_and(before) {
            return true;
        }
        if known.devices.is_empty() {
            return false;
        }
        let Address { account, device_id } = &identity.address;
        let device = (account.clone(), device_id.clone());
        known.devices.get(&device).is_some_and(before)
    }

    /// Adds one. The same again changes nothing, and an older one takes nothing back.
    pub fn learn(&self, revocation: &Revocation) {
        let mut known = self.0.write();
        let expires_at = revocation.expires_at;
        match &revocation.what {
            Revoked::Token(jti) => {
                let end = known.tokens.entry(Arc::clone(jti)).or_insert(expires_at);
                *end = expires_at.max(*end);
            }
            Revoked::Issued {
                account,
                device,
                up_to,
            } => {
                let up_to = *up_to;
                let moment = Moment { up_to, expires_at };
                let kept = match device {
                    None => known.accounts.entry(account.clone()).or_insert(moment),
                    Some(device) => {
                        let device = (account.clone(), device.clone());
                        known.devices.entry(device).or_insert(moment)
                    }
                };
                kept.up_to = up_to.max(kept.up_to);
                kept.expires_at = expires_at.max(kept.expires_at);
            }
        }
    }

    /// Forgets what is over at `now`; how many there were.
    pub fn forget(&self, now: UnixMs) -> usize {
        let mut known = self.0.write();
        let before = known.len();
        known.tokens.retain(|_, end| *end > now);
        known.accounts.retain(|_, moment| moment.expires_at > now);
        known.devices.retain(|_, moment| moment.expires_at > now);
        before - known.len()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.read().len()
    }

    /// The number up to which the store was read.
    #[must_use]
    pub fn read_to(&self) -> u64 {
        self.0.read().read_to
    }

    /// Everything up to this number was learned.
    pub fn has_read_to(&self, number: u64) {
        let mut known = self.0.write();
        known.read_to = number.max(known.read_to);
    }
}

impl Known {
    fn len(&self) -> usize {
        self.tokens.len() + self.accounts.len() + self.devices.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scopes;

    fn token(account: &str, device: &str, issued_at: u64) -> Identity {
        Identity {
            address: Address {
                account: AccountId::parse(account).unwrap(),
                device_id: DeviceId::parse(device).unwrap(),
            },
            scopes: Scopes::default(),
            issued_at: UnixMs(issued_at),
            expires_at: UnixMs(issued_at + 1000),
            jti: format!("{account}-{device}-{issued_at}").into(),
        }
    }

    fn revocation(what: Revoked, expires_at: u64) -> Revocation {
        Revocation {
            what,
            revoked_at: UnixMs(0),
            expires_at: UnixMs(expires_at),
            reason: "".into(),
        }
    }

    fn issued(account: &str, device: Option<&str>, up_to: u64) -> Revoked {
        Revoked::Issued {
            account: AccountId::parse(account).unwrap(),
            device: device.map(|device| DeviceId::parse(device).unwrap()),
            up_to: UnixMs(up_to),
        }
    }

    #[test]
    fn a_token_is_covered_by_its_name_its_account_or_its_device_up_to_the_moment() {
        let known = Revocations::default();
        known.learn(&revocation(Revoked::Token("alice-1-5".into()), 100));
        known.learn(&revocation(issued("bob", None, 10), 100));
        known.learn(&revocation(issued("carol", Some("2"), 10), 100));
        let covered = [
            token("alice", "1", 5),
            token("bob", "1", 10),
            token("bob", "2", 9),
            token("carol", "2", 10),
        ];
        let free = [
            token("alice", "1", 6),
            token("bob", "1", 11),
            token("carol", "1", 10),
            token("carol", "2", 11),
            token("dave", "1", 0),
        ];
        assert!(covered.iter().all(|token| known.cover(token)));
        assert!(!free.iter().any(|token| known.cover(token)));
    }

    #[test]
    fn an_older_revocation_takes_nothing_back_and_what_is_over_is_forgotten() {
        let known = Revocations::default();
        known.learn(&revocation(issued("bob", None, 10), 100));
        known.learn(&revocation(issued("bob", None, 4), 50));
        known.learn(&revocation(Revoked::Token("one".into()), 60));
        assert!(known.cover(&token("bob", "1", 10)));
        assert_eq!((known.forget(UnixMs(60)), known.count()), (1, 1));
        assert!(known.cover(&token("bob", "1", 10)));
        assert_eq!((known.forget(UnixMs(100)), known.count()), (1, 0));
        assert!(!known.cover(&token("bob", "1", 10)));
    }
}
