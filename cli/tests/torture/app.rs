//! One app on one device, for tests that tell what happens to it step by step.

use std::time::Duration;

use chatctl_client::{Backoff, Device, Event, Options, Session, Token};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::relay::Relay;

/// An impatient app on a device that is registered.
pub(crate) fn device(relay: &Relay, account: &str) -> Device {
    let options = Options {
        backoff: Backoff {
            base: Duration::from_millis(10),
            ..Backoff::default()
        },
        ..Options::new(&relay.ws())
    };
    Device::new(options, Token::new(&relay.token(account)))
}

/// Waits for a session that begins.
pub(crate) async fn connected(device: &mut Device) -> Session {
    let event = timeout(PATIENCE, device.next_event()).await;
    match event.expect("the relay answers").unwrap() {
        Event::Connected(session) => session,
        other => panic!("{other:?}"),
    }
}
