//! Where a request comes from: the other end of its connection, or what a trusted proxy says of it.
//!
//! Owns how `X-Forwarded-For` and `Forwarded` (RFC 7239) are read, and whose are believed. Addresses are for counting
//! and are never logged. Must not know what is counted.
//!
//! # Why
//!
//! Each hop adds the address that it saw to the right. So one goes from the right: as long as the hop is a proxy of
//! ours, what it saw counts; the first address that is not one of ours is the client, and whatever stands left of it may
//! be the client's own invention. A proxy writes one of the two headers and may pass the other on as the client sent it:
//! when both are there and do not agree, neither is believed, and the proxy itself is taken for the client.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, header};

use crate::config::network::Network;

/// The other end of the connection on which a request came. Left in the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub Option<IpAddr>);

/// Who asks: the peer, or whom trusted proxies name.
#[must_use]
pub fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    if !is_one(peer, proxies) {
        return peer;
    }
    let hops = hops(headers, &X_FORWARDED_FOR, |list| {
        list.split(',').map(hop).collect()
    });
    let by_list = hops.map(|hops| named(peer, &hops, proxies));
    let hops = self::hops(headers, &header::FORWARDED, forwarded);
    let by_standard = hops.map(|hops| named(peer, &hops, proxies));
    match (by_list, by_standard) {
        (Some(one), Some(other)) if one != other => peer,
        (Some(client), _) | (None, Some(client)) => client,
        (None, None) => peer,
    }
}

/// Whether a trusted proxy says that the client came without TLS.
#[must_use]
pub fn came_in_the_clear(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> bool {
    let said = headers.get_all(X_FORWARDED_PROTO).iter().next_back();
    let said = said.and_then(|value| value.to_str().ok());
    let last = said.and_then(|value| value.rsplit(',').next());
    is_one(peer, proxies) && last.is_some_and(|word| word.trim().eq_ignore_ascii_case("http"))
}

fn is_one(address: IpAddr, proxies: &[Network]) -> bool {
    proxies.iter().any(|proxy| proxy.has(address))
}

/// The hops that a header names, all its lines together. `None` without the header.
fn hops(
    headers: &HeaderMap,
    name: &HeaderName,
    read: impl Fn(&str) -> Vec<Option<IpAddr>>,
) -> Option<Vec<Option<IpAddr>>> {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    // What is not text hides whoever stands there.
    Some(
        lines
            .flat_map(|line| line.to_str().map_or_else(|_| vec![None], &read))
            .collect(),
    )
}

/// The client, from the right. What is not an address ends the search: who wrote it is the last one that is known.
fn named(peer: IpAddr, hops: &[Option<IpAddr>], proxies: &[Network]) -> IpAddr {
    let mut known = peer;
    for hop in hops.iter().rev() {
        let Some(address) = hop else { break };
        known = *address;
        if !is_one(known, proxies) {
            break;
        }
    }
    known
}

/// An address as proxies write it: with a port or without, IPv6 in brackets or not.
fn hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let address = match bare.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => text.parse::<SocketAddr>().ok()?.ip(),
    };
    Some(address.to_canonical())
}

/// The `for` of each element of a `Forwarded` header. What breaks the rules ends the list to its left: a quote that
/// does not end could swallow what an honest proxy has added.
fn forwarded(text: &str) -> Vec<Option<IpAddr>> {
    let Some(elements) = split(text, ',') else {
        return vec![None];
    };
    elements
        .into_iter()
        .map(|element| {
            let mut names = split(element, ';')?.into_iter().filter_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
            });
            match (names.next(), names.next()) {
                (Some(value), None) => hop(&unquoted(value)?),
                // Twice is nobody in particular.
                (_, _) => None,
            }
        })
        .collect()
}

/// The parts between separators outside quotes. `None` when a quote does not end.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, char) in text.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if char == separator && !quoted => {
                parts.extend(text.get(start..at));
                start = at + separator.len_utf8();
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    (!quoted).then_some(parts)
}

/// A value without its quotes. Addresses have nothing in them that would be escaped.
fn unquoted(value: &str) -> Option<String> {
    let inner = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    (!inner.contains(['"', '\\'])).then(|| inner.to_owned())
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

#[cfg(test)]
mod tests;
