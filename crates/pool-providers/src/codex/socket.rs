//! The Responses API over a WebSocket, turn by turn.
//!
//! The client's `response.create` is the body of the HTTP request with a type; the answer's events come as messages. With
//! `previous_response_id` a turn builds on an answer that only the same connection remembers; told `previous_response_not_found`,
//! Codex connects anew and sends everything (`codex-rs/codex-api/src/endpoint/responses_websocket.rs`,
//! <https://developers.openai.com/api/docs/guides/websocket-mode>). Errors come as
//! `{"type":"error","status":429,"error":{…},"headers":{…}}`, an HTTP reply folded into a message.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pool_core::scan::json::{Paths, find};
use pool_core::standing::Standing;
use pool_core::{Account, AccountKind, Demand, TokenCounts, UnixMs};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::events::Messages;
use super::routes::about;
use super::{errors, quota, standing};
use crate::reply::{Reply, Stage};
use crate::routes::Route;
use crate::socket::{Asked, Fate, Heard, SocketTurns};

/// What begins a turn.
const CREATE: &str = "response.create";

/// Ends a connection after 60 minutes, in the middle of a turn if it must be.
const EXPIRED: &str = "websocket_connection_limit_reached";

/// Errors longer than this are not read.
const LONGEST_ERROR: usize = 64 << 10;

static TYPE: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["type"]));

pub(super) fn turns(route: &Route) -> Option<Box<dyn SocketTurns>> {
    (about(route) == "responses socket").then(|| Box::new(Turns { turn: None }) as Box<dyn SocketTurns>)
}

/// See the module's page.
struct Turns {
    turn: Option<Turn>,
}

/// A turn under way, or the last one.
struct Turn {
    kind: AccountKind,
    model: Option<String>,
    messages: Messages,
}

/// An error message's own fields; `error` is read by [`errors`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Folded {
    status: Option<Value>,
    status_code: Option<Value>,
    headers: Option<Map<String, Value>>,
    error: Option<Value>,
}

impl Folded {
    fn read(message: &[u8]) -> Self {
        if message.len() > LONGEST_ERROR {
            return Self::default();
        }
        serde_json::from_slice(message).unwrap_or_default()
    }

    fn is_expired(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error["code"] == EXPIRED)
    }

    fn status(&self) -> Option<StatusCode> {
        let told = self.status.as_ref().or(self.status_code.as_ref())?.as_u64()?;
        StatusCode::from_u16(u16::try_from(told).ok()?).ok().filter(|status| status.as_u16() >= 400)
    }

    fn headers(&self) -> HeaderMap {
        let told = self.headers.iter().flatten();
        told.filter_map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(text).ok()?))
        })
        .collect()
    }
}

impl Turn {
    fn hear(&mut self, message: &[u8], now: UnixMs) -> Heard {
        let Self { kind, model, messages } = self;
        let (mut status, mut windows, mut expired) = (None, Vec::new(), false);
        let (news, limits) = messages.read(message, now, || {
            let folded = Folded::read(message);
            expired = folded.is_expired();
            let (told, headers) = (folded.status()?, folded.headers());
            status = Some(told.as_u16());
            windows = quota::from_headers(&headers, model.as_deref(), now);
            let asked = errors::Asked { kind: Some(*kind), model: model.as_deref(), now };
            Some(errors::judge(asked, told, &headers, message))
        });
        windows.extend(news.windows);
        let fate = match messages.stage() {
            _ if limits => Fate::Limits,
            _ if expired => Fate::Expired,
            Stage::Preamble => Fate::Hold,
            Stage::Meaningful | Stage::Ended => Fate::Show,
        };
        Heard { fate, windows, failure: news.failure, status }
    }
}

impl SocketTurns for Turns {
    fn asked(&self, message: &[u8]) -> Asked {
        match find(message, &TYPE).string(0) {
            Some(kind) if kind == CREATE => Asked::Turn,
            _ => Asked::Aside,
        }
    }

    fn begin(&mut self, account: &Account, demand: &Demand, now: UnixMs) {
        let messages = Messages::new(demand.model.clone(), now);
        self.turn = Some(Turn { kind: account.kind, model: demand.model.clone(), messages });
    }

    fn end(&mut self) {
        self.turn = None;
    }

    fn hear(&mut self, message: &[u8], now: UnixMs) -> Heard {
        match &mut self.turn {
            Some(turn) if turn.messages.stage() != Stage::Ended => turn.hear(message, now),
            // Between turns nothing is counted any more, but limits may still be told.
            _ => {
                let mut expired = false;
                let (news, limits) = Messages::new(None, now).read(message, now, || {
                    expired = Folded::read(message).is_expired();
                    None
                });
                let fate = match () {
                    () if limits => Fate::Limits,
                    () if expired => Fate::Expired,
                    () => Fate::Show,
                };
                Heard { fate, windows: news.windows, failure: None, status: None }
            }
        }
    }

    fn stage(&self) -> Stage {
        self.turn.as_ref().map_or(Stage::Ended, |turn| turn.messages.stage())
    }

    fn usage(&self) -> Option<TokenCounts> {
        self.turn.as_ref()?.messages.usage()
    }

    fn model(&self) -> Option<&str> {
        self.turn.as_ref()?.messages.model()
    }

    fn start_over(&self) -> Bytes {
        let error = json!({
            "type": "invalid_request_error",
            "code": "previous_response_not_found",
            "message": "The conversation goes on at another account of the pool, which needs all of it.",
            "param": "previous_response_id",
        });
        Bytes::from(json!({ "type": "error", "status": 400, "error": error }).to_string())
    }

    fn refuse(&self, reply: &Reply) -> Bytes {
        let mut body = serde_json::from_slice::<Value>(&reply.body).unwrap_or_default();
        let headers: Map<String, Value> = reply
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.into())))
            .collect();
        let event = json!({
            "type": "error", "status": reply.status.as_u16(), "error": body["error"].take(), "headers": headers,
        });
        Bytes::from(event.to_string())
    }

    /// Codex waits up to 300 s for a message of any type, and passes over those that it does not know
    /// (`codex-rs/codex-api/src/endpoint/responses_websocket.rs`, `run_websocket_response_stream`).
    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(br#"{"type":"keepalive"}"#)
    }

    fn limits(&self, standing: &Standing, now: UnixMs) -> Option<Bytes> {
        standing::event(standing, now).map(|event| Bytes::from(event.to_string()))
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
