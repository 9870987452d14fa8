//! Asking the running server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use pool_core::Secret;
use pool_server::pool::files;
use pool_server::{Config, door};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::{Failure, Problem};

/// A page of a thousand accounts is far below this.
const MOST_BYTES: usize = 32 << 20;

/// Sends one request to the server that these settings describe and reads its JSON.
pub(super) fn ask<T: DeserializeOwned>(
    config: &Config,
    method: Method,
    path: &str,
    patience: Duration,
) -> Result<T, Failure> {
    run(config, Call { method, path, body: Bytes::new() }, patience)
}

/// The same with something to say, as JSON.
pub(super) fn tell<T: DeserializeOwned>(
    config: &Config,
    method: Method,
    path: &str,
    body: &impl Serialize,
) -> Result<T, Failure> {
    let body = serde_json::to_vec(body).map_err(|error| Problem::new("cannot ask that", error.to_string(), ""))?;
    run(config, Call { method, path, body: body.into() }, Duration::from_secs(30))
}

/// A request.
struct Call<'a> {
    method: Method,
    path: &'a str,
    /// JSON, or empty.
    body: Bytes,
}

fn run<T: DeserializeOwned>(config: &Config, call: Call<'_>, patience: Duration) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::new("cannot start", error.to_string(), ""))?;
    runtime.block_on(exchange(config, call, patience))
}

async fn exchange<T: DeserializeOwned>(config: &Config, call: Call<'_>, patience: Duration) -> Result<T, Failure> {
    let address = reachable(config.listen);
    let connect = tokio::net::TcpStream::connect(address);
    let stream = match tokio::time::timeout(Duration::from_secs(2), connect).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(not_running(address, &error.to_string())),
        Err(_) => return Err(not_running(address, "nothing answers")),
    };
    let answer = tokio::time::timeout(patience, send(stream, address, config, call)).await;
    let (status, body) = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => return Err(stranger(address, &why).into()),
        Err(_) => return Err(stranger(address, &format!("no answer in {} s", patience.as_secs())).into()),
    };
    match status {
        StatusCode::UNAUTHORIZED => Err(unknown_here(config, address).into()),
        status if status.is_success() => {
            serde_json::from_slice(&body).map_err(|_| stranger(address, "its answer is not ours").into())
        }
        status => {
            let said: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
            let error = said.as_ref().and_then(|said| said.get("error"));
            let text = error.and_then(|error| error.as_str().or_else(|| error.get("message")?.as_str()));
            // Our own words for what cannot be had.
            if let Some(text) = text.filter(|_| status.is_client_error()) {
                let problem = Problem::new(text, "", "");
                let wrong_use = status == StatusCode::BAD_REQUEST;
                return Err(if wrong_use { Failure::wrong_use(problem) } else { problem.into() });
            }
            Err(stranger(address, &format!("{status} {}", text.unwrap_or_default())).into())
        }
    }
}

/// What opens the server's pages for the terminal: the operator's token, or else the key that the server writes for whoever may
/// read its files.
fn key(config: &Config) -> Option<Secret> {
    config.operator_token.clone().or_else(|| {
        let text = files::read_secret(&door::key_file(&config.db_path)).ok()?;
        let text = String::from_utf8(text).ok()?;
        Some(Secret::new(text.trim())).filter(|key| !key.is_empty())
    })
}

fn unknown_here(config: &Config, address: SocketAddr) -> Problem {
    Problem::new(
        format!("the server at http://{address} asks for a credential"),
        format!(
            "its key file {} cannot be read from here, or is another server's",
            door::key_file(&config.db_path).display()
        ),
        "Run this as the server's user, in its folder or with its settings: --config FILE\nOr set POOL_OPERATOR_TOKEN to an operator's credential",
    )
}

async fn send(
    stream: tokio::net::TcpStream,
    address: SocketAddr,
    config: &Config,
    call: Call<'_>,
) -> Result<(StatusCode, Bytes), String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(call.method).uri(call.path).header("host", address.to_string());
    if !call.body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    if let Some(token) = key(config) {
        request = request.header("authorization", format!("Bearer {}", token.expose()));
    }
    let request = request.body(Full::new(call.body)).map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await.map_err(|error| error.to_string())?;
    connection.abort();
    Ok((status, body.to_bytes()))
}

/// A server that listens on every address is asked on loopback.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn not_running(address: SocketAddr, why: &str) -> Failure {
    Failure::not_running(Problem::new(
        format!("codex-pool is not running at http://{address}"),
        why,
        "Start it: codex-pool serve\nOr say where it listens: --listen ADDR",
    ))
}

fn stranger(address: SocketAddr, why: &str) -> Problem {
    Problem::new(
        format!("http://{address} does not answer as codex-pool should"),
        why,
        "See whether another program listens there, or another version of codex-pool",
    )
}

/// A server of one answer, for tests.
#[cfg(test)]
pub(crate) mod fake {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use crate::config::Inputs;

    /// Answers one connection with these bytes and tells what was asked.
    pub(crate) fn answering(answer: String) -> (Inputs, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let mut inputs = Inputs::default();
        inputs.flags.listen = Some(listener.local_addr().expect("an address").to_string());
        inputs.env.insert("POOL_OPERATOR_TOKEN".into(), "0123456789abcdef0123456789abcdef".into());
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accepts");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("reads");
                head.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).expect("writes");
            String::from_utf8(head).expect("text")
        });
        (inputs, asked)
    }

    pub(crate) fn http(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }
}
