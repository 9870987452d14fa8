//! Signs of life in the silences of a stream, so that neither a client nor a proxy on the way gives up while a model thinks.
//!
//! They go out between two events only, never inside one that is half delivered, and only while upstream says nothing: what
//! upstream has to say always comes first. Upstream's own silence is measured elsewhere and goes on.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

/// See the module's page.
#[derive(Debug)]
pub struct KeepAlive {
    sign: &'static [u8],
    every: Duration,
    due: Instant,
    timer: Pin<Box<Sleep>>,
    seam: Seam,
}

impl KeepAlive {
    /// `sign` must be whole lines of which the last is empty. The first one is due at once, unless something else is sent.
    pub fn new(sign: &'static [u8], every: Duration) -> Self {
        let due = Instant::now();
        Self { sign, every, due, timer: Box::pin(tokio::time::sleep_until(due)), seam: Seam::default() }
    }

    /// These bytes go to the client.
    pub fn sent(&mut self, bytes: &[u8]) {
        self.due = Instant::now() + self.every;
        self.seam.pass(bytes);
    }

    /// To be asked while upstream says nothing. `Ready`: these bytes are due, and count as sent.
    pub fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if !self.seam.is_between_events() {
            // Only upstream can change that, and it wakes the task by itself.
            return Poll::Pending;
        }
        // Moved here and not with every piece: most pieces find another one waiting behind them.
        while self.timer.deadline() < self.due {
            self.timer.as_mut().reset(self.due);
        }
        ready!(self.timer.as_mut().poll(cx));
        self.sent(self.sign);
        Poll::Ready(Bytes::from_static(self.sign))
    }
}

/// Where a stream of events stands: the last bytes that went out, before the first ones an empty line.
#[derive(Debug)]
struct Seam([u8; 3]);

impl Default for Seam {
    fn default() -> Self {
        Self([b'\n'; 3])
    }
}

impl Seam {
    fn pass(&mut self, bytes: &[u8]) {
        let last = &bytes[bytes.len().saturating_sub(self.0.len())..];
        self.0.rotate_left(last.len());
        let kept = self.0.len() - last.len();
        self.0[kept..].copy_from_slice(last);
    }

    /// Has an empty line just ended? Lines end in LF, CRLF or CR. A CR may be the first half of a CRLF, so alone it
    /// counts only behind another one: there, an LF yet to come would be one more empty line, which means nothing.
    fn is_between_events(&self) -> bool {
        matches!(self.0, [_, b'\n', b'\n'] | [b'\n' | b'\r', b'\r', b'\n'] | [_, b'\r', b'\r'])
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use pool_testkit::sse::{SseEvent, events};

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_hours(1);
    const COMMENT: &[u8] = b": keep-alive\n\n";
    const PING: &[u8] = b"event: ping\ndata: {\"type\": \"ping\"}\n\n";
    const EMPTY_LINE: &[u8] = b"\r\n";

    /// What a client gets of a stream that comes in these pieces, with signs wherever there may be one.
    fn delivered(sign: &'static [u8], pieces: &[&[u8]]) -> Vec<u8> {
        let (mut seam, mut out) = (Seam::default(), Vec::new());
        let mut pass = |seam: &mut Seam, bytes: &[u8]| {
            seam.pass(bytes);
            out.extend_from_slice(bytes);
        };
        for piece in pieces {
            for _ in 0..2 {
                if seam.is_between_events() {
                    pass(&mut seam, sign);
                }
            }
            pass(&mut seam, piece);
        }
        out
    }

    fn without_pings(body: &[u8]) -> Vec<SseEvent> {
        events(body).into_iter().filter(|event| event.name != "ping").collect()
    }

    #[test]
    fn however_a_stream_is_cut_its_events_stay_the_same() {
        for text in [
            include_str!("../../../pool-providers/fixtures/codex_tool_call.sse"),
            include_str!("../../../pool-providers/fixtures/claude_tool_use.sse"),
            include_str!("../../../pool-providers/fixtures/gemini_api_final.sse"),
        ] {
            for (end, sign) in [("\n", PING), ("\n", COMMENT), ("\r\n", EMPTY_LINE), ("\r\n", PING), ("\r", COMMENT)] {
                let body = [": note", &text.replace("\r\n", "\n")].join("\n").replace('\n', end);
                let body = body.as_bytes();
                let expected = without_pings(body);
                assert!(!expected.is_empty());
                for at in 0..=body.len() {
                    let out = delivered(sign, &[&body[..at], &body[at..]]);
                    assert!(out.len() > body.len(), "before the first byte there is no event to break");
                    assert_eq!(without_pings(&out), expected, "{end:?}, cut at {at}");
                }
                let bytes: Vec<&[u8]> = body.chunks(1).collect();
                let out = delivered(sign, &bytes);
                assert_eq!(without_pings(&out), expected, "{end:?}, byte by byte");
                let (signs, found) = ((out.len() - body.len()) / sign.len(), expected.len());
                assert!(signs >= 2 * found, "{end:?}: {signs} signs between {found} events");
            }
        }
    }

    /// Is there a sign within this time?
    async fn sign_within(alive: &mut KeepAlive, time: Duration) -> bool {
        tokio::time::timeout(time, poll_fn(|cx| alive.poll_due(cx))).await.is_ok()
    }

    #[tokio::test]
    async fn signs_come_in_silences_between_events_and_nowhere_else() {
        for (sent, between) in [
            ("", true),
            ("data: 1\n\n", true),
            ("data: 1\r\n\r\n", true),
            ("data: 1\r\r", true),
            ("data: 1\n\r\n", true),
            ("data: 1\r\n\n", true),
            (": note\n\n", true),
            ("\n", true),
            ("data: 1\n", false),
            ("data: 1\r\n", false),
            ("data: 1\r", false),
            ("data: 1\r\n\r", false),
            ("data: 1\n\r", false),
            ("data: 1\n\nevent: x\n", false),
            (": note\n", false),
            ("\u{feff}", false),
        ] {
            for cut in 0..=sent.len() {
                let mut alive = KeepAlive::new(COMMENT, MOMENT);
                alive.sent(&sent.as_bytes()[..cut]);
                alive.sent(&sent.as_bytes()[cut..]);
                let patience = if between { LONG } else { MOMENT * 5 };
                for _ in 0..2 {
                    assert_eq!(sign_within(&mut alive, patience).await, between, "{sent:?} cut at {cut}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_sign_waits_for_its_time_after_whatever_was_sent() {
        let mut alive = KeepAlive::new(COMMENT, LONG);
        assert!(sign_within(&mut alive, LONG).await, "the first is due at once");
        assert!(!sign_within(&mut alive, MOMENT * 5).await, "the second is not");
        let mut alive = KeepAlive::new(COMMENT, LONG);
        alive.sent(b"data: 1\n\n");
        assert!(!sign_within(&mut alive, MOMENT * 5).await, "an event is a sign of life");
    }
}
