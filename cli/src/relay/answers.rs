//! One answer of a relay: asked for over a connection of its own, whole, and what it means.
//!
//! Owns what an operator is told when the relay refuses. Must not know where the relay is.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::exit::Exit;
use crate::failure::Failure;

/// What a relay answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn meaning(&self) -> Result<Value, Failure> {
        answer(self.status, &self.body)
    }

    /// The problem document, if it refuses.
    pub(super) fn problem(&self) -> Option<Value> {
        match self.status.is_success() {
            true => None,
            false => serde_json::from_slice(&self.body).ok(),
        }
    }
}

/// Sends a request over a connection of its own, and reads the whole answer.
pub(super) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> io::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let mut answered = std::pin::pin!(async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Ok((status, body.map_err(io::Error::other)?.to_bytes()))
    });
    tokio::select! {
        biased;
        answered = &mut answered => answered,
        // The relay has closed behind its answer, which is here.
        _ = connection => answered.await,
    }
}

/// What an answer means.
pub(super) fn answer(status: StatusCode, body: &[u8]) -> Result<Value, Failure> {
    let value: Value = match body.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(body).unwrap_or(Value::Null),
    };
    if status.is_success() {
        return Ok(value);
    }
    let word = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let title = word("title").unwrap_or_else(|| format!("It answers {status}."));
    let said = word("detail").unwrap_or_else(|| title.clone());
    let (exit, hint) = match status.as_u16() {
        401 | 403 => (
            Exit::NoPerm,
            "`chatctl token issue --scope admin` makes an operator's token; the admin socket needs none",
        ),
        503 if said.contains("about to stop") => (Exit::TempFail, "it drains; try again when it is back"),
        503 | 507 => (Exit::Unavailable, "the same command may be run again"),
        429 => (Exit::TempFail, "try again in a while"),
        422 if value.get("problems").is_some() => (
            Exit::Config,
            "`chatctl config check` shows everything that is wrong with it",
        ),
        404 => (Exit::DataErr, "is the relay of the same version as this command?"),
        _ => (Exit::DataErr, "the relay's log may say more"),
    };
    let message = format!("the relay refuses: {}", title.trim_end_matches('.'));
    let problems = value.get("problems").and_then(Value::as_array);
    let problems = problems.into_iter().flatten().filter_map(Value::as_str);
    let failure = Failure::new(exit, message)
        .because(problems.map(str::to_owned))
        .hint(hint);
    Err(match said == title {
        true => failure,
        false => failure.caused_by(&io::Error::other(said)),
    })
}

/// Does something in time, or fails as what takes too long does.
pub(super) async fn in_time<T>(
    deadline: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let late = |_| {
        let deadline = humantime::format_duration(deadline);
        io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {deadline}"))
    };
    timeout(deadline, work).await.map_err(late)?
}

/// No answer that operators' commands ask for is larger.
pub(super) const MAX_ANSWER: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_relay_refuses_has_its_exit() {
        let exit = |status: u16, detail: &str| {
            let body = serde_json::json!({"title": "No.", "detail": detail}).to_string();
            answer(StatusCode::from_u16(status).unwrap(), body.as_bytes())
                .unwrap_err()
                .exit
        };
        let drains = "The relay is about to stop.";
        let exits = [
            (401, ""),
            (403, ""),
            (503, ""),
            (503, drains),
            (429, ""),
            (422, ""),
        ];
        assert_eq!(
            exits.map(|(status, detail)| exit(status, detail)),
            [
                Exit::NoPerm,
                Exit::NoPerm,
                Exit::Unavailable,
                Exit::TempFail,
                Exit::TempFail,
                Exit::DataErr
            ]
        );
        assert_eq!(answer(StatusCode::NO_CONTENT, b""), Ok(Value::Null));
    }
}
