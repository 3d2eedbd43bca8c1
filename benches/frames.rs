//! What a frame costs on its way to bytes and back, in both encodings: a Send, and a Deliver of one
//! envelope and of a whole window.

#![expect(clippy::expect_used, reason = "a measurement; what is wrong should stop it")]

use std::hint::black_box;

use bytes::Bytes;
use chatctl_protocol::v1::{self, frame::Body};
use chatctl_protocol::writing::{DeliverFrame, EnvelopeRef};
use chatctl_protocol::{frame, spoken};
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};

const PAYLOAD: &[u8] = &[0x5a; 256];
const CLIENT_MSG_ID: &[u8] = b"0123456789abcdef";
const SENT_AT: i64 = 1_800_000_000_000;

fn send() -> Body {
    Body::Send(v1::Send {
        id: 7,
        to_account: "account-of-bob".into(),
        messages: vec![v1::DeviceMessage {
            device_id: "1".into(),
            registration_id: 4711,
            kind: 1,
            payload: Bytes::from_static(PAYLOAD),
        }],
        client_msg_id: Bytes::from_static(CLIENT_MSG_ID),
        ttl: 3600,
        urgent: false,
        ephemeral: false,
        sent_at: SENT_AT,
    })
}

fn deliver(envelopes: u64) -> Body {
    let envelopes = (0..envelopes).map(|number| v1::Envelope {
        id: (1 << 60) + number,
        from: Some(v1::Address {
            account: "account-of-alice".into(),
            device_id: "1".into(),
        }),
        kind: 1,
        client_msg_id: Bytes::from_static(CLIENT_MSG_ID),
        sent_at: SENT_AT,
        accepted_at: SENT_AT,
        attempt: 1,
        payload: Bytes::from_static(PAYLOAD),
        urgent: false,
        ephemeral: false,
    });
    Body::Deliver(v1::Deliver {
        envelopes: envelopes.collect(),
    })
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frames");
    for (name, envelopes, body) in [
        ("send", 1, send()),
        ("deliver-1", 1, deliver(1)),
        ("deliver-64", 64, deliver(64)),
    ] {
        group.throughput(Throughput::Elements(envelopes));
        group.bench_function(format!("{name}/proto/encode"), |bencher| {
            let fresh = || body.clone();
            bencher.iter_batched(fresh, frame::encode_proto, BatchSize::SmallInput);
        });
        let bytes = frame::encode_proto(body.clone());
        group.bench_function(format!("{name}/proto/decode"), |bencher| {
            bencher.iter(|| frame::decode_proto(black_box(bytes.clone())).expect("a frame"));
        });
        group.bench_function(format!("{name}/json/encode"), |bencher| {
            let fresh = || body.clone();
            bencher.iter_batched(
                fresh,
                |body| frame::encode_json(body).expect("a frame that JSON can say"),
                BatchSize::SmallInput,
            );
        });
        let text = frame::encode_json(body).expect("a frame that JSON can say");
        group.bench_function(format!("{name}/json/decode"), |bencher| {
            bencher.iter(|| frame::decode_json(black_box(&text)).expect("a frame"));
        });
    }
    borrowed(&mut group);
    group.finish();
}

/// What the relay itself does: without the schema's structures.
fn borrowed(group: &mut BenchmarkGroup<'_, WallTime>) {
    let ack = Body::Ack(v1::Ack { ids: vec![1 << 60] });
    for (name, body) in [("send", send()), ("ack", ack)] {
        let bytes = frame::encode_proto(body);
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{name}/proto/read"), |bencher| {
            bencher.iter(|| drop(black_box(spoken::read_proto(black_box(&bytes)).expect("a frame"))));
        });
    }
    for count in [1, 64] {
        let envelopes = vec![envelope(); count];
        let mut out = Vec::new();
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("deliver-{count}/proto/write"), |bencher| {
            bencher.iter(|| {
                out.clear();
                DeliverFrame::new(black_box(&envelopes).iter().copied()).write(&mut out);
            });
        });
    }
}

const fn envelope() -> EnvelopeRef<'static> {
    EnvelopeRef {
        id: 1 << 60,
        account: "account-of-alice",
        device_id: "1",
        kind: 1,
        client_msg_id: CLIENT_MSG_ID,
        sent_at: SENT_AT,
        accepted_at: SENT_AT,
        attempt: 1,
        payload: PAYLOAD,
        urgent: false,
        ephemeral: false,
    }
}

criterion_group!(benches, frames);
criterion_main!(benches);
