//! The way in, as a client goes it: through whatever stands in front of the relay.
//!
//! Owns the order of the questions and what answers mean; `front` asks, `silence` waits. Must not know which
//! proxy it is.

mod front;
mod silence;

use std::path::PathBuf;
use std::time::Duration;

use chatctl_protocol::Limits;
use chatctl_relay::auth::private_file;
use hyper::{Method, Uri};
use tokio::time::timeout;

use self::front::{Answered, Front, FrontError};
use super::clock::{difference, judge_skew, now};
use super::finding::Finding;
use crate::authority::Authority;
use crate::failure::Failure;

/// What the proxy is tried with.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Through {
    /// The public address to go in by, as clients do, such as `https://chat.example.com`
    #[arg(
        id = "doctor.through",
        long = "through",
        value_name = "URL",
        help_heading = "Proxy"
    )]
    url: Option<Uri>,

    /// File with a token of scope chat (mode 0600): only with one a connection lives for longer than the hello
    /// takes
    #[arg(
        id = "doctor.token_file",
        long = "token-file",
        value_name = "FILE",
        requires = "doctor.through",
        help_heading = "Proxy"
    )]
    token_file: Option<PathBuf>,

    #[command(flatten)]
    authority: Authority,

    /// How long a connection is left in silence
    #[arg(id = "doctor.idle", long = "idle", value_name = "DURATION", default_value = "40s", value_parser = humantime::parse_duration, help_heading = "Proxy")]
    idle: Duration,
}

impl Through {
    /// Whether there is anything to try.
    pub(super) const fn is_named(&self) -> bool {
        self.url.is_some()
    }

    /// How long everything may take.
    pub(super) fn deadline(&self) -> Duration {
        self.idle + STEP * 6
    }

    /// Goes in as a client does.
    pub(super) async fn look(self) -> Vec<Finding> {
        let Some(url) = &self.url else {
            let fix = "chatctl doctor proxy --through https://HOST --token-file FILE";
            return vec![Finding::skipped(
                "way in",
                "no --through URL: the way in was not tried",
                fix,
            )];
        };
        let authority = match self.authority.tls() {
            Ok(authority) => authority,
            Err(failure) => {
                return vec![Finding::bad(
                    "authorities",
                    failure.sentence(),
                    "ls -l the file of --ca",
                )];
            }
        };
        let front = match Front::of(url, authority) {
            Ok(front) => front,
            Err(error) => return vec![judge_error("reachable", &error)],
        };
        let token = match self.token_file.as_deref().map(private_file::read).transpose() {
            Ok(token) => token.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()),
            Err(error) => {
                let failure = Failure::from(error);
                let fix = "chatctl token issue --sub doctor --dev 1 > token && chmod 0600 token";
                return vec![Finding::bad("token", failure.sentence(), fix)];
            }
        };
        let mut found = Vec::new();
        let limits = match in_time(front.ask(Method::GET, "/v1/limits", None)).await {
            Ok(answered) => greet(&front, &answered, &mut found),
            Err(error) => return vec![judge_error("reachable", &error)],
        };
        let Some(limits) = limits else { return found };
        match in_time(front.ask(Method::POST, "/v1/messages", Some(BODY))).await {
            Ok(answered) => found.push(judge_body(&answered)),
            Err(error) => found.push(judge_error("body size", &error)),
        }
        found.extend(silence::look(&front, token.as_deref(), &limits, self.idle).await);
        found
    }
}

/// Judges the first answer; the relay's limits, if it was the relay's.
fn greet(front: &Front, answered: &Answered, found: &mut Vec<Finding>) -> Option<Limits> {
    found.extend(
        answered
            .chain
            .iter()
            .flat_map(|chain| chain.judge(now(), super::tls::RENEW)),
    );
    let limits = serde_json::from_slice(&answered.body)
        .ok()
        .filter(|_| answered.status == 200);
    found.push(match &limits {
        Some(_) => Finding::ok("reachable", format!("{} in {:.1?}", front.name(), answered.took)),
        None => Finding::bad(
            "reachable",
            format!("{} answers {} to GET /v1/limits", front.name(), answered.status),
            match answered.status {
                502..=504 => "systemctl status chatctl",
                _ => NGINX_LOCATION,
            },
        )
        .meaning(match answered.status {
            502..=504 => "the proxy does not reach the relay",
            _ => "that is not a relay's answer: is everything under / passed on to it?",
        }),
    });
    if let Some(theirs) = answered.date {
        found.push(judge_skew("clock", "what answers", difference(theirs, now())));
    }
    limits
}

/// A body of this size is one of several messages: no proxy may refuse it.
fn judge_body(answered: &Answered) -> Finding {
    let name = "body size";
    match answered.status {
        413 if !answered.is_problem => Finding::bad(
            name,
            "96 KiB are refused with 413 before the relay",
            "client_max_body_size 4m;  # nginx, in the server of the relay",
        )
        .meaning("long messages, pictures and key uploads fail"),
        _ if answered.is_problem => Finding::ok(name, "96 KiB reach the relay"),
        status => Finding::warn(
            name,
            format!("{status} to 96 KiB, and not from the relay"),
            NGINX_LOCATION,
        )
        .meaning("something in front of the relay answers in its place"),
    }
}

fn judge_error(name: &str, error: &FrontError) -> Finding {
    let measured = error.to_string();
    match error {
        FrontError::Url(_) => Finding::bad(name, measured, "chatctl doctor proxy --through https://HOST"),
        FrontError::Io(_) | FrontError::Late => Finding::bad(
            name,
            measured,
            "ss -ltn  # does the proxy listen, and is the port open?",
        ),
        FrontError::Untrusted(_) => Finding::bad(name, measured, super::tls::RENEW)
            .meaning("clients refuse it, too; an authority of your own is trusted with SSL_CERT_FILE=ca.pem"),
        FrontError::Roots(_) => Finding::skipped(name, measured, "sudo apt install ca-certificates"),
        FrontError::Http(_) => Finding::bad(name, measured, NGINX_LOCATION),
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, FrontError>>) -> Result<T, FrontError> {
    timeout(STEP, work).await.unwrap_or(Err(FrontError::Late))
}

/// Longest time for one question.
const STEP: Duration = Duration::from_secs(5);

/// What is posted without a token: the relay refuses it, and a proxy must not.
const BODY: usize = 96 * 1024;

/// What nginx needs to pass everything on.
const NGINX_LOCATION: &str = "location / { proxy_pass http://127.0.0.1:8480; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\"; }  # nginx";

#[cfg(test)]
mod tests {
    use super::super::finding::Mark;
    use super::*;

    fn answered(status: u16, is_problem: bool) -> Answered {
        Answered {
            status,
            is_problem,
            date: None,
            body: bytes::Bytes::new(),
            chain: None,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn a_body_that_a_proxy_refuses_is_told_from_one_that_the_relay_refuses() {
        let mark = |status, is_problem| judge_body(&answered(status, is_problem)).mark;
        assert_eq!(mark(401, true), Mark::Ok);
        assert_eq!(mark(413, false), Mark::Bad);
        assert_eq!(mark(413, true), Mark::Ok);
        assert_eq!(mark(502, false), Mark::Warn);
    }

    #[test]
    fn only_a_relays_limits_are_an_answer() {
        let front = Front::of(&Uri::from_static("http://127.0.0.1:1"), None).unwrap();
        let mut found = Vec::new();
        let mut good = answered(200, false);
        good.body = serde_json::to_vec(&Limits::default()).unwrap().into();
        assert_eq!(greet(&front, &good, &mut found), Some(Limits::default()));
        assert!(greet(&front, &answered(200, false), &mut found).is_none());
        assert!(greet(&front, &answered(502, false), &mut found).is_none());
        let marks: Vec<_> = found
            .iter()
            .map(|finding| (finding.mark, finding.fix.is_some()))
            .collect();
        assert_eq!(marks, [(Mark::Ok, false), (Mark::Bad, true), (Mark::Bad, true)]);
    }
}
