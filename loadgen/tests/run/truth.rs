//! A measurement tells the truth: what one message in a hundred thousand suffers is found.

use chatctl_loadgen::outcome::Integrity;
use chatctl_loadgen::tally::Count;
use tokio_util::sync::CancellationToken;

use crate::meddler::Meddler;
use crate::relay::TestRelay;
use crate::scenario;

#[test]
fn one_message_in_a_hundred_thousand_that_is_lost_doubled_swapped_or_damaged_is_found() {
    let relay = TestRelay::start();
    let proxies = tokio::runtime::Runtime::new().unwrap();
    let meddler = proxies.block_on(Meddler::start(relay.address()));
    let scenario = scenario(&format!(
        "clients.count = 60
         load = {{model = 'offline', each = {}, in_flight = 256}}
         phases = {{drain = '30s'}}
         payload = {{size = '64B'}}",
        Meddler::EVERY / 30 + 50,
    ));
    let outcome = relay.run_through(meddler.address, &scenario, CancellationToken::new());
    let outcome = outcome.unwrap();
    assert_eq!(meddler.done(), 4);
    assert!(outcome.whole.count(Count::Accepted) > Meddler::EVERY);
    let expected = Integrity {
        streams: 30,
        lost: 1,
        duplicated: 1,
        reordered: 1,
        corrupt: 1,
        ..Integrity::default()
    };
    assert_eq!(outcome.integrity, expected);
}
