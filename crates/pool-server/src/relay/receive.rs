//! Taking a client's request in: as much of its body as may be kept for replay, looked into where it is compressed.

use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use parking_lot::Mutex;
use pool_providers::reply::Failure;
use pool_providers::request::Body;

/// What compressed bodies may unfold to while we look into them.
const DECODED_CAP: usize = 64 << 20;
/// What is kept of a body when the process's budget is used up: enough to see whose it is, not enough to send it again.
const BARE: usize = 64 << 10;

/// The process's memory for bodies that may be sent again.
#[derive(Debug)]
pub struct ReplayBudget {
    left: AtomicUsize,
}

impl ReplayBudget {
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes) })
    }

    /// Takes a share, to be given back when it is dropped. `None`: there is not that much left.
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        self.take(bytes).then(|| Held { bytes, budget: self.clone() })
    }

    fn take(&self, bytes: usize) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A share of the budget.
#[derive(Debug)]
pub struct Held {
    bytes: usize,
    budget: Arc<ReplayBudget>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// A received body. Its share of the budget is given back when it is dropped.
#[derive(Debug)]
pub struct Received {
    /// As the client sent it.
    pub wire: Bytes,
    /// As the providers see it: decoded, perhaps only its beginning.
    pub seen: Body,
    /// Everything has arrived.
    whole: bool,
    /// What the client has still to send: it can go out only once.
    rest: Mutex<Option<Incoming>>,
    charged: usize,
    budget: Arc<ReplayBudget>,
}

impl Drop for Received {
    fn drop(&mut self) {
        self.budget.give_back(self.charged);
    }
}

impl Received {
    /// May this body be sent (again)? A whole one as often as need be, one that is still arriving once.
    pub fn can_be_sent(&self) -> bool {
        self.whole || self.rest.lock().is_some()
    }

    /// What follows after `wire`, for the one try that gets it.
    pub fn take_rest(&self) -> Option<Incoming> {
        self.rest.lock().take()
    }
}

/// Limits for taking a body in.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub keep: usize,
    /// Between two pieces.
    pub progress: Duration,
}

/// Reads the body, up to the limits. `Err`: the client's mistake, in words for the client.
pub async fn receive(
    headers: &HeaderMap,
    mut incoming: Incoming,
    limits: Limits,
    budget: &Arc<ReplayBudget>,
) -> Result<Received, Failure> {
    let expected = incoming.size_hint().exact().unwrap_or(0);
    let expected = usize::try_from(expected).unwrap_or(usize::MAX);
    // Drops give back what was charged, also when the client breaks off halfway.
    let mut received = Received {
        wire: Bytes::new(),
        seen: Body { bytes: Bytes::new(), whole: true },
        whole: true,
        rest: Mutex::new(None),
        charged: 0,
        budget: budget.clone(),
    };
    let mut kept = BytesMut::with_capacity(expected.min(limits.keep).min(1 << 20));
    let whole = loop {
        if incoming.is_end_stream() {
            break true;
        }
        let frame = match tokio::time::timeout(limits.progress, Pin::new(&mut incoming).frame()).await {
            Ok(None) => break true,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                return Err(bad(StatusCode::BAD_REQUEST, format!("the request body broke off: {error}")));
            }
            Err(_) => {
                let message = format!("the request body made no progress for {} s", limits.progress.as_secs());
                return Err(bad(StatusCode::REQUEST_TIMEOUT, message));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        let affordable = budget.take(data.len());
        if affordable {
            received.charged += data.len();
        }
        kept.extend_from_slice(&data);
        if kept.len() > limits.keep || (!affordable && kept.len() > BARE) {
            break false;
        }
    };
    received.wire = kept.freeze();
    received.whole = whole;
    received.rest = Mutex::new((!whole).then_some(incoming));
    let (seen, unfolded) = look_into(headers, &received.wire, whole, budget)?;
    received.charged += unfolded;
    received.seen = seen;
    Ok(received)
}

/// The decoded body, or as much of it as the cap and the budget allow, and what it took of the budget.
fn look_into(headers: &HeaderMap, wire: &Bytes, whole: bool, budget: &ReplayBudget) -> Result<(Body, usize), Failure> {
    let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("unreadable").trim());
    let mut decoder: Box<dyn Read + '_> = match encoding {
        None | Some("" | "identity") => return Ok((Body { bytes: wire.clone(), whole }, 0)),
        Some("zstd") => {
            Box::new(zstd::stream::read::Decoder::with_buffer(&wire[..]).map_err(|error| garbled("zstd", &error))?)
        }
        Some("gzip" | "x-gzip") => Box::new(flate2::read::MultiGzDecoder::new(&wire[..])),
        Some("deflate") => Box::new(flate2::read::ZlibDecoder::new(&wire[..])),
        Some(other) => {
            let message =
                format!("cannot read a body with content-encoding {other:?}; send zstd, gzip, deflate or none");
            return Err(bad(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
    };
    let (mut bytes, mut charged) = (Vec::new(), 0);
    loop {
        let before = bytes.len();
        let piece = decoder.by_ref().take(BARE as u64).read_to_end(&mut bytes);
        let more = bytes.len() - before;
        match piece {
            Err(error) if whole => {
                budget.give_back(charged);
                return Err(garbled(encoding.unwrap_or_default(), &error));
            }
            // Of a beginning only a beginning can be decoded.
            Err(_) => return Ok((Body { bytes: bytes.into(), whole: false }, charged)),
            Ok(0) => return Ok((Body { bytes: bytes.into(), whole }, charged)),
            Ok(_) if bytes.len() > DECODED_CAP || !budget.take(more) => {
                bytes.truncate(DECODED_CAP);
                return Ok((Body { bytes: bytes.into(), whole: false }, charged));
            }
            Ok(_) => charged += more,
        }
    }
}

fn garbled(encoding: &str, error: &std::io::Error) -> Failure {
    bad(StatusCode::BAD_REQUEST, format!("the request body is not valid {encoding}: {error}"))
}

fn bad(status: StatusCode, message: String) -> Failure {
    Failure::BadRequest { status, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(encoding: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, encoding.parse().expect("a header"));
        headers
    }

    #[test]
    fn compressed_bodies_are_looked_into() {
        let text = br#"{"model":"gpt"}"#.repeat(100);
        let zstd = zstd::encode_all(&text[..], 3).expect("encodes");
        let mut gzip = flate2::read::GzEncoder::new(&text[..], flate2::Compression::fast());
        let mut gzipped = Vec::new();
        gzip.read_to_end(&mut gzipped).expect("encodes");
        for (encoding, wire) in [("zstd", zstd), ("gzip", gzipped), ("identity", text.clone())] {
            let budget = ReplayBudget::new(1 << 20);
            let (seen, charged) = look_into(&headers(encoding), &wire.into(), true, &budget).expect("readable");
            assert!(seen.whole && seen.bytes == text, "{encoding}");
            assert_eq!(charged, if encoding == "identity" { 0 } else { text.len() });
        }
    }

    #[test]
    fn a_bomb_is_cut_and_garbage_is_named() {
        let bomb = zstd::encode_all(&vec![0; DECODED_CAP + 5][..], 3).expect("encodes");
        let bomb = Bytes::from(bomb);
        let budget = ReplayBudget::new(DECODED_CAP);
        let (seen, _) = look_into(&headers("zstd"), &bomb, true, &budget).expect("readable");
        assert!(!seen.whole && seen.bytes.len() == DECODED_CAP);
        let budget = ReplayBudget::new(BARE);
        let (seen, charged) = look_into(&headers("zstd"), &bomb, true, &budget).expect("readable");
        assert_eq!((seen.whole, seen.bytes.len(), charged), (false, 2 * BARE, BARE), "beyond the budget one piece");
        for encoding in ["zstd", "gzip", "deflate"] {
            let fault =
                look_into(&headers(encoding), &Bytes::from_static(b"made up"), true, &budget).expect_err("garbage");
            assert!(matches!(fault, Failure::BadRequest { status: StatusCode::BAD_REQUEST, .. }), "{encoding}");
        }
        let fault = look_into(&headers("lzma"), &Bytes::from_static(b"x"), true, &budget).expect_err("unknown");
        assert!(matches!(fault, Failure::BadRequest { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, .. }));
    }
}
