//! Relays that do nothing but relay: no accounts, no store, no acks.
//!
//! They speak one of two [`Speech`]es. *Bare*: a client's first message is its name, and is answered with an empty one. Each
//! further message is `[length of a name][name][anything]`; `[anything]` goes to the client of that name, or nowhere if
//! there is none. *Frames*: the relay's own protocol, with `account/device` for a token; messages are delivered and
//! said to be safe at once, and are not.
//!
//! # Why
//!
//! Costs of the relay are told as multiples of the bare one's. It is therefore as fast as `tokio-tungstenite` gets: it
//! reads through 4 KiB, forwards slices instead of copies, wakes a recipient once for all that came meanwhile and writes
//! that with one flush. A recipient that does not keep up is cut off, so that nobody waits for anybody. The other one is
//! what the generator's own cost is measured against.

mod frames;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use chatctl_protocol::Encoding;
use futures_util::task::AtomicWaker;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use parking_lot::{Mutex, RwLock};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::bare::frames::Asked;

/// What a relay's clients say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// Names and bytes.
    Bare,
    /// The relay's own protocol.
    Frames,
}

/// Relays on a listener, for as long as it is polled. Its connections are tasks of the runtime that it is polled on.
pub async fn serve(listener: TcpListener, speech: Speech) {
    let names = Arc::new(Names::default());
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // No descriptor left, or a client that is gone already: the others are served all the same.
                let Ok((stream, _from)) = accepted else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                clients.spawn(client(stream, speech, Arc::clone(&names)));
            }
            Some(_) = clients.join_next() => {}
        }
    }
}

/// One client, from its name to its end.
async fn client(stream: TcpStream, speech: Speech, names: Arc<Names>) {
    let Some((mut web, name)) = greet(stream, speech).await else {
        return;
    };
    let tray = Arc::new(Tray::default());
    if let Some(older) = names.0.write().insert(name.clone(), Arc::clone(&tray)) {
        older.is_left.store(true, Ordering::Relaxed);
    }
    let welcome = match speech {
        Speech::Bare => vec![Bytes::new()],
        Speech::Frames => frames::welcome().to_vec(),
    };
    let mut is_there = true;
    for frame in welcome {
        is_there = is_there && web.send(Message::Binary(frame)).await.is_ok();
    }
    if is_there {
        let mut session = Session {
            web,
            speech,
            tray: Arc::clone(&tray),
            names: Arc::clone(&names),
            batch: Vec::new(),
            known: None,
            envelopes: 0,
        };
        std::future::poll_fn(|cx| session.poll(cx)).await;
    }
    tray.is_left.store(true, Ordering::Relaxed);
    let mut names = names.0.write();
    // A newer client of this name keeps it.
    if names.get(&name).is_some_and(|now| Arc::ptr_eq(now, &tray)) {
        names.remove(&name);
    }
}

/// Upgrades a connection, and hears who it is.
async fn greet(stream: TcpStream, speech: Speech) -> Option<(WebSocketStream<TcpStream>, Bytes)> {
    let _ = stream.set_nodelay(true);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES);
    let answer = Spoken(speech);
    let accepted = tokio_tungstenite::accept_hdr_async_with_config(stream, answer, Some(config)).await;
    let mut web = accepted.ok()?;
    let Some(Ok(Message::Binary(first))) = web.next().await else {
        return None;
    };
    let name = match speech {
        // A copy: a slice would keep the whole read buffer.
        Speech::Bare => Bytes::copy_from_slice(&first),
        Speech::Frames => frames::name(first)?,
    };
    Some((web, name))
}

/// Names the subprotocol in the answer to the upgrade, where there is one.
struct Spoken(Speech);

impl Callback for Spoken {
    fn on_request(self, _request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        if self.0 == Speech::Frames {
            let spoken = HeaderValue::from_static(Encoding::Proto.subprotocol());
            response
                .headers_mut()
                .insert(header::SEC_WEBSOCKET_PROTOCOL, spoken);
        }
        Ok(response)
    }
}

/// Who is connected.
#[derive(Default)]
struct Names(RwLock<HashMap<Bytes, Arc<Tray>>>);

/// What waits for a client.
#[derive(Default)]
struct Tray {
    frames: Mutex<Vec<Bytes>>,
    waker: AtomicWaker,
    /// The client is gone, or a newer one of its name is there.
    is_left: AtomicBool,
}

impl Tray {
    /// Puts a frame in. Past the bound it is dropped, and the client ends when it sees so.
    fn put(&self, frame: Bytes) {
        let mut frames = self.frames.lock();
        let was_empty = frames.is_empty();
        if frames.len() <= TRAY_FRAMES {
            frames.push(frame);
        }
        drop(frames);
        if was_empty {
            self.waker.wake();
        }
    }
}

struct Session {
    web: WebSocketStream<TcpStream>,
    speech: Speech,
    tray: Arc<Tray>,
    names: Arc<Names>,
    /// Taken from the tray and not written yet, last one first.
    batch: Vec<Bytes>,
    /// Whom the last message went to: most clients write to one other.
    known: Option<(Bytes, Arc<Tray>)>,
    envelopes: u64,
}

impl Session {
    /// Reads what is there, writes what waits. Ready when the client is gone.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.tray.waker.register(cx.waker());
        let over = self.read(cx).and_then(|()| self.write(cx));
        match over {
            Ok(()) => Poll::Pending,
            Err(Gone) => Poll::Ready(()),
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), Gone> {
        while let Poll::Ready(message) = Pin::new(&mut self.web).poll_next(cx) {
            match message.ok_or(Gone)?? {
                Message::Binary(frame) => self.take(frame)?,
                Message::Close(_) => return Err(Gone),
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, mut frame: Bytes) -> Result<(), Gone> {
        match self.speech {
            Speech::Bare => {
                let length = usize::from(*frame.first().ok_or(Gone)?);
                if frame.len() < 1 + length {
                    return Err(Gone);
                }
                frame.advance(1);
                let name = frame.split_to(length);
                self.forward(&name, frame);
            }
            Speech::Frames => match frames::read(&frame, &mut self.envelopes).ok_or(Gone)? {
                Asked::Nothing => {}
                Asked::Send { letters, ok } => {
                    for (name, letter) in letters {
                        self.forward(&name, letter);
                    }
                    self.tray.put(ok);
                }
            },
        }
        Ok(())
    }

    fn forward(&mut self, name: &[u8], frame: Bytes) {
        match &self.known {
            Some((known, tray)) if known == name && !tray.is_left.load(Ordering::Relaxed) => tray.put(frame),
            _ => {
                let found = self.names.0.read().get(name).map(Arc::clone);
                if let Some(tray) = &found {
                    tray.put(frame);
                }
                // A copy: a slice would keep the whole read buffer.
                self.known = found.map(|tray| (Bytes::copy_from_slice(name), tray));
            }
        }
    }

    /// Writes all that waits with one flush.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Gone> {
        loop {
            if self.batch.is_empty() {
                let mut frames = self.tray.frames.lock();
                if frames.len() > TRAY_FRAMES {
                    return Err(Gone);
                }
                std::mem::swap(&mut *frames, &mut self.batch);
                drop(frames);
                self.batch.reverse();
            }
            while let Some(frame) = self.batch.pop() {
                match Pin::new(&mut self.web).poll_ready(cx)? {
                    Poll::Ready(()) => Pin::new(&mut self.web).start_send(Message::Binary(frame))?,
                    Poll::Pending => {
                        self.batch.push(frame);
                        return Ok(());
                    }
                }
            }
            if Pin::new(&mut self.web).poll_flush(cx)?.is_pending() || self.tray.frames.lock().is_empty() {
                return Ok(());
            }
        }
    }
}

/// The client is gone, or is to go.
struct Gone;

impl From<Error> for Gone {
    fn from(_: Error) -> Self {
        Self
    }
}

const READ_BUFFER_BYTES: usize = 4 * 1024;
const WRITE_BUFFER_BYTES: usize = 64 * 1024;
/// Until the system may have a descriptor again.
const PAUSE: Duration = Duration::from_millis(10);
/// Frames that wait for a client at most.
const TRAY_FRAMES: usize = 64 * 1024;
