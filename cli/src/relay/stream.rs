//! A long answer of a relay, read piece by piece while it comes.
//!
//! Must not know what is in it.

use std::future::Future;
use std::io;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// A long answer on its way. Dropping it hangs up.
pub(crate) struct Stream {
    pub(super) response: Response<Incoming>,
    /// As long as it is kept, the connection is wanted.
    _sender: SendRequest<Full<Bytes>>,
    connection: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Stream {
    /// How long it will be, if the relay says.
    pub(crate) fn length(&self) -> Option<u64> {
        let length = self.response.headers().get(header::CONTENT_LENGTH)?;
        length.to_str().ok()?.parse().ok()
    }

    /// The next piece; nothing at the end.
    ///
    /// # Errors
    ///
    /// When the relay breaks off.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let body = self.response.body_mut();
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                // The relay has closed behind its last piece, which is here.
                () = &mut self.connection => {
                    self.connection = Box::pin(std::future::pending());
                    continue;
                }
            };
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(piece) = frame.map_err(io::Error::other)?.into_data() {
                return Ok(Some(piece));
            }
        }
    }
}

/// Sends a request over a connection of its own, and reads how the answer begins.
pub(super) async fn begin(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> io::Result<Stream> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let mut connection: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        // What went wrong is seen in the body.
        let _ = connection.await;
    });
    let response = {
        let mut answered = std::pin::pin!(sender.send_request(request));
        tokio::select! {
            biased;
            answered = &mut answered => answered,
            () = &mut connection => {
                connection = Box::pin(std::future::pending());
                answered.await
            }
        }
    };
    Ok(Stream {
        response: response.map_err(io::Error::other)?,
        _sender: sender,
        connection,
    })
}
