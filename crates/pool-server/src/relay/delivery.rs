//! One answer on its way, with its book-keeping: held back at first, then handed out as it comes.

use std::task::{Context, Poll};

use bytes::Bytes;
use pool_core::Judgement;
use pool_core::usage::Ending;
use pool_core::verdict::Verdict;
use pool_providers::reply::Stage;

use super::answer::{Answer, Broken};
use super::keep_alive::KeepAlive;
use super::meter::Meter;

/// Why an answer that has begun is not for the client.
#[derive(Debug)]
pub enum Unfit {
    Broken(Broken),
    /// It turned into an error before anything meaningful had come.
    Failed(Judgement),
}

/// An answer under way, with its book-keeping.
#[derive(Debug)]
pub struct Delivery {
    answer: Answer,
    meter: Meter,
    /// For silences, once the head is out.
    keep_alive: Option<KeepAlive>,
}

impl Delivery {
    pub fn new(answer: Answer, meter: Meter) -> Self {
        Self { answer, meter, keep_alive: None }
    }

    /// Shows signs of life from now on, as long as the answer has not come to its end.
    #[must_use]
    pub fn kept_alive(mut self, keep_alive: Option<KeepAlive>) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// Takes in what comes until something meaningful is there, or the end, or `cap` bytes. A failure that another account
    /// can make good is the error.
    pub async fn hold(&mut self, cap: usize) -> Result<(), Unfit> {
        while self.answer.tap.stage() == Stage::Preamble && self.answer.held() < cap {
            match self.answer.pull().await {
                None => break,
                Some(Err(broken)) => return Err(Unfit::Broken(broken)),
                Some(Ok(news)) => {
                    let elsewhere =
                        |judgement: &Judgement| !matches!(judgement.verdict, Verdict::Fatal | Verdict::Deliver);
                    if let Some(judgement) = news.failure.clone().filter(elsewhere) {
                        self.meter.read(news.windows);
                        return Err(Unfit::Failed(judgement));
                    }
                    self.meter.hear(news);
                }
            }
        }
        if self.answer.is_over() && self.answer.is_stream() { Err(Unfit::Broken(Broken::Empty)) } else { Ok(()) }
    }

    /// It does not go out, so there is nothing to record.
    pub fn discard(mut self) {
        self.meter.forget();
    }

    /// It does not go out, and the client is told so.
    pub fn fail(mut self) {
        self.meter.close(&self.answer, Ending::Failed);
    }

    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            if let Some(bytes) = self.answer.next_out() {
                self.meter.sent();
                if let Some(keep_alive) = &mut self.keep_alive {
                    keep_alive.sent(&bytes);
                }
                if self.answer.is_over() {
                    // A client that has all bytes of a known length may never ask for the end.
                    self.meter.end(&self.answer, None);
                }
                return Poll::Ready(Some(Ok(bytes)));
            }
            let Poll::Ready(pulled) = self.answer.poll_pull(cx) else {
                return self.poll_sign(cx).map(|sign| Some(Ok(sign)));
            };
            match pulled {
                None => {
                    self.meter.end(&self.answer, None);
                    return Poll::Ready(None);
                }
                Some(Ok(news)) => self.meter.hear(news),
                Some(Err(broken)) => {
                    self.meter.end(&self.answer, Some(&broken));
                    return Poll::Ready(Some(Err(broken)));
                }
            }
        }
    }

    /// Upstream says nothing. After the last event nobody waits for a sign.
    fn poll_sign(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        match &mut self.keep_alive {
            Some(keep_alive) if self.answer.tap.stage() != Stage::Ended => keep_alive.poll_due(cx),
            _ => Poll::Pending,
        }
    }
}

impl Drop for Delivery {
    /// Dropped before its end: the client went away.
    fn drop(&mut self) {
        self.meter.abort(&self.answer);
    }
}
