//! Sessions made in the generator, without a directory.
//!
//! # Why
//!
//! A handshake costs 0.4 ms, and a copy of a session half a microsecond. So one handshake is made, and every pair
//! gets copies of its two ends. What a server then carries is real ciphertext of real ratchets, each pair turning its own; but all of
//! them began with the same keys, so nothing is separated from anything: a measurement, and no secrecy.

use vodozemac::olm::{Account, Session};

use crate::crypto::Keyring;
use crate::crypto::pairs::{NoSession, greet, keyrings, pairs};
use crate::plan::Plan;
use crate::scenario::Crypto;

/// Keyrings of all clients with sessions between all who write to each other, made without a directory
/// ([`Crypto::Staged`]); empty ones for the other kinds. It computes: 1 microsecond for each pair.
#[must_use]
pub fn staged(plan: &Plan, crypto: Crypto) -> Vec<Keyring> {
    let pairs = match crypto {
        Crypto::Staged => pairs(plan),
        Crypto::Session | Crypto::None => Vec::new(),
    };
    // Keys that were just drawn always make a session.
    let Ok((opener, reader)) = template() else {
        return keyrings(plan.clients.len(), std::iter::empty());
    };
    let made = pairs.into_iter().map(|pair| (pair, copy(&opener), copy(&reader)));
    keyrings(plan.clients.len(), made)
}

fn template() -> Result<(Session, Session), NoSession> {
    let (opener, mut reader) = (Account::new(), Account::new());
    reader.generate_one_time_keys(1);
    let key = reader.one_time_keys().into_values().next().ok_or(NoSession)?;
    let identity = reader.curve25519_key();
    greet(&opener, (identity, key), &mut reader)
}

/// A session cannot be cloned, only pickled and read again.
fn copy(session: &Session) -> Session {
    Session::from_pickle(session.pickle())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{CryptoError, body_bytes};
    use crate::plan::{Client, Sender};
    use chatctl_protocol::{AccountId, DeviceId};

    /// Accounts with so many devices each, and who writes to which accounts.
    fn plan(devices: &[u32], senders: &[(u32, &[u32])]) -> Plan {
        let mut next = 0;
        let mut clients = Vec::new();
        let accounts = devices.iter().zip(0..).map(|(count, account)| {
            let first = next;
            next += count;
            clients.extend((0..*count).map(|device| Client {
                account,
                device_id: DeviceId::parse(&device.to_string()).unwrap(),
                registration_id: 1,
            }));
            crate::plan::Account {
                name: AccountId::parse(&format!("a{account}")).unwrap(),
                devices: first..next,
            }
        });
        let accounts = accounts.collect();
        let senders = senders.iter().map(|(client, to)| Sender {
            client: *client,
            to: to.to_vec(),
            first_stream: 0,
        });
        Plan {
            clients,
            accounts,
            senders: senders.collect(),
            first: 0,
            group: 1,
        }
    }

    fn say(rings: &mut [Keyring], from: u32, to: u32, name: (u32, u64)) -> Result<(), CryptoError> {
        let (kind, body) = rings[from as usize].encrypt(to, name.0, name.1, 256)?;
        assert_eq!(kind, 1, "never a first message");
        rings[to as usize].decrypt(from, name, kind, &body)
    }

    #[test]
    fn a_message_goes_to_every_device_and_to_nobody_else() {
        let plan = plan(&[1, 2, 1], &[(0, &[1])]);
        let mut rings = staged(&plan, Crypto::Staged);
        assert_eq!(rings.iter().map(Keyring::peers).collect::<Vec<_>>(), [2, 1, 1, 0]);
        assert_eq!(say(&mut rings, 0, 1, (7, 0)), Ok(()));
        assert_eq!(say(&mut rings, 0, 2, (7, 0)), Ok(()));
        assert_eq!(say(&mut rings, 0, 3, (7, 0)), Err(CryptoError::NoSession));
    }

    #[test]
    fn two_who_write_to_each_other_share_a_session_whose_ratchet_turns() {
        let plan = plan(&[1, 1], &[(0, &[1]), (1, &[0])]);
        let mut rings = staged(&plan, Crypto::Staged);
        assert_eq!(rings.iter().map(Keyring::peers).collect::<Vec<_>>(), [1, 1]);
        for seq in 0..200 {
            assert_eq!(say(&mut rings, 0, 1, (1, seq)), Ok(()));
            assert_eq!(say(&mut rings, 1, 0, (2, seq)), Ok(()));
        }
    }

    #[test]
    fn a_body_that_is_another_message_or_comes_again_is_found() {
        let plan = plan(&[1, 1], &[(0, &[1])]);
        let mut rings = staged(&plan, Crypto::Staged);
        let (kind, body) = rings[0].encrypt(1, 7, 8, 100).unwrap();
        let mut damaged = body.clone();
        damaged[40] ^= 1;
        assert_eq!(
            rings[1].decrypt(0, (7, 8), kind, &damaged),
            Err(CryptoError::Refused)
        );
        assert_eq!(
            rings[1].decrypt(0, (7, 9), kind, &body),
            Err(CryptoError::WrongMessage)
        );
        assert_eq!(
            rings[1].decrypt(0, (7, 8), kind, &body),
            Err(CryptoError::Refused)
        );
        assert_eq!(rings[1].decrypt(0, (7, 8), 9, b""), Err(CryptoError::Refused));
        assert_eq!(format!("{:?}", rings[1]), "Keyring(1 sessions)");
    }

    #[test]
    fn a_body_has_about_the_bytes_that_were_wanted() {
        let plan = plan(&[1, 1], &[(0, &[1])]);
        let mut rings = staged(&plan, Crypto::Staged);
        for wanted in [0, 63, 100, 256, 1000, 4096, 65536] {
            let (_, body) = rings[0].encrypt(1, u32::MAX, u64::MAX, wanted).unwrap();
            assert!(
                body.len().abs_diff(body_bytes(wanted)) <= 3,
                "{wanted}: {}",
                body.len()
            );
            let below = wanted.saturating_sub(body.len());
            assert!(
                below < 16 && body.len() <= wanted.max(63) + 3,
                "{wanted}: {}",
                body.len()
            );
        }
    }

    #[test]
    fn other_kinds_of_bodies_need_no_sessions() {
        let plan = plan(&[1, 1], &[(0, &[1])]);
        for crypto in [Crypto::None, Crypto::Session] {
            assert!(staged(&plan, crypto).iter().all(|ring| ring.peers() == 0));
        }
    }
}
