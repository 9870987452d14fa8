//! Request bodies on their way up: whole, or a beginning that was looked into and a rest that streams.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

/// A body for upstream.
#[derive(Debug)]
pub struct OutBody {
    /// Sent first.
    front: Option<Bytes>,
    rest: Option<Rest>,
}

/// What the client still sends, with a limit on its silence.
#[derive(Debug)]
struct Rest {
    body: Incoming,
    limit: Duration,
    silence: Pin<Box<Sleep>>,
}

/// Why the client's body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ClientBroke {
    #[error("the request body broke off: {0}")]
    Off(hyper::Error),
    #[error("the request body made no progress for {} s", .0.as_secs())]
    Stalled(Duration),
}

impl OutBody {
    pub fn full(bytes: Bytes) -> Self {
        Self { front: Some(bytes).filter(|bytes| !bytes.is_empty()), rest: None }
    }

    /// `limit`: between two pieces of the rest.
    pub fn streaming(front: Bytes, rest: Incoming, limit: Duration) -> Self {
        let rest = Rest { body: rest, limit, silence: Box::pin(tokio::time::sleep(limit)) };
        Self { rest: Some(rest), ..Self::full(front) }
    }
}

impl Rest {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientBroke>>> {
        loop {
            let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(cx) else {
                ready!(self.silence.as_mut().poll(cx));
                return Poll::Ready(Some(Err(ClientBroke::Stalled(self.limit))));
            };
            self.silence.as_mut().reset(Instant::now() + self.limit);
            match next {
                // Trailers of a request mean nothing to any provider.
                Some(Ok(frame)) if !frame.is_data() => {}
                next => return Poll::Ready(next.map(|frame| frame.map_err(ClientBroke::Off))),
            }
        }
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = ClientBroke;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientBroke>>> {
        if let Some(front) = self.front.take() {
            return Poll::Ready(Some(Ok(Frame::data(front))));
        }
        match &mut self.rest {
            Some(rest) => rest.poll_data(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.front.is_none() && self.rest.as_ref().is_none_or(|rest| rest.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let front = self.front.as_ref().map_or(0, Bytes::len) as u64;
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |rest| rest.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(front));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(front)) {
            hint.set_upper(upper);
        }
        hint
    }
}
