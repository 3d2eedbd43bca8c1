//! `POST /v1/admin/backup`: a copy of the whole store, as it is read.
//!
//! Must not know how a copy is made, or where an operator keeps it.

use std::io::{self, Read as _};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use chatctl_protocol::Code;
use futures_util::stream;

use crate::http::Doors;
use crate::http::openapi::refusals::refusals;
use crate::http::problem::Problem;
use crate::http::token::Operator;
use crate::store::backup::{BackupError, Snapshot};

refusals! {
    /// Why there is no backup.
    BackupRefusals: OPERATOR WRITES, NotFound, JobRunning
}

/// Takes a backup.
///
/// One consistent copy of everything: mail, devices, public keys, what is remembered of sends, revocations, jobs. It is
/// a SQLite file with a digest at its end, for `chatctl restore`, and no keys of tokens are in it. One at a time; mail
/// goes on meanwhile. A relay whose store is MongoDB has none: use `mongodump --oplog`.
#[utoipa::path(
    post,
    path = "/v1/admin/backup",
    operation_id = "takeBackup",
    tag = "admin",
    security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "The backup", body = String, content_type = "application/vnd.sqlite3",
            headers(("Content-Length" = u64, description = "Its size; what is shorter is not all of it")),
            example = json!("SQLite format 3\u{0}…")),
        BackupRefusals,
    ),
)]
pub async fn take(State(doors): State<Doors>, _operator: Operator) -> Result<Response, Problem> {
    let began = doors.clock.now();
    let snapshot = doors.switchboard.backup().await.map_err(refused)?;
    let bytes = snapshot.bytes;
    let took_ms = doors.clock.now().0.saturating_sub(began.0);
    tracing::info!(bytes, took_ms, "a backup is taken");
    let body = Body::from_stream(stream::try_unfold(snapshot, next));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/vnd.sqlite3"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    Ok(response)
}

/// The next piece of a copy. Files are read on threads that may wait.
async fn next(snapshot: Snapshot) -> io::Result<Option<(Bytes, Snapshot)>> {
    let read = tokio::task::spawn_blocking(move || {
        let mut snapshot = snapshot;
        let mut piece = Vec::with_capacity(PIECE);
        (&mut snapshot).take(PIECE as u64).read_to_end(&mut piece)?;
        Ok((piece, snapshot))
    });
    let (piece, snapshot) = read.await.map_err(io::Error::other).flatten()?;
    Ok((!piece.is_empty()).then(|| (piece.into(), snapshot)))
}

fn refused(error: BackupError) -> Problem {
    match error {
        BackupError::Running => Problem::new(Code::JobRunning, "A backup is being taken already."),
        BackupError::NoRoom { .. } => {
            Problem::new(Code::StorageFull, "The relay's disk has no room for a backup.")
                .detail(error.to_string())
                .retry_after(600)
        }
        BackupError::Unsupported => Problem::new(Code::NotFound, "This relay's store is MongoDB.")
            .detail("`mongodump --oplog` takes a consistent copy of a database"),
        BackupError::GivenUp => {
            Problem::new(Code::Unavailable, "The relay has given the backup up.").retry_after(60)
        }
        BackupError::Store(error) => error.into(),
    }
}

/// Bytes that are sent at once.
const PIECE: usize = 256 * 1024;
