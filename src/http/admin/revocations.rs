//! Tokens that operators take back.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use chatctl_protocol::{AccountId, Code, DeviceId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::LEEWAY;
use crate::http::Doors;
use crate::http::admin::time;
use crate::http::body::JsonBody;
use crate::http::devices::bad_name;
use crate::http::openapi::refusals::refusals;
use crate::http::openapi::values;
use crate::http::problem::Problem;
use crate::http::token::Operator;
use crate::model::{Revocation, Revoked, UnixMs};

/// Which tokens are good no more: the one of a `jti`, or those of an account that were issued up to a moment.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevocationRequest {
    /// The token's `jti`, 1 to 256 bytes; not together with `account`.
    #[schema(value_type = Option<values::Jti>)]
    pub jti: Option<String>,
    /// When the token of `jti` is over by itself (RFC 3339): the revocation is forgotten then. When not given, as
    /// long as any token can live.
    #[schema(value_type = Option<values::Time>)]
    pub expires_at: Option<String>,
    /// Whose tokens; not together with `jti`.
    #[schema(value_type = Option<values::AccountId>)]
    pub account: Option<String>,
    /// Of this device alone.
    #[schema(value_type = Option<values::DeviceId>)]
    pub device_id: Option<String>,
    /// Tokens issued at or before this time (RFC 3339, not in the future), or `now`, which is also the default. The
    /// times in tokens are whole seconds: one that is issued later in the same second counts as issued before.
    #[schema(value_type = Option<values::Moment>)]
    pub issued_before: Option<String>,
    /// What the operator says about it, at most 256 bytes. Never shown to clients.
    #[schema(value_type = Option<values::Reason>)]
    pub reason: Option<String>,
}

/// What came of a revocation.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevocationAnswer {
    /// Its number: higher than those before.
    #[schema(value_type = values::Count)]
    pub number: u64,
    /// Sessions of this relay that it closes, with 4401. Other relays of the same store follow within two seconds.
    #[schema(value_type = values::Count)]
    pub closed_sessions: usize,
    /// When it is forgotten (RFC 3339): all of its tokens are over by themselves then.
    #[schema(value_type = values::Time)]
    pub expires_at: String,
}

/// A revocation that is kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevocationEntry {
    /// Its number.
    #[schema(value_type = values::Count)]
    pub number: u64,
    /// The token's `jti`, if it is about one token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::Jti, required = false)]
    pub jti: Option<Arc<str>>,
    /// Whose tokens, if it is about an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::AccountId, required = false)]
    pub account: Option<AccountId>,
    /// Of this device alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::DeviceId, required = false)]
    pub device_id: Option<DeviceId>,
    /// Tokens issued at or before this time (RFC 3339), if it is about an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::Time, required = false)]
    pub issued_before: Option<String>,
    /// When it was said (RFC 3339).
    #[schema(value_type = values::Time)]
    pub revoked_at: String,
    /// When it is forgotten (RFC 3339).
    #[schema(value_type = values::Time)]
    pub expires_at: String,
    /// What the operator said about it.
    #[schema(value_type = values::Reason)]
    pub reason: Arc<str>,
}

/// Revocations, in the order of their numbers.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevocationList {
    /// Fewer than `limit` at the end.
    pub revocations: Vec<RevocationEntry>,
}

/// Which of them.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RevocationQuery {
    /// Those with a number above this one; 0 for all.
    #[serde(default)]
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_i64, default = 0)]
    pub after: i64,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<usize>,
}

/// What was removed.
#[derive(Debug, Serialize, ToSchema)]
pub struct PruneAnswer {
    /// Revocations whose tokens were over by themselves.
    #[schema(value_type = values::Count)]
    pub pruned: usize,
}

refusals! {
    /// Why tokens are not revoked.
    RevokeRefusals: OPERATOR BODY WRITES
}
refusals! {
    /// Why revocations are not listed.
    ListRevocationsRefusals: OPERATOR PARAMETERS READS
}
refusals! {
    /// Why revocations are not forgotten.
    PruneRefusals: OPERATOR WRITES
}

/// Revokes tokens.
///
/// They open nothing any more, and the sessions that came with them close with 4401.
#[utoipa::path(
    post,
    path = "/v1/admin/revocations",
    operation_id = "revokeTokens",
    tag = "admin",
    request_body(content = RevocationRequest, description = "Which tokens",
        example = json!({"account": "alice", "issued_before": "now", "reason": "phone stolen"})),
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "Revoked, and kept durably", body = RevocationAnswer,
            example = json!({"number": 7, "closed_sessions": 2, "expires_at": "2026-12-22T12:00:05Z"})),
        RevokeRefusals,
    ),
)]
pub async fn revoke(
    State(doors): State<Doors>,
    _operator: Operator,
    JsonBody(request): JsonBody<RevocationRequest>,
) -> Result<Json<RevocationAnswer>, Problem> {
    let now = doors.clock.now();
    let longest = doors.live.now().auth.max_token_life + LEEWAY;
    let revocation = request.parse(now, now.plus_seconds(longest.as_secs().saturating_add(1)))?;
    let expires_at = revocation.expires_at.rfc3339();
    let switchboard = Arc::clone(&doors.switchboard);
    // To its end although the operator may hang up: what is written is also told to those who are here.
    let revoked = doors
        .sessions
        .finish(async move { switchboard.revoke(&revocation).await });
    let struck = revoked.await??;
    Ok(Json(RevocationAnswer {
        number: struck.number,
        closed_sessions: struck.closed,
        expires_at,
    }))
}

/// Lists what is revoked.
///
/// In the order of the numbers; go on after the last one.
#[utoipa::path(
    get,
    path = "/v1/admin/revocations",
    operation_id = "listRevocations",
    tag = "admin",
    params(RevocationQuery),
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "Revocations, empty at the end", body = RevocationList,
            example = json!({"revocations": [{
                "number": 7, "account": "alice", "device_id": "1", "issued_before": "2026-11-22T12:00:00Z",
                "revoked_at": "2026-11-22T12:00:00Z", "expires_at": "2026-12-22T12:00:05Z", "reason": "phone stolen",
            }]})),
        ListRevocationsRefusals,
    ),
)]
pub async fn list(
    State(doors): State<Doors>,
    _operator: Operator,
    Query(query): Query<RevocationQuery>,
) -> Result<Json<RevocationList>, Problem> {
    let limit = query.limit.unwrap_or(100);
    let after = u64::try_from(query.after).map_err(|_| bad("`after` must not be negative"))?;
    if !(1..=1_000).contains(&limit) {
        return Err(bad("`limit` must be 1 to 1000"));
    }
    let revocations = doors.switchboard.list_revocations(after, limit).await?;
    let revocations = revocations.into_iter().map(RevocationEntry::of).collect();
    Ok(Json(RevocationList { revocations }))
}

/// Forgets what is over.
///
/// Removes the revocations of tokens that are over by themselves.
#[utoipa::path(
    delete,
    path = "/v1/admin/revocations/expired",
    operation_id = "pruneRevocations",
    tag = "admin",
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "Removed", body = PruneAnswer, example = json!({"pruned": 3})),
        PruneRefusals,
    ),
)]
pub async fn prune(State(doors): State<Doors>, _operator: Operator) -> Result<Json<PruneAnswer>, Problem> {
    let pruned = doors.switchboard.prune_revocations().await?;
    Ok(Json(PruneAnswer { pruned }))
}

impl RevocationRequest {
    fn parse(self, now: UnixMs, longest: UnixMs) -> Result<Revocation, Problem> {
        let reason = self.reason.unwrap_or_default();
        if reason.len() > MAX_TEXT {
            return Err(bad("`reason` is longer than 256 bytes"));
        }
        let of_account = self.device_id.is_some() || self.issued_before.is_some();
        let (what, expires_at) = match (self.jti, self.account) {
            (Some(jti), None) if !of_account => {
                if jti.is_empty() || jti.len() > MAX_TEXT {
                    return Err(bad("`jti` must have 1 to 256 bytes"));
                }
                let end = self.expires_at.as_deref().map(moment).transpose()?;
                let end = end.map_or(longest, |end| end.plus_seconds(LEEWAY.as_secs()));
                if end <= now {
                    return Err(bad("`expires_at` has passed: the token is over by itself"));
                }
                (Revoked::Token(jti.into()), end)
            }
            (None, Some(account)) if self.expires_at.is_none() => {
                let up_to = match self.issued_before.as_deref() {
                    None | Some("now") => now,
                    Some(text) => moment(text)?,
                };
                if up_to > now {
                    return Err(bad("`issued_before` lies in the future"));
                }
                let device = self.device_id.as_deref().map(DeviceId::parse);
                let what = Revoked::Issued {
                    account: AccountId::parse(&account).map_err(bad_name)?,
                    device: device.transpose().map_err(bad_name)?,
                    up_to,
                };
                (what, longest)
            }
            (Some(_) | None, Some(_) | None) => {
                return Err(bad(
                    "give `jti`, with or without `expires_at`; or `account`, with or without `device_id` and `issued_before`",
                ));
            }
        };
        Ok(Revocation {
            what,
            revoked_at: now,
            expires_at,
            reason: reason.into(),
        })
    }
}

impl RevocationEntry {
    fn of((number, revocation): (u64, Revocation)) -> Self {
        let (jti, account, device_id, up_to) = match revocation.what {
            Revoked::Token(jti) => (Some(jti), None, None, None),
            Revoked::Issued {
                account,
                device,
                up_to,
            } => (None, Some(account), device, Some(up_to)),
        };
        Self {
            number,
            jti,
            account,
            device_id,
            issued_before: up_to.map(UnixMs::rfc3339),
            revoked_at: revocation.revoked_at.rfc3339(),
            expires_at: revocation.expires_at.rfc3339(),
            reason: revocation.reason,
        }
    }
}

fn moment(text: &str) -> Result<UnixMs, Problem> {
    time::parse(text).ok_or_else(|| bad("a time must be RFC 3339 in UTC, as in 2026-11-22T12:00:00Z"))
}

fn bad(detail: &str) -> Problem {
    Problem::new(Code::BadRequest, "A part of the request breaks its rule.").detail(detail)
}

/// Longest `jti` and longest reason, in bytes.
const MAX_TEXT: usize = 256;
