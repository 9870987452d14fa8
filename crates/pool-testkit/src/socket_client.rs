//! A client of the Responses socket, for tests: sends turns, shows what comes.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::request::{CLIENT_ACCOUNT, CREDENTIAL};

/// An open socket.
#[derive(Debug)]
pub struct SocketClient {
    socket: WebSocketStream<TcpStream>,
    /// Headers of the 101.
    pub headers: HeaderMap,
    /// The longest silence.
    pub patience: Duration,
}

/// What came next.
#[derive(Clone, Debug, PartialEq)]
pub enum Came {
    Event(Value),
    /// A proper close, with its code.
    Closed(Option<u16>),
    /// The connection ended without one.
    Broke(String),
    /// Nothing for as long as the patience lasts.
    Silence,
}

/// A handshake that was not granted.
#[derive(Clone, Debug, PartialEq)]
pub struct NotGranted {
    /// 0: there was no proper answer.
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl SocketClient {
    /// Shakes hands as Codex CLI does, offering what it offers.
    pub async fn connect(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Self, NotGranted> {
        let none = |_| NotGranted { status: 0, headers: HeaderMap::new(), body: Value::Null };
        let request = Request::get(format!("ws://{addr}{path}"))
            .header("host", addr.to_string())
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", generate_key())
            .header("sec-websocket-extensions", "permessage-deflate; client_max_window_bits");
        let mut request = request.body(()).map_err(|error| none(error.to_string()))?;
        for (name, value) in headers {
            // In place of what stands there: a test may want it wrong.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(*name), HeaderValue::try_from(*value)) {
                request.headers_mut().insert(name, value);
            }
        }
        let stream = TcpStream::connect(addr).await.map_err(|error| none(error.to_string()))?;
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, response)) => {
                Ok(Self { socket, headers: response.headers().clone(), patience: Duration::from_secs(10) })
            }
            Err(Error::Http(response)) => {
                let (head, body) = response.into_parts();
                let body = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
                Err(NotGranted { status: head.status.as_u16(), headers: head.headers, body })
            }
            Err(error) => Err(none(error.to_string())),
        }
    }

    /// The same with Codex CLI's headers for one conversation.
    pub async fn codex(addr: SocketAddr, conversation: &str) -> Result<Self, NotGranted> {
        let bearer = format!("Bearer {CREDENTIAL}");
        let headers = [
            ("authorization", &*bearer),
            ("chatgpt-account-id", CLIENT_ACCOUNT),
            ("user-agent", "codex_exec/0.169.0 (Debian 12.0.0; x86_64) xterm (codex_exec; 0.169.0)"),
            ("originator", "codex_exec"),
            ("openai-beta", "responses_websockets=2026-02-06"),
            ("session-id", conversation),
            ("thread-id", conversation),
        ];
        Self::connect(addr, "/v1/responses", &headers).await
    }

    pub async fn send(&mut self, message: Value) {
        // A peer that has gone shows in what comes next.
        let _ = self.socket.send(Message::text(message.to_string())).await;
    }

    pub async fn send_raw(&mut self, message: Message) {
        let _ = self.socket.send(message).await;
    }

    pub async fn next(&mut self) -> Came {
        loop {
            match tokio::time::timeout(self.patience, self.socket.next()).await {
                Err(_) => return Came::Silence,
                Ok(None) => return Came::Broke("the end".into()),
                Ok(Some(Err(error))) => return Came::Broke(error.to_string()),
                Ok(Some(Ok(Message::Text(text)))) => {
                    return Came::Event(serde_json::from_str(&text).unwrap_or_else(|_| text.as_str().into()));
                }
                Ok(Some(Ok(Message::Close(frame)))) => return Came::Closed(frame.map(|frame| frame.code.into())),
                Ok(Some(Ok(_))) => {}
            }
        }
    }

    /// Everything up to the end of a turn: its last event, an error, or the end of the connection.
    pub async fn turn(&mut self, message: Value) -> Vec<Came> {
        self.send(message).await;
        let mut all = Vec::new();
        loop {
            let came = self.next().await;
            let over = match &came {
                Came::Event(event) => {
                    let kind = event["type"].as_str().unwrap_or_default();
                    ["response.completed", "response.failed", "response.incomplete", "error"].contains(&kind)
                }
                _ => true,
            };
            all.push(came);
            if over {
                return all;
            }
        }
    }

    pub async fn close(mut self) {
        let _ = self.socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })).await;
    }
}

/// A turn as Codex CLI asks for it: all of the conversation, or what is new after `previous`.
pub fn create(conversation: &str, previous: Option<&str>, says: &str) -> Value {
    let mut message = json!({
        "type": "response.create", "model": "gpt-6.1-sol", "stream": true, "store": false, "instructions": "be brief",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": says}]}],
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": conversation,
        "client_metadata": {"thread_id": conversation, "session_id": conversation},
    });
    if let Some(id) = previous {
        message["previous_response_id"] = id.into();
    }
    message
}

/// The id of a completed turn's response.
pub fn response_id(came: &[Came]) -> Option<String> {
    match came.last()? {
        Came::Event(event) if event["type"] == "response.completed" => {
            Some(event["response"]["id"].as_str()?.to_owned())
        }
        _ => None,
    }
}
