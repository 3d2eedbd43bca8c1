//! A token that ends while the session goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chatctl_client::{Device, Event, Options, Token, TokenFuture, TokenSource};
use chatctl_protocol::v1::{self, frame::Body};
use tokio::join;

use crate::relay::{Peer, Relay};
use crate::{accepted, message, news, options};

/// Gives these, in order; an empty one is a failure. Knows how often it was asked, and with what.
struct Source {
    answers: Vec<&'static str>,
    asked: Arc<AtomicUsize>,
}

impl Source {
    fn of(answers: &[&'static str]) -> (Self, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let source = Self {
            answers: answers.to_vec(),
            asked: Arc::clone(&asked),
        };
        (source, asked)
    }
}

impl TokenSource for Source {
    fn token(&self, spent: Option<Token>) -> TokenFuture {
        let at = self.asked.fetch_add(1, Ordering::Relaxed);
        assert_eq!(spent.is_some(), at > 0, "the token that ends is told");
        let answer = self.answers[at];
        Box::pin(async move {
            match answer {
                "" => Err("the login is away".into()),
                text => Ok(Token::new(text)),
            }
        })
    }
}

async fn expiring(peer: &mut Peer, in_ms: u64) {
    peer.say(Body::TokenExpiring(v1::TokenExpiring { in_ms })).await;
}

fn auth(token: &str) -> Body {
    Body::Auth(v1::Auth {
        token: token.to_owned(),
    })
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_device_renews_its_token_and_the_session_goes_on() {
    let relay = Relay::start().await;
    let (source, asked) = Source::of(&["one", "two", "three"]);
    let script = async {
        let mut peer = relay.accept().await;
        assert_eq!(peer.hello().await.token, "one");
        peer.welcome().await;
        for token in ["two", "three"] {
            expiring(&mut peer, 60_000).await;
            assert_eq!(peer.next().await, auth(token));
            peer.say(Body::AuthOk(v1::AuthOk { expires_in_ms: 9 })).await;
        }
        drop(peer);
        // The next session begins with the newest.
        assert_eq!(relay.accept().await.hello().await.token, "three");
    };
    let story = async {
        let mut device = Device::new(options(&relay), source);
        let refreshed = Event::TokenRefreshed(Duration::from_millis(9));
        for _ in 0..2 {
            assert_eq!(news(&mut device).await, Event::TokenExpiring(MINUTE));
            assert_eq!(news(&mut device).await, refreshed);
        }
        news(&mut device).await;
    };
    tokio::select! {
        () = script => {}
        () = story => {}
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn an_app_that_only_sends_gets_its_token_renewed_too() {
    let relay = Relay::start().await;
    let (source, _asked) = Source::of(&["one", "two"]);
    let script = async {
        let mut peer = relay.session().await;
        let send = peer.send().await;
        expiring(&mut peer, 60_000).await;
        assert_eq!(peer.next().await, auth("two"));
        peer.ok(&send, 5).await;
        peer
    };
    let story = async {
        let mut device = Device::new(options(&relay), source);
        assert_eq!(device.send(message("one")).await.unwrap(), accepted(5));
    };
    join!(script, story);
}

#[tokio::test]
async fn a_source_that_fails_is_told_and_asked_again() {
    let relay = Relay::start().await;
    // The second failure is the token that ends.
    let (source, _asked) = Source::of(&["one", "", "one", "two"]);
    let script = async {
        let mut peer = relay.session().await;
        expiring(&mut peer, 60_000).await;
        assert_eq!(peer.next().await, auth("two"));
        peer.say(Body::QueueEmpty(v1::QueueEmpty {})).await;
        peer
    };
    let story = async {
        let mut device = Device::new(options(&relay), source);
        assert_eq!(news(&mut device).await, Event::TokenExpiring(MINUTE));
        for expected in ["the login is away", "the source has no other token"] {
            match news(&mut device).await {
                Event::RenewalFailed { reason, retry_in } => {
                    assert_eq!(reason, expected);
                    assert!(retry_in.is_some());
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(news(&mut device).await, Event::QueueEmpty);
    };
    join!(script, story);
}

#[tokio::test]
async fn nobody_is_asked_for_a_token_that_would_come_too_late() {
    let relay = Relay::start().await;
    let (source, asked) = Source::of(&["one", ""]);
    let script = async {
        let mut peer = relay.session().await;
        expiring(&mut peer, 0).await;
        peer.say(Body::QueueEmpty(v1::QueueEmpty {})).await;
        peer
    };
    let story = async {
        let mut device = Device::new(options(&relay), source);
        let mut told = Vec::new();
        while told.len() < 3 {
            told.push(news(&mut device).await);
        }
        let failed = Event::RenewalFailed {
            reason: "the login is away".to_owned(),
            retry_in: None,
        };
        assert_eq!(
            told,
            [Event::TokenExpiring(Duration::ZERO), failed, Event::QueueEmpty]
        );
    };
    join!(script, story);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_app_that_renews_by_itself_is_only_told() {
    let relay = Relay::start().await;
    let (source, asked) = Source::of(&["one"]);
    let script = async {
        let mut peer = relay.session().await;
        expiring(&mut peer, 60_000).await;
        assert_eq!(peer.next().await, auth("mine"));
        peer
    };
    let story = async {
        let by_hand = Options {
            renew_tokens: false,
            ..options(&relay)
        };
        let mut device = Device::new(by_hand, source);
        assert_eq!(news(&mut device).await, Event::TokenExpiring(MINUTE));
        device.refresh(Token::new("mine"));
        device.flush().await;
    };
    join!(script, story);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}
