//! A measurement tells the truth: what one message in a hundred thousand suffers is found, and a server that stops is
//! charged for it.

use chatctl_loadgen::outcome::Integrity;
use chatctl_loadgen::run::Outcome;
use chatctl_loadgen::tally::Count;
use tokio_util::sync::CancellationToken;

use crate::meddler::{Meddler, Mischief};
use crate::relay::TestRelay;
use crate::scenario;

/// A run of a little more than [`Meddler::EVERY`] messages through a proxy that does mischief to one of them.
fn meddled(mischief: Mischief) -> Outcome {
    let relay = TestRelay::start();
    let proxies = tokio::runtime::Runtime::new().unwrap();
    let meddler = proxies.block_on(Meddler::start(relay.address(), mischief));
    let scenario = scenario(&format!(
        "clients.count = 60
         load = {{model = 'offline', each = {}, in_flight = 256}}
         phases = {{drain = '30s'}}
         payload = {{size = '64B'}}",
        Meddler::EVERY / 30 + 50,
    ));
    let outcome = relay.run_through(meddler.address, &scenario, CancellationToken::new());
    assert_eq!(meddler.done(), 1);
    let outcome = outcome.unwrap();
    assert!(outcome.whole.count(Count::Accepted) > Meddler::EVERY);
    outcome
}

fn clean() -> Integrity {
    Integrity {
        streams: 30,
        ..Integrity::default()
    }
}

#[test]
fn one_lost_message_in_a_hundred_thousand_is_found() {
    let found = meddled(Mischief::Drop).integrity;
    assert_eq!(found, Integrity { lost: 1, ..clean() });
}

#[test]
fn one_message_that_comes_twice_is_found() {
    let found = meddled(Mischief::Duplicate).integrity;
    assert_eq!(
        found,
        Integrity {
            duplicated: 1,
            ..clean()
        }
    );
}

#[test]
fn two_messages_that_changed_places_are_found() {
    let found = meddled(Mischief::Swap).integrity;
    assert_eq!(
        found,
        Integrity {
            reordered: 1,
            ..clean()
        }
    );
}

#[test]
fn one_bit_that_was_changed_is_found() {
    let found = meddled(Mischief::Damage).integrity;
    assert_eq!(
        found,
        Integrity {
            corrupt: 1,
            ..clean()
        }
    );
}
