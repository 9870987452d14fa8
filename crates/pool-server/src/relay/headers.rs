//! The closed list of header edits, in both directions.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Between neighbours only: never passed on (RFC 9110 §7.6.1), with the old names that proxies still send.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a reverse proxy or a CDN in front of us adds: it tells of the client, not to the provider.
const FORWARDING: [&str; 6] = ["forwarded", "via", "x-real-ip", "true-client-ip", "x-client-ip", "cdn-loop"];
const FORWARDING_FAMILIES: [&str; 2] = ["x-forwarded-", "cf-"];

/// The client's credentials, in every place where a client puts them, and what browsers add.
const CREDENTIALS: [&str; 5] = ["authorization", "x-api-key", "x-goog-api-key", "cookie", "api-key"];

/// Of a reply: what binds the client to one account's session at the provider or to the provider's host.
const REPLY_ONLY_UPSTREAM: [&str; 6] =
    ["set-cookie", "alt-svc", "strict-transport-security", "nel", "report-to", "reporting-endpoints"];

/// Is this request marked as having come through another proxy?
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(is_forwarding)
}

fn is_forwarding(name: &HeaderName) -> bool {
    let name = name.as_str();
    FORWARDING.contains(&name) || FORWARDING_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// The names that a `connection` header lists.
fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// What goes upstream of a client's headers, before the provider adds the account's own.
///
/// `accept-encoding` becomes `identity`, so that the answer can be read for usage beside its delivery; `host` and
/// `content-length` are the new connection's business. `removed`: what the provider wants away. (Left out while copying,
/// since removing from a map changes the order of the rest.)
pub fn for_upstream(client: &HeaderMap, removed: &[HeaderName]) -> HeaderMap {
    let dropped = listed(client);
    let own = [header::HOST, header::CONTENT_LENGTH, header::EXPECT];
    let mut headers = HeaderMap::with_capacity(client.len() + 4);
    for (name, value) in client {
        let text = name.as_str();
        let drop = HOP_BY_HOP.contains(&text)
            || CREDENTIALS.contains(&text)
            || is_forwarding(name)
            || dropped.contains(name)
            || own.contains(name)
            || removed.contains(name);
        if !drop {
            headers.append(name, value.clone());
        }
    }
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
}

/// What goes to the client of an upstream's headers.
pub fn for_client(mut upstream: HeaderMap) -> HeaderMap {
    for name in listed(&upstream) {
        upstream.remove(name);
    }
    for name in HOP_BY_HOP.iter().chain(&REPLY_ONLY_UPSTREAM) {
        upstream.remove(*name);
    }
    upstream
}

/// What the request's program calls itself: the user agent's first word, as `codex_exec/0.169.0`.
pub fn client_name(headers: &HeaderMap) -> Option<String> {
    let agent = headers.get(header::USER_AGENT)?.to_str().ok()?;
    agent.split_whitespace().next().map(|word| word.chars().take(64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn names(map: &HeaderMap) -> Vec<&str> {
        map.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn no_client_credential_and_no_proxy_trace_goes_up() {
        let client = headers(&[
            ("host", "127.0.0.1:8989"),
            ("authorization", "Bearer made-up"),
            ("x-api-key", "made-up"),
            ("x-goog-api-key", "made-up"),
            ("cookie", "a=b"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("x-forwarded-for", "203.0.113.9"),
            ("cf-connecting-ip", "203.0.113.9"),
            ("via", "1.1 somewhere"),
            ("accept-encoding", "gzip, br"),
            ("anthropic-beta", "one"),
            ("anthropic-beta", "two"),
            ("content-length", "12"),
            ("x-codex-turn-state", "made-up"),
        ]);
        let up = for_upstream(&client, &[HeaderName::from_static("x-codex-turn-state")]);
        assert_eq!(names(&up), ["accept-encoding", "anthropic-beta"].map(str::to_owned).each_ref().map(String::as_str));
        assert_eq!(up[header::ACCEPT_ENCODING], "identity");
        assert_eq!(up.get_all("anthropic-beta").iter().count(), 2);
        assert!(is_forwarded(&client));
        assert!(!is_forwarded(&headers(&[("user-agent", "x")])));
    }

    #[test]
    fn a_reply_loses_its_hop_headers_and_cookies_and_nothing_else() {
        let reply = headers(&[
            ("transfer-encoding", "chunked"),
            ("connection", "close, x-internal"),
            ("x-internal", "1"),
            ("set-cookie", "session=made-up"),
            ("request-id", "req_1"),
            ("content-type", "text/event-stream"),
        ]);
        let mut kept = for_client(reply).keys().map(ToString::to_string).collect::<Vec<_>>();
        kept.sort();
        assert_eq!(kept, ["content-type", "request-id"]);
    }
}
