//! How an answer goes out, and how a fault spoils it.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::answer::{Answer, Body, Event, Part, Seat};
use crate::faults::Fault;
use crate::script::{self, Step};
use crate::sse::Dress;

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
    /// A WebSocket begins.
    Socket { head: Vec<(String, String)>, seat: Seat },
}

/// Lets `fault` loose on `answer`.
pub(crate) fn deliver(answer: Answer, fault: &Fault, pace: Option<Duration>) -> Delivery {
    let answer = spoil(answer, fault);
    if let Some(steps) = raw(&answer, fault) {
        return Delivery::Raw(steps);
    }
    if let Body::Socket(seat) = answer.body {
        return Delivery::Socket { head: answer.headers, seat };
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

/// What the fault changes in the answer itself.
pub(crate) fn spoil(mut answer: Answer, fault: &Fault) -> Answer {
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
    answer
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
        Fault::Silence(time) => {
            let mut steps = begun();
            steps.push(Step::Wait(*time));
            let rest = match answer.opening() {
                0 => vec![whole[whole.len() / 2..].to_vec()],
                opening => frames[opening..].iter().map(|frame| frame.to_vec()).collect(),
            };
            for (number, frame) in rest.iter().enumerate() {
                let (front, back) = frame.split_at(if number == 0 { frame.len() / 2 } else { 0 });
                if !front.is_empty() {
                    steps.extend([Step::Send(script::chunk(front, "")), Step::Wait(*time / 4)]);
                }
                steps.push(Step::Send(script::chunk(back, "")));
            }
            and(steps, send(b"0\r\n\r\n"))
        }
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
