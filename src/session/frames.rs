//! Between the frames of the wire and the nouns of the relay.

use bytes::Bytes;
use chatctl_protocol::v1;
use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::{AccountId, ClientMsgId, CloseCode, Code, DeviceId, Limits, SendRef};

use crate::committer::Outcome;
use crate::directory::KeyNotice;
use crate::mailbox::{Delivery, Window};
use crate::session::{Leave, Said};
use crate::store::{Gap, GapReason};
use crate::switchboard::{DeviceMessage, Refusal, Send};

/// The window and the largest frame that a Hello asks for, inside the limits.
pub(super) fn window(hello: &v1::Hello, limits: &Limits) -> Result<(Window, usize), Leave> {
    let asked = |asked: u32, default: u32, most: u32| match asked {
        0 => default,
        asked => asked.min(most),
    };
    let max_frame = asked(hello.max_frame, limits.max_frame_bytes, limits.max_frame_bytes) as usize;
    let needed = json_size(limits.max_payload_bytes as usize) + FRAME_OVERHEAD;
    if max_frame < needed.min(limits.max_frame_bytes as usize) {
        return Err(Leave::new(
            CloseCode::BadFrame,
            "max_frame is too small for the largest envelope",
        ));
    }
    let window = Window {
        envelopes: asked(hello.window, limits.window, limits.max_window) as usize,
        bytes: asked(hello.window_bytes, limits.window_bytes, limits.max_window_bytes) as usize,
    };
    Ok((window, max_frame))
}

/// Reads a Send. Copies and allocates nothing for a single device.
///
/// # Errors
///
/// [`Code::BadRequest`] when a name breaks its rule.
pub fn send_from_frame<'a>(send: &SendRef<'a>) -> Result<Send<'a>, Code> {
    AccountId::check(send.to_account).map_err(|_| Code::BadRequest)?;
    for message in &send.messages {
        DeviceId::check(message.device_id).map_err(|_| Code::BadRequest)?;
    }
    let messages = send.messages.iter().map(|message| DeviceMessage {
        device_id: message.device_id,
        registration_id: message.registration_id,
        kind: message.kind,
        payload: message.payload,
    });
    Ok(Send {
        to: send.to_account,
        messages: messages.collect(),
        client_msg_id: ClientMsgId::parse(send.client_msg_id).map_err(|_| Code::BadRequest)?,
        ttl_seconds: send.ttl,
        urgent: send.urgent,
        ephemeral: send.ephemeral,
        sent_at: send.sent_at,
    })
}

/// The wire's form of a delivery.
#[must_use]
pub fn envelope_frame(delivery: &Delivery) -> v1::Envelope {
    let envelope = &delivery.envelope;
    v1::Envelope {
        id: envelope.id.as_u64(),
        from: Some(v1::Address {
            account: envelope.from.account.to_string(),
            device_id: envelope.from.device_id.to_string(),
        }),
        kind: envelope.kind,
        client_msg_id: Bytes::copy_from_slice(envelope.client_msg_id.as_bytes()),
        sent_at: envelope.sent_at,
        accepted_at: i64::try_from(envelope.accepted_at.0).unwrap_or(i64::MAX),
        attempt: delivery.attempt,
        payload: envelope.payload.clone(),
        urgent: envelope.urgent,
        ephemeral: envelope.ephemeral,
    }
}

/// Appends Deliver frames that each fit `max_frame` in both encodings.
pub(super) fn deliver(page: Vec<Delivery>, max_frame: usize, out: &mut Vec<Said>) {
    let mut envelopes = Vec::with_capacity(page.len());
    let mut bytes = 0;
    for delivery in page {
        let size = json_size(delivery.envelope.payload.len()) + ENVELOPE_OVERHEAD;
        if bytes + size > max_frame && !envelopes.is_empty() {
            out.push(Said::Mail(std::mem::take(&mut envelopes)));
            bytes = 0;
        }
        bytes += size;
        envelopes.push(delivery);
    }
    if !envelopes.is_empty() {
        out.push(Said::Mail(envelopes));
    }
}

/// The answer to a send that was accepted for its commit.
pub(super) fn answer(id: u64, outcome: Outcome) -> Said {
    match outcome {
        Outcome::Safe { ids, duplicate } => Said::Safe { id, ids, duplicate },
        // A device that was replaced on the way: the same send again says which.
        Outcome::Refused(Code::DeviceMismatch) => Body::SendErr(v1::SendErr {
            id,
            code: Code::DeviceMismatch.as_str().to_owned(),
            retryable: true,
            ..v1::SendErr::default()
        })
        .into(),
        Outcome::Refused(code) => refused(id, Refusal::from(code)).into(),
    }
}

/// The answer to a send that was refused.
pub(super) fn refused(id: u64, refusal: Refusal) -> Body {
    let names = |devices: Vec<DeviceId>| devices.into_iter().map(String::from).collect();
    Body::SendErr(v1::SendErr {
        id,
        code: refusal.code.as_str().to_owned(),
        retryable: refusal.code.retryable(),
        retry_after_ms: refusal.retry_after_ms,
        missing: names(refusal.mismatch.missing),
        extra: names(refusal.mismatch.extra),
        stale: names(refusal.mismatch.stale),
    })
}

/// A loss, said.
pub(super) fn gap(gap: &Gap) -> Body {
    let reason = match gap.reason {
        GapReason::Ttl => v1::GapReason::Ttl,
        GapReason::Quota => v1::GapReason::Quota,
        GapReason::Restore => v1::GapReason::Restore,
    };
    Body::Gap(v1::Gap {
        reason: reason as i32,
        dropped: gap.dropped,
    })
}

/// What the owner of keys should know.
pub(super) fn key_notice(notice: KeyNotice) -> Body {
    match notice {
        KeyNotice::Low {
            suite,
            pool,
            remaining,
        } => Body::KeysLow(v1::KeysLow {
            suite: suite.into(),
            pool: pool.into(),
            remaining,
        }),
        KeyNotice::FallbackUsed { suite, pool } => Body::FallbackUsed(v1::FallbackUsed {
            suite: suite.into(),
            pool: pool.into(),
        }),
    }
}

/// A payload's size in the larger encoding: JSON writes bytes as base64, a third more.
const fn json_size(payload: usize) -> usize {
    payload.div_ceil(3) * 4
}

/// What a Deliver frame with one envelope adds to its payload, at most.
const FRAME_OVERHEAD: usize = 1024;

/// The same per envelope in either encoding.
const ENVELOPE_OVERHEAD: usize = 640;
