//! How names, numbers and bytes look in the API's description, with the bounds that the code keeps.
//!
//! Types that stand for schemas and for nothing else: fields name them in `#[schema(value_type = …)]`. What
//! is read and refused is decided where values are parsed; a test compares the two.

use std::borrow::Cow;

use chatctl_protocol::Code;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::config::jobs;
use crate::store::Outcome;

macro_rules! values {
    ($($(#[doc = $doc:literal])+ $name:ident = $schema:expr;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.description(Some([$($doc.trim()),+].join(" "))).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    )+};
}

values! {
    /// A user id, the token's `sub`.
    AccountId = text(1, 128, "^[A-Za-z0-9_@+=:.-]+$", "alice");
    /// One installation of an account, the token's `dev`.
    DeviceId = text(1, 32, "^[A-Za-z0-9_-]+$", "1");
    /// A device id, or `*` for all devices of the account except the caller.
    DeviceWish = text(1, 32, "^(\\*|[A-Za-z0-9_-]+)$", "*");
    /// A family of keys: `signal`, `olm`, `mls`, or a name of your own that begins with `x-`.
    Suite = text(3, 32, "^(signal|olm|mls|x-[a-z0-9-]+)$", "signal");
    /// A queue of items inside a keyset: Signal has `ec`, `spk`, `kem`; Olm `otk`; MLS one for each cipher suite.
    PoolName = text(1, 32, "^[a-z0-9_.:-]+$", "ec");
    /// A key's id within its pool, at most 32 bytes of UTF-8.
    ItemId = text(1, 32, "", "7");
    /// An envelope's id: a 64-bit number as text.
    EnvelopeId = text(1, 19, "^[0-9]+$", "117904392812953600");
    /// What a device draws when it is installed. Signal's 14 bits fit.
    RegistrationId = number(0, u32::MAX.into()).examples([4242]);
    /// The app's message type.
    Kind = number(0, u32::MAX.into()).examples([1]);
    /// Seconds that a message may wait; 0 for the longest allowed, which also bounds what is asked for.
    Ttl = number(0, u32::MAX.into()).examples([86_400]);
    /// Milliseconds since 1970 by the sender's clock.
    SentAt = number(i64::MIN.into(), i64::MAX.into()).examples([1_795_348_800_000_u64]);
    /// Milliseconds since 1970 by the relay's clock.
    UnixMs = number(0, i64::MAX.into()).examples([1_795_348_800_000_u64]);
    /// How many, or the how-manieth.
    Count = number(0, i64::MAX.into()).examples([1]);
    /// An identity: 1 byte to 4 KiB, opaque.
    Identity = base64(1, 4 * 1024).examples(["BQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g"]);
    /// A signed statement: 1 byte to 16 KiB, opaque.
    Statement = base64(1, 16 * 1024).examples(["c3RhdGVtZW50"]);
    /// A key: 1 byte to 24 KiB.
    ItemData = base64(1, 24 * 1024).examples(["a2V5"]);
    /// A key's signature: 1 byte to 8 KiB.
    ItemSignature = base64(1, 8 * 1024).examples(["c2lnbmF0dXJl"]);
    /// A SHA-256.
    Sha256 = base64(32, 32).examples(["47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]);
    /// The sender's name for a message: 1 to 32 bytes, 16 random ones recommended.
    ClientMsgId = base64(1, chatctl_protocol::ClientMsgId::MAX_BYTES).examples(["AAECAwQFBgcICQoLDA0ODw=="]);
    /// A time in RFC 3339, UTC, to the second.
    Time = text(20, 30, "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?Z$", "2026-11-22T12:00:00Z");
    /// A time in RFC 3339, UTC, or `now`.
    Moment = text(3, 30, "^(now|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?Z)$", "now");
    /// A token's own name.
    Jti = text(1, 256, "", "5f0c9a1e");
    /// What an operator says about it, at most 256 bytes.
    Reason = text(0, 256, "", "phone stolen");
    /// An HTTP status.
    Status = number(400, 599).examples([409]);
    /// The stable word of a problem, for a program. A newer relay may know more of them.
    ProblemCode = words(Code::ALL.map(Code::as_str));
    /// A job. A newer relay may have more of them.
    JobName = words(jobs::JobName::ALL.map(jobs::JobName::as_str)).examples(["expire-mail"]);
    /// A run's name: the job, when it was due in milliseconds since 1970, and the attempt.
    RunName = text(5, 64, "^[a-z-]+/[0-9]+/[0-9]+$", "expire-mail/1795348800000/1");
    /// Who runs a job: host and process.
    JobHolder = text(1, 300, "", "relay-2:4711");
    /// What became of a run. A newer relay may know more of them.
    RunOutcome = words(Outcome::ALL.map(Outcome::as_str)).examples(["ok"]);
    /// Why there is a run: it was due, or somebody asked for it.
    RunTrigger = words(["schedule", "hand"]);
    /// What happens to a tick that comes while the job runs.
    OnOverlap = words(["skip", "queue-one"]);
    /// What happens to ticks that came while nobody was there.
    OnMissed = words(["run-once", "skip"]);
    /// Ciphertext. How much of it: `max_payload_bytes` of the limits.
    Payload = payload(chatctl_protocol::Limits::default().max_payload_bytes);
}

/// Ciphertext of at most so many bytes.
pub fn payload(max_bytes: u32) -> ObjectBuilder {
    base64(0, max_bytes as usize)
        .examples(["aGVsbG8="])
        .description(Some("Ciphertext, at most `max_payload_bytes` of the limits."))
}

fn text(min: usize, max: usize, pattern: &str, example: &str) -> ObjectBuilder {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(min))
        .max_length(Some(max))
        .examples([example]);
    match pattern {
        "" => text,
        pattern => text.pattern(Some(pattern)),
    }
}

fn words<const N: usize>(words: [&'static str; N]) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words))
}

fn number(min: i128, max: i128) -> ObjectBuilder {
    let bound = |bound: i128| match isize::try_from(bound) {
        Ok(bound) => utoipa::Number::Int(bound),
        Err(_) => utoipa::Number::UInt(usize::MAX),
    };
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(bound(min)))
        .maximum(Some(bound(max)))
}

/// Base64 of so many bytes: either alphabet, padded or not.
fn base64(min_bytes: usize, max_bytes: usize) -> ObjectBuilder {
    // Without padding, four characters for three bytes and one more than bytes for the rest.
    let least = min_bytes / 3 * 4 + [0, 2, 3][min_bytes % 3];
    ObjectBuilder::new()
        .schema_type(Type::String)
        .content_encoding("base64")
        .min_length(Some(least))
        .max_length(Some(max_bytes.div_ceil(3) * 4))
        .pattern(Some(BASE64))
}

/// Groups of four; then none, two or three characters whose unused bits are zero.
const BASE64: &str = "^(([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]={0,2}|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=?)?|\
    ([A-Za-z0-9_-]{4})*([A-Za-z0-9_-][AQgw]={0,2}|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048]=?)?)$";
