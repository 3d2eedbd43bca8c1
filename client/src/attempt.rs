//! One attempt at a session: token, socket, hello. It ends with a session or with the reason why not.

use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use chatctl_protocol::v1::{self, frame::Body};
use futures_util::{Sink, SinkExt as _, Stream};
use tokio::time::timeout;

use crate::{Options, Socket, SocketError, Token, TokenSource};

/// What an attempt needs, owned, so that it outlives the call that started it.
pub(crate) struct Attempt {
    pub(crate) options: Options,
    pub(crate) source: Arc<dyn TokenSource>,
    /// A token that was not refused yet.
    pub(crate) token: Option<Token>,
    /// The last one that was.
    pub(crate) refused: Option<Token>,
    pub(crate) window: u32,
    pub(crate) mailbox_epoch: u64,
}

/// How an attempt ended.
pub(crate) struct Outcome {
    /// The token that was tried.
    pub(crate) token: Option<Token>,
    pub(crate) result: Result<(Socket, v1::HelloOk), AttemptError>,
}

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum AttemptError {
    /// The source had no token.
    NoToken(Box<dyn Error + Send + Sync>),
    /// The source had only the refused one.
    SameToken,
    /// No relay, or nonsense from it.
    Socket(SocketError),
    /// Not within the time.
    TimedOut,
    /// The relay closed instead of saying hello.
    Closed {
        close: Option<u16>,
        goodbye: Option<v1::Goodbye>,
    },
    /// The relay answered the hello with another frame.
    Unexpected,
}

impl Attempt {
    /// Runs to the end. The app's token source takes the time it needs; the network does not.
    pub(crate) async fn run(self) -> Outcome {
        let token = match self.token.clone() {
            Some(token) => token,
            None => match self.source.token(self.refused.clone()).await {
                Ok(token) => token,
                Err(error) => return Outcome::without_token(AttemptError::NoToken(error)),
            },
        };
        if self.refused.as_ref() == Some(&token) {
            return Outcome::without_token(AttemptError::SameToken);
        }
        let result = timeout(self.options.connect_timeout, self.open(&token)).await;
        Outcome {
            token: Some(token),
            result: result.unwrap_or(Err(AttemptError::TimedOut)),
        }
    }

    async fn open(&self, token: &Token) -> Result<(Socket, v1::HelloOk), AttemptError> {
        let options = &self.options;
        // Base64 and field names make a JSON frame larger than what it carries.
        let most = (options.max_frame_bytes as usize).saturating_mul(2);
        let mut socket = Socket::connect_with(&options.dial, &options.url, options.encoding, most)
            .await
            .map_err(AttemptError::Socket)?;
        let hello = Body::Hello(v1::Hello {
            token: token.secret().to_owned(),
            window: self.window,
            window_bytes: options.window_bytes,
            max_frame: options.max_frame_bytes,
            mode: v1::Mode::from(options.mode).into(),
            last_mailbox_epoch: self.mailbox_epoch,
        });
        // A relay that is full may close before it has read the hello: its reason is worth more
        // than our failure to write.
        let _unwritten = socket.send(hello).await;
        let mut goodbye = None;
        loop {
            match next(&mut socket).await {
                Some(Ok(Body::HelloOk(ok))) => return Ok((socket, ok)),
                Some(Ok(Body::Goodbye(said))) => goodbye = Some(said),
                Some(Ok(_)) => return Err(AttemptError::Unexpected),
                Some(Err(error)) if goodbye.is_none() => return Err(AttemptError::Socket(error)),
                Some(Err(_)) | None => {
                    let close = socket.close_code();
                    return Err(AttemptError::Closed { close, goodbye });
                }
            }
        }
    }
}

impl Outcome {
    const fn without_token(error: AttemptError) -> Self {
        Self {
            token: None,
            result: Err(error),
        }
    }
}

/// An attempt in the making.
pub(crate) type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

async fn next(socket: &mut Socket) -> Option<Result<Body, SocketError>> {
    let mut socket = pin!(socket);
    std::future::poll_fn(|cx| socket.as_mut().poll_next(cx)).await
}

const _: fn() = || {
    fn is_both<T: Stream + Sink<Body>>() {}
    is_both::<Socket>();
};
