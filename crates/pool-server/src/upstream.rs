//! The way out: the one HTTP client of the process.
//!
//! hyper-util's pooled client, because it adds nothing: no redirects followed, no retries of its own once a request is sent,
//! no system proxy, no decompression, no headers of its own. One TLS configuration is shared by all connections.
//!
//! HTTP/1.1 only: that client keeps one HTTP/2 connection a host, and beyond the provider's limit of streams on it (often 100)
//! requests would queue unseen, and all of them would share one connection's fate.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pool_providers::request::Call;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::config::{Config, OutboundProxy, Timeouts};
use crate::relay::body::{ClientBroke, OutBody};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Sends requests upstream.
#[derive(Clone, Debug)]
pub struct Upstream {
    client: Client<Bounded<HttpsConnector<WayOut>>, OutBody>,
    timeouts: Timeouts,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("could not connect: {0}")]
    Connect(String),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the connection broke before an answer came: {0}")]
    Broken(String),
    #[error("the answer is not HTTP: {0}")]
    Garbage(String),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// Not upstream's fault: the client's request did not come to its end.
    #[error("{0}")]
    Client(String),
    #[error("the request could not be built: {0}")]
    Request(#[from] http::Error),
}

/// The answer to a call of our own, read whole.
#[derive(Debug)]
pub struct CallReply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What may pile up here of an answer whose client reads slowly. Heads must fit as well.
const READ_BUFFER: usize = 128 << 10;
/// Answers to our own calls are small; what is larger is not one.
const CALL_CAP: usize = 1 << 20;

impl Upstream {
    pub fn new(config: &Config) -> Self {
        let tls = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(WayOut::new(config));
        let bounded = Bounded { inner: tls, limit: config.timeouts.connect + config.timeouts.tls };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_mins(1))
            .http1_max_buf_size(READ_BUFFER)
            .build(bounded);
        Self { client, timeouts: config.timeouts }
    }

    /// Sends a request and waits for the head of its answer, `head_limit` at most.
    pub async fn send(
        &self,
        request: Request<OutBody>,
        head_limit: Duration,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let credentials: Vec<HeaderValue> =
            request.headers().values().filter(|value| value.is_sensitive()).cloned().collect();
        match tokio::time::timeout(head_limit, self.client.request(request)).await {
            Ok(Ok(mut response)) => {
                drop_repeated(response.headers_mut(), &credentials);
                Ok(response)
            }
            Ok(Err(error)) => Err(classify(&error)),
            Err(_) => Err(UpstreamError::Timeout(head_limit)),
        }
    }

    /// The same; `connecting` becomes the time that went into the connection.
    pub async fn send_timed(
        &self,
        mut request: Request<OutBody>,
        head_limit: Duration,
        connecting: &mut Duration,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let begun = Instant::now();
        let mut connection = capture_connection(&mut request);
        let sending = self.send(request, head_limit);
        tokio::pin!(sending);
        let connected = async {
            connection.wait_for_connection_metadata().await;
            *connecting = begun.elapsed();
        };
        tokio::select! {
            biased;
            () = connected => {}
            answer = &mut sending => return answer,
        }
        sending.await
    }

    /// A call of our own, with its answer read whole, within `limit`.
    pub async fn call(&self, call: Call, limit: Duration) -> Result<CallReply, UpstreamError> {
        let mut request = Request::builder().method(call.method).uri(call.url).body(OutBody::full(call.body))?;
        *request.headers_mut() = call.headers;
        let whole = async {
            let response = self.send(request, self.timeouts.response_head).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, CALL_CAP).collect().await.map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    UpstreamError::TooLarge(CALL_CAP)
                } else {
                    UpstreamError::Broken(chain(&*error))
                }
            })?;
            Ok(CallReply { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        tokio::time::timeout(limit, whole).await.unwrap_or(Err(UpstreamError::Timeout(limit)))
    }
}

/// Takes out headers in which the answer repeats a credential of the request: an upstream's debugging aid, which must not
/// reach a client.
fn drop_repeated(answer: &mut HeaderMap, credentials: &[HeaderValue]) {
    let tokens = credentials.iter().filter_map(|value| value.as_bytes().rsplit(|byte| *byte == b' ').next());
    for token in tokens.filter(|token| !token.is_empty()) {
        let repeats = |value: &HeaderValue| value.as_bytes().windows(token.len()).any(|part| part == token);
        let names: Vec<HeaderName> =
            answer.iter().filter(|(_, value)| repeats(value)).map(|(name, _)| name.clone()).collect();
        for name in names {
            tracing::warn!(header = %name, "an upstream's answer repeats the credential; that header is left out");
            answer.remove(name);
        }
    }
}

fn classify(error: &hyper_util::client::legacy::Error) -> UpstreamError {
    let text = chain(error);
    if error.is_connect() {
        return UpstreamError::Connect(text);
    }
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<hyper::Error>());
    if let Some(broke) =
        source.and_then(std::error::Error::source).and_then(|cause| cause.downcast_ref::<ClientBroke>())
    {
        return UpstreamError::Client(broke.to_string());
    }
    if source.is_some_and(hyper::Error::is_parse) { UpstreamError::Garbage(text) } else { UpstreamError::Broken(text) }
}

/// The innermost error says what happened; the outer ones only that something did.
fn chain(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Directly, or through the configured proxy.
#[derive(Clone, Debug)]
struct WayOut {
    direct: HttpConnector,
    via: Option<Via>,
}

#[derive(Clone, Debug)]
enum Via {
    Http(Tunnel<HttpConnector>),
    Socks5(SocksV5<HttpConnector>),
}

impl WayOut {
    fn new(config: &Config) -> Self {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_nodelay(true);
        direct.set_connect_timeout(Some(config.timeouts.connect));
        direct.set_keepalive(Some(Duration::from_mins(1)));
        let via = config.proxy.as_ref().map(|proxy| match proxy {
            OutboundProxy::Http(uri) => Via::Http(Tunnel::new(uri.clone(), direct.clone())),
            OutboundProxy::Socks5(uri) => Via::Socks5(SocksV5::new(uri.clone(), direct.clone())),
        });
        Self { direct, via }
    }
}

type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, BoxError>> + Send>>;

impl Service<Uri> for WayOut {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Connecting {
        match &mut self.via {
            Some(via) if !is_loopback(&target) => match via {
                Via::Http(tunnel) => {
                    let connecting = tunnel.call(target);
                    Box::pin(async move { connecting.await.map_err(Into::into) })
                }
                Via::Socks5(socks) => {
                    let connecting = socks.call(target);
                    Box::pin(async move { connecting.await.map_err(Into::into) })
                }
            },
            _ => {
                let connecting = self.direct.call(target);
                Box::pin(async move { connecting.await.map_err(Into::into) })
            }
        }
    }
}

/// Is this host the machine itself?
pub fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A connector that gives up: the TLS handshake has no limit of its own.
#[derive(Clone, Debug)]
struct Bounded<C> {
    inner: C,
    limit: Duration,
}

impl<C> Service<Uri> for Bounded<C>
where
    C: Service<Uri>,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
    C::Response: 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.inner.call(target);
        let limit = self.limit;
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected.map_err(Into::into),
                Err(_) => Err(format!("no connection within {limit:?}").into()),
            }
        })
    }
}

/// Shared by everything that needs to send.
pub type SharedUpstream = Arc<Upstream>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_credential_is_left_out_of_the_answer() {
        let mut answer: HeaderMap = [
            ("x-debug-request", "authorization=Bearer made-up-token; x"),
            ("x-key", "made-up-key"),
            ("x-request-id", "req_1"),
            ("x-short", "made-up"),
        ]
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
        let sent = ["Bearer made-up-token", "made-up-key", ""].map(HeaderValue::from_static);
        drop_repeated(&mut answer, &sent);
        let mut left: Vec<_> = answer.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-request-id", "x-short"]);
    }
}
