//! The opening handshake of RFC 6455, §4, on both sides.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The only version there is.
const VERSION: HeaderValue = HeaderValue::from_static("13");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE: HeaderValue = HeaderValue::from_static("Upgrade");

/// Between two neighbours only. Extensions are declined, since nothing here could undo them; subprotocols, because some
/// clients hide a credential in them and no relayed socket has any.
pub const BETWEEN_NEIGHBOURS: [HeaderName; 5] = [
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_PROTOCOL,
];

/// What our `sec-websocket-accept` must be for a client's request. `Err`: what is wrong with it.
pub fn accept(client: &HeaderMap) -> Result<HeaderValue, &'static str> {
    let lists_upgrade = |value: &HeaderValue| {
        value.to_str().is_ok_and(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade")))
    };
    if !client.get_all(header::CONNECTION).iter().any(lists_upgrade) {
        return Err("a WebSocket handshake needs `connection: Upgrade`");
    }
    if client.get(header::SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        return Err("only version 13 of WebSocket is spoken here");
    }
    // 16 bytes in base64.
    let key = client.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let key = key.ok_or("a WebSocket handshake needs a `sec-websocket-key` of 16 bytes")?;
    HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(|_| "the `sec-websocket-key` cannot be read")
}

/// Makes `headers`, those of a client's handshake without what is between neighbours, a handshake of ours. Returns what the
/// answer must accept with.
pub fn ask(headers: &mut HeaderMap) -> String {
    let key = generate_key();
    headers.insert(header::CONNECTION, UPGRADE);
    headers.insert(header::UPGRADE, WEBSOCKET);
    headers.insert(header::SEC_WEBSOCKET_VERSION, VERSION);
    let accept = derive_accept_key(key.as_bytes());
    if let Ok(key) = HeaderValue::try_from(key) {
        headers.insert(header::SEC_WEBSOCKET_KEY, key);
    }
    accept
}

/// Is this a proper answer to our handshake?
pub fn is_granted(headers: &HeaderMap, accept: &str) -> bool {
    let upgrade = headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let accepted = headers.get(header::SEC_WEBSOCKET_ACCEPT).is_some_and(|value| value.as_bytes() == accept.as_bytes());
    // What was not offered cannot be agreed upon.
    upgrade && accepted && !headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS)
}

/// Makes `headers`, those of an upstream's answer, our answer to the client.
pub fn grant(headers: &mut HeaderMap, accept: HeaderValue) {
    for name in BETWEEN_NEIGHBOURS {
        headers.remove(name);
    }
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONNECTION, UPGRADE);
    headers.insert(header::UPGRADE, WEBSOCKET);
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
}

/// Statuses of servers that do not know what to do with an upgrade.
pub fn is_about_sockets(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::UPGRADE_REQUIRED
            | StatusCode::NOT_IMPLEMENTED
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    const SOUND: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_example_of_the_standard_is_accepted() {
        assert_eq!(accept(&headers(&SOUND)), Ok(HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
    }

    #[test]
    fn a_handshake_that_is_none_is_refused() {
        for (name, value) in
            [("connection", "keep-alive"), ("sec-websocket-version", "8"), ("sec-websocket-key", "short")]
        {
            let mut odd = headers(&SOUND);
            odd.insert(name, HeaderValue::from_static(value));
            assert!(accept(&odd).is_err(), "{name}");
            odd.remove(name);
            assert!(accept(&odd).is_err(), "{name}");
        }
    }

    #[test]
    fn neighbours_words_go_no_further_and_the_answer_must_fit() {
        let client = headers(&[
            ("sec-websocket-extensions", "permessage-deflate"),
            ("sec-websocket-protocol", "openai-insecure-api-key.made-up"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("openai-beta", "responses_websockets=2026-02-06"),
        ]);
        let mut up = crate::relay::headers::for_upstream(&client, &BETWEEN_NEIGHBOURS);
        let expected = ask(&mut up);
        let mut names: Vec<&str> = up.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let ours =
            ["accept-encoding", "connection", "openai-beta", "sec-websocket-key", "sec-websocket-version", "upgrade"];
        assert_eq!(names, ours);
        assert_ne!(up[header::SEC_WEBSOCKET_KEY], "dGhlIHNhbXBsZSBub25jZQ==");

        let mut answer = headers(&[("upgrade", "WebSocket")]);
        assert!(!is_granted(&answer, &expected));
        answer.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::try_from(expected.clone()).expect("text"));
        assert!(is_granted(&answer, &expected));
        assert!(!is_granted(&answer, "another"));
        answer.insert(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static("permessage-deflate"));
        assert!(!is_granted(&answer, &expected));
    }
}
