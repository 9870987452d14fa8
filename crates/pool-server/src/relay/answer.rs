//! An upstream's answer on its way to the client: pulled piece by piece, read by the tap, edited as the closed list allows.
//!
//! The same thing is used while the head is still held back (pieces gather) and after it went out (pieces flow), so no byte
//! takes a path of its own.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;
use pool_providers::reply::News;
use pool_providers::request::Wrap;
use tokio::time::{Instant, Sleep};

use super::listing::Lister;
use super::tap::Tap;
use super::wrap::StreamWrapper;

/// See the module's page.
#[derive(Debug)]
pub struct Answer {
    upstream: Option<Incoming>,
    stream: bool,
    pub tap: Tap,
    filter: Filter,
    /// Ready for the client.
    out: VecDeque<Bytes>,
    out_bytes: usize,
    idle: Pin<Box<Sleep>>,
    idle_limit: Duration,
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("upstream broke off: {0}")]
    Upstream(hyper::Error),
    #[error("upstream was silent for {0:?}")]
    Silent(Duration),
    #[error("upstream ended a stream in which there was nothing")]
    Empty,
}

#[derive(Debug)]
enum Filter {
    /// Events about one account's limits are taken out.
    Hide(Hider),
    Wrap(StreamWrapper),
    /// The whole plain answer is one document: the text that still has to come before it, and the one after.
    WrapPlain {
        before: Option<&'static str>,
        after: &'static str,
    },
    /// A list of models: aliases are added.
    List(Lister),
    Pass,
}

impl Answer {
    pub fn new(upstream: Incoming, tap: Tap, wrap: Wrap, stream: bool, idle_limit: Duration) -> Self {
        let filter = match wrap {
            _ if !tap.is_plain() => Filter::Pass,
            Wrap::Around { before, after } if stream => Filter::Wrap(StreamWrapper::new(before, after)),
            Wrap::Around { before, after } => Filter::WrapPlain { before: Some(before), after },
            Wrap::None if stream => Filter::Hide(Hider::default()),
            Wrap::None => Filter::Pass,
        };
        Self {
            upstream: Some(upstream),
            stream,
            tap,
            filter,
            out: VecDeque::new(),
            out_bytes: 0,
            idle: Box::pin(tokio::time::sleep(idle_limit)),
            idle_limit,
        }
    }

    /// Adds aliases to the list of models that the answer is. `false`: nothing is to be added, or the answer cannot be read.
    pub fn add_to_list(&mut self, lister: Lister) -> bool {
        let fits = !self.stream && self.tap.is_plain() && !lister.is_done();
        if fits {
            self.filter = Filter::List(lister);
        }
        fits
    }

    /// Puts back bytes that were read before there was an answer (the beginning of an error's body). `whole`: no more follow.
    pub fn preload(&mut self, bytes: Bytes, whole: bool) {
        self.push(bytes);
        if whole || self.upstream.as_ref().is_none_or(Body::is_end_stream) {
            self.upstream = None;
        }
    }

    /// Bytes that wait for the client.
    pub fn held(&self) -> usize {
        self.out_bytes
    }

    pub fn next_out(&mut self) -> Option<Bytes> {
        let bytes = self.out.pop_front()?;
        self.out_bytes -= bytes.len();
        Some(bytes)
    }

    /// Takes in the next piece. `None`: the answer has come to its clean end.
    pub fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<News, Broken>>> {
        let Some(upstream) = &mut self.upstream else { return Poll::Ready(None) };
        let frame = match Pin::new(&mut *upstream).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(self.idle.as_mut().poll(cx));
                self.upstream = None;
                return Poll::Ready(Some(Err(Broken::Silent(self.idle_limit))));
            }
        };
        self.idle.as_mut().reset(Instant::now() + self.idle_limit);
        match frame {
            Some(Ok(frame)) => {
                let over = upstream.is_end_stream();
                let mut news = News::default();
                // Trailers have no meaning to any client of ours.
                if let Ok(data) = frame.into_data() {
                    news = self.tap.feed(&data);
                    self.filter_in(data);
                }
                // Of a known length the end is known with the last byte, and nobody may ever ask for more.
                if over {
                    news.add(self.finish());
                }
                Poll::Ready(Some(Ok(news)))
            }
            Some(Err(error)) => {
                self.upstream = None;
                Poll::Ready(Some(Err(Broken::Upstream(error))))
            }
            None => Poll::Ready(Some(Ok(self.finish()))),
        }
    }

    /// The clean end.
    fn finish(&mut self) -> News {
        self.upstream = None;
        let news = self.tap.finish();
        self.filter_end();
        news
    }

    pub async fn pull(&mut self) -> Option<Result<News, Broken>> {
        std::future::poll_fn(|cx| self.poll_pull(cx)).await
    }

    /// Is it an event stream?
    pub fn is_stream(&self) -> bool {
        self.stream
    }

    /// Has everything been taken in and handed out?
    pub fn is_over(&self) -> bool {
        self.upstream.is_none() && self.out.is_empty()
    }

    fn filter_in(&mut self, data: Bytes) {
        match &mut self.filter {
            Filter::Pass => self.push(data),
            Filter::Wrap(wrapper) => {
                let wrapped = wrapper.feed(&data);
                self.push(wrapped);
            }
            Filter::List(lister) => {
                let longer = lister.feed(data);
                self.push(longer);
            }
            Filter::WrapPlain { before, .. } => {
                if let Some(before) = before.take() {
                    self.push(Bytes::from_static(before.as_bytes()));
                }
                self.push(data);
            }
            Filter::Hide(hider) => {
                let (ranges, decided) = self.tap.hidden();
                let shown = hider.feed(data, &ranges, decided);
                for bytes in shown {
                    self.push(bytes);
                }
            }
        }
    }

    fn filter_end(&mut self) {
        let last = match &mut self.filter {
            Filter::Wrap(wrapper) => wrapper.finish(),
            // An empty answer stays empty.
            Filter::Pass | Filter::WrapPlain { before: Some(_), .. } => return,
            Filter::WrapPlain { before: None, after } => Bytes::from_static(after.as_bytes()),
            Filter::Hide(hider) => hider.finish(),
            Filter::List(lister) => lister.finish(),
        };
        self.push(last);
    }

    fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.out_bytes += bytes.len();
            self.out.push_back(bytes);
        }
    }
}

/// Takes ranges of bytes out of a stream, holding back only what is not yet decided.
#[derive(Debug, Default)]
struct Hider {
    /// Offset of the first pending byte.
    base: u64,
    pending: BytesMut,
    /// Ranges still to come or pending.
    ranges: Vec<std::ops::Range<u64>>,
}

/// An event whose kind is not known after this many bytes is not one that we hide.
const UNDECIDED_CAP: usize = 64 << 10;

impl Hider {
    fn feed(&mut self, data: Bytes, hidden: &[std::ops::Range<u64>], decided: u64) -> Vec<Bytes> {
        self.ranges.extend_from_slice(hidden);
        let end = self.base + (self.pending.len() + data.len()) as u64;
        if self.pending.is_empty() && self.ranges.is_empty() && decided >= end {
            self.base = end;
            return vec![data];
        }
        self.pending.extend_from_slice(&data);
        let decided = if self.pending.len() > UNDECIDED_CAP { end } else { decided.min(end) };
        self.release(decided)
    }

    fn finish(&mut self) -> Bytes {
        let end = self.base + self.pending.len() as u64;
        let rest: Vec<u8> = self.release(end).into_iter().flatten().collect();
        rest.into()
    }

    /// Hands out the bytes before `until`, without the hidden ones.
    fn release(&mut self, until: u64) -> Vec<Bytes> {
        let mut shown = Vec::new();
        while self.base < until {
            let hidden_to = self.ranges.iter().filter(|range| range.contains(&self.base)).map(|range| range.end).max();
            let next_hidden = self.ranges.iter().map(|range| range.start).filter(|start| *start > self.base).min();
            let to = hidden_to.or(next_hidden).map_or(until, |to| to.min(until));
            let piece =
                self.pending.split_to(usize::try_from(to - self.base).unwrap_or(usize::MAX).min(self.pending.len()));
            self.base = to;
            if hidden_to.is_none() {
                shown.push(piece.freeze());
            }
        }
        let base = self.base;
        self.ranges.retain(|range| range.end > base);
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pieces: &[Bytes]) -> String {
        String::from_utf8(pieces.concat()).expect("text")
    }

    #[test]
    fn hidden_events_vanish_and_the_rest_is_the_same() {
        let mut hider = Hider::default();
        // Nothing special: passed on at once, without a copy.
        assert_eq!(text(&hider.feed(Bytes::from_static(b"aaaa"), &[], 4)), "aaaa");
        // An event starts at 4 that may be one to hide: held back.
        assert_eq!(text(&hider.feed(Bytes::from_static(b"bb"), &[], 4)), "");
        // It is (4..8), and another (10..12) follows in the same piece.
        assert_eq!(text(&hider.feed(Bytes::from_static(b"bbccddee"), &[4..8, 10..12], 14)), "ccee");
        assert_eq!(text(&hider.feed(Bytes::from_static(b"ff"), &[], 14)), "");
        assert_eq!(hider.finish(), "ff");
    }

    #[test]
    fn an_endless_undecided_event_is_let_through() {
        let mut hider = Hider::default();
        let big = Bytes::from(vec![b'x'; UNDECIDED_CAP + 1]);
        assert_eq!(hider.feed(big.clone(), &[], 0).concat().len(), big.len());
    }
}
