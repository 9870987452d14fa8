//! An answer as a provider means it, before any fault has touched it.

use bytes::Bytes;
use serde_json::Value;

use crate::books::TokenCounts;
use crate::sse::{self, Dress};

/// What is sent and whom it is charged to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
    pub(crate) credit: Option<Credit>,
}

/// Booked when the answer has gone out whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit {
    pub(crate) account: usize,
    pub(crate) tokens: TokenCounts,
}

#[derive(Debug)]
pub(crate) enum Body {
    Plain(Bytes),
    Stream(Stream),
    /// The upgrade to a WebSocket is granted.
    Socket(Seat),
}

/// Who speaks on a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    pub(crate) account: usize,
    /// The ChatGPT back end, not the public API.
    pub(crate) chatgpt: bool,
    /// Nobody: what is said comes back.
    pub(crate) echo: Option<Echo>,
}

/// How what is said comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    /// Message by message, after a greeting.
    Messages,
    /// Byte by byte: no WebSocket at all.
    Bytes,
}

/// A `text/event-stream`.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) events: Vec<Event>,
    /// What this provider says when it breaks down in mid-stream.
    pub(crate) error: Event,
    /// Google ends lines with CRLF.
    pub(crate) crlf: bool,
}

impl Stream {
    pub(crate) fn new(events: Vec<Event>, error: Event) -> Self {
        Self { events, error, crlf: false }
    }
}

/// One event and its part in the answer.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) name: Option<&'static str>,
    pub(crate) data: Bytes,
    pub(crate) part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Nothing that the client could act on.
    Preamble,
    Content,
    /// Without it the answer is not complete.
    Terminal,
}

impl Event {
    /// Named after its `type`, as OpenAI and Anthropic do it.
    pub(crate) fn typed(kind: &'static str, part: Part, mut data: Value) -> Self {
        let mut object = serde_json::Map::new();
        object.insert("type".into(), kind.into());
        if let Some(fields) = data.as_object_mut() {
            object.append(fields);
        }
        Self { name: Some(kind), data: Value::Object(object).to_string().into(), part }
    }

    /// Data alone, as Google and the chat completions do it.
    pub(crate) fn bare(part: Part, data: &Value) -> Self {
        Self { name: None, data: data.to_string().into(), part }
    }

    pub(crate) fn text(&self, dress: Dress) -> Bytes {
        sse::write(self.name, &self.data, dress)
    }
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            body: Body::Plain(body.to_string().into()),
            credit: None,
        }
    }

    pub(crate) fn text(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), content_type.into())],
            body: Body::Plain(body.into()),
            credit: None,
        }
    }

    pub(crate) fn stream(stream: Stream) -> Self {
        Self {
            status: 200,
            headers: vec![
                ("content-type".into(), "text/event-stream; charset=utf-8".into()),
                ("cache-control".into(), "no-cache".into()),
            ],
            body: Body::Stream(stream),
            credit: None,
        }
    }

    pub(crate) fn socket(seat: Seat) -> Self {
        Self { status: 101, headers: Vec::new(), body: Body::Socket(seat), credit: None }
    }

    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub(crate) fn headers(mut self, more: impl IntoIterator<Item = (String, String)>) -> Self {
        self.headers.extend(more);
        self
    }

    #[must_use]
    pub(crate) fn credit(mut self, account: usize, tokens: TokenCounts) -> Self {
        self.credit = Some(Credit { account, tokens });
        self
    }

    /// The undisturbed bytes, a frame for each event.
    pub(crate) fn frames(&self, dress: Dress) -> Vec<Bytes> {
        match &self.body {
            Body::Plain(body) => vec![body.clone()],
            Body::Socket(_) => Vec::new(),
            Body::Stream(stream) => {
                let dress = if stream.crlf && dress == Dress::Plain { Dress::Crlf } else { dress };
                stream.events.iter().map(|event| event.text(dress)).collect()
            }
        }
    }

    /// How many frames make the beginning that a client already acts on: all of the preamble and the first content.
    pub(crate) fn opening(&self) -> usize {
        match &self.body {
            Body::Plain(_) | Body::Socket(_) => 0,
            Body::Stream(stream) => {
                let first = stream.events.iter().position(|event| event.part != Part::Preamble);
                first.map_or(stream.events.len(), |at| at + 1)
            }
        }
    }
}
