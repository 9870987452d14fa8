//! The Responses API over a WebSocket: `response.create` messages in, the stream's events out, one turn at a time.
//!
//! What a connection has answered it remembers, and nothing else does: `previous_response_id` is good on the connection that
//! gave it out only (<https://developers.openai.com/api/docs/guides/websocket-mode>).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::answer::{Answer, Body, Event, Part, Seat};
use crate::books::Violation;
use crate::exchange::{Arrived, Call, Guard, Shared, Verdict, entry};
use crate::faults::Fault;
use crate::{chatgpt, checks, deliver, echo, openai};

/// Messages beyond this are a breach of the protocol.
const LONGEST_MESSAGE: usize = 256 << 20;

/// How many answers a connection remembers.
const REMEMBERED: usize = 64;

/// A handshake that was granted.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) asked: Arrived,
    pub(crate) head: Vec<(String, String)>,
    pub(crate) seat: Seat,
    pub(crate) guard: Guard,
}

pub(crate) fn wants_upgrade(headers: &HeaderMap) -> bool {
    let token = |name: &str, token: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    token("upgrade", "websocket") && token("connection", "upgrade")
}

pub(crate) fn is_asked_for(call: &Call) -> bool {
    wants_upgrade(&call.headers)
}

/// Does the handshake keep to RFC 6455 §4.1, and to what the back end asks of it?
pub(crate) fn sound(call: &Call) -> Result<(), Answer> {
    let refuse = |message: &str| Err(openai::error(400, "invalid_request_error", None, message));
    if call.header("sec-websocket-version") != Some("13") {
        return refuse("Sec-WebSocket-Version must be 13.");
    }
    if call.header("sec-websocket-key").is_none_or(|key| key.len() != 24) {
        return refuse("Sec-WebSocket-Key is missing or not 16 bytes.");
    }
    Ok(())
}

/// Only the cache is to be warmed up.
pub(crate) fn is_prewarm(call: &Call) -> bool {
    call.socket && call.json["generate"] == false
}

/// Speaks on a socket until its end.
pub(crate) async fn play(mut stream: TcpStream, early: &Bytes, opening: Opening, shared: Arc<Shared>) {
    let Opening { asked, head, seat, guard } = opening;
    let key = asked.headers.get("sec-websocket-key").map(HeaderValue::as_bytes).unwrap_or_default();
    let accept = derive_accept_key(key);
    let mut text = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n"
    );
    for (name, value) in head {
        text = text + &name + ": " + &value + "\r\n";
    }
    text.push_str("\r\n");
    if stream.write_all(text.as_bytes()).await.is_err() {
        return;
    }
    guard.played();
    if let Some(how) = seat.echo {
        return echo::play(stream, early, how).await;
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(8 << 10)
        .max_message_size(Some(LONGEST_MESSAGE))
        .max_frame_size(Some(LONGEST_MESSAGE));
    let socket = WebSocketStream::from_partially_read(stream, early.to_vec(), Role::Server, Some(config)).await;
    Session { shared, asked, seat, known: Vec::new() }.run(socket).await;
}

/// One connection and what it remembers.
struct Session {
    shared: Arc<Shared>,
    asked: Arrived,
    seat: Seat,
    /// Ids of its answers, each with the whole conversation up to it.
    known: Vec<(String, Vec<Value>)>,
}

/// What becomes of the connection after a turn.
#[derive(PartialEq, Eq)]
enum Then {
    GoOn,
    End,
}

type Socket = WebSocketStream<TcpStream>;

impl Session {
    async fn run(mut self, mut socket: Socket) {
        let mut hang_up = self.shared.hang_up.subscribe();
        loop {
            let message = tokio::select! {
                message = socket.next() => message,
                _ = hang_up.changed() => {
                    self.close(&mut socket).await;
                    return;
                }
            };
            let Some(Ok(message)) = message else { return };
            if let Message::Text(text) = &message {
                self.note(true, || serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into()));
            }
            let then = match message {
                Message::Text(text) => match serde_json::from_str::<Value>(&text) {
                    Ok(json) if json["type"] == "response.create" => {
                        self.turn(&mut socket, text.into(), json).await.unwrap_or(Then::End)
                    }
                    // Notes of the client's that nobody answers.
                    Ok(json) if json["type"] == "response.processed" => Then::GoOn,
                    _ => self.say(&mut socket, &refusal(&not_understood())).await,
                },
                Message::Binary(_) => self.say(&mut socket, &refusal(&not_understood())).await,
                _ => Then::GoOn,
            };
            if then == Then::End {
                return;
            }
        }
    }

    fn note(&self, from_pool: bool, what: impl FnOnce() -> Value) {
        self.shared.state.lock().note(self.seat.account, from_pool, what);
    }

    async fn send(&self, socket: &mut Socket, event: &Event) -> Result<(), Error> {
        self.note(false, || serde_json::from_slice(&event.data).unwrap_or_else(|_| "not JSON".into()));
        socket.send(frame(event)).await
    }

    async fn say(&self, socket: &mut Socket, message: &Value) -> Then {
        self.note(false, || message.clone());
        if socket.send(Message::text(message.to_string())).await.is_ok() { Then::GoOn } else { Then::End }
    }

    async fn close(&self, socket: &mut Socket) -> Then {
        self.note(false, || "close".into());
        let _ = socket.close(None).await;
        Then::End
    }

    fn reset(&self, socket: &Socket, guard: Guard) -> Result<Then, Error> {
        self.note(false, || "reset".into());
        socket.get_ref().set_zero_linger()?;
        guard.played();
        Ok(Then::End)
    }

    /// One `response.create`.
    async fn turn(&mut self, socket: &mut Socket, body: Bytes, json: Value) -> Result<Then, Error> {
        let arrived = Arrived { body, headers: self.headers(&json), ..self.asked.clone() };
        let (answer, fault, pace, guard) = self.plan(&arrived, json);
        match fault {
            Fault::CloseBeforeHead => {
                guard.played();
                return Ok(self.close(socket).await);
            }
            Fault::Reset => return self.reset(socket, guard),
            Fault::Silent => return Ok(hang(socket).await),
            Fault::SlowHead(time) => tokio::time::sleep(time).await,
            _ => {}
        }
        let Body::Stream(stream) = &answer.body else {
            guard.played();
            return Ok(self.say(socket, &refusal(&answer)).await);
        };
        let opening = answer.opening();
        let sent = match fault {
            Fault::CutFirst => opening.saturating_sub(1),
            Fault::CutMid | Fault::RstMid | Fault::Stall => opening,
            _ => stream.events.len(),
        };
        let Some((last, first)) = stream.events.get(..sent).and_then(<[Event]>::split_last) else {
            return Ok(Then::End);
        };
        for (number, event) in first.iter().enumerate() {
            self.send(socket, event).await?;
            tokio::time::sleep(pace.unwrap_or_default()).await;
            if let Fault::Silence(time) = fault
                && number + 1 == opening
            {
                tokio::time::sleep(time).await;
            }
        }
        if sent == stream.events.len() {
            // Booked before the last bytes are written, so that whoever has read them finds it in the books.
            guard.played();
            self.send(socket, last).await?;
            return Ok(if last.part == Part::Terminal { Then::GoOn } else { self.close(socket).await });
        }
        self.send(socket, last).await?;
        match fault {
            Fault::Stall => Ok(hang(socket).await),
            Fault::RstMid => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.reset(socket, guard)
            }
            _ => {
                self.note(false, || "cut".into());
                guard.played();
                Ok(Then::End)
            }
        }
    }

    /// The handshake's headers, with those that the message brings along for itself.
    fn headers(&self, json: &Value) -> HeaderMap {
        const MARK: &str = "ws_request_header_";
        let mut headers = self.asked.headers.clone();
        for (name, value) in json["client_metadata"].as_object().into_iter().flatten() {
            let name = name.strip_prefix(MARK).map(|name| name.replace('_', "-"));
            if let (Some(Ok(name)), Some(value)) = (name.map(HeaderName::try_from), value.as_str())
                && let Ok(value) = HeaderValue::from_str(value)
            {
                headers.insert(name, value);
            }
        }
        headers
    }

    /// Logs the message and decides on its answer.
    fn plan(&mut self, arrived: &Arrived, mut json: Value) -> (Answer, Fault, Option<Duration>, Guard) {
        let mut state = self.shared.state.lock();
        let id = state.log.push(entry(arrived));
        for what in checks::violations(arrived, &state.world.forbidden) {
            state.violations.push(Violation { request: id, what });
        }
        json["stream"] = true.into();
        let found = self.recall(&mut json);
        let call = Call {
            id,
            method: arrived.method.clone(),
            path: arrived.uri.path().to_owned(),
            query: String::new(),
            headers: arrived.headers.clone(),
            body: arrived.body.clone(),
            json,
            socket: true,
        };
        let Seat { account, chatgpt, .. } = self.seat;
        let verdict = match found {
            Err(missing) => Verdict { inference: true, ..Verdict::plain(missing) }.on(account),
            Ok(()) if chatgpt => chatgpt::respond(&mut state, &call, account),
            Ok(()) => openai::turn(&mut state, &call, account),
        };
        let Verdict { answer, fault, inference, model, conversation, .. } = verdict;
        let answer = deliver::spoil(answer, &fault);
        let whole = fault.keeps_answer_whole();
        if inference {
            state.accounts[account].books.requests += 1;
        }
        let pace = if let Fault::Paced(time) = fault { Some(time) } else { state.style.pace };
        let mut guard = Guard::new(&self.shared, id, Instant::now());
        guard.credit = answer.credit.filter(|_| whole);
        guard.model = model.clone().unwrap_or_default();
        guard.whole = whole || matches!(answer.body, Body::Plain(_));
        let name = state.accounts[account].spec.name.clone();
        if let Some(entry) = state.log.get(id) {
            entry.account = Some(name);
            entry.inference = inference;
            entry.model = model;
            entry.conversation = conversation;
            entry.status = Some(answer.status);
            entry.fault = (fault != Fault::Fine).then(|| fault.name());
            entry.tokens = guard.credit.map(|credit| credit.tokens);
        }
        drop(state);
        self.remember(&call, &answer);
        (answer, fault, pace, guard)
    }

    /// Puts the conversation before `previous_response_id` in front of what is new.
    fn recall(&self, json: &mut Value) -> Result<(), Answer> {
        let Some(id) = json["previous_response_id"].as_str() else { return Ok(()) };
        let Some((_, before)) = self.known.iter().find(|(known, _)| known == id) else {
            let message = format!("Previous response with id '{id}' not found.");
            return Err(openai::error(400, "invalid_request_error", Some("previous_response_not_found"), &message));
        };
        let mut whole = before.clone();
        whole.extend(json["input"].as_array().into_iter().flatten().cloned());
        json["input"] = whole.into();
        Ok(())
    }

    fn remember(&mut self, call: &Call, answer: &Answer) {
        let Body::Stream(stream) = &answer.body else { return };
        let Some(last) = stream.events.last().and_then(|event| serde_json::from_slice::<Value>(&event.data).ok())
        else {
            return;
        };
        if let (Some(id), "response.completed") = (last["response"]["id"].as_str(), last["type"].as_str().unwrap_or(""))
        {
            let items = [&call.json["input"], &last["response"]["output"]];
            let whole = items.into_iter().filter_map(Value::as_array).flatten().cloned().collect();
            self.known.push((id.to_owned(), whole));
            if self.known.len() > REMEMBERED {
                self.known.remove(0);
            }
        }
    }
}

fn frame(event: &Event) -> Message {
    match String::from_utf8(event.data.to_vec()) {
        Ok(text) => Message::text(text),
        Err(odd) => Message::text(String::from_utf8_lossy(odd.as_bytes()).into_owned()),
    }
}

/// A refusal as a message: the reply's status, error and headers.
fn refusal(answer: &Answer) -> Value {
    let body: Value = match &answer.body {
        Body::Plain(body) => serde_json::from_slice(body).unwrap_or_default(),
        _ => Value::Null,
    };
    let error = match (&body["error"], &body["detail"]) {
        (Value::Null, Value::String(message)) => json!({ "type": "invalid_request_error", "message": message }),
        (Value::Null, detail) => detail.clone(),
        (error, _) => error.clone(),
    };
    let headers: serde_json::Map<String, Value> =
        answer.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    json!({ "type": "error", "status": answer.status, "error": error, "headers": headers })
}

fn not_understood() -> Answer {
    openai::error(400, "invalid_request_error", Some("invalid_message"), "The message was not understood.")
}

/// Says nothing more, until the peer leaves.
async fn hang(socket: &mut Socket) -> Then {
    while let Some(Ok(_)) = socket.next().await {}
    Then::End
}
