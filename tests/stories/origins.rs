//! Many sessions from one address, behind proxies that are trusted and behind others.

use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, header};

use crate::relay::TestRelay;

/// Opens a session as a proxy would; the status, and when to come again.
async fn open(relay: &TestRelay, headers: &[(&'static str, &str)]) -> (u16, Option<String>) {
    let mut request = "ws://relay/v1/ws".into_client_request().unwrap();
    let ours = request.headers_mut();
    ours.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static("chatctl.v1.json"),
    );
    for (name, value) in headers {
        ours.append(
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    let stream = TcpStream::connect(relay.address()).await.unwrap();
    let response = match tokio_tungstenite::client_async(request, stream).await {
        Ok((_, response)) => return (response.status().as_u16(), None),
        Err(WsError::Http(response)) => response,
        Err(error) => panic!("{error:?}"),
    };
    let after = response.headers().get(header::RETRY_AFTER);
    (
        response.status().as_u16(),
        after.map(|after| after.to_str().unwrap().to_owned()),
    )
}

async fn relay(proxies: &[&str]) -> TestRelay {
    TestRelay::start_with(|config| {
        config.server.connect_rate = 2;
        config.server.trusted_proxies = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
    })
    .await
}

#[tokio::test]
async fn an_address_that_opens_too_many_sessions_waits_and_is_counted() {
    let relay = relay(&[]).await;
    for _ in 0..2 {
        assert_eq!(open(&relay, &[]).await.0, 101);
    }
    // Nobody believes who is not trusted.
    let forged = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1")];
    let (status, after) = open(&relay, &forged).await;
    assert_eq!(status, 429);
    assert!(matches!(after.unwrap().parse(), Ok(1..=31)));
    let page = relay.metrics_page().await;
    assert!(
        page.contains("chatctl_rate_limited_total{reason=\"address\"} 1\n"),
        "{page}"
    );
    relay.stop().await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_a_rate_of_its_own() {
    let relay = relay(&["127.0.0.0/8"]).await;
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2"] {
        assert_eq!(open(&relay, &[("x-forwarded-for", client)]).await.0, 101);
    }
    assert_eq!(open(&relay, &[("forwarded", "for=192.0.2.1")]).await.0, 429);
    // What a client writes before the proxy adds whom it saw changes nothing.
    let forged = format!("198.51.100.1, {}", "192.0.2.1");
    assert_eq!(open(&relay, &[("x-forwarded-for", &forged)]).await.0, 429);
    assert_eq!(open(&relay, &[("x-forwarded-for", "192.0.2.3")]).await.0, 101);
    relay.stop().await;
}

#[tokio::test]
async fn without_a_rate_sessions_are_not_counted() {
    let relay = TestRelay::start().await;
    for _ in 0..20 {
        assert_eq!(open(&relay, &[]).await.0, 101);
    }
    relay.stop().await;
}
