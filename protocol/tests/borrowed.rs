//! What is read and written without the schema's structures is what prost reads and writes.

#![expect(clippy::unwrap_used, reason = "a test; what is wrong should stop it")]

use bytes::Bytes;
use chatctl_protocol::spoken::read_proto;
use chatctl_protocol::v1::{self, frame::Body};
use chatctl_protocol::writing::{DeliverFrame, EnvelopeRef, SendOkFrame};
use chatctl_protocol::{SendRef, Spoken, frame};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

/// Both say the same of these bytes, be they a frame or not.
#[track_caller]
fn agree(bytes: &[u8]) {
    let theirs = frame::decode_proto(Bytes::copy_from_slice(bytes));
    match (read_proto(bytes), &theirs) {
        (Ok(Spoken::Send(ours)), Ok(Body::Send(theirs))) => assert_eq!(ours, SendRef::from(theirs)),
        (Ok(Spoken::Ack(ours)), Ok(Body::Ack(theirs))) => assert_eq!(ours[..], theirs.ids),
        (Ok(Spoken::Other(ours)), Ok(theirs)) => assert_eq!(&ours, theirs),
        (Err(ours), Err(theirs)) => assert_eq!(format!("{ours:?}"), format!("{theirs:?}")),
        (ours, theirs) => panic!("{ours:?}, but prost says {theirs:?}, of {bytes:02x?}"),
    }
}

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

prop_compose! {
    fn device_message()(
        device_id in ".{0,9}",
        registration_id: u32,
        kind in prop_oneof![Just(0), any::<u32>()],
        payload in bytes(200),
    ) -> v1::DeviceMessage {
        v1::DeviceMessage { device_id, registration_id, kind, payload }
    }
}

prop_compose! {
    fn send()(
        id: u64,
        to_account in ".{0,20}",
        messages in vec(device_message(), 0..4),
        client_msg_id in bytes(33),
        ttl in prop_oneof![Just(0), any::<u32>()],
        urgent: bool,
        ephemeral: bool,
        sent_at: i64,
    ) -> v1::Send {
        v1::Send { id, to_account, messages, client_msg_id, ttl, urgent, ephemeral, sent_at }
    }
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        4 => send().prop_map(Body::Send),
        3 => vec(any::<u64>(), 0..20).prop_map(|ids| Body::Ack(v1::Ack { ids })),
        1 => any::<u64>().prop_map(|id| Body::Ping(v1::Ping { id })),
    ]
}

/// Bytes that look like protobuf more often than chance would have it.
fn almost_protobuf() -> impl Strategy<Value = Vec<u8>> {
    let field =
        (0u8..12, 0u8..8, vec(any::<u8>(), 0..12), any::<bool>()).prop_map(|(tag, wire, rest, fits)| {
            let mut field = vec![tag << 3 | wire];
            if fits && wire == 2 {
                field.push(u8::try_from(rest.len()).unwrap());
            }
            field.extend(rest);
            field
        });
    let member = (
        prop_oneof![Just(0x12u8), Just(0x22), Just(0x1a)],
        vec(field, 0..6),
    )
        .prop_map(|(key, fields)| {
            let fields = fields.concat();
            let mut member = vec![key, u8::try_from(fields.len()).unwrap_or(0x7f)];
            member.extend(fields);
            member
        });
    vec(member, 1..3).prop_map(|members| members.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whole_frames_are_read_as_prost_reads_them(body in body()) {
        let bytes = frame::encode_proto(body.clone());
        agree(&bytes);
        match (read_proto(&bytes).unwrap(), body) {
            (Spoken::Send(_), Body::Send(_)) | (Spoken::Ack(_), Body::Ack(_)) => {}
            (Spoken::Other(ours), theirs) => prop_assert_eq!(ours, theirs),
            (ours, theirs) => panic!("{ours:?} is not {theirs:?}"),
        }
    }

    #[test]
    fn frames_with_other_bytes_in_them_are_read_as_prost_reads_them(
        body in body(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let mut bytes = frame::encode_proto(body).to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        agree(&bytes);
    }

    #[test]
    fn frames_one_behind_the_other_are_merged_as_prost_merges_them(one in body(), other in body()) {
        let mut bytes = frame::encode_proto(one).to_vec();
        bytes.extend(frame::encode_proto(other));
        agree(&bytes);
    }

    #[test]
    fn any_bytes_are_read_as_prost_reads_them(
        bytes in prop_oneof![vec(any::<u8>(), 0..40), almost_protobuf()],
    ) {
        agree(&bytes);
    }

    #[test]
    fn deliveries_are_written_as_prost_writes_them(envelopes in vec(envelope(), 0..6)) {
        let ours = DeliverFrame::new(envelopes.iter().map(borrowed));
        let (mut written, length) = (Vec::new(), ours.encoded_len());
        ours.write(&mut written);
        let theirs = frame::encode_proto(Body::Deliver(v1::Deliver { envelopes }));
        prop_assert_eq!(length, theirs.len());
        prop_assert_eq!(written, theirs);
    }

    #[test]
    fn answers_are_written_as_prost_writes_them(
        id in prop_oneof![Just(0), any::<u64>()],
        envelope_ids in vec(any::<u64>(), 0..20),
        duplicate: bool,
    ) {
        let ours = SendOkFrame::new(id, envelope_ids.iter().copied(), duplicate);
        let (mut written, length) = (Vec::new(), ours.encoded_len());
        ours.write(&mut written);
        let theirs = frame::encode_proto(Body::SendOk(v1::SendOk { id, envelope_ids, duplicate }));
        prop_assert_eq!(length, theirs.len());
        prop_assert_eq!(written, theirs);
    }
}

prop_compose! {
    fn envelope()(
        id in prop_oneof![Just(0), any::<u64>()],
        (account, device_id) in (".{0,20}", ".{0,9}"),
        kind in prop_oneof![Just(0), any::<u32>()],
        client_msg_id in bytes(33),
        sent_at in prop_oneof![Just(0), any::<i64>()],
        accepted_at: i64,
        attempt in 0u32..3,
        payload in bytes(300),
        urgent: bool,
        ephemeral: bool,
    ) -> v1::Envelope {
        let from = Some(v1::Address { account, device_id });
        v1::Envelope { id, from, kind, client_msg_id, sent_at, accepted_at, attempt, payload, urgent, ephemeral }
    }
}

fn borrowed(envelope: &v1::Envelope) -> EnvelopeRef<'_> {
    let from = envelope.from.as_ref().unwrap();
    EnvelopeRef {
        id: envelope.id,
        account: &from.account,
        device_id: &from.device_id,
        kind: envelope.kind,
        client_msg_id: &envelope.client_msg_id,
        sent_at: envelope.sent_at,
        accepted_at: envelope.accepted_at,
        attempt: envelope.attempt,
        payload: &envelope.payload,
        urgent: envelope.urgent,
        ephemeral: envelope.ephemeral,
    }
}

#[test]
fn ids_that_are_not_packed_are_ids_as_well() {
    let mut ack = Vec::new();
    for id in [1u64, u64::MAX] {
        ack.push(1 << 3 | 1);
        ack.extend(id.to_le_bytes());
    }
    let mut bytes = vec![4 << 3 | 2, u8::try_from(ack.len()).unwrap()];
    bytes.extend(ack);
    agree(&bytes);
    assert!(matches!(read_proto(&bytes), Ok(Spoken::Ack(ids)) if ids[..] == [1, u64::MAX]));
}

#[test]
fn what_is_read_stands_in_the_frame() {
    let send = v1::Send {
        to_account: "bob".into(),
        messages: vec![v1::DeviceMessage {
            payload: Bytes::from_static(b"secret"),
            ..v1::DeviceMessage::default()
        }],
        ..v1::Send::default()
    };
    let bytes = v1::Frame {
        body: Some(Body::Send(send)),
    }
    .encode_to_vec();
    let Ok(Spoken::Send(send)) = read_proto(&bytes) else {
        panic!("not a send")
    };
    let range = bytes.as_ptr_range();
    assert!(range.contains(&send.to_account.as_ptr()) && range.contains(&send.messages[0].payload.as_ptr()));
    assert!(!format!("{send:?}").contains(&format!("{:?}", b"secret")));
}
