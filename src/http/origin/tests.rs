//! Whom proxies name, and whom they cannot make up.

use axum::http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn proxies() -> Vec<Network> {
    ["10.0.0.0/8", "::1", "2001:db8::/64"]
        .map(|text| text.parse().unwrap())
        .to_vec()
}

fn seen(peer: &str, lines: &[(&'static str, &str)]) -> String {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    client(address(peer), &headers, &proxies()).to_string()
}

#[test]
fn nobody_but_a_trusted_proxy_is_believed() {
    let forged = [("x-forwarded-for", "192.0.2.9"), ("forwarded", "for=192.0.2.9")];
    assert_eq!(seen("198.51.100.1", &forged), "198.51.100.1");
    assert_eq!(seen("10.0.0.1", &forged), "192.0.2.9");
    assert_eq!(seen("::ffff:10.0.0.1", &forged), "192.0.2.9");
    assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
}

#[test]
fn the_last_hop_that_is_not_a_proxy_is_the_client() {
    let list = |text: &str| seen("10.0.0.1", &[("x-forwarded-for", text)]);
    assert_eq!(list("192.0.2.1, 198.51.100.7"), "198.51.100.7");
    assert_eq!(list("192.0.2.1, 198.51.100.7, 10.0.0.2,10.0.0.3"), "198.51.100.7");
    assert_eq!(list("10.0.0.5, 10.0.0.2"), "10.0.0.5");
    assert_eq!(list("198.51.100.7:4711"), "198.51.100.7");
    assert_eq!(list("[2001:db8:1::1]:4711"), "2001:db8:1::1");
    assert_eq!(list("[2001:db8:1::1]"), "2001:db8:1::1");
    assert_eq!(list("2001:db8:1::1"), "2001:db8:1::1");
    let lines = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-for", "198.51.100.7"),
    ];
    assert_eq!(seen("10.0.0.1", &lines), "198.51.100.7");
}

#[test]
fn what_is_not_an_address_ends_the_chain_at_who_wrote_it() {
    let list = |text: &str| seen("10.0.0.1", &[("x-forwarded-for", text)]);
    assert_eq!(list("192.0.2.1, unknown"), "10.0.0.1");
    assert_eq!(list("192.0.2.1, unknown, 10.0.0.9"), "10.0.0.9");
    assert_eq!(list(""), "10.0.0.1");
    assert_eq!(list("192.0.2.1,"), "10.0.0.1");
}

#[test]
fn the_standard_header_is_read_with_its_quotes() {
    let standard = |text: &str| seen("10.0.0.1", &[("forwarded", text)]);
    assert_eq!(standard("for=192.0.2.1;proto=https;by=10.0.0.1"), "192.0.2.1");
    assert_eq!(standard("proto=https; For=\"192.0.2.1:4711\""), "192.0.2.1");
    assert_eq!(
        standard("for=192.0.2.1, for=\"[2001:db8:1::1]:80\""),
        "2001:db8:1::1"
    );
    assert_eq!(standard("for=192.0.2.1, for=\"[2001:db8::7]\""), "192.0.2.1");
    assert_eq!(standard("for=192.0.2.1, for=_hidden"), "10.0.0.1");
    assert_eq!(standard("for=192.0.2.1, proto=http"), "10.0.0.1");
    // A quote that the client has opened hides nobody behind it.
    assert_eq!(standard("for=192.0.2.1;x=\", for=198.51.100.7"), "10.0.0.1");
    assert_eq!(
        standard("for=\"a, for=192.0.2.1\", for=198.51.100.7"),
        "198.51.100.7"
    );
}

#[test]
fn of_two_headers_that_do_not_agree_neither_is_believed() {
    let both = |list, standard| seen("10.0.0.1", &[("x-forwarded-for", list), ("forwarded", standard)]);
    assert_eq!(both("198.51.100.7", "for=192.0.2.1"), "10.0.0.1");
    assert_eq!(
        both("192.0.2.1, 198.51.100.7", "for=198.51.100.7"),
        "198.51.100.7"
    );
}

#[test]
fn a_proxy_tells_that_there_was_no_tls() {
    let clear = |peer: &str, text: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(text));
        came_in_the_clear(address(peer), &headers, &proxies())
    };
    assert!(clear("10.0.0.1", "http") && clear("10.0.0.1", "https, HTTP"));
    assert!(!clear("10.0.0.1", "https") && !clear("192.0.2.1", "http"));
}

/// What a client might send, so that it is taken for somebody else.
fn forgery() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,40}",
        "(for=)?\"?\\[?(192\\.0\\.2\\.9|10\\.0\\.0\\.4|2001:db8::4)\\]?\"?[,;\"\\\\ ]{0,3}",
    ]
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(
        lines in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..60)), 0..4)
    ) {
        let mut headers = HeaderMap::new();
        for (standard, bytes) in lines {
            let name = if standard { header::FORWARDED } else { X_FORWARDED_FOR };
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                headers.append(name, value);
            }
        }
        let peer = address("192.0.2.200");
        prop_assert_eq!(client(peer, &headers, &proxies()), peer);
        let _ = client(address("10.0.0.1"), &headers, &proxies());
    }

    /// Whatever a client sends, the proxy adds whom it saw; no other client is ever found, at worst the proxy itself.
    #[test]
    fn a_client_cannot_be_taken_for_another(
        forged in proptest::collection::vec((any::<bool>(), forgery()), 0..4),
        by_standard in any::<bool>(),
        own_line in any::<bool>(),
    ) {
        let (proxy, honest) = (address("10.0.0.1"), address("198.51.100.7"));
        let name = if by_standard { header::FORWARDED } else { X_FORWARDED_FOR };
        let added = if by_standard { "for=198.51.100.7" } else { "198.51.100.7" };
        let mut headers = HeaderMap::new();
        let mut last = None;
        for (standard, text) in forged {
            let named = if standard { header::FORWARDED } else { X_FORWARDED_FOR };
            if named == name && !own_line {
                last = Some(text.clone());
                continue;
            }
            headers.append(named, HeaderValue::from_str(&text).unwrap());
        }
        // Proxies add to the line, or add a line.
        let line = last.map_or_else(|| added.to_owned(), |last| format!("{last}, {added}"));
        headers.append(name, HeaderValue::from_str(&line).unwrap());
        let found = client(proxy, &headers, &proxies());
        prop_assert!(found == honest || found == proxy, "{found} in {headers:?}");
    }
}
