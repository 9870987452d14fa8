//! A body that ends, visibly broken off, when whoever asked for it may not stay any longer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};

use super::deliver::{BoxError, ReplyBody};
use crate::people::Tenure;

/// See the module's page.
pub struct Until {
    body: ReplyBody,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl fmt::Debug for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Until").field(&self.body).finish()
    }
}

/// The client must not take what it got for whole.
#[derive(Debug, thiserror::Error)]
#[error("the credential that asked for this was revoked, paused or ended")]
struct Over;

/// Lets an answer flow for as long as `tenure` lasts.
pub fn until(tenure: Tenure, response: Response<ReplyBody>) -> Response<ReplyBody> {
    response.map(|body| match body {
        whole @ ReplyBody::Full(_) => whole,
        body => ReplyBody::Until(Box::new(Until { body, over: Box::pin(async move { tenure.over().await }) })),
    })
}

impl Until {
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.over.as_mut().poll(cx).is_ready() {
            // The upstream is let go, and the record kept.
            self.body = ReplyBody::Full(None);
            self.over = Box::pin(std::future::pending());
            return Poll::Ready(Some(Err(Over.into())));
        }
        Poll::Ready(ready!(Pin::new(&mut self.body).poll_frame(cx)))
    }
}
