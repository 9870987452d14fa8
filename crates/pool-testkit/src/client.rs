//! A client that shows what is on the wire: one request, one connection, nothing followed, nothing hidden.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came back, as far as it came.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Everything, byte for byte.
    pub raw: Vec<u8>,
    /// `None`: no proper status line.
    pub status: Option<u16>,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// Chunks undone; not decompressed.
    pub body: Vec<u8>,
    /// The framing came to its proper end (last chunk, or all of `content-length`).
    pub whole: bool,
    /// The connection was reset, or nothing came for the time given.
    pub broke: Option<io::ErrorKind>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Sends a request (`host`, `content-length` and `connection: close` are added) and reads until the peer closes or is silent
/// for `patience`.
pub async fn send(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    patience: Duration,
) -> io::Result<Seen> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head = head + name + ": " + value + "\r\n";
    }
    head = head + "content-length: " + &body.len().to_string() + "\r\n\r\n";
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut raw = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let broke = loop {
        match tokio::time::timeout(patience, stream.read(&mut buffer)).await {
            Ok(Ok(0)) => break None,
            Ok(Ok(n)) => raw.extend_from_slice(&buffer[..n]),
            Ok(Err(error)) => break Some(error.kind()),
            Err(_) => break Some(io::ErrorKind::TimedOut),
        }
    };
    Ok(read(raw, broke))
}

fn read(raw: Vec<u8>, broke: Option<io::ErrorKind>) -> Seen {
    let mut seen = Seen { broke, ..Seen::default() };
    let mut rest = &raw[..];
    // Interim answers come before the real one.
    while let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 4..];
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .filter(|line| line.starts_with("HTTP/1."))
            .and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(':'));
        seen.headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        seen.status = status;
        if !status.is_some_and(|status| (100..200).contains(&status)) {
            break;
        }
    }
    if seen.status.is_some() {
        let chunked = seen.header("transfer-encoding").is_some_and(|value| value.contains("chunked"));
        let length = seen.header("content-length").and_then(|value| value.parse::<usize>().ok());
        (seen.body, seen.whole) = match (chunked, length) {
            (true, _) => unchunked(rest),
            (false, Some(length)) => (rest[..rest.len().min(length)].to_vec(), rest.len() >= length),
            (false, None) => (rest.to_vec(), broke.is_none()),
        };
    }
    seen.raw = raw;
    seen
}

fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return (body, false) };
        let size = String::from_utf8_lossy(&rest[..end]);
        let size = size.split(';').next().unwrap_or_default();
        let Ok(size) = usize::from_str_radix(size, 16) else { return (body, false) };
        rest = &rest[end + 2..];
        if size == 0 {
            return (body, rest.ends_with(b"\r\n"));
        }
        if rest.len() < size + 2 {
            body.extend_from_slice(&rest[..rest.len().min(size)]);
            return (body, false);
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}
