//! Answers that no proper HTTP server would give: raw bytes on the socket, step by step.

use std::io::{self, Write as _};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::{Compress, Compression, Crc, FlushCompress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::exchange::Guard;

/// One step. Every script ends by closing the connection.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Bytes),
    /// The same bytes so many times.
    Repeat(Bytes, u64),
    /// Silence for so long.
    Wait(Duration),
    /// Silence until the peer leaves.
    Hang,
    /// Reset the connection.
    Reset,
}

/// A pause that lets the peer read what was sent before a reset throws it away.
const BEFORE_RESET: Duration = Duration::from_millis(50);
/// How long a hang lasts at most.
const HANG: Duration = Duration::from_hours(1);

/// Plays a script and closes the log entry. An answer that goes out whole is booked before its last bytes are written, so
/// that whoever has read it finds it in the books.
pub(crate) async fn play(mut stream: TcpStream, steps: &[Step], guard: Guard) {
    let mut guard = Some(guard);
    for (at, step) in steps.iter().enumerate() {
        if at + 1 == steps.len() && matches!(step, Step::Send(_)) {
            close(&mut guard);
        }
        let sent = match step {
            Step::Send(bytes) => stream.write_all(bytes).await,
            Step::Repeat(bytes, times) => repeat(&mut stream, bytes, *times).await,
            Step::Wait(time) => wait(&mut stream, *time).await,
            Step::Hang => wait(&mut stream, HANG).await,
            Step::Reset => {
                tokio::time::sleep(BEFORE_RESET).await;
                stream.set_zero_linger()
            }
        };
        if sent.is_err() {
            // Dropping the guard says that the peer left.
            return;
        }
    }
    close(&mut guard);
    if matches!(steps.last(), Some(Step::Reset)) {
        return;
    }
    let _ = stream.shutdown().await;
    // Unread bytes would turn the close into a reset.
    let _ = tokio::time::timeout(Duration::from_secs(2), drain(&mut stream)).await;
}

fn close(guard: &mut Option<Guard>) {
    if let Some(guard) = guard.take() {
        guard.played();
    }
}

async fn repeat(stream: &mut TcpStream, bytes: &Bytes, times: u64) -> io::Result<()> {
    for _ in 0..times {
        stream.write_all(bytes).await?;
    }
    Ok(())
}

/// Waits, and fails as soon as the peer closes.
async fn wait(stream: &mut TcpStream, time: Duration) -> io::Result<()> {
    match tokio::time::timeout(time, drain(stream)).await {
        Ok(()) => Err(io::ErrorKind::ConnectionAborted.into()),
        Err(_) => Ok(()),
    }
}

async fn drain(stream: &mut TcpStream) {
    let mut buffer = [0; 1024];
    while matches!(stream.read(&mut buffer).await, Ok(n) if n > 0) {}
}

/// A chunk of `transfer-encoding: chunked`.
pub(crate) fn chunk(data: &[u8], extension: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(data.len() + 32);
    out.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
    out.freeze()
}

/// `before`, `filler` so many times, `after`: as one gzip body that takes next to no memory to make or to hold.
///
/// Every part is compressed to a byte boundary and with its dictionary cleared, so the filler's bytes can be repeated.
pub(crate) fn gzip_of(before: &[u8], filler: &[u8], times: u64, after: &[u8]) -> Vec<Step> {
    let mut sum = Crc::new();
    sum.update(before);
    let mut one = Crc::new();
    one.update(filler);
    for _ in 0..times {
        sum.combine(&one);
    }
    let mut last = Crc::new();
    last.update(after);
    sum.combine(&last);
    let mut end = vec![0x03, 0x00];
    end.extend_from_slice(&sum.sum().to_le_bytes());
    end.extend_from_slice(&sum.amount().to_le_bytes());
    let mut start = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    start.extend_from_slice(&deflated(before));
    vec![
        Step::Send(start.into()),
        Step::Repeat(deflated(filler).into(), times),
        Step::Send(deflated(after).into()),
        Step::Send(end.into()),
    ]
}

fn deflated(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 1024);
    // Into memory with room to spare: cannot fail.
    let _ = Compress::new(Compression::fast(), false).compress_vec(data, &mut out, FlushCompress::Full);
    out
}

/// How an answer's body may be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The one that a server in front of a provider would take, out of an `accept-encoding`.
    pub(crate) fn accepted(header: &str) -> Option<Self> {
        let offers = |coding: &str| {
            header.split(',').any(|part| {
                let (name, parameters) = part.split_once(';').unwrap_or((part, ""));
                name.trim().eq_ignore_ascii_case(coding) && !parameters.replace(' ', "").starts_with("q=0")
            })
        };
        [Self::Brotli, Self::Zstd, Self::Gzip, Self::Deflate].into_iter().find(|coding| offers(coding.name()))
    }
}

/// Compresses frame by frame, so that each can be read as soon as it has come.
pub(crate) fn encode(frames: &[Bytes], coding: Coding) -> io::Result<Vec<Bytes>> {
    macro_rules! each {
        ($encoder:expr, $finish:expr) => {{
            let mut encoder = $encoder;
            let mut out = Vec::with_capacity(frames.len() + 1);
            for frame in frames {
                encoder.write_all(frame)?;
                encoder.flush()?;
                out.push(Bytes::from(std::mem::take(encoder.get_mut())));
            }
            #[allow(clippy::redundant_closure_call)]
            let tail: Vec<u8> = $finish(encoder)?;
            if !tail.is_empty() {
                out.push(tail.into());
            }
            out.retain(|frame| !frame.is_empty());
            Ok(out)
        }};
    }
    let level = Compression::fast();
    match coding {
        Coding::Gzip => {
            each!(flate2::write::GzEncoder::new(Vec::new(), level), |e: flate2::write::GzEncoder<Vec<u8>>| e.finish())
        }
        Coding::Deflate => {
            each!(flate2::write::ZlibEncoder::new(Vec::new(), level), |e: flate2::write::ZlibEncoder<Vec<u8>>| e
                .finish())
        }
        Coding::Brotli => {
            each!(brotli::CompressorWriter::new(Vec::new(), 4096, 1, 18), |e: brotli::CompressorWriter<Vec<u8>>| {
                io::Result::Ok(e.into_inner())
            })
        }
        Coding::Zstd => {
            each!(zstd::stream::write::Encoder::new(Vec::new(), 1)?, |e: zstd::stream::write::Encoder<Vec<u8>>| e
                .finish())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn bytes(steps: &[Step]) -> Vec<u8> {
        let mut all = Vec::new();
        for step in steps {
            match step {
                Step::Send(bytes) => all.extend_from_slice(bytes),
                Step::Repeat(bytes, times) => (0..*times).for_each(|_| all.extend_from_slice(bytes)),
                _ => {}
            }
        }
        all
    }

    #[test]
    fn the_bomb_is_valid_gzip() {
        let packed = bytes(&gzip_of(b"start", &vec![b'x'; 1 << 16], 32, b"end"));
        assert!(packed.len() < 64 << 10, "{}", packed.len());
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut plain).expect("gzip");
        assert_eq!(plain.len(), 5 + (32 << 16) + 3);
        assert!(plain.starts_with(b"startxxx") && plain.ends_with(b"xend"));
    }

    #[test]
    fn every_coding_can_be_read_back() {
        let frames = [Bytes::from_static(b"one "), Bytes::from_static(b"two")];
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd] {
            let packed = encode(&frames, coding).expect("encodes").concat();
            let mut plain = Vec::new();
            match coding {
                Coding::Gzip => flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut plain),
                Coding::Deflate => flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut plain),
                Coding::Brotli => brotli::Decompressor::new(&packed[..], 4096).read_to_end(&mut plain),
                Coding::Zstd => zstd::stream::copy_decode(&packed[..], &mut plain).map(|()| 0),
            }
            .expect("decodes");
            assert_eq!(plain, b"one two", "{coding:?}");
        }
    }

    #[test]
    fn what_is_accepted_decides() {
        assert_eq!(Coding::accepted("identity"), None);
        assert_eq!(Coding::accepted("gzip, deflate"), Some(Coding::Gzip));
        assert_eq!(Coding::accepted("gzip, deflate, br, zstd"), Some(Coding::Brotli));
        assert_eq!(Coding::accepted("gzip;q=0, deflate"), Some(Coding::Deflate));
    }
}
