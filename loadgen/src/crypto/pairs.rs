//! Who has a session with whom, and how two accounts come to have one.

use std::collections::BTreeMap;

use vodozemac::Curve25519PublicKey;
use vodozemac::olm::{Account, OlmMessage, Session, SessionConfig};

use crate::crypto::Keyring;
use crate::plan::Plan;

/// Two clients that write to each other, or one to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    /// Who begins the session: it writes.
    pub(super) opener: u32,
    /// The other.
    pub(super) reader: u32,
}

/// Two keys that do not make a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoSession;

/// Everybody who needs a session, once for each two, by the opener. Where both write the one with the lower place opens.
pub(super) fn pairs(plan: &Plan) -> Vec<Pair> {
    let mut openers = BTreeMap::new();
    for sender in &plan.senders {
        let accounts = sender
            .to
            .iter()
            .filter_map(|account| plan.accounts.get(*account as usize));
        let readers = accounts.flat_map(|account| account.devices.clone());
        for reader in readers.filter(|reader| *reader != sender.client) {
            let (low, high) = (reader.min(sender.client), reader.max(sender.client));
            let opener = openers.entry((low, high)).or_insert(sender.client);
            *opener = (*opener).min(sender.client);
        }
    }
    let pairs = openers.into_iter().map(|((low, high), opener)| Pair {
        opener,
        reader: if opener == low { high } else { low },
    });
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_unstable_by_key(|pair| (pair.opener, pair.reader));
    pairs
}

/// Sessions of both ends, made as two devices make them, with a key that the opener has claimed: a first message and an
/// answer to it, so that what follows is of the normal kind.
///
/// # Errors
///
/// [`NoSession`] when the key is not the reader's, or no key at all.
pub(super) fn greet(
    opener: &Account,
    (identity, key): (Curve25519PublicKey, Curve25519PublicKey),
    reader: &mut Account,
) -> Result<(Session, Session), NoSession> {
    let config = SessionConfig::version_1();
    let ours = opener.create_outbound_session(config, identity, key);
    let mut ours = ours.map_err(|_| NoSession)?;
    let OlmMessage::PreKey(first) = ours.encrypt(HELLO).map_err(|_| NoSession)? else {
        return Err(NoSession);
    };
    let theirs = reader.create_inbound_session(config, opener.curve25519_key(), &first);
    let mut theirs = theirs.map_err(|_| NoSession)?.session;
    let answer = theirs.encrypt(HELLO).map_err(|_| NoSession)?;
    ours.decrypt(&answer).map_err(|_| NoSession)?;
    Ok((ours, theirs))
}

/// Keyrings of all clients, from the sessions of all pairs.
pub(super) fn keyrings(clients: usize, made: impl Iterator<Item = (Pair, Session, Session)>) -> Vec<Keyring> {
    let mut sessions: Vec<Vec<(u32, Session)>> = Vec::new();
    sessions.resize_with(clients, Vec::new);
    for (pair, opener, reader) in made {
        sessions[pair.opener as usize].push((pair.reader, opener));
        sessions[pair.reader as usize].push((pair.opener, reader));
    }
    sessions.into_iter().map(Keyring::new).collect()
}

const HELLO: &str = "hello";
