//! What can go wrong on command, and how an answer is made to go wrong.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::answer::{Answer, Body, Event, Part, Stream};
use crate::script::{self, Step};
use crate::sse::Dress;

/// A way to misbehave.
///
/// The first group answers for the account: the provider's own refusal. The second breaks the transport. The third is
/// odd but proper, and a client must get its answer all the same.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// None: an untroubled turn in a plan.
    Fine,

    /// The plan's quota is used up (429); the windows are filled, so that every reply says the same.
    Limit,
    /// A short throttle (429) that says nothing of quotas.
    Throttle {
        retry_after: u64,
    },
    /// 401: the access token has ended.
    Expired,
    /// 401: the access token was taken back.
    Revoked,
    /// 402: workspace deactivated, billing stopped.
    Unpaid,
    /// 403: the account may not.
    Forbidden,
    /// 403 with a CDN's HTML page.
    CdnHtml,
    /// The prepaid credit is used up (400 of Anthropic, 429 `insufficient_quota` of OpenAI).
    CreditTooLow,
    /// This plan does not have the model.
    ModelNotSupported,
    /// The request is to blame, on every account: 400 of the provider's kind.
    BadRequest,
    /// 413, 422, or whatever else, with a plain error body.
    Status(u16),
    /// 500.
    ServerError,
    /// The model has no capacity: 503 or 529, in the provider's words.
    Overloaded,
    /// 200, and overload as the first thing after the preamble.
    OverloadFirst,
    /// 200, and overload after the first content.
    ErrMid,
    /// A redirect to another place on this server.
    Redirect,

    /// Closes instead of answering.
    CloseBeforeHead,
    /// Resets instead of answering.
    Reset,
    /// Something that is not HTTP.
    Garbage,
    /// Two different values of `content-length`.
    DuplicateContentLength,
    /// Never answers.
    Silent,
    /// Head, then the end.
    CutFirst,
    /// Head and first content, then the end.
    CutMid,
    /// Head and first content, then a reset.
    RstMid,
    /// Head and first content, then silence.
    Stall,
    /// Head and first content, then something that is no chunk.
    BadChunk,
    /// A gzip body that breaks off, in proper framing.
    ShortGzip,
    /// `content-length` promises more than comes.
    LongContentLength,
    /// A clean end without the terminal event.
    NoTerminal,
    /// One line that does not end, of so many MiB, then the end.
    EndlessLine {
        mib: u64,
    },

    /// The head comes late.
    SlowHead(Duration),
    /// Events come apart.
    Paced(Duration),
    /// HTTP/1.0: no chunks, the end of the connection ends the body.
    Http10,
    Trailers,
    ChunkExtensions,
    /// An interim 103 before the answer.
    EarlyHints,
    /// The terminal event (or the JSON answer) is so large; usage stands at its end.
    HugeEvent {
        mib: u64,
    },
    /// The same, compressed to next to nothing.
    GzipBomb {
        mib: u64,
    },
    /// An unknown event with bytes that are not UTF-8.
    InvalidUtf8,
    /// An event that is no JSON, and one of an unknown type.
    Malformed,
    /// An unknown event, nested 100,000 deep.
    DeepJson,
    /// ChatGPT only: an early `codex.rate_limits` event says that the limit is reached; the answer is good all the same.
    LimitEvent,
    Crlf,
    Comments,
    MultiData,
    /// One byte a chunk.
    Tiny,
    /// Headers that tell who the account is.
    LeakyHeaders,
    /// Token counts beyond all reason.
    AbsurdUsage,
}

const MINUTE: Duration = Duration::from_mins(1);

impl Fault {
    /// Every fault once, with its name as commands and the log use it.
    pub fn all() -> Vec<(&'static str, Self)> {
        vec![
            ("fine", Self::Fine),
            ("limit", Self::Limit),
            ("throttle", Self::Throttle { retry_after: 1 }),
            ("expired", Self::Expired),
            ("revoked", Self::Revoked),
            ("unpaid", Self::Unpaid),
            ("forbidden", Self::Forbidden),
            ("cdn_html", Self::CdnHtml),
            ("credit_too_low", Self::CreditTooLow),
            ("model_not_supported", Self::ModelNotSupported),
            ("bad_request", Self::BadRequest),
            ("status", Self::Status(422)),
            ("server_error", Self::ServerError),
            ("overloaded", Self::Overloaded),
            ("overload_first", Self::OverloadFirst),
            ("err_mid", Self::ErrMid),
            ("redirect", Self::Redirect),
            ("close", Self::CloseBeforeHead),
            ("reset", Self::Reset),
            ("garbage", Self::Garbage),
            ("duplicate_content_length", Self::DuplicateContentLength),
            ("silent", Self::Silent),
            ("cut_first", Self::CutFirst),
            ("cut_mid", Self::CutMid),
            ("rst_mid", Self::RstMid),
            ("stall", Self::Stall),
            ("bad_chunk", Self::BadChunk),
            ("short_gzip", Self::ShortGzip),
            ("long_content_length", Self::LongContentLength),
            ("no_terminal", Self::NoTerminal),
            ("endless_line", Self::EndlessLine { mib: 64 }),
            ("slow_head", Self::SlowHead(Duration::from_secs(5))),
            ("paced", Self::Paced(Duration::from_millis(50))),
            ("http10", Self::Http10),
            ("trailers", Self::Trailers),
            ("chunk_extensions", Self::ChunkExtensions),
            ("early_hints", Self::EarlyHints),
            ("huge_event", Self::HugeEvent { mib: 64 }),
            ("gzip_bomb", Self::GzipBomb { mib: 256 }),
            ("invalid_utf8", Self::InvalidUtf8),
            ("malformed", Self::Malformed),
            ("deep_json", Self::DeepJson),
            ("limit_event", Self::LimitEvent),
            ("crlf", Self::Crlf),
            ("comments", Self::Comments),
            ("multi_data", Self::MultiData),
            ("tiny", Self::Tiny),
            ("leaky_headers", Self::LeakyHeaders),
            ("absurd_usage", Self::AbsurdUsage),
        ]
    }

    pub fn name(&self) -> &'static str {
        let same = |other: &Self| std::mem::discriminant(other) == std::mem::discriminant(self);
        Self::all().into_iter().find(|(_, fault)| same(fault)).map_or("fault", |(name, _)| name)
    }

    /// `cut_mid`, or with a number: `huge_event=8` (MiB), `slow_head=500` (ms), `status=413`, `throttle=30` (s).
    pub fn parse(text: &str) -> Option<Self> {
        let (name, number) = match text.split_once('=') {
            Some((name, number)) => (name, Some(number.parse::<u64>().ok()?)),
            None => (text, None),
        };
        let fault = Self::all().into_iter().find(|(known, _)| *known == name)?.1;
        let Some(n) = number else { return Some(fault) };
        Some(match fault {
            Self::Throttle { .. } => Self::Throttle { retry_after: n },
            Self::Status(_) => Self::Status(u16::try_from(n).ok()?),
            Self::EndlessLine { .. } => Self::EndlessLine { mib: n },
            Self::HugeEvent { .. } => Self::HugeEvent { mib: n },
            Self::GzipBomb { .. } => Self::GzipBomb { mib: n },
            Self::SlowHead(_) => Self::SlowHead(Duration::from_millis(n)),
            Self::Paced(_) => Self::Paced(Duration::from_millis(n)),
            _ => return None,
        })
    }

    /// Does the client get all of the answer, so that it counts?
    pub(crate) fn keeps_answer_whole(&self) -> bool {
        use Fault as F;
        matches!(
            self,
            F::Fine
                | F::SlowHead(_)
                | F::Paced(_)
                | F::Http10
                | F::Trailers
                | F::ChunkExtensions
                | F::EarlyHints
                | F::HugeEvent { .. }
                | F::GzipBomb { .. }
                | F::InvalidUtf8
                | F::Malformed
                | F::DeepJson
                | F::LimitEvent
                | F::Crlf
                | F::Comments
                | F::MultiData
                | F::Tiny
                | F::LeakyHeaders
        )
    }

    /// Are the payloads the same as without it, so that they can be compared?
    pub(crate) fn keeps_payload(&self) -> bool {
        self.keeps_answer_whole() && !matches!(self, Self::HugeEvent { .. } | Self::GzipBomb { .. } | Self::MultiData)
            || *self == Self::AbsurdUsage
    }
}

/// How an answer goes out.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// By the HTTP server.
    Proper {
        wait: Option<Duration>,
        head: Vec<(String, String)>,
        status: u16,
        frames: Vec<Bytes>,
        pace: Option<Duration>,
    },
    /// Past it.
    Raw(Vec<Step>),
}

/// Lets `fault` loose on `answer`.
pub(crate) fn deliver(mut answer: Answer, fault: &Fault, pace: Option<Duration>) -> Delivery {
    match fault {
        Fault::OverloadFirst => cut_to_error(&mut answer, 0),
        Fault::ErrMid => {
            let opening = answer.opening();
            cut_to_error(&mut answer, opening);
        }
        Fault::NoTerminal => {
            if let Body::Stream(stream) = &mut answer.body {
                stream.events.retain(|event| event.part != Part::Terminal);
            }
        }
        Fault::InvalidUtf8 => insert(&mut answer, &b"{\"type\":\"fake.note\",\"text\":\"\xff\xfe\xc3\x28\"}"[..]),
        Fault::Malformed => {
            insert(&mut answer, "{\"type\":\"fake.note\",\"text\": oops");
            insert(&mut answer, "{\"type\":\"fake.unknown\",\"usage\":{\"input_tokens\":\"many\"}}");
        }
        Fault::DeepJson => {
            insert(
                &mut answer,
                format!("{{\"type\":\"fake.note\",\"deep\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
            );
        }
        Fault::LeakyHeaders => answer = answer.headers(leaky_headers()),
        _ => {}
    }
    if let Some(steps) = raw(&answer, fault) {
        return Delivery::Raw(steps);
    }
    let dress = match fault {
        Fault::Crlf => Dress::Crlf,
        Fault::Comments => Dress::Comments,
        Fault::MultiData => Dress::MultiData,
        _ => Dress::Plain,
    };
    let frames = answer.frames(dress);
    let wait = if let Fault::SlowHead(time) = fault { Some(*time) } else { None };
    let pace = if let Fault::Paced(time) = fault { Some(*time) } else { pace };
    Delivery::Proper { wait, status: answer.status, head: answer.headers, frames, pace }
}

/// Keeps the preamble, or the first `keep` events, and ends with the provider's error event.
fn cut_to_error(answer: &mut Answer, keep: usize) {
    if let Body::Stream(stream) = &mut answer.body {
        let preamble = stream.events.iter().take_while(|event| event.part == Part::Preamble).count();
        stream.events.truncate(keep.max(preamble));
        stream.events.push(stream.error.clone());
    }
}

/// Puts an event before the terminal one.
fn insert(answer: &mut Answer, data: impl Into<Bytes>) {
    if let Body::Stream(stream) = &mut answer.body {
        let at = stream.events.len().saturating_sub(1);
        stream.events.insert(at, Event { name: None, data: data.into(), part: Part::Preamble });
    }
}

fn leaky_headers() -> Vec<(String, String)> {
    [
        ("set-cookie", "session=fake-account-cookie; Path=/"),
        ("chatgpt-account-id", "leaked-account-id"),
        ("openai-organization", "leaked-organization"),
        ("anthropic-organization-id", "leaked-organization"),
        ("x-goog-user-project", "leaked-project"),
        ("via", "1.1 fake-cdn"),
        ("cf-ray", "fake-ray"),
        ("alt-svc", "h3=\":443\"; ma=86400"),
        ("strict-transport-security", "max-age=31536000"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// The script of a fault that needs the socket itself.
fn raw(answer: &Answer, fault: &Fault) -> Option<Vec<Step>> {
    let send = |bytes: &[u8]| Step::Send(Bytes::copy_from_slice(bytes));
    let frames = answer.frames(Dress::Plain);
    let whole: Vec<u8> = frames.concat();
    let chunks = |extension: &'static str| frames.iter().map(move |frame| Step::Send(script::chunk(frame, extension)));
    let chunked = head(answer, "1.1", &["transfer-encoding: chunked"]);
    // Head and a beginning that a client acts on: some events, or half of a JSON answer.
    let begun = || {
        let mut steps = vec![Step::Send(chunked.clone())];
        match answer.opening() {
            0 => steps.push(Step::Send(script::chunk(&whole[..whole.len() / 2], ""))),
            n => steps.extend(frames[..n].iter().map(|frame| Step::Send(script::chunk(frame, "")))),
        }
        steps
    };
    let and = |mut steps: Vec<Step>, last: Step| {
        steps.push(last);
        Some(steps)
    };
    match fault {
        Fault::CloseBeforeHead => Some(vec![]),
        Fault::Reset => Some(vec![Step::Reset]),
        Fault::Garbage => Some(vec![send(b"SSH-2.0-OpenSSH_9.9\r\n\x00\x01\x02\r\n\r\n")]),
        Fault::DuplicateContentLength => {
            let lengths = [format!("content-length: {}", whole.len()), format!("content-length: {}", whole.len() + 7)];
            and(vec![Step::Send(head(answer, "1.1", &[&lengths[0], &lengths[1]]))], send(&whole))
        }
        Fault::Silent => Some(vec![Step::Hang]),
        Fault::CutFirst => Some(vec![Step::Send(chunked)]),
        Fault::CutMid => Some(begun()),
        Fault::RstMid => and(begun(), Step::Reset),
        Fault::Stall => and(begun(), Step::Hang),
        Fault::BadChunk => and(begun(), send(b"zzz\r\nno chunk\r\n")),
        Fault::ShortGzip => {
            let packed = script::encode(&frames, script::Coding::Gzip).unwrap_or_default().concat();
            let short = script::chunk(&packed[..packed.len() * 2 / 3], "");
            let head = head(answer, "1.1", &["transfer-encoding: chunked", "content-encoding: gzip"]);
            Some(vec![Step::Send(head), Step::Send(short), send(b"0\r\n\r\n")])
        }
        Fault::LongContentLength => {
            let length = format!("content-length: {}", whole.len() + 1000);
            and(vec![Step::Send(head(answer, "1.1", &[&length]))], send(&whole))
        }
        Fault::EndlessLine { mib } => {
            let steps = vec![Step::Send(head(answer, "1.1", &[])), send(b"data: {\"text\":\"")];
            and(steps, Step::Repeat(Bytes::from(vec![b'x'; 1 << 16]), mib * 16))
        }
        Fault::Http10 => and(vec![Step::Send(head(answer, "1.0", &[]))], send(&whole)),
        Fault::Trailers => {
            let mut steps =
                vec![Step::Send(head(answer, "1.1", &["transfer-encoding: chunked", "trailer: x-fake-sum"]))];
            steps.extend(chunks(""));
            and(steps, send(b"0\r\nx-fake-sum: 42\r\n\r\n"))
        }
        Fault::ChunkExtensions => {
            let mut steps = vec![Step::Send(chunked)];
            steps.extend(chunks(";fake=\"yes\""));
            and(steps, send(b"0;last\r\n\r\n"))
        }
        Fault::EarlyHints => {
            let mut steps = vec![send(b"HTTP/1.1 103 Early Hints\r\nlink: </fake.css>; rel=preload\r\n\r\n")];
            steps.push(Step::Send(chunked));
            steps.extend(chunks(""));
            and(steps, send(b"0\r\n\r\n"))
        }
        Fault::Tiny => {
            let mut steps = vec![Step::Send(chunked)];
            steps.extend(whole.chunks(1).map(|byte| Step::Send(script::chunk(byte, ""))));
            and(steps, send(b"0\r\n\r\n"))
        }
        Fault::HugeEvent { mib } => {
            let (before, after) = inflatable(answer);
            let mut steps = vec![Step::Send(head(answer, "1.1", &[])), send(&before)];
            steps.push(Step::Repeat(Bytes::from(vec![b'x'; 1 << 16]), mib * 16));
            and(steps, send(&after))
        }
        Fault::GzipBomb { mib } => {
            let (before, after) = inflatable(answer);
            let mut steps = vec![Step::Send(head(answer, "1.1", &["content-encoding: gzip"]))];
            steps.extend(script::gzip_of(&before, &vec![b'x'; 1 << 20], *mib, &after));
            Some(steps)
        }
        _ => None,
    }
}

/// The body cut open inside its last JSON document, after its first brace, where a long unknown field can go.
fn inflatable(answer: &Answer) -> (Vec<u8>, Vec<u8>) {
    const OPEN: &[u8] = b"{\"padding\":\"";
    let frames = answer.frames(Dress::Plain);
    // The last event that is JSON: `[DONE]` of the chat completions is none.
    let at = frames.iter().rposition(|frame| frame.contains(&b'{')).unwrap_or(0);
    let frame = frames.get(at).cloned().unwrap_or_default();
    let brace = frame.iter().position(|byte| *byte == b'{').unwrap_or(0);
    let before = [frames[..at].concat().as_slice(), &frame[..brace], OPEN].concat();
    let rest = frames[(at + 1).min(frames.len())..].concat();
    let after = [b"\",", &frame[(brace + 1).min(frame.len())..], rest.as_slice()].concat();
    (before, after)
}

fn head(answer: &Answer, version: &str, more: &[&str]) -> Bytes {
    let reason = http::StatusCode::from_u16(answer.status).ok().and_then(|status| status.canonical_reason());
    let mut text = format!("HTTP/{version} {} {}\r\n", answer.status, reason.unwrap_or("Odd"));
    for (name, value) in &answer.headers {
        text = text + name + ": " + value + "\r\n";
    }
    for line in more {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text.push_str("connection: close\r\n\r\n");
    text.into()
}

/// A CDN's page in front of a provider.
pub(crate) fn cdn_page() -> Answer {
    let page = "<!DOCTYPE html>\n<html><head><title>Attention Required! | Cloudflare</title></head>\n\
                <body><h1>Sorry, you have been blocked</h1><p>Cloudflare Ray ID: fake</p></body></html>\n";
    Answer::text(403, "text/html; charset=UTF-8", page).header("server", "cloudflare").header("cf-ray", "fake-FRA")
}

/// A status without any provider's shape.
pub(crate) fn plain_status(status: u16) -> Answer {
    Answer::json(
        status,
        &json!({ "error": { "message": format!("fake upstream answers {status}"), "type": "fake_error" } }),
    )
}

/// How long a limit set by [`Fault::Limit`] lasts if the window does not say.
pub(crate) const LIMIT: Duration = Duration::from_secs(40 * MINUTE.as_secs());

impl Stream {
    pub(crate) fn new(events: Vec<Event>, error: Event) -> Self {
        Self { events, error, crlf: false }
    }
}
