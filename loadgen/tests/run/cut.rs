//! Something between clients and the relay that carries bytes, and drops all connections at once when it is told to.

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

/// A cut.
pub(crate) struct Cut {
    address: SocketAddr,
    cuts: watch::Sender<u32>,
    _runtime: tokio::runtime::Runtime,
}

impl Cut {
    pub(crate) fn in_front_of(relay: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (cuts, cut) = watch::channel(0);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                handle.spawn(carry(client, relay, cut.clone()));
            }
        });
        Self {
            address,
            cuts,
            _runtime: runtime,
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts so many times, so far apart, once somebody is connected.
    pub(crate) fn every(&self, pause: Duration, times: u32) -> JoinHandle<()> {
        let cuts = self.cuts.clone();
        std::thread::spawn(move || {
            for _ in 0..times {
                std::thread::sleep(pause);
                cuts.send_modify(|cuts| *cuts += 1);
            }
        })
    }
}

async fn carry(mut client: TcpStream, relay: SocketAddr, mut cut: watch::Receiver<u32>) {
    cut.mark_unchanged();
    let Ok(mut server) = TcpSocket::new_v4().unwrap().connect(relay).await else {
        return;
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = cut.changed() => {}
    }
}
