//! Echoes messages at `/v1/ws`, for the Autobahn cases: they test a socket by what it sends back, and the
//! relay's own endpoint speaks frames.
//!
//! Takes the largest message in bytes, if it should be another than the relay's default, and prints its
//! address. The upgrade, the socket with its buffers and bounds, and the way a broken one is closed are the
//! relay's own; only what is done with a message is not. Run it with `scripts/autobahn`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};
use axum::routing::get;
use chatctl_protocol::Limits;
use chatctl_relay::http::problem::Problem;
use chatctl_relay::http::socket::{self, BINARY, Ended, Message, TEXT, Wire};
use chatctl_relay::server;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the sockets share.
#[derive(Clone)]
struct Echo {
    max_frame_bytes: usize,
    sockets: TaskTracker,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let asked = std::env::args().nth(1).and_then(|bytes| bytes.parse().ok());
    let default = Limits::default().max_frame_bytes as usize;
    let echo = Echo {
        max_frame_bytes: asked.unwrap_or(default),
        sockets: TaskTracker::new(),
    };
    let router = Router::new().route("/v1/ws", get(open)).with_state(echo.clone());
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    announce(listener.local_addr()?);
    let reception = server::Reception {
        connections: echo.sockets,
        room: Arc::new(Semaphore::new(MAX_REQUESTS)),
        full: CancellationToken::new(),
        closing: CancellationToken::new(),
    };
    server::accept(listener, router, reception).await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "whoever started this reads the address there")]
fn announce(address: SocketAddr) {
    println!("{address}");
}

/// The cases offer no subprotocol, so none is answered.
async fn open(State(echo): State<Echo>, mut request: Request<Body>) -> Result<Response<Body>, Problem> {
    let (response, on_upgrade) = socket::upgrade(&mut request, None)?;
    echo.sockets.spawn(async move {
        if let Some(socket) = socket::connect(on_upgrade, echo.max_frame_bytes).await {
            serve_socket(socket).await;
        }
    });
    Ok(response)
}

/// Sends every message back, until the other side is done or breaks the protocol.
async fn serve_socket(mut socket: Wire) {
    loop {
        let (opcode, message) = match socket.hear().await {
            Ok(Message::Text(text)) => (TEXT, text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => (BINARY, bytes.to_vec()),
            // Answered by the socket itself.
            Ok(Message::Ping | Message::Pong(_)) => continue,
            Ok(Message::Close) | Err(Ended::Gone) => {
                // A connection that is lost takes no answer.
                let _ = timeout(FAREWELL, socket.part()).await;
                return;
            }
            Err(Ended::Broken(leave, _)) => {
                // A peer that does not close too is left behind.
                let _ = timeout(FAREWELL, socket.close(leave.code, leave.reason)).await;
                return;
            }
        };
        if socket.send(opcode, &message).await.is_err() {
            return;
        }
    }
}

/// Longest time for a goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

/// Connections at once that are not upgraded.
const MAX_REQUESTS: usize = 8_192;
