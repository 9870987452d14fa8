//! One side of a socket: a framed stream that knows whether the other end is still there.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

/// How long saying goodbye may take.
pub const GOODBYE: Duration = Duration::from_secs(1);

/// Pings without an answer after which a side is gone.
const PATIENCE: u32 = 4;

/// Read at a time: an idle socket costs two of these.
const READ_BUFFER: usize = 8 << 10;

/// See the module's page.
#[derive(Debug)]
pub struct Link {
    stream: WebSocketStream<TokioIo<Upgraded>>,
    /// Pings since it last said anything at all.
    pings: u32,
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

impl Link {
    pub async fn new(upgraded: Upgraded, role: Role, message_cap: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(message_cap))
            .max_frame_size(Some(message_cap));
        let stream = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), role, Some(config)).await;
        Self { stream, pings: 0 }
    }

    /// The next message. Pings are answered on the way. May be dropped and called again at any time.
    pub async fn next(&mut self) -> Came {
        loop {
            let next = self.stream.next().await;
            self.pings = 0;
            match next {
                Some(Ok(Message::Text(text))) => return Came::Text(text),
                Some(Ok(Message::Binary(bytes))) => return Came::Binary(bytes),
                Some(Ok(Message::Close(frame))) => {
                    return Came::Over(Over::Closed(frame.map(|frame| frame.code.into())));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Came::Over(over(&error)),
                None => return Came::Over(Over::Broke("the connection ended".into())),
            }
        }
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
        let goodbye = async {
            if self.stream.close(Some(frame)).await.is_ok() {
                // Dropped with bytes unread, the connection would be reset and the goodbye lost.
                while let Some(Ok(_)) = self.stream.next().await {}
            }
        };
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
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
