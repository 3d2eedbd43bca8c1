//! Echoes messages at `/v1/ws`, for the Autobahn cases: they test a socket by what it sends back, and the
//! relay's own endpoint speaks frames.
//!
//! Takes the largest message in bytes, if it should be another than the relay's default, and prints its address.
//! Must not read or write a socket in any way that the relay does not. Run it with `scripts/autobahn`.

use std::io;
use std::net::SocketAddr;

use chatctl_protocol::Limits;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut limits = Limits::default();
    if let Some(most) = std::env::args().nth(1).and_then(|bytes| bytes.parse().ok()) {
        limits.max_frame_bytes = most;
    }
    let config = config(&limits);
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    announce(listener.local_addr()?);
    let mut sockets = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                sockets.spawn(async move {
                    // A socket that breaks the protocol ends in an error, as it should.
                    if let Ok(socket) = upgrade(stream, config).await {
                        drop(serve_socket(socket).await);
                    }
                });
            }
            Some(_) = sockets.join_next() => {}
        }
    }
}

#[expect(clippy::print_stdout, reason = "whoever started this reads the address there")]
fn announce(address: SocketAddr) {
    println!("{address}");
}

fn config(limits: &Limits) -> WebSocketConfig {
    let most = usize::try_from(limits.max_frame_bytes).unwrap_or(usize::MAX);
    WebSocketConfig::default()
        .max_message_size(Some(most))
        .max_frame_size(Some(most))
}

async fn upgrade(stream: TcpStream, config: WebSocketConfig) -> Result<WebSocketStream<TcpStream>, Error> {
    tokio_tungstenite::accept_hdr_async_with_config(stream, only_the_endpoint, Some(config)).await
}

#[expect(clippy::result_large_err, reason = "the library's own callback type")]
fn only_the_endpoint(request: &Request, response: Response) -> Result<Response, ErrorResponse> {
    if request.uri().path() == "/v1/ws" {
        return Ok(response);
    }
    let mut refusal = ErrorResponse::new(None);
    *refusal.status_mut() = StatusCode::NOT_FOUND;
    Err(refusal)
}

/// Sends every message back, until the other side is done.
async fn serve_socket(mut socket: WebSocketStream<TcpStream>) -> Result<(), Error> {
    while let Some(message) = socket.next().await {
        match message? {
            message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message).await?,
            // Answered by the socket itself.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
        }
    }
    Ok(())
}
