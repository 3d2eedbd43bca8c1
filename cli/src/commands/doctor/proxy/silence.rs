//! A session that says nothing: whether the upgrade passes, how long silence lasts, and whether pings come through.
//!
//! # Why
//!
//! A relay pings after so much silence, and a proxy that closes earlier than that throws everybody out all the time. It
//! shows with quiet users only, and never in a test that talks.

use std::time::Duration;

use chatctl_client::{Socket, SocketError};
use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::{CloseCode, Encoding, Limits, v1};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::{Instant, timeout, timeout_at};

use super::super::finding::Finding;
use super::front::Front;

/// Opens a session and leaves it alone.
pub(super) async fn look(
    front: &Front,
    token: Option<&str>,
    limits: &Limits,
    idle: Duration,
) -> Vec<Finding> {
    let max_frame = limits.max_frame_bytes as usize * 2;
    let url = front.socket();
    let dial = front.dial();
    let opened = timeout(
        super::STEP,
        Socket::connect_with(&dial, &url, Encoding::Proto, max_frame),
    )
    .await;
    let mut socket = match opened {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => return vec![judge_upgrade(&error)],
        Err(_) => {
            return vec![Finding::bad(
                "upgrade",
                "no answer to the upgrade within 5s",
                UPGRADE,
            )];
        }
    };
    let mut found = vec![Finding::ok(
        "upgrade",
        format!("101, {}", Encoding::Proto.subprotocol()),
    )];
    let greeted = match token {
        Some(token) => match timeout(super::STEP, hello(&mut socket, token)).await {
            Ok(Ok(())) => true,
            Ok(Err(why)) => {
                found.push(judge_hello(&why));
                return found;
            }
            Err(_) => {
                found.push(judge_hello("no answer to the hello within 5s"));
                return found;
            }
        },
        None => false,
    };
    let rhythm = Rhythm::of(limits, idle);
    let silence = wait(&mut socket, idle).await;
    found.push(judge(&silence, &rhythm, greeted));
    found
}

/// Says hello, for a session that takes no mail and displaces nobody.
async fn hello(socket: &mut Socket, token: &str) -> Result<(), String> {
    let hello = Body::Hello(v1::Hello {
        token: token.to_owned(),
        window: 0,
        window_bytes: 0,
        max_frame: 0,
        mode: v1::Mode::Notify.into(),
        last_mailbox_epoch: 0,
    });
    // Why the other side closed is worth more than that it cannot be written to.
    let _unwritten = socket.send(hello).await;
    let mut said = None;
    while let Some(heard) = socket.next().await {
        match heard {
            Ok(Body::HelloOk(_)) => return Ok(()),
            Ok(Body::Goodbye(goodbye)) => said = Some(goodbye.reason),
            Ok(_) => {}
            Err(error) => return Err(said.unwrap_or_else(|| error.to_string())),
        }
    }
    let code = socket
        .close_code()
        .map(|code| format!(" ({code})"))
        .unwrap_or_default();
    Err(format!(
        "{}{code}",
        said.unwrap_or_else(|| "the connection was closed".to_owned())
    ))
}

fn judge_hello(why: &str) -> Finding {
    Finding::bad(
        "hello",
        why,
        "chatctl token issue --sub doctor --dev 1 > token && chmod 0600 token",
    )
    .meaning("the token has to be good here, and its device registered")
}

/// How a silence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// It did not: and when something was last heard, from its beginning.
    Lasted { heard: Option<Duration> },
    /// The connection ended after so much silence, and after so much time in all.
    Ended {
        quiet: Duration,
        after: Duration,
        code: Option<u16>,
    },
}

/// Listens and says nothing but what pings are answered with.
async fn wait(socket: &mut Socket, idle: Duration) -> Silence {
    let begun = Instant::now();
    loop {
        match timeout_at(begun + idle, socket.next()).await {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(_)) | None) => {
                return Silence::Ended {
                    quiet: socket.heard().max(begun).elapsed().min(begun.elapsed()),
                    after: begun.elapsed(),
                    code: socket.close_code(),
                };
            }
            Err(_) => {
                let heard = socket.heard().checked_duration_since(begun);
                return Silence::Lasted {
                    heard: heard.filter(|heard| !heard.is_zero()),
                };
            }
        }
    }
}

/// How a relay keeps connections alive, and how long it was waited for.
#[derive(Debug, Clone, Copy)]
struct Rhythm {
    interval: Duration,
    patience: Duration,
    hello: Duration,
    idle: Duration,
}

impl Rhythm {
    fn of(limits: &Limits, idle: Duration) -> Self {
        let millis = |number: u32| Duration::from_millis(number.into());
        Self {
            interval: millis(limits.ping_interval_ms),
            patience: millis(limits.ping_timeout_ms),
            hello: millis(limits.hello_timeout_ms),
            idle,
        }
    }

    fn words(&self) -> String {
        format!(
            "the relay pings after {}s of silence, and waits {}s for the answer",
            self.interval.as_secs(),
            self.patience.as_secs()
        )
    }
}

fn judge(silence: &Silence, rhythm: &Rhythm, greeted: bool) -> Finding {
    match *silence {
        Silence::Ended { quiet, after, code } => judge_end(quiet, after, code, rhythm, greeted),
        Silence::Lasted { heard } => judge_lasting(heard, rhythm, greeted),
    }
}

fn judge_end(quiet: Duration, after: Duration, code: Option<u16>, rhythm: &Rhythm, greeted: bool) -> Finding {
    let (quiet_seconds, seconds) = (quiet.as_secs_f32(), after.as_secs_f32());
    let is_relays = code == Some(CloseCode::HelloTimeout.number()) || after + MARGIN >= rhythm.hello;
    if !greeted && is_relays {
        let why = format!("{seconds:.1}s of it are borne; without a token the relay itself ends it then");
        return Finding::skipped(NAME, why, WITH_TOKEN);
    }
    if quiet + MARGIN < rhythm.interval {
        let patient = ((rhythm.interval + rhythm.patience) * 2).as_secs().max(60);
        let measured =
            format!("the connection was cut after {quiet_seconds:.1}s of it ({seconds:.1}s in all)");
        let fix = format!(
            "proxy_read_timeout {patient}s; proxy_send_timeout {patient}s;  # nginx, in the location of the relay"
        );
        return Finding::bad(NAME, measured, fix).meaning(format!(
            "{}: everybody who is quiet is thrown out, again and again",
            rhythm.words()
        ));
    }
    let code = code.map(|code| format!(", code {code}")).unwrap_or_default();
    Finding::bad(
        NAME,
        format!("the relay ended it after {quiet_seconds:.1}s{code}"),
        UPGRADE,
    )
    .meaning("pings or their answers do not come through: something in front buffers")
}

fn judge_lasting(heard: Option<Duration>, rhythm: &Rhythm, greeted: bool) -> Finding {
    let borne = format!("{:.1}s of it are borne", rhythm.idle.as_secs_f32());
    match heard {
        _ if !greeted => Finding::skipped(NAME, format!("{borne}; more needs a token"), WITH_TOKEN),
        Some(heard) => {
            let after = heard.as_secs_f32();
            Finding::ok(
                NAME,
                format!("{borne}, and the ping came through after {after:.1}s"),
            )
        }
        None if rhythm.idle > rhythm.interval + MARGIN => {
            let measured = format!("no ping within {}s", rhythm.idle.as_secs());
            Finding::bad(NAME, measured, UPGRADE)
                .meaning(format!("{}: something in front holds it back", rhythm.words()))
        }
        None => {
            let idle = (rhythm.interval + rhythm.patience).as_secs() + 7;
            let why = format!("{borne}, which is before the first ping");
            Finding::skipped(NAME, why, format!("{WITH_TOKEN} --idle {idle}s"))
        }
    }
}

/// What the answer to an upgrade means, when it is not the relay's agreement.
fn judge_upgrade(error: &SocketError) -> Finding {
    let name = "upgrade";
    let bad = |measured: String, fix: &str, meaning: &str| Finding::bad(name, measured, fix).meaning(meaning);
    match error {
        SocketError::Upgrade { status, .. } => {
            let measured = format!("{status} instead of 101");
            match status {
                400 | 426 => bad(
                    measured,
                    UPGRADE,
                    "the Upgrade header does not reach the relay: HTTP/1.1 and two headers have to be passed on",
                ),
                404 | 405 => bad(
                    measured,
                    super::NGINX_LOCATION,
                    "/v1/ws is not passed on to the relay",
                ),
                401 | 403 => bad(
                    measured,
                    super::NGINX_LOCATION,
                    "something in front of the relay asks for a login of its own",
                ),
                502..=504 => bad(
                    measured,
                    "systemctl status chatctl",
                    "the relay is not reached, is full, or is about to stop",
                ),
                _ => bad(
                    measured,
                    UPGRADE,
                    "something in front of the relay answers in its place",
                ),
            }
        }
        SocketError::Subprotocol => bad(
            "101 without the subprotocol".to_owned(),
            "proxy_pass_request_headers on;  # nginx: Sec-WebSocket-Protocol has to pass both ways",
            "something in front leaves Sec-WebSocket-Protocol out",
        ),
        error => {
            let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
            let words = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
            bad(words, UPGRADE, "the connection does not come about")
        }
    }
}

/// What nginx needs for a WebSocket.
const UPGRADE: &str = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\"; proxy_buffering off;  # nginx, in the location of the relay";

const NAME: &str = "silence";

const WITH_TOKEN: &str = "chatctl doctor proxy --through URL --token-file FILE";

/// Clocks and networks are not exact.
const MARGIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::super::finding::Mark;
    use super::*;

    fn rhythm(idle: u64) -> Rhythm {
        Rhythm::of(&Limits::default(), Duration::from_secs(idle))
    }

    const fn ended(quiet: u64, after: u64, code: Option<u16>) -> Silence {
        Silence::Ended {
            quiet: Duration::from_secs(quiet),
            after: Duration::from_secs(after),
            code,
        }
    }

    #[test]
    fn a_proxy_that_is_less_patient_than_the_ping_is_wrong() {
        let found = judge(&ended(20, 20, None), &rhythm(40), true);
        assert_eq!(found.mark, Mark::Bad);
        assert_eq!(
            found.fix.as_deref(),
            Some("proxy_read_timeout 66s; proxy_send_timeout 66s;  # nginx, in the location of the relay")
        );
        assert_eq!(judge(&ended(2, 2, None), &rhythm(5), false).mark, Mark::Bad);
        assert_eq!(
            judge(&ended(33, 33, Some(1001)), &rhythm(40), true).mark,
            Mark::Bad
        );
    }

    #[test]
    fn without_a_token_only_the_first_seconds_are_known() {
        assert_eq!(
            judge(&ended(10, 10, Some(4408)), &rhythm(40), false).mark,
            Mark::Skipped
        );
        let lasted = Silence::Lasted { heard: None };
        assert_eq!(judge(&lasted, &rhythm(5), false).mark, Mark::Skipped);
        assert_eq!(judge(&lasted, &rhythm(5), true).mark, Mark::Skipped);
    }

    #[test]
    fn a_ping_has_to_come_through() {
        let heard = Silence::Lasted {
            heard: Some(Duration::from_secs(25)),
        };
        assert_eq!(judge(&heard, &rhythm(40), true).mark, Mark::Ok);
        assert_eq!(
            judge(&Silence::Lasted { heard: None }, &rhythm(40), true).mark,
            Mark::Bad
        );
    }

    #[test]
    fn every_refused_upgrade_has_its_explanation() {
        let of = |status| {
            judge_upgrade(&SocketError::Upgrade {
                status,
                retry_after: None,
            })
        };
        let said: Vec<_> = [400, 404, 403, 502, 200]
            .map(|status| of(status).meaning.unwrap())
            .to_vec();
        let mut different = said.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), said.len(), "{said:?}");
        assert!(of(426).fix.unwrap().contains("Upgrade"));
        assert!(
            judge_upgrade(&SocketError::Subprotocol)
                .measured
                .contains("subprotocol")
        );
    }
}
