//! One side of a socket: a framed stream that knows whether the other end is still there.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::config::Config;

/// How long saying goodbye may take.
pub const GOODBYE: Duration = Duration::from_secs(1);

/// How long a side that broke the rules may go on sending before it is cut off: until then it can still read why.
const LINGER: Duration = Duration::from_secs(5);

/// Pings without an answer after which a side is gone.
const PATIENCE: u32 = 4;

/// Read at a time: an idle socket costs two of these.
const READ_BUFFER: usize = 4 << 10;

/// See the module's page.
#[derive(Debug)]
pub struct Link {
    stream: WebSocketStream<Wire>,
    /// Pings since it last said anything at all.
    pings: u32,
    /// How long a message may stay half said.
    patience: Duration,
    stall: Option<Pin<Box<Sleep>>>,
    /// It was not understood any more: what else it sends is no WebSocket to us.
    garbled: bool,
}

/// What a side said.
#[derive(Debug)]
pub enum Came {
    Text(Utf8Bytes),
    Binary(Bytes),
    /// It is over: by a proper close (with its code, if it named one), or broken off.
    Over(Over),
}

/// How a side ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Over {
    /// With its code, if it named one.
    #[error("closed ({0:?})")]
    Closed(Option<u16>),
    /// The connection ended without a word.
    #[error("{0}")]
    Broke(String),
    /// It broke the rules of the protocol or of its size: the code that says so.
    #[error("{1} ({0})")]
    Breach(u16, String),
}

/// The rest of a message does not come.
struct Stalled;

impl Link {
    /// `role`: ours on it.
    pub async fn new(upgraded: Upgraded, role: Role, config: &Config) -> Self {
        let patience = match role {
            Role::Server => config.timeouts.body_progress,
            Role::Client => config.timeouts.upstream_idle,
        };
        let limits = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(config.socket_message_cap))
            .max_frame_size(Some(config.socket_message_cap));
        let wire = Wire { io: TokioIo::new(upgraded), heard: None };
        let stream = WebSocketStream::from_raw_socket(wire, role, Some(limits)).await;
        Self { stream, pings: 0, patience, stall: None, garbled: false }
    }

    /// The next message. Pings are answered on the way. May be dropped and called again at any time.
    pub async fn next(&mut self) -> Came {
        loop {
            let next = poll_fn(|cx| self.poll_next(cx)).await;
            self.pings = 0;
            let Ok(next) = next else { return Came::Over(Over::Breach(1008, "it left a message half said".into())) };
            match next {
                Some(Ok(Message::Text(text))) => return Came::Text(text),
                Some(Ok(Message::Binary(bytes))) => return Came::Binary(bytes),
                Some(Ok(Message::Close(frame))) => {
                    return Came::Over(Over::Closed(frame.map(|frame| frame.code.into())));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => {
                    self.garbled = true;
                    return Came::Over(over(&error));
                }
                None => return Came::Over(Over::Broke("the connection ended".into())),
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Result<Message, Error>>, Stalled>> {
        if let Poll::Ready(next) = self.stream.poll_next_unpin(cx) {
            self.stream.get_mut().heard = None;
            return Poll::Ready(Ok(next));
        }
        let Some(heard) = self.stream.get_ref().heard else { return Poll::Pending };
        let due = heard + self.patience;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if stall.deadline() != due {
            stall.as_mut().reset(due);
        }
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(Stalled))
    }

    /// Sends, and waits until the other side's buffers have taken it.
    pub async fn send(&mut self, message: Message) -> Result<(), Over> {
        self.stream.send(message).await.map_err(|error| over(&error))
    }

    /// Asks for a sign of life, or finds that too many of these were not answered.
    pub async fn ping(&mut self) -> Result<(), Over> {
        if self.pings >= PATIENCE {
            return Err(Over::Broke("it answers no pings".into()));
        }
        self.pings += 1;
        self.send(Message::Ping(Bytes::new())).await
    }

    /// Says goodbye, and waits a moment for the other side's. Never fails: it is the end either way.
    pub async fn close(mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: Utf8Bytes::from_static(reason) };
        // Dropped with bytes unread, the connection would be reset and the goodbye lost.
        let (garbled, patience) = (self.garbled, if self.garbled { LINGER } else { GOODBYE });
        let goodbye = async {
            // An error where the other side has said goodbye first: then what follows sends the answer to that.
            let _ = self.stream.close(Some(frame)).await;
            if garbled {
                let wire = self.stream.get_mut();
                let mut unread = vec![0; READ_BUFFER];
                let _ = wire.shutdown().await;
                while matches!(wire.read(&mut unread).await, Ok(1..)) {}
            }
            while let Some(Ok(_)) = self.stream.next().await {}
        };
        let _ = tokio::time::timeout(patience, goodbye).await;
    }
}

fn over(error: &Error) -> Over {
    match error {
        Error::Capacity(_) => Over::Breach(1009, error.to_string()),
        Error::Utf8(_) => Over::Breach(1007, error.to_string()),
        Error::Protocol(tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            Over::Broke(error.to_string())
        }
        Error::Protocol(_) => Over::Breach(1002, error.to_string()),
        Error::ConnectionClosed | Error::AlreadyClosed => Over::Closed(None),
        _ => Over::Broke(error.to_string()),
    }
}

/// The connection under the frames, with the time of the last bytes since the last whole frame that mattered: as long as
/// there is one, something is half said.
#[derive(Debug)]
struct Wire {
    io: TokioIo<Upgraded>,
    heard: Option<Instant>,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.heard = Some(Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
