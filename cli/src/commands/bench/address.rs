//! Addresses of what is measured: which are any, and who may be measured there.
//!
//! Asks nobody: whether a relay on another machine agrees is the business of whoever reaches it.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use hyper::Uri;

use super::peer::Peer;
use crate::exit::Exit;
use crate::failure::Failure;

/// Whether the host is this machine; refused when it is another one that was not named. A peer, which cannot agree, may
/// be on this machine only.
///
/// # Errors
///
/// [`Exit::Usage`] for what is no address of a relay, or of that peer; [`Exit::NoPerm`].
pub(super) fn allowed(url: &Uri, peer: Option<&Peer>, named: Option<&str>) -> Result<bool, Failure> {
    let Some(host) = url.host() else {
        return Err(bad("--url names no host"));
    };
    formed(url, peer)?;
    match (is_loopback(host), peer) {
        (true, _) => Ok(true),
        (false, None) if named == Some(host) => Ok(false),
        (false, None) => Err(Failure::new(
            Exit::NoPerm,
            format!("{host} is another machine, and a bench is hard on it"),
        )
        .hint(format!(
            "where you may measure it: --allow-remote {host}, and `allow_bench = true` in its [server]"
        ))),
        (false, Some(peer)) => Err(Failure::new(
            Exit::NoPerm,
            format!(
                "{host} is another machine, and {} there cannot agree to a bench",
                peer.name()
            ),
        )
        .hint("peers are measured on this machine only")),
    }
}

fn formed(url: &Uri, peer: Option<&Peer>) -> Result<(), Failure> {
    let scheme = url.scheme_str().unwrap_or_default();
    match peer {
        None if !matches!(scheme, "http" | "https") => {
            return Err(bad("--url takes an http:// or https:// address"));
        }
        Some(peer) if peer.port(scheme).is_none() => {
            return Err(bad(&format!(
                "--url of {} takes an address as {}",
                peer.name(),
                peer.example()
            )));
        }
        None | Some(_) => {}
    }
    let authority = url.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err(bad("--url takes no login"));
    }
    // A WebSocket of a peer may be behind a path; a relay's is where it always is.
    match (scheme == "ws" || matches!(url.path(), "" | "/"), url.query()) {
        (true, None) => Ok(()),
        (false, _) => Err(bad("--url takes an address without a path")),
        (true, Some(_)) => Err(bad("--url takes an address without a query")),
    }
}

/// The address behind a plain URL, with the port that is usual there. A name is looked up.
pub(super) fn resolve(url: &Uri, usual: u16) -> Option<SocketAddr> {
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
    (host, url.port_u16().unwrap_or(usual))
        .to_socket_addrs()
        .ok()?
        .next()
}

fn is_loopback(host: &str) -> bool {
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

fn bad(message: &str) -> Failure {
    Failure::new(Exit::Usage, message)
}

#[cfg(test)]
mod tests {
    use chatctl_loadgen::wire::nats::Mode;

    use super::*;

    fn ask(url: &str, peer: Option<&Peer>, named: Option<&str>) -> Result<bool, Exit> {
        allowed(&url.parse().unwrap(), peer, named).map_err(|failure| failure.exit)
    }

    #[test]
    fn this_machine_may_be_measured_and_another_one_only_by_its_exact_name() {
        for here in [
            "http://127.0.0.1:8480",
            "http://localhost:1/",
            "http://[::1]:1",
            "https://127.1.2.3",
        ] {
            assert_eq!(ask(here, None, None), Ok(true), "{here}");
        }
        for there in [
            "http://192.0.2.1:1",
            "http://localhost.example.org",
            "http://[::ffff:192.0.2.1]:1",
        ] {
            assert_eq!(ask(there, None, None), Err(Exit::NoPerm), "{there}");
            assert_eq!(
                ask(there, None, Some("example.org")),
                Err(Exit::NoPerm),
                "{there}"
            );
        }
        assert_eq!(ask("http://192.0.2.1:1", None, Some("192.0.2.1")), Ok(false));
    }

    #[test]
    fn a_peer_is_measured_on_this_machine_whatever_was_named() {
        let nats = Peer::Nats(Mode::Core);
        assert_eq!(ask("nats://127.0.0.1", Some(&nats), None), Ok(true));
        assert_eq!(ask("ws://127.0.0.1/chat", Some(&nats), None), Ok(true));
        let there = ask("nats://192.0.2.1", Some(&nats), Some("192.0.2.1"));
        assert_eq!(there, Err(Exit::NoPerm));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "ftp://127.0.0.1",
            "http://me:secret@127.0.0.1",
            "http://127.0.0.1/v1",
            "127.0.0.1",
        ] {
            assert_eq!(ask(bad, None, None), Err(Exit::Usage), "{bad}");
        }
        for bad in [
            "http://127.0.0.1",
            "mqtt://127.0.0.1",
            "nats://me:secret@127.0.0.1",
            "nats://127.0.0.1/v1",
            "ws://127.0.0.1/v1?token=secret",
        ] {
            let nats = Peer::Nats(Mode::Core);
            assert_eq!(ask(bad, Some(&nats), None), Err(Exit::Usage), "{bad}");
        }
    }
}
