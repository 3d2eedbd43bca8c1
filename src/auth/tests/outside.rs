//! Outside issuers: whose keys vouch for whom, and how often they are asked.

use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser as _;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::config::AuthConfig;

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    auth: AuthConfig,
}

fn config(trust: &[&str]) -> AuthConfig {
    let mut line = vec!["x", "--issuer", "iss", "--audience", "aud"];
    line.extend(trust.iter().flat_map(|trust| ["--trust", trust]));
    Flags::parse_from(line).auth
}

/// An issuer's server: it counts, and answers with what it was told.
struct Web {
    url: String,
    asked: Arc<AtomicU64>,
    answer: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

impl Web {
    async fn start(jwks: &Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let (asked, answer) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(ok(jwks))));
        let (count, says) = (Arc::clone(&asked), Arc::clone(&answer));
        #[expect(clippy::disallowed_methods, reason = "a test's own server, aborted on drop")]
        let task = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = [0; 4096];
                let _ = socket.read(&mut head).await;
                count.fetch_add(1, Ordering::SeqCst);
                let answer = says.lock().clone();
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        Self {
            url,
            asked,
            answer,
            task,
        }
    }

    fn says(&self, answer: String) {
        *self.answer.lock() = answer;
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn ok(jwks: &Value) -> String {
    let body = jwks.to_string();
    format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn key(kid: &str) -> Keyset {
    let key = NewKey::generate(Algorithm::EdDsa, Some(kid), &mut rand::rng(), NOW).unwrap();
    Keyset::of_one(key, KeyState::Active, NOW).unwrap()
}

fn token_of(keyset: &Keyset, issuer: &str) -> String {
    let grant = Grant {
        issuer: issuer.into(),
        audience: "aud".into(),
        address: alice(),
        scope: None,
        life: Duration::from_secs(600),
        extra: Map::new(),
    };
    let signer = Signer::new(keyset).unwrap();
    signer.issue(&grant, &mut rand::rng(), NOW).unwrap().token
}

fn trusting(own: Keyset, config: &AuthConfig) -> Arc<Verifier> {
    let policy = Policy::of(own, config).unwrap();
    Arc::new(Verifier::new(policy, Arc::new(Metrics::new())))
}

/// Keeps keys fresh, as the server does.
fn keep_fresh(verifier: &Arc<Verifier>) -> JoinHandle<()> {
    let verifier = Arc::clone(verifier);
    #[expect(
        clippy::disallowed_methods,
        reason = "the server's task, in a test without a server"
    )]
    tokio::spawn(async move { verifier.keep_fresh().await })
}

fn code(judged: Result<Identity, TokenError>) -> &'static str {
    judged.map_or_else(|error| error.code(), |_| "ok")
}

#[test]
fn a_key_of_one_issuer_never_vouches_for_another() {
    let folder = tempfile::tempdir().unwrap();
    // All three keys have the same name.
    let (own, a, b) = (key("k"), key("k"), key("k"));
    let mut trust = Vec::new();
    for (name, keyset) in [("a", &a), ("b", &b)] {
        let path = folder.path().join(name);
        std::fs::write(&path, keyset.jwks().to_string()).unwrap();
        trust.push(format!("{name}={}", path.display()));
    }
    let trust: Vec<_> = trust.iter().map(String::as_str).collect();
    let [from_own, from_a, from_b] =
        [&own, &a, &b].map(|keyset| ["iss", "a", "b", "eve"].map(|issuer| token_of(keyset, issuer)));
    let verifier = trusting(own, &config(&trust));
    let codes = |tokens: [String; 4]| tokens.map(|token| code(verifier.verify(&token, NOW)));
    assert_eq!(codes(from_own), ["ok", "signature", "signature", "issuer"]);
    assert_eq!(codes(from_a), ["signature", "ok", "signature", "signature"]);
    assert_eq!(codes(from_b), ["signature", "signature", "ok", "signature"]);
}

#[test]
fn an_outside_set_with_secrets_is_refused_and_strange_keys_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let trust = format!("a={}", path.display());
    let outside = key("k");
    let with = |more: Value| {
        let mut jwks = outside.jwks();
        jwks["keys"].as_array_mut().unwrap().push(more);
        std::fs::write(&path, jwks.to_string()).unwrap();
        Policy::of(key("own"), &config(&[&trust]))
    };
    for bad in [
        json!({"kid": "m", "kty": "oct", "k": b64(HMAC)}),
        json!({"kid": "p", "kty": "OKP", "crv": "Ed25519", "x": "", "d": ""}),
    ] {
        assert!(matches!(with(bad), Err(KeysetError::BadKey { .. })));
    }
    for strange in [
        json!({"kid": "e", "kty": "EC", "crv": "P-521", "x": "", "y": ""}),
        json!({"kid": "k", "kty": "RSA", "use": "enc", "n": "", "e": ""}),
        json!({"kty": "new"}),
        json!(7),
    ] {
        let policy = with(strange).unwrap();
        let verifier = Verifier::new(policy, Arc::new(Metrics::new()));
        assert!(verifier.verify(&token_of(&outside, "a"), NOW).is_ok());
    }
    for trust in [&["iss=x"][..], &[&trust, &trust], &["a=/nowhere"]] {
        assert!(Policy::of(key("own"), &config(trust)).is_err(), "{trust:?}");
    }
}

#[tokio::test]
async fn a_hundred_unknown_kids_ask_once() {
    let (first, stranger) = (key("k1"), key("k2"));
    let web = Web::start(&first.jwks()).await;
    let verifier = trusting(key("own"), &config(&[&format!("a={}", web.url)]));
    verifier.fetch_due().await;
    let task = keep_fresh(&verifier);
    assert_eq!(
        code(verifier.verify_or_refresh(&token_of(&first, "a"), NOW).await),
        "ok"
    );
    let token = token_of(&stranger, "a");
    let asking = (0..100).map(|_| verifier.verify_or_refresh(&token, NOW));
    for judged in futures_util::future::join_all(asking).await {
        assert_eq!(code(judged), "kid_unknown");
    }
    assert_eq!(web.asked(), 2);
    // Another one, within the minute.
    assert_eq!(code(verifier.verify_or_refresh(&token, NOW).await), "kid_unknown");
    assert_eq!(web.asked(), 2);
    // Nobody asks for strangers.
    assert_eq!(
        code(verifier.verify_or_refresh(&token_of(&stranger, "eve"), NOW).await),
        "kid_unknown"
    );
    assert_eq!(web.asked(), 2);
    task.abort();
}

#[tokio::test]
async fn a_key_that_an_issuer_changed_is_good_after_one_reload() {
    let (first, second) = (key("k1"), key("k2"));
    let web = Web::start(&first.jwks()).await;
    let verifier = trusting(key("own"), &config(&[&format!("a={}", web.url)]));
    verifier.fetch_due().await;
    let task = keep_fresh(&verifier);
    assert_eq!((web.asked(), verifier.silent_issuers()), (1, Vec::new()));
    web.says(ok(&second.jwks()));
    let token = token_of(&second, "a");
    assert_eq!(code(verifier.verify(&token, NOW)), "kid_unknown");
    assert_eq!(code(verifier.verify_or_refresh(&token, NOW).await), "ok");
    assert_eq!(web.asked(), 2);
    assert_eq!(code(verifier.verify(&token_of(&first, "a"), NOW)), "kid_unknown");
    task.abort();
}

#[tokio::test]
async fn old_keys_stay_good_while_an_issuer_is_down_or_talks_nonsense() {
    let (first, second) = (key("k1"), key("k2"));
    let jwks = first.jwks();
    for answer in [
        "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot json!".to_owned(),
        ok(&json!({"keys": [{"kid": "k2", "kty": "oct", "k": b64(HMAC)}]})),
        ok(&json!({"keys": [], "x": "x".repeat(300 * 1024)})),
        String::new(),
    ] {
        let web = Web::start(&jwks).await;
        let verifier = trusting(key("own"), &config(&[&format!("a={}", web.url)]));
        verifier.fetch_due().await;
        web.says(answer.clone());
        let task = keep_fresh(&verifier);
        assert_eq!(
            code(verifier.verify_or_refresh(&token_of(&second, "a"), NOW).await),
            "kid_unknown"
        );
        assert_eq!(web.asked(), 2, "{answer:.40}");
        assert_eq!(
            code(verifier.verify(&token_of(&first, "a"), NOW)),
            "ok",
            "{answer:.40}"
        );
        task.abort();
    }
}

#[tokio::test]
async fn another_policy_keeps_what_was_fetched_and_drops_whom_it_does_not_name() {
    let outside = key("k1");
    let web = Web::start(&outside.jwks()).await;
    let trust = format!("a={}", web.url);
    let verifier = trusting(key("own"), &config(&[&trust]));
    verifier.fetch_due().await;
    let token = token_of(&outside, "a");
    verifier.follow(Policy::of(key("own2"), &config(&[&trust])).unwrap());
    assert_eq!((code(verifier.verify(&token, NOW)), web.asked()), ("ok", 1));
    verifier.follow(Policy::of(key("own2"), &config(&[])).unwrap());
    assert_eq!(code(verifier.verify(&token, NOW)), "kid_unknown");
}
