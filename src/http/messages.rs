//! Mail without a socket: send, look, ack. For scripts and wake-ups.
//!
//! The same verbs as the frames, through the same switchboard; only the form differs.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatctl_protocol::{AccountId, ClientMsgId, Code, DeviceId, EnvelopeId};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::committer::{Outcome, Receipts};
use crate::http::Doors;
use crate::http::body::JsonBody;
use crate::http::bytes64::Bytes64;
use crate::http::devices::bad_name;
use crate::http::openapi::refusals::refusals;
use crate::http::openapi::values;
use crate::http::problem::Problem;
use crate::http::token::Caller;
use crate::mailbox::Delivery;
use crate::store::Room;
use crate::switchboard::{DeviceMessage, Refusal, Send, Sender};

/// A message to the devices of one account.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SendRequest {
    /// One for each device of the account.
    #[schema(min_items = 1, max_items = 64)]
    pub messages: Vec<SendMessage>,
    /// The sender's name for the message, 1–32 bytes: a retry with the same is never a second message.
    #[schema(value_type = values::ClientMsgId)]
    pub client_msg_id: Bytes64,
    /// Seconds it may wait; 0 for the longest allowed.
    #[serde(default)]
    #[schema(value_type = values::Ttl)]
    pub ttl: u32,
    /// A wake-up hint.
    #[serde(default)]
    pub urgent: bool,
    /// Never stored.
    #[serde(default)]
    pub ephemeral: bool,
    /// The sender's clock, milliseconds since 1970.
    #[serde(default)]
    #[schema(value_type = values::SentAt)]
    pub sent_at: i64,
}

/// The part for one device.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SendMessage {
    /// Which.
    #[schema(value_type = values::DeviceId)]
    pub device_id: DeviceId,
    /// What the sender encrypted for.
    #[schema(value_type = values::RegistrationId)]
    pub registration_id: u32,
    /// The app's message type.
    #[serde(default)]
    #[schema(value_type = values::Kind)]
    pub kind: u32,
    /// Ciphertext.
    #[schema(value_type = values::Payload)]
    pub payload: Bytes64,
}

/// The message is safe.
#[derive(Debug, Serialize, ToSchema)]
pub struct Sent {
    /// One per message, in order; 64-bit numbers as text.
    #[schema(value_type = Vec<values::EnvelopeId>)]
    pub envelope_ids: Vec<String>,
    /// An earlier send of this name was the one that counted.
    pub duplicate: bool,
}

/// Mail, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Mail {
    /// What waits, as far as was asked for.
    pub envelopes: Vec<MailEnvelope>,
    /// Whether there may be more.
    pub more: bool,
}

/// One envelope.
#[derive(Debug, Serialize, ToSchema)]
pub struct MailEnvelope {
    /// What an ack names; a 64-bit number as text.
    #[schema(value_type = values::EnvelopeId)]
    pub id: String,
    /// Who sent it.
    pub from: From,
    /// The app's message type.
    #[schema(value_type = values::Kind)]
    pub kind: u32,
    /// The sender's name for it, base64.
    #[schema(value_type = values::ClientMsgId)]
    pub client_msg_id: String,
    /// The sender's clock, milliseconds since 1970.
    #[schema(value_type = values::SentAt)]
    pub sent_at: i64,
    /// The relay's clock, milliseconds since 1970.
    #[schema(value_type = values::UnixMs)]
    pub accepted_at: u64,
    /// 1 at the first delivery.
    #[schema(value_type = values::Count)]
    pub attempt: u32,
    /// A wake-up hint.
    pub urgent: bool,
    /// Ciphertext, base64.
    #[schema(value_type = values::Payload)]
    pub payload: String,
}

/// A sender.
#[derive(Debug, Serialize, ToSchema)]
pub struct From {
    /// The account.
    #[schema(value_type = values::AccountId)]
    pub account: AccountId,
    /// The device.
    #[schema(value_type = values::DeviceId)]
    pub device_id: DeviceId,
}

/// How much mail to show.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Look {
    /// At most so many envelopes.
    #[serde(default)]
    #[param(minimum = 1, maximum = 256, default = 64)]
    pub limit: Option<usize>,
}

/// Envelopes that the client has stored.
#[derive(Debug, Deserialize, ToSchema)]
pub struct AckRequest {
    /// Their ids, at most 256, as text.
    #[schema(value_type = Vec<values::EnvelopeId>, max_items = 256)]
    pub ids: Vec<String>,
}

/// What an ack did.
#[derive(Debug, Serialize, ToSchema)]
pub struct Acked {
    /// How many of the ids were in the mailbox.
    #[schema(value_type = values::Count)]
    pub acked: usize,
}

refusals! {
    /// Why a message is not sent.
    SendRefusals: CALLER DEVICE PARAMETERS BODY WRITES, UnknownAccount, DeviceMismatch, Conflict, RateLimited, MailboxFull
}
refusals! {
    /// Why mail is not shown.
    LookRefusals: CALLER DEVICE PARAMETERS READS
}
refusals! {
    /// Why mail is not forgotten.
    AckRefusals: CALLER DEVICE BODY WRITES
}

/// The doors of this file.
pub fn router() -> OpenApiRouter<Doors> {
    OpenApiRouter::new()
        .routes(routes!(send))
        .routes(routes!(look))
        .routes(routes!(ack))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// Sends a message to all devices of an account, or to none.
///
/// Answered when the message is safe: on disk, or already acked by the recipient's device.
#[utoipa::path(
    post,
    path = "/v1/accounts/{account}/messages",
    operation_id = "sendMessage",
    tag = "messages",
    params(("account" = inline(values::AccountId), Path, description = "Whom it is for")),
    request_body(content = SendRequest, description = "At most 2 MiB",
        example = json!({"client_msg_id": "AAECAwQFBgcICQoLDA0ODw==", "ttl": 86400, "urgent": true,
            "sent_at": 1_795_348_800_000_u64,
            "messages": [{"device_id": "1", "registration_id": 4242, "kind": 1, "payload": "aGVsbG8="}]})),
    security(("bearer" = ["chat"])),
    responses(
        (status = 200, description = "Safe", body = Sent,
            example = json!({"envelope_ids": ["117904392812953600"], "duplicate": false})),
        SendRefusals,
    ),
)]
async fn send(
    State(doors): State<Doors>,
    Caller(identity): Caller,
    Path(account): Path<String>,
    JsonBody(request): JsonBody<SendRequest>,
) -> Result<Json<Sent>, Problem> {
    let device = doors.switchboard.acting(&identity.address).await?;
    let mut sender = Sender::new(Arc::new(identity.address), device.mailbox);
    let receipts = Receipts::new(Arc::default());
    let send = parse(&account, &request)?;
    doors
        .switchboard
        .send(&mut sender, send, receipts.ticket(0))
        .await
        .map_err(problem)?;
    let unknown =
        |_| Problem::new(Code::Unavailable, "No answer in time; retry the same request.").retry_after(5);
    match timeout(ANSWER_TIME, receipts.next()).await.map_err(unknown)? {
        Outcome::Safe { ids, duplicate } => {
            let envelope_ids = ids.iter().map(|id| id.as_u64().to_string()).collect();
            Ok(Json(Sent {
                envelope_ids,
                duplicate,
            }))
        }
        Outcome::Refused(code) => Err(problem(Refusal::from(code))),
    }
}

/// Shows what waits, oldest first, and takes nothing.
///
/// The same mail comes again until it is acked.
#[utoipa::path(
    get,
    path = "/v1/messages",
    operation_id = "listMail",
    tag = "messages",
    params(Look),
    security(("bearer" = ["chat"])),
    responses(
        (status = 200, description = "What waits", body = Mail,
            example = json!({"envelopes": [{"id": "117904392812953600", "from": {"account": "bob", "device_id": "1"},
                "kind": 1, "client_msg_id": "AAECAwQFBgcICQoLDA0ODw==", "sent_at": 1_795_348_800_000_u64,
                "accepted_at": 1_795_348_800_123_u64, "attempt": 1, "urgent": true, "payload": "aGVsbG8="}],
                "more": false})),
        LookRefusals,
    ),
)]
async fn look(
    State(doors): State<Doors>,
    Caller(identity): Caller,
    Query(look): Query<Look>,
) -> Result<Json<Mail>, Problem> {
    let device = doors.switchboard.acting(&identity.address).await?;
    let limit = look.limit.unwrap_or(64);
    if !(1..=MAX_ENVELOPES).contains(&limit) {
        return Err(Problem::new(Code::BadRequest, "`limit` must be 1 to 256."));
    }
    let room = Room {
        envelopes: limit,
        bytes: doors.switchboard.limits().window_bytes as usize,
    };
    let page = doors.switchboard.peek(device.mailbox, room).await?;
    let more = !page.is_empty() && doors.switchboard.pending(device.mailbox).await? > page.len() as u64;
    Ok(Json(Mail {
        envelopes: page.iter().map(show).collect(),
        more,
    }))
}

/// Forgets envelopes that the client has stored.
///
/// Ids that are not in the mailbox are ignored.
#[utoipa::path(
    post,
    path = "/v1/messages/ack",
    operation_id = "ackMail",
    tag = "messages",
    request_body(content = AckRequest, description = "At most 2 MiB",
        example = json!({"ids": ["117904392812953600"]})),
    security(("bearer" = ["chat"])),
    responses((status = 200, description = "Forgotten", body = Acked, example = json!({"acked": 1})), AckRefusals),
)]
async fn ack(
    State(doors): State<Doors>,
    Caller(identity): Caller,
    JsonBody(request): JsonBody<AckRequest>,
) -> Result<Json<Acked>, Problem> {
    let device = doors.switchboard.acting(&identity.address).await?;
    let bad = || Problem::new(Code::BadRequest, "Ids are at most 256 numbers, as text.");
    if request.ids.len() > MAX_ENVELOPES {
        return Err(bad());
    }
    let ids = request.ids.iter().map(|id| envelope_id(id).ok_or_else(bad));
    let mut ids = ids.collect::<Result<Vec<_>, _>>()?;
    ids.sort_unstable();
    ids.dedup();
    Ok(Json(Acked {
        acked: doors.switchboard.ack(device.mailbox, &ids).await?,
    }))
}

/// An id as it was written by [`show`]: digits and nothing else.
fn envelope_id(text: &str) -> Option<EnvelopeId> {
    let is_written_so = text.len() <= MAX_ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_written_so.then(|| text.parse().ok());
    number.flatten().map(EnvelopeId::from_u64)
}

fn parse<'a>(account: &'a str, request: &'a SendRequest) -> Result<Send<'a>, Problem> {
    AccountId::check(account).map_err(bad_name)?;
    let messages = request.messages.iter().map(|message| DeviceMessage {
        device_id: message.device_id.as_str(),
        registration_id: message.registration_id,
        kind: message.kind,
        payload: message.payload.as_ref(),
    });
    Ok(Send {
        to: account,
        messages: messages.collect(),
        client_msg_id: ClientMsgId::parse(&request.client_msg_id).map_err(bad_name)?,
        ttl_seconds: request.ttl,
        urgent: request.urgent,
        ephemeral: request.ephemeral,
        sent_at: request.sent_at,
    })
}

fn show(delivery: &Delivery) -> MailEnvelope {
    let envelope = &delivery.envelope;
    MailEnvelope {
        id: envelope.id.as_u64().to_string(),
        from: From {
            account: envelope.from.account.clone(),
            device_id: envelope.from.device_id.clone(),
        },
        kind: envelope.kind,
        client_msg_id: STANDARD.encode(envelope.client_msg_id.as_bytes()),
        sent_at: envelope.sent_at,
        accepted_at: envelope.accepted_at.0,
        attempt: delivery.attempt,
        urgent: envelope.urgent,
        payload: STANDARD.encode(&envelope.payload),
    }
}

fn problem(refusal: Refusal) -> Problem {
    let title = match refusal.code {
        Code::DeviceMismatch => "The devices of the send are not the account's.",
        Code::UnknownAccount => "The account has no devices.",
        Code::Conflict => "The client_msg_id was used for another message.",
        Code::MailboxFull => "The recipient's mailbox has no room.",
        Code::StorageFull => "The relay's disk has no room.",
        Code::PayloadTooLarge => "A payload is larger than the limits allow.",
        Code::RateLimited => "Too many sends.",
        Code::Unavailable => "The relay cannot tell; retry the same request.",
        _ => "The send is not well formed.",
    };
    let names = |devices: Vec<DeviceId>| devices.into_iter().map(String::from).collect();
    let mut problem = Problem::new(refusal.code, title);
    problem.missing = names(refusal.mismatch.missing);
    problem.extra = names(refusal.mismatch.extra);
    problem.stale = names(refusal.mismatch.stale);
    if refusal.code.retryable() {
        problem = problem.retry_after(refusal.retry_after_ms.div_ceil(1000).max(1));
    }
    problem
}

/// Largest body of a send: a message for every device, in base64.
const MAX_BODY: usize = 2 * 1024 * 1024;

/// Most envelopes in one answer or ack.
const MAX_ENVELOPES: usize = 256;

/// As many digits as the largest id has: 63 bits.
const MAX_ID_DIGITS: usize = 19;

/// Longest time for a send to become safe.
const ANSWER_TIME: Duration = Duration::from_secs(30);
