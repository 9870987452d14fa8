//! Sockets on which what is said comes back, in place of the realtime services: tests compare what they sent.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::answer::{Answer, Echo, Seat};
use crate::exchange::Call;

/// What comes first on a socket that speaks in messages.
const GREETING: &str = "{\"type\":\"session.created\",\"session\":{\"object\":\"realtime.session\"}}";

/// With `model=raw` in the query it is bytes that come back.
pub(crate) fn granted(call: &Call, index: usize) -> Answer {
    let echo = if call.query.contains("model=raw") { Echo::Bytes } else { Echo::Messages };
    let answer = Answer::socket(Seat { account: index, chatgpt: false, echo: Some(echo) });
    let asked = call.headers.get_all("sec-websocket-protocol").iter().filter_map(|value| value.to_str().ok());
    let first = asked.flat_map(|value| value.split(',')).map(str::trim).find(|name| !name.is_empty());
    match first {
        Some(first) => answer.header("sec-websocket-protocol", first),
        None => answer,
    }
}

/// Speaks until the peer leaves.
pub(crate) async fn play(mut stream: TcpStream, early: &Bytes, echo: Echo) {
    if echo == Echo::Messages {
        let socket = WebSocketStream::from_partially_read(stream, early.to_vec(), Role::Server, None).await;
        return messages(socket).await;
    }
    let mut buffer = vec![0; 16 << 10];
    if stream.write_all(early).await.is_err() {
        return;
    }
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn messages(mut socket: WebSocketStream<TcpStream>) {
    if socket.send(Message::text(GREETING)).await.is_err() {
        return;
    }
    while let Some(Ok(message)) = socket.next().await {
        let echoed = match message {
            message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message).await,
            // Answered by the library.
            _ => Ok(()),
        };
        if echoed.is_err() {
            return;
        }
    }
}
