//! Request bodies on their way up: whole, or a beginning that was looked into and a rest that streams.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// A body for upstream.
#[derive(Debug)]
pub struct OutBody {
    /// Sent first.
    front: Option<Bytes>,
    /// Then whatever the client still sends.
    rest: Option<Incoming>,
}

impl OutBody {
    pub fn full(bytes: Bytes) -> Self {
        Self { front: Some(bytes).filter(|bytes| !bytes.is_empty()), rest: None }
    }

    pub fn streaming(front: Bytes, rest: Incoming) -> Self {
        Self { front: Some(front).filter(|bytes| !bytes.is_empty()), rest: Some(rest) }
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(front) = self.front.take() {
            return Poll::Ready(Some(Ok(Frame::data(front))));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        loop {
            match ready!(Pin::new(&mut *rest).poll_frame(cx)) {
                // Trailers of a request mean nothing to any provider.
                Some(Ok(frame)) if !frame.is_data() => {}
                frame => return Poll::Ready(frame),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.front.is_none() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let front = self.front.as_ref().map_or(0, Bytes::len) as u64;
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(front));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(front)) {
            hint.set_upper(upper);
        }
        hint
    }
}
