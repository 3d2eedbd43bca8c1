//! Proxies as bad as those that people have: in front of a relay, on a port of their own.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// What is bad about it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Manner {
    /// It closes connections on which a side says nothing for so long.
    DropsQuiet(Duration),
    /// It leaves out what asks for an upgrade.
    StripsUpgrade,
}

/// A proxy, for as long as the test runs.
pub(crate) struct Proxy(SocketAddr);

impl Proxy {
    /// In front of whoever listens there.
    pub(crate) fn start(behind: &str, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let behind = behind.to_owned();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let relay = TcpStream::connect(&behind).unwrap();
                thread::spawn(move || pass(client, relay, manner));
            }
        });
        Self(address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0
    }
}

fn pass(mut client: TcpStream, mut relay: TcpStream, manner: Manner) {
    match manner {
        Manner::DropsQuiet(patience) => {
            for side in [&client, &relay] {
                side.set_read_timeout(Some(patience)).unwrap();
            }
        }
        Manner::StripsUpgrade => {
            let head = head(&mut client);
            let kept = head.split_inclusive("\r\n").filter(|line| {
                let line = line.to_ascii_lowercase();
                !line.starts_with("upgrade:") && !line.starts_with("connection:")
            });
            if relay.write_all(kept.collect::<String>().as_bytes()).is_err() {
                return;
            }
        }
    }
    let back = (relay.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || copy(back.0, back.1));
    copy(client, relay);
}

/// A request up to its empty line.
fn head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Until the end, an error, or too much silence: then both are closed.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    for side in [from, to] {
        // It may be closed already.
        let _ = side.shutdown(Shutdown::Both);
    }
}
