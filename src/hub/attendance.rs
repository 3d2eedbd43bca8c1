//! With which token everybody is here, so that a revocation finds them.
//!
//! Owns one small entry for each connection whose token was checked, whether or not it has said hello. Must not
//! know why a token is revoked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chatctl_protocol::{AccountId, DeviceId};
use dashmap::DashMap;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::hub::Wake;
use crate::model::{Identity, Revoked, UnixMs};

/// Everybody's tokens, by account.
#[derive(Debug, Default)]
pub struct Attendance {
    accounts: DashMap<AccountId, SmallVec<[Arc<Entry>; 1]>>,
}

/// One connection.
#[derive(Debug)]
struct Entry {
    device: DeviceId,
    is_revoked: AtomicBool,
    changing: Mutex<Changing>,
}

#[derive(Debug)]
struct Changing {
    jti: Arc<str>,
    issued_at: UnixMs,
    bell: Arc<Wake>,
}

impl Attendance {
    /// Notes a connection with its token. Whoever does so looks at the revocations afterwards: of those that came
    /// before nobody has told this connection.
    #[must_use]
    pub fn attend(self: &Arc<Self>, identity: &Identity) -> Attending {
        let entry = Arc::new(Entry {
            device: identity.address.device_id.clone(),
            is_revoked: AtomicBool::new(false),
            changing: Mutex::new(Changing {
                jti: Arc::clone(&identity.jti),
                issued_at: identity.issued_at,
                bell: Arc::default(),
            }),
        });
        let account = identity.account().clone();
        self.accounts
            .entry(account.clone())
            .or_default()
            .push(Arc::clone(&entry));
        Attending {
            attendance: Arc::clone(self),
            account,
            entry,
        }
    }

    /// Tells every connection whose token is covered; how many were told that were not before. A `jti` is looked
    /// for at everybody's, an account is not.
    pub fn revoke(&self, what: &Revoked) -> usize {
        match what {
            Revoked::Token(jti) => {
                let all = self.accounts.iter();
                all.map(|entries| strike(&entries, |entry| entry.changing.lock().jti == *jti))
                    .sum()
            }
            Revoked::Issued {
                account,
                device,
                up_to,
            } => self.accounts.get(account).map_or(0, |entries| {
                strike(&entries, |entry| {
                    device.as_ref().is_none_or(|device| entry.device == *device)
                        && entry.changing.lock().issued_at <= *up_to
                })
            }),
        }
    }

    /// Whether nobody is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }
}

fn strike(entries: &[Arc<Entry>], is_meant: impl Fn(&Entry) -> bool) -> usize {
    let meant = entries.iter().filter(|entry| is_meant(entry));
    meant.filter(|entry| entry.strike()).count()
}

impl Entry {
    /// Whether it was not struck before.
    fn strike(&self) -> bool {
        let is_new = !self.is_revoked.swap(true, Ordering::AcqRel);
        if is_new {
            // After the flag: whoever changes the bell meanwhile looks at the flag then.
            self.changing.lock().bell.ring();
        }
        is_new
    }
}

/// A connection's place in the attendance. Dropping it removes this connection, and no other.
#[derive(Debug)]
pub struct Attending {
    attendance: Arc<Attendance>,
    account: AccountId,
    entry: Arc<Entry>,
}

impl Attending {
    /// Whether the token was revoked.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.entry.is_revoked.load(Ordering::Acquire)
    }

    /// Waits until the token is revoked, for whoever waits for nothing else yet. Cancel safe.
    pub async fn revoked(&self) {
        let bell = Arc::clone(&self.entry.changing.lock().bell);
        while !self.is_revoked() {
            bell.rung().await;
        }
    }

    /// Rings this bell from now on. Look at [`Self::is_revoked`] afterwards.
    pub fn ring(&self, bell: Arc<Wake>) {
        self.entry.changing.lock().bell = bell;
    }

    /// The connection goes on with another token of the same device. Look at the revocations afterwards.
    pub fn refresh(&self, identity: &Identity) {
        let mut changing = self.entry.changing.lock();
        changing.jti = Arc::clone(&identity.jti);
        changing.issued_at = identity.issued_at;
    }
}

impl Drop for Attending {
    fn drop(&mut self) {
        let _ = self
            .attendance
            .accounts
            .remove_if_mut(&self.account, |_, entries| {
                entries.retain(|entry| !Arc::ptr_eq(entry, &self.entry));
                entries.is_empty()
            });
    }
}

#[cfg(test)]
mod tests {
    use chatctl_protocol::Address;

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

    fn bobs(device: Option<&str>, up_to: u64) -> Revoked {
        Revoked::Issued {
            account: AccountId::parse("bob").unwrap(),
            device: device.map(|device| DeviceId::parse(device).unwrap()),
            up_to: UnixMs(up_to),
        }
    }

    #[tokio::test]
    async fn those_are_told_whose_tokens_are_meant_and_each_is_counted_once() {
        let here = Arc::new(Attendance::default());
        let phone = here.attend(&token("bob", "1", 5));
        let tablet = here.attend(&token("bob", "2", 7));
        let alice = here.attend(&token("alice", "1", 5));
        assert_eq!(here.revoke(&bobs(Some("2"), 6)), 0);
        assert_eq!(here.revoke(&bobs(None, 6)), 1);
        phone.revoked().await;
        assert_eq!(here.revoke(&bobs(None, 7)), 1);
        tablet.revoked().await;
        assert_eq!(here.revoke(&Revoked::Token("alice-1-5".into())), 1);
        assert!(alice.is_revoked());
        drop((phone, tablet, alice));
        assert!(here.is_empty());
    }

    #[test]
    fn a_refreshed_token_is_looked_for_and_the_one_before_is_not() {
        let here = Arc::new(Attendance::default());
        let bob = here.attend(&token("bob", "1", 5));
        bob.refresh(&token("bob", "1", 9));
        assert_eq!(here.revoke(&bobs(None, 5)), 0);
        assert_eq!(here.revoke(&Revoked::Token("bob-1-5".into())), 0);
        assert_eq!(here.revoke(&Revoked::Token("bob-1-9".into())), 1);
        assert!(bob.is_revoked());
    }
}
