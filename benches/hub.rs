//! What a ring costs while a hundred thousand devices are here: for one that is, for one that is not,
//! and for one that was rung and has not looked yet. And what coming and going costs among them.

use std::hint::black_box;

use chatctl_protocol::EnvelopeId;
use chatctl_relay::hub::{Hub, Presence};
use chatctl_relay::model::MailboxId;
use criterion::{Criterion, criterion_group, criterion_main};

const DEVICES: u64 = 100_000;
/// A step through the devices that is not a walk through memory.
const STRIDE: u64 = 7919;

/// The next of the devices, each before any of them again.
fn next(turn: &mut u64) -> u64 {
    *turn += STRIDE;
    *turn % DEVICES
}

fn rings(criterion: &mut Criterion) {
    let hub = Hub::new();
    let here: Vec<Presence> = (0..DEVICES)
        .map(|number| hub.sign_on(MailboxId(number)))
        .collect();
    let mail = EnvelopeId::from_u64(1 << 60);
    let mut turn = 0;
    let mut group = criterion.benchmark_group("hub");
    group.bench_function("ring and look", |bencher| {
        bencher.iter(|| {
            let number = next(&mut turn);
            hub.ring(black_box(MailboxId(number)), mail);
            here[number as usize].take()
        });
    });
    group.bench_function("ring of one that was rung", |bencher| {
        bencher.iter(|| hub.ring(black_box(MailboxId(next(&mut turn))), mail));
    });
    group.bench_function("ring of one that is away", |bencher| {
        bencher.iter(|| hub.ring(black_box(MailboxId(DEVICES + next(&mut turn))), mail));
    });
    group.bench_function("sign on and off", |bencher| {
        bencher.iter(|| hub.sign_on(black_box(MailboxId(DEVICES + next(&mut turn)))));
    });
    group.finish();
}

criterion_group!(benches, rings);
criterion_main!(benches);
