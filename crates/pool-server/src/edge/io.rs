//! A connection that does not wait for ever: for a head that dribbles, for a client that takes nothing, for one that is idle.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::config::Timeouts;

/// A connection without a request is closed after this.
const IDLE: Duration = Duration::from_mins(5);

/// Is a request being answered on the connection? Then reading waits as long as it takes.
#[derive(Clone, Debug, Default)]
pub struct Phase(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicUsize,
    ended: AtomicUsize,
    /// Heads of which bytes have come.
    heads: AtomicUsize,
}

/// A request under way, until dropped.
#[derive(Debug)]
pub struct Busy(Phase);

impl Phase {
    pub fn busy(&self) -> Busy {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Relaxed)
    }

    fn is_busy(&self) -> bool {
        self.begun() != self.0.ended.load(Ordering::Relaxed)
    }

    fn head_came(&self) {
        self.0.heads.store(self.begun() + 1, Ordering::Relaxed);
    }

    /// Neither a request nor the head of one is under way.
    fn is_quiet(&self) -> bool {
        !self.is_busy() && self.0.heads.load(Ordering::Relaxed) <= self.begun()
    }

    /// Resolves when nothing has come for `time` and nothing is under way.
    pub async fn quiet(&self, time: Duration) {
        let mut before = None;
        loop {
            let now = self.is_quiet().then(|| self.begun());
            if now.is_some() && now == before {
                return;
            }
            before = now;
            tokio::time::sleep(time).await;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A reply's body that keeps its connection busy until its end.
#[derive(Debug)]
pub struct BusyBody<B> {
    pub body: B,
    pub _busy: Arc<Busy>,
}

impl<B: Body + Unpin> Body for BusyBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// See the module's page.
#[derive(Debug)]
pub struct Guarded {
    stream: TcpStream,
    phase: Phase,
    head_read: Duration,
    client_stall: Duration,
    reading: Timer,
    /// Bytes of a head have come since this many requests had begun.
    head_begun_after: Option<usize>,
    writing: Timer,
}

/// A timer that is made when it is first needed and armed only while something waits.
#[derive(Debug, Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Timer {
    fn disarm(&mut self) {
        self.armed = false;
    }

    /// Has it run out? Starts it if it is not running.
    fn poll_over(&mut self, limit: Duration, cx: &mut Context<'_>) -> bool {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !self.armed {
            sleep.as_mut().reset(Instant::now() + limit);
            self.armed = true;
        }
        sleep.as_mut().poll(cx).is_ready()
    }
}

impl Guarded {
    pub fn new(stream: TcpStream, phase: Phase, timeouts: &Timeouts) -> Self {
        Self {
            stream,
            phase,
            head_read: timeouts.head_read,
            client_stall: timeouts.client_stall,
            reading: Timer::default(),
            head_begun_after: None,
            writing: Timer::default(),
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (busy, begun) = (this.phase.is_busy(), this.phase.begun());
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        match polled {
            _ if busy => this.reading.disarm(),
            // The first bytes of a head start its time; more of them do not start it anew.
            Poll::Ready(_) if this.head_begun_after != Some(begun) => {
                this.head_begun_after = Some(begun);
                this.phase.head_came();
                this.reading.disarm();
            }
            Poll::Ready(_) => {}
            Poll::Pending => {
                let limit = if this.head_begun_after == Some(begun) { this.head_read } else { IDLE };
                if this.reading.poll_over(limit, cx) {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no request head in time")));
                }
            }
        }
        polled
    }
}

impl Guarded {
    fn watch_write<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.writing.disarm();
        } else if self.writing.poll_over(self.client_stall, cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")));
        }
        polled
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.watch_write(polled, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.watch_write(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
