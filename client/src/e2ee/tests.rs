//! Two and three vaults in memory, with a directory that is a map.

use std::collections::BTreeMap;

use bytes::Bytes;
use chatctl_protocol::{AccountId, Address, ClientMsgId, Code, DeviceId, EnvelopeId};
use proptest::prelude::*;
use vodozemac::olm::{Account, SessionConfig};

use super::peer::MAX_SESSIONS;
use super::*;
use crate::{Claimed, ClaimedKeys, DeviceList, KeyUpload, ListedDevice, Mail, Message, PoolCount, Refusal};

/// What a relay's directory does, for one-time keys of Olm alone.
#[derive(Default)]
struct Shelf {
    devices: BTreeMap<Address, (u32, KeyUpload)>,
}

impl Shelf {
    /// A device with a vault and published keys.
    fn install(&mut self, account: &str, device: &str, registration_id: u32) -> Vault {
        let mut vault = Vault::new(address(account, device), registration_id);
        let upload = vault.upkeep(&BTreeMap::new(), 4).unwrap().unwrap();
        vault.published();
        self.devices
            .insert(vault.address().clone(), (registration_id, upload));
        vault
    }

    fn list(&self, account: &AccountId) -> DeviceList {
        let devices = self
            .devices
            .iter()
            .filter(|(address, _)| address.account == *account);
        let devices = devices.map(|(address, (registration_id, keys))| ListedDevice {
            device_id: address.device_id.clone(),
            registration_id: *registration_id,
            identity: keys.identity.clone(),
            statement: None,
        });
        DeviceList {
            version: 1,
            devices: devices.collect(),
        }
    }

    fn claim(&mut self, account: &AccountId, devices: &[DeviceId]) -> Claimed {
        let mut claimed = Claimed::default();
        for device_id in devices {
            let address = Address {
                account: account.clone(),
                device_id: device_id.clone(),
            };
            let (registration_id, keys) = self.devices.get_mut(&address).unwrap();
            let (name, pool) = keys.pools.iter_mut().next().unwrap();
            let item = match pool.add.is_empty() {
                true => pool.fallback.clone(),
                false => Some(pool.add.remove(0)),
            };
            claimed.devices.insert(
                device_id.clone(),
                ClaimedKeys {
                    registration_id: *registration_id,
                    identity: keys.identity.clone().unwrap(),
                    statement: None,
                    items: BTreeMap::from([(name.clone(), item)]),
                },
            );
        }
        claimed
    }

    fn write(&mut self, from: &mut Vault, to: &str, words: &str) -> Result<Message, SealError> {
        let to = account(to);
        let strangers = from.listed(&to, &self.list(&to))?;
        let claimed = self.claim(&to, &strangers);
        from.claimed(&to, &strangers, &claimed)?;
        from.seal(&to, words.as_bytes())
    }
}

fn account(name: &str) -> AccountId {
    AccountId::parse(name).unwrap()
}

fn address(name: &str, device: &str) -> Address {
    Address {
        account: account(name),
        device_id: DeviceId::parse(device).unwrap(),
    }
}

/// The envelope that a relay makes of a message for one of its devices.
fn mail(from: &Vault, message: &Message, to: &Vault) -> Mail {
    let frame = message.clone().into_frame();
    let mut parts = frame.messages.iter();
    let part = parts
        .find(|part| part.device_id == to.address().device_id.as_str())
        .unwrap();
    Mail {
        id: EnvelopeId::from_u64(1),
        from: Some(from.address().clone()),
        kind: part.kind,
        message_id: ClientMsgId::parse(message.id()).unwrap(),
        sent_at: 0,
        accepted_at: 0,
        attempt: 1,
        payload: part.payload.clone(),
        urgent: false,
        ephemeral: false,
    }
}

/// What a device reads of a message.
fn read(from: &Vault, message: &Message, to: &mut Vault) -> String {
    let mail = mail(from, message, to);
    words(to, &mail)
}

fn words(vault: &mut Vault, mail: &Mail) -> String {
    String::from_utf8(vault.decrypt(mail).unwrap().unwrap().words).unwrap()
}

/// The vault after a restart of its app.
fn restarted(vault: &Vault) -> Vault {
    Vault::from_pickle(&vault.pickle().unwrap()).unwrap()
}

fn mismatch(stale: &str) -> Refusal {
    Refusal {
        code: Some(Code::DeviceMismatch),
        word: String::new(),
        retryable: false,
        retry_after: std::time::Duration::ZERO,
        missing: Vec::new(),
        extra: Vec::new(),
        stale: vec![stale.to_owned()],
    }
}

#[test]
fn words_reach_every_device_of_an_account_and_the_answer_turns_the_ratchet() {
    let mut shelf = Shelf::default();
    let mut ada = shelf.install("ada", "1", 1);
    let (mut phone, mut laptop) = (shelf.install("bob", "1", 2), shelf.install("bob", "2", 3));
    let message = shelf.write(&mut ada, "bob", "hello").unwrap();
    let first = mail(&ada, &message, &phone);
    let decrypted = phone.decrypt(&first).unwrap().unwrap();
    assert_eq!(decrypted.words, b"hello");
    assert_eq!(decrypted.from, *ada.address());
    assert!(decrypted.is_new_session && decrypted.is_new_identity);
    assert_eq!(read(&ada, &message, &mut laptop), "hello");
    let answer = shelf.write(&mut phone, "ada", "hi").unwrap();
    assert_eq!(read(&phone, &answer, &mut ada), "hi");
    let second = shelf.write(&mut ada, "bob", "how are you?").unwrap();
    let second = mail(&ada, &second, &phone);
    assert_eq!(second.kind, 1, "no longer a first message");
    let decrypted = phone.decrypt(&second).unwrap().unwrap();
    assert!(!decrypted.is_new_session && !decrypted.is_new_identity);
    assert_eq!(decrypted.trust, Trust::Unverified);
}

#[test]
fn a_message_that_comes_again_is_dropped_even_after_a_restart() {
    let mut shelf = Shelf::default();
    let (mut ada, mut bob) = (shelf.install("ada", "1", 1), shelf.install("bob", "1", 2));
    let message = shelf.write(&mut ada, "bob", "once").unwrap();
    let mail = mail(&ada, &message, &bob);
    assert_eq!(words(&mut bob, &mail), "once");
    assert_eq!(bob.decrypt(&mail), Ok(None));
    assert_eq!(restarted(&bob).decrypt(&mail), Ok(None));
}

#[test]
fn a_message_under_another_name_or_from_another_is_not_believed() {
    let mut shelf = Shelf::default();
    let (mut ada, mut bob) = (shelf.install("ada", "1", 1), shelf.install("bob", "1", 2));
    let first = shelf.write(&mut ada, "bob", "one").unwrap();
    assert_eq!(read(&ada, &first, &mut bob), "one");
    let message = shelf.write(&mut ada, "bob", "two").unwrap();
    let renamed = Mail {
        message_id: ClientMsgId::parse([9; 16]).unwrap(),
        ..mail(&ada, &message, &bob)
    };
    assert_eq!(restarted(&bob).decrypt(&renamed), Err(OpenError::Misdirected));
    let carols = Mail {
        from: Some(address("carol", "1")),
        ..mail(&ada, &message, &bob)
    };
    // A session of Ada's is none of Carol's; as a first one, Ada's name stands inside.
    assert!(restarted(&bob).decrypt(&carols).is_err());
    let mut stranger = shelf.install("dan", "1", 4);
    let message = shelf.write(&mut stranger, "bob", "three").unwrap();
    let carols = Mail {
        from: Some(address("carol", "1")),
        ..mail(&stranger, &message, &bob)
    };
    assert_eq!(bob.decrypt(&carols), Err(OpenError::Misdirected));
    assert_eq!(bob.known(&account("carol")).count(), 0);
}

#[test]
fn another_identity_is_told_and_accepted_only_by_the_app() {
    let mut shelf = Shelf::default();
    let (mut ada, mut bob) = (shelf.install("ada", "1", 1), shelf.install("bob", "1", 2));
    let message = shelf.write(&mut ada, "bob", "hello").unwrap();
    read(&ada, &message, &mut bob);
    assert!(ada.verify(bob.address(), &bob.identity()));
    assert!(!ada.verify(bob.address(), &ada.identity()));
    // Bob installs anew, or somebody has swapped his keys.
    let mut other = shelf.install("bob", "1", 3);
    let changed = shelf.write(&mut ada, "bob", "secret").unwrap_err();
    assert!(matches!(changed, SealError::IdentityChanged(who) if who == *bob.address()));
    let message = shelf.write(&mut other, "ada", "it is me").unwrap();
    let mail = mail(&other, &message, &ada);
    assert_eq!(
        ada.decrypt(&mail),
        Err(OpenError::IdentityChanged(bob.address().clone()))
    );
    ada.accept_change(bob.address());
    let decrypted = ada.decrypt(&mail).unwrap().unwrap();
    assert_eq!(
        (decrypted.trust, decrypted.is_new_identity),
        (Trust::Changed, true)
    );
    let known: Vec<Known> = restarted(&ada).known(&account("bob")).collect();
    assert_eq!(
        known,
        [Known {
            address: bob.address().clone(),
            identity: Some(other.identity()),
            trust: Trust::Changed,
        }]
    );
}

#[test]
fn keys_that_somebody_has_tampered_with_make_no_session() {
    let mut shelf = Shelf::default();
    let (mut ada, bob) = (shelf.install("ada", "1", 1), shelf.install("bob", "1", 2));
    let pools = &mut shelf.devices.get_mut(bob.address()).unwrap().1.pools;
    pools.values_mut().next().unwrap().add[0].data = Bytes::from_static(&[7; 32]);
    let refused = shelf.write(&mut ada, "bob", "secret").unwrap_err();
    assert!(matches!(refused, SealError::BadKey(who) if who == *bob.address()));
}

#[test]
fn an_installation_with_the_same_identity_gets_a_new_session_once_it_is_stale() {
    let mut shelf = Shelf::default();
    let (mut ada, mut bob) = (shelf.install("ada", "1", 1), shelf.install("bob", "1", 2));
    let first = shelf.write(&mut ada, "bob", "one").unwrap();
    assert!(ada.refused(&account("bob"), first.id(), &mismatch("1")));
    assert_eq!(ada.unsettled().count(), 0);
    shelf.devices.get_mut(bob.address()).unwrap().0 = 9;
    let second = shelf.write(&mut ada, "bob", "two").unwrap();
    assert_eq!(second.clone().into_frame().messages[0].registration_id, 9);
    assert_eq!(read(&ada, &second, &mut bob), "two");
}

#[test]
fn a_lost_session_is_begun_anew_and_few_are_kept() {
    let mut shelf = Shelf::default();
    let (mut ada, mut bob) = (shelf.install("ada", "1", 1), shelf.install("bob", "1", 2));
    let before = restarted(&bob);
    let first = shelf.write(&mut ada, "bob", "one").unwrap();
    read(&ada, &first, &mut bob);
    let answer = shelf.write(&mut bob, "ada", "two").unwrap();
    read(&bob, &answer, &mut ada);
    // Bob's app comes back from an old copy, and cannot read what Ada writes.
    let mut bob = before;
    let unread = shelf.write(&mut ada, "bob", "three").unwrap();
    assert_eq!(bob.decrypt(&mail(&ada, &unread, &bob)), Err(OpenError::NoSession));
    let news = shelf.write(&mut bob, "ada", "say that again").unwrap();
    assert_eq!(read(&bob, &news, &mut ada), "say that again");
    let again = shelf.write(&mut ada, "bob", "three").unwrap();
    assert_eq!(read(&ada, &again, &mut bob), "three");
    for _ in 0..2 * MAX_SESSIONS {
        ada.peers.get_mut(bob.address()).unwrap().renew = true;
        let message = shelf.write(&mut ada, "bob", "more").unwrap();
        assert_eq!(read(&ada, &message, &mut bob), "more");
    }
    assert_eq!(bob.peers[ada.address()].sessions(), MAX_SESSIONS);
}

#[test]
fn what_was_encrypted_waits_over_a_restart_until_it_is_settled() {
    let mut shelf = Shelf::default();
    let (mut ada, mut bob) = (shelf.install("ada", "1", 1), shelf.install("bob", "1", 2));
    let message = shelf.write(&mut ada, "bob", "hello").unwrap();
    let mut ada = restarted(&ada);
    let unsettled: Vec<Message> = ada.unsettled().cloned().collect();
    assert_eq!(unsettled, std::slice::from_ref(&message));
    assert_eq!(read(&ada, &unsettled[0], &mut bob), "hello");
    ada.settle(message.id());
    assert_eq!(ada.unsettled().count(), 0);
    assert_eq!(format!("{ada:?}"), "Vault { peers: 1, unsettled: 0, .. }");
}

#[test]
fn keys_that_may_have_been_claimed_before_a_restore_are_not_published_after_it() {
    let mut bob = Vault::new(address("bob", "1"), 1);
    let lost = bob.upkeep(&BTreeMap::new(), 10).unwrap().unwrap();
    bob.restored();
    let fresh = bob.upkeep(&BTreeMap::new(), 10).unwrap().unwrap();
    let (lost, fresh) = (&lost.pools[&pool_name()], &fresh.pools[&pool_name()]);
    assert_eq!(fresh.add.len(), 10);
    assert!(
        fresh
            .add
            .iter()
            .all(|item| lost.add.iter().all(|old| old.id != item.id))
    );
    assert_ne!(
        fresh.fallback.as_ref().unwrap().id,
        lost.fallback.as_ref().unwrap().id
    );
}

#[test]
fn upkeep_repeats_itself_until_it_is_published_and_keeps_the_old_fallback() {
    let counts = |count, fallback_used| {
        let pool = PoolCount {
            count,
            fallback: true,
            fallback_used,
        };
        BTreeMap::from([(pool_name(), pool)])
    };
    let mut bob = Vault::new(address("bob", "1"), 1);
    let first = bob.upkeep(&BTreeMap::new(), 10).unwrap().unwrap();
    assert_eq!(
        restarted(&bob).upkeep(&BTreeMap::new(), 10).unwrap(),
        Some(first.clone()),
        "after a crash"
    );
    bob.published();
    assert_eq!(bob.upkeep(&counts(6, false), 10).unwrap(), None, "enough");
    let more = bob.upkeep(&counts(2, false), 10).unwrap().unwrap();
    let pool = &more.pools[&pool_name()];
    assert_eq!((pool.add.len(), pool.fallback.is_some()), (8, false));
    bob.published();
    let rotated = bob.upkeep(&counts(10, true), 10).unwrap().unwrap();
    assert_eq!(
        bob.upkeep(&counts(10, true), 10).unwrap(),
        Some(rotated.clone()),
        "told twice"
    );
    // Who has claimed the old one meanwhile is understood.
    let old = first.pools[&pool_name()].fallback.clone().unwrap();
    let (identity, key) = checked(&first.identity.unwrap(), &old.data, old.signature.as_deref()).unwrap();
    let mut session = Account::new()
        .create_outbound_session(SessionConfig::version_1(), identity.agreement(), key)
        .unwrap();
    let vodozemac::olm::OlmMessage::PreKey(hello) = session.encrypt("hello").unwrap() else {
        panic!("a first message")
    };
    let opened = bob
        .account
        .create_inbound_session(SessionConfig::version_1(), hello.identity_key(), &hello);
    assert_eq!(opened.unwrap().plaintext, b"hello");
}

fn pool_name() -> chatctl_protocol::PoolName {
    pool().unwrap()
}

/// What happens next in a conversation.
#[derive(Debug, Clone)]
enum Step {
    /// One of the two writes.
    Write(bool),
    /// One of the two receives one of what is under way to it: the relay keeps order, a lossy one does not.
    Receive(bool, prop::sample::Index),
    /// Something under way is lost.
    Lose(bool, prop::sample::Index),
    /// The last that one has received comes again.
    Again(bool),
    /// One of the apps restarts.
    Restart(bool),
}

fn step() -> impl Strategy<Value = Step> {
    use proptest::sample::Index;
    prop_oneof![
        4 => any::<bool>().prop_map(Step::Write),
        4 => any::<(bool, Index)>().prop_map(|(who, which)| Step::Receive(who, which)),
        1 => any::<(bool, Index)>().prop_map(|(who, which)| Step::Lose(who, which)),
        1 => any::<bool>().prop_map(Step::Again),
        1 => any::<bool>().prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Fewer than 40 are ever under way, and a chain has fewer than five followers before it is read: Olm's limits.
    #[test]
    fn what_arrives_in_any_order_is_what_was_sent(steps in prop::collection::vec(step(), 1..60)) {
        let mut shelf = Shelf::default();
        let mut vaults = [shelf.install("ada", "1", 1), shelf.install("bob", "1", 2)];
        let names = ["ada", "bob"];
        let mut under_way: [Vec<(Mail, String)>; 2] = Default::default();
        let mut last: [Option<Mail>; 2] = Default::default();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Write(who) if under_way[usize::from(!who)].len() < 4 => {
                    let (from, to) = (usize::from(who), usize::from(!who));
                    let text = format!("{} {number}", names[from]);
                    let message = shelf.write(&mut vaults[from], names[to], &text).unwrap();
                    let mail = mail(&vaults[from], &message, &vaults[to]);
                    vaults[from].settle(message.id());
                    under_way[to].push((mail, text));
                }
                Step::Write(_) => {}
                Step::Receive(who, which) if !under_way[usize::from(who)].is_empty() => {
                    let who = usize::from(who);
                    let place = which.index(under_way[who].len());
                    let (mail, text) = under_way[who].remove(place);
                    let decrypted = vaults[who].decrypt(&mail);
                    let decrypted = decrypted.unwrap().unwrap();
                    prop_assert_eq!(decrypted.words, text.into_bytes());
                    last[who] = Some(mail);
                }
                Step::Lose(who, which) if !under_way[usize::from(who)].is_empty() => {
                    let who = usize::from(who);
                    let place = which.index(under_way[who].len());
                    under_way[who].remove(place);
                }
                Step::Receive(..) | Step::Lose(..) => {}
                Step::Again(who) => {
                    let who = usize::from(who);
                    if let Some(mail) = &last[who] {
                        prop_assert_eq!(vaults[who].decrypt(mail), Ok(None));
                    }
                }
                Step::Restart(who) => {
                    let vault = &mut vaults[usize::from(who)];
                    *vault = restarted(vault);
                }
            }
        }
    }
}
