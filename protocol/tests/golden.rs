//! Golden frames: `fixtures/frames/` holds every kind of frame in both encodings, every field set.
//!
//! What stands there was spoken by released versions. It must be read for ever, and be written the same.
//! A new kind of frame adds its files; a file that exists is never changed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use chatctl_protocol::frame::{decode_json, decode_proto, encode_json, encode_proto};
use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::v1::{
    Ack, Address, Auth, AuthOk, Deliver, DeviceMessage, DevicesChanged, Envelope, FallbackUsed, Gap,
    GapReason, Goodbye, Hello, HelloOk, KeysLow, Limits, MailWaiting, Mode, Ping, Pong, QueueEmpty, Send,
    SendErr, SendOk, TokenExpiring,
};

#[test]
fn frames_of_released_versions_are_read() {
    for frame in frames() {
        let name = name_of(&frame);
        let hex = read(name, "hex");
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        assert_eq!(decode_proto(Bytes::from(bytes)).unwrap(), frame, "{name}");
        assert_eq!(decode_json(&read(name, "json")).unwrap(), frame, "{name}");
    }
}

#[test]
fn frames_are_written_as_released_versions_read_them() {
    for frame in frames() {
        let name = name_of(&frame);
        assert_eq!(hex_of(frame.clone()), read(name, "hex"), "{name}");
        assert_eq!(encode_json(frame).unwrap(), read(name, "json"), "{name}");
    }
}

#[test]
fn every_fixture_is_a_frame_of_this_version() {
    let known: BTreeSet<_> = frames().iter().map(name_of).map(str::to_owned).collect();
    let found: BTreeSet<_> = fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(found, known);
}

#[test]
#[ignore = "adds the fixtures of new frames: cargo test -p chatctl-protocol --test golden -- --ignored"]
fn write_what_is_missing() {
    fs::create_dir_all(folder()).unwrap();
    for frame in frames() {
        let name = name_of(&frame);
        let texts = [
            ("hex", hex_of(frame.clone())),
            ("json", encode_json(frame).unwrap()),
        ];
        for (kind, text) in texts {
            let path = folder().join(format!("{name}.{kind}"));
            if !path.exists() {
                fs::write(path, text + "\n").unwrap();
            }
        }
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/frames")
}

fn read(name: &str, kind: &str) -> String {
    let path = folder().join(format!("{name}.{kind}"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim_end().to_owned()
}

fn hex_of(frame: Body) -> String {
    encode_proto(frame)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A new kind of frame does not compile before it has a name here; then it needs a place in [`frames`].
fn name_of(frame: &Body) -> &'static str {
    match frame {
        Body::Hello(_) => "hello",
        Body::Send(_) => "send",
        Body::Ack(_) => "ack",
        Body::Auth(_) => "auth",
        Body::Ping(_) => "ping",
        Body::HelloOk(_) => "hello_ok",
        Body::Deliver(_) => "deliver",
        Body::SendOk(_) => "send_ok",
        Body::SendErr(_) => "send_err",
        Body::QueueEmpty(_) => "queue_empty",
        Body::Gap(_) => "gap",
        Body::KeysLow(_) => "keys_low",
        Body::FallbackUsed(_) => "fallback_used",
        Body::DevicesChanged(_) => "devices_changed",
        Body::TokenExpiring(_) => "token_expiring",
        Body::Goodbye(_) => "goodbye",
        Body::Pong(_) => "pong",
        Body::MailWaiting(_) => "mail_waiting",
        Body::AuthOk(_) => "auth_ok",
    }
}

fn frames() -> Vec<Body> {
    let mut frames = from_clients().to_vec();
    frames.extend(about_mail());
    frames.extend(about_the_session());
    frames
}

fn from_clients() -> [Body; 5] {
    [
        Body::Hello(Hello {
            token: "header.claims.signature".into(),
            window: 64,
            window_bytes: 1 << 20,
            max_frame: 1 << 18,
            mode: Mode::Notify.into(),
            last_mailbox_epoch: u64::MAX,
        }),
        Body::Send(Send {
            id: 1,
            to_account: "bob@example".into(),
            messages: ["1", "tablet"].map(part_for).into(),
            client_msg_id: Bytes::from_static(b"0123456789abcdef"),
            ttl: 3600,
            urgent: true,
            ephemeral: true,
            sent_at: -1,
        }),
        Body::Ack(Ack {
            ids: vec![1, 1 << 40, u64::MAX],
        }),
        Body::Auth(Auth {
            token: "header.claims.signature".into(),
        }),
        Body::Ping(Ping { id: 300 }),
    ]
}

fn part_for(device_id: &str) -> DeviceMessage {
    DeviceMessage {
        device_id: device_id.into(),
        registration_id: u32::MAX,
        kind: 3,
        payload: Bytes::from_static(b"\x00\x7f\x80\xff"),
    }
}

fn about_mail() -> [Body; 6] {
    [
        Body::Deliver(Deliver {
            envelopes: vec![envelope(), Envelope::default()],
        }),
        Body::SendOk(SendOk {
            id: 1,
            envelope_ids: vec![1 << 40, u64::MAX],
            duplicate: true,
        }),
        Body::SendErr(SendErr {
            id: 1,
            code: "device_mismatch".into(),
            retryable: true,
            retry_after_ms: 1500,
            missing: vec!["2".into()],
            extra: vec!["3".into(), "4".into()],
            stale: vec!["1".into()],
        }),
        Body::QueueEmpty(QueueEmpty {}),
        Body::Gap(Gap {
            reason: GapReason::Restore.into(),
            dropped: 12,
        }),
        Body::MailWaiting(MailWaiting { pending: 5 }),
    ]
}

fn envelope() -> Envelope {
    Envelope {
        id: 1 << 40,
        from: Some(Address {
            account: "alice".into(),
            device_id: "1".into(),
        }),
        kind: 3,
        client_msg_id: Bytes::from_static(b"0123456789abcdef"),
        sent_at: 1_795_348_800_000,
        accepted_at: 1_795_348_800_001,
        attempt: 2,
        payload: Bytes::from_static(b"\x00\x7f\x80\xff"),
        urgent: true,
        ephemeral: true,
    }
}

fn about_the_session() -> [Body; 8] {
    [
        Body::HelloOk(HelloOk {
            session_id: "5f2c".into(),
            server_time: 1_795_348_800_000,
            mailbox_epoch: u64::MAX,
            pending: 3,
            limits: Some(limits()),
        }),
        Body::KeysLow(KeysLow {
            suite: "signal".into(),
            pool: "ec".into(),
            remaining: 24,
        }),
        Body::FallbackUsed(FallbackUsed {
            suite: "mls".into(),
            pool: "kp:0001".into(),
        }),
        Body::DevicesChanged(DevicesChanged {
            account: "alice".into(),
        }),
        Body::TokenExpiring(TokenExpiring { in_ms: 60_000 }),
        Body::Goodbye(Goodbye {
            code: 4409,
            reconnect: true,
            retry_after_ms: 30_000,
            reason: "displaced by a newer session".into(),
        }),
        Body::Pong(Pong { id: 300 }),
        Body::AuthOk(AuthOk {
            expires_in_ms: 3_600_000,
        }),
    ]
}

/// A number of its own for each, so that no two can change places.
fn limits() -> Limits {
    Limits {
        max_payload_bytes: 98_304,
        max_frame_bytes: 262_144,
        mailbox_envelopes: 10_000,
        mailbox_bytes: 67_108_864,
        max_ttl_seconds: 2_592_000,
        max_devices: 8,
        max_one_time_keys: 200,
        window: 64,
        window_bytes: 1_048_576,
        max_window: 256,
        max_window_bytes: 4_194_304,
        hello_timeout_ms: 10_001,
        ping_interval_ms: 25_000,
        ping_timeout_ms: 8_000,
        ephemeral_ttl_ms: 10_002,
        idempotency_seconds: 604_800,
        max_pending_sends: 257,
    }
}
