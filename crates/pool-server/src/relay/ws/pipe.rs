//! Bytes both ways between a client and an upstream, unread, until one of them ends.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Read at a time, each way.
const BUFFER: usize = 16 << 10;

/// How long one side may go on when the other has ended.
const LINGER: Duration = Duration::from_secs(5);

/// What a tunnel may not exceed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Without a byte either way.
    pub idle: Duration,
    /// In all.
    pub life: Duration,
}

/// Why a tunnel ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    #[error("it was closed")]
    Closed,
    #[error("the client's side broke: {0}")]
    Client(io::Error),
    #[error("upstream's side broke: {0}")]
    Upstream(io::Error),
    #[error("nothing was said for too long")]
    Idle,
    #[error("it has lasted long enough")]
    Old,
    #[error("the server stops")]
    Cut,
    #[error("the client's credential was revoked, paused or ended")]
    Revoked,
}

/// Copies both ways. While one side takes nothing, nothing is read from the other: that is the back-pressure.
pub async fn both_ways<C, U>(client: C, upstream: U, limits: Limits, cut: &CancellationToken) -> End
where
    C: AsyncRead + AsyncWrite,
    U: AsyncRead + AsyncWrite,
{
    let (from_client, to_client) = tokio::io::split(client);
    let (from_upstream, to_upstream) = tokio::io::split(upstream);
    let pulse = Pulse { born: Instant::now(), last: AtomicU64::new(0) };
    let up = flow(from_client, to_upstream, &pulse);
    let down = flow(from_upstream, to_client, &pulse);
    tokio::pin!(up, down);
    let (mut up_ended, mut down_ended, mut linger) = (false, false, None);
    loop {
        let old = pulse.born + limits.life;
        let idle = pulse.last() + limits.idle;
        let soonest = linger.map_or(idle.min(old), |linger: Instant| linger.min(idle).min(old));
        tokio::select! {
            biased;
            () = cut.cancelled() => return End::Cut,
            flowed = &mut up, if !up_ended => match flowed {
                Ok(()) => up_ended = true,
                Err(Broke::Reading(error)) => return End::Client(error),
                Err(Broke::Writing(error)) => return End::Upstream(error),
            },
            flowed = &mut down, if !down_ended => match flowed {
                Ok(()) => down_ended = true,
                Err(Broke::Reading(error)) => return End::Upstream(error),
                Err(Broke::Writing(error)) => return End::Client(error),
            },
            () = tokio::time::sleep_until(soonest) => match Instant::now() {
                now if linger.is_some_and(|linger| now >= linger) => return End::Closed,
                now if now >= old => return End::Old,
                now if now >= pulse.last() + limits.idle => return End::Idle,
                _ => {}
            },
        }
        if up_ended && down_ended {
            return End::Closed;
        }
        if up_ended || down_ended {
            linger.get_or_insert_with(|| Instant::now() + LINGER);
        }
    }
}

/// When something last moved.
struct Pulse {
    born: Instant,
    /// Milliseconds since then.
    last: AtomicU64,
}

impl Pulse {
    fn beat(&self) {
        self.last.store(u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.born + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

enum Broke {
    Reading(io::Error),
    Writing(io::Error),
}

/// One way, to its end, which is passed on.
async fn flow(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, pulse: &Pulse) -> Result<(), Broke> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await.map_err(Broke::Reading)?;
        if count == 0 {
            return to.shutdown().await.map_err(Broke::Writing);
        }
        pulse.beat();
        to.write_all(&buffer[..count]).await.map_err(Broke::Writing)?;
        to.flush().await.map_err(Broke::Writing)?;
        pulse.beat();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};
    use tokio::task::JoinHandle;

    use super::*;

    const LIMITS: Limits = Limits { idle: Duration::from_mins(10), life: Duration::from_hours(2) };

    /// The far ends of a tunnel, and the tunnel.
    fn tunnel(limits: Limits) -> (DuplexStream, DuplexStream, CancellationToken, JoinHandle<End>) {
        let (client, near_client) = duplex(1 << 10);
        let (upstream, near_upstream) = duplex(1 << 10);
        let cut = CancellationToken::new();
        let stop = cut.clone();
        let running = tokio::spawn(async move { both_ways(near_client, near_upstream, limits, &stop).await });
        (client, upstream, cut, running)
    }

    async fn said(to: &mut DuplexStream, from: &mut DuplexStream, text: &[u8]) {
        let mut heard = vec![0; text.len()];
        let (sent, read) = tokio::join!(to.write_all(text), from.read_exact(&mut heard));
        assert!(sent.is_ok() && read.is_ok());
        assert_eq!(heard, text);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_go_both_ways_as_they_are_and_an_end_is_passed_on() {
        let (mut client, mut upstream, _cut, running) = tunnel(LIMITS);
        let big: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        said(&mut client, &mut upstream, &big).await;
        said(&mut upstream, &mut client, &big).await;
        upstream.shutdown().await.expect("shut");
        assert_eq!(client.read(&mut [0; 8]).await.expect("an end"), 0);
        said(&mut client, &mut upstream, b"goodbye").await;
        drop(client);
        assert!(matches!(running.await.expect("ended"), End::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn one_side_alone_does_not_linger_for_long() {
        let (mut client, upstream, _cut, running) = tunnel(LIMITS);
        client.shutdown().await.expect("shut");
        let begun = Instant::now();
        assert!(matches!(running.await.expect("ended"), End::Closed));
        assert_eq!(begun.elapsed().as_secs(), LINGER.as_secs());
        drop(upstream);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_age_end_it_and_life_prolongs_it() {
        let (mut client, mut upstream, _cut, running) = tunnel(LIMITS);
        let begun = Instant::now();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(500)).await;
            said(&mut client, &mut upstream, b"still here").await;
        }
        assert!(matches!(running.await.expect("ended"), End::Idle));
        assert_eq!(begun.elapsed().as_secs(), 1500 + 600);

        let (mut client, mut upstream, _cut, running) = tunnel(LIMITS);
        while !running.is_finished() {
            let mut heard = [0; 1];
            let _ = tokio::join!(client.write_all(b"x"), upstream.read(&mut heard));
            tokio::time::sleep(Duration::from_secs(100)).await;
        }
        assert!(matches!(running.await.expect("ended"), End::Old));
    }

    #[tokio::test(start_paused = true)]
    async fn it_can_be_cut_and_a_side_that_takes_nothing_stops_the_other() {
        let (mut client, _upstream, cut, running) = tunnel(LIMITS);
        let many = vec![0; 1 << 20];
        let flood = client.write_all(&many);
        assert!(tokio::time::timeout(Duration::from_mins(1), flood).await.is_err(), "nobody reads, so nobody can send");
        cut.cancel();
        assert!(matches!(running.await.expect("ended"), End::Cut));
    }
}
