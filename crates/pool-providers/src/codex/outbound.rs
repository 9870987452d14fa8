//! How a request goes out: to ChatGPT's backend for a subscription, to OpenAI's API for a key. The body goes as it came.

use http::HeaderName;
use http::header::{CONTENT_ENCODING, COOKIE};
use pool_core::{Account, AccountKind, Credentials};

use super::auth::{FEDRAMP_HEADER, WORKSPACE_HEADER, credential_headers};
use super::turn_state;
use crate::reply::Failure;
use crate::request::{Bases, Head, Outbound};

/// Name the owner of the credential that the client believes it uses; ours replaces it.
const OWNERS: [HeaderName; 3] =
    [HeaderName::from_static("openai-organization"), HeaderName::from_static("openai-project"), COOKIE];

/// Where the client's bases end, longest first.
const CLIENT_BASES: [&str; 3] = ["/backend-api/codex/", "/v1/", "/"];

/// Query keys that can hold a pool credential.
const SECRET_KEYS: [&str; 4] = ["key", "api_key", "access_token", "token"];

pub(super) fn build(
    head: &Head<'_>,
    account: &Account,
    credentials: &Credentials,
    bases: &Bases,
) -> Result<Outbound, Failure> {
    let rest = CLIENT_BASES
        .iter()
        .find_map(|base| head.path.strip_prefix(base))
        .ok_or_else(|| Failure::NotServed { message: "the path is not one of this provider's".into() })?;
    let base = match account.kind {
        AccountKind::Subscription => &bases.responses,
        AccountKind::ApiKey => &bases.openai,
    };
    let mut set = credential_headers(credentials);
    let mut remove = OWNERS.to_vec();
    remove.extend([WORKSPACE_HEADER, FEDRAMP_HEADER].into_iter().filter(|name| set.iter().all(|(set, _)| set != name)));
    match turn_state::echoed(head.headers, account) {
        Some(state) => set.push((turn_state::HEADER, state)),
        None => remove.push(turn_state::HEADER),
    }
    Ok(Outbound {
        url: format!("{base}/{rest}{}", query(head)),
        set,
        remove,
        decoded: account.kind == AccountKind::ApiKey || !is_zstd_or_plain(head),
        ..Outbound::default()
    })
}

/// Only zstd is known to be taken, and only by ChatGPT's backend: it is what Codex CLI sends there.
fn is_zstd_or_plain(head: &Head<'_>) -> bool {
    match head.headers.get(CONTENT_ENCODING) {
        None => true,
        Some(encoding) => encoding.as_bytes().eq_ignore_ascii_case(b"zstd"),
    }
}

/// The query with its question mark, without what could be a credential.
fn query(head: &Head<'_>) -> String {
    let Some(query) = head.query.filter(|query| !query.is_empty()) else { return String::new() };
    let harmless = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        !SECRET_KEYS.iter().any(|key| name.eq_ignore_ascii_case(key))
    };
    let kept: Vec<&str> = query.split('&').filter(harmless).collect();
    if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::{HeaderMap, HeaderValue, Method};
    use pool_core::account::Identity;
    use pool_core::{Secret, Settings};

    use super::super::files::{FEDRAMP, WORKSPACE};
    use super::super::{ID, fixtures};
    use super::*;

    fn account(kind: AccountKind) -> Account {
        Account {
            id: Identity::File("a.json".into()).account_id(ID),
            provider: ID,
            kind,
            name: "a".into(),
            file: "a.json".into(),
            plan: None,
            email: None,
            settings: Settings::default(),
        }
    }

    fn credentials(bound: &[(&'static str, &str)]) -> Credentials {
        Credentials {
            access: Secret::new("upstream-token"),
            refresh: None,
            expires_at: None,
            refreshed_at: None,
            bound: bound.iter().map(|(key, value)| (*key, (*value).to_owned())).collect::<BTreeMap<_, _>>(),
        }
    }

    fn url(kind: AccountKind, path: &str, query: Option<&str>) -> String {
        let head = Head { method: &Method::POST, path, query, headers: &HeaderMap::new() };
        build(&head, &account(kind), &credentials(&[]), &Bases::default()).expect("servable").url
    }

    #[test]
    fn every_way_in_has_its_way_out() {
        use AccountKind::{ApiKey, Subscription};
        let chatgpt = "https://chatgpt.com/backend-api/codex";
        for path in ["/v1/responses", "/responses", "/backend-api/codex/responses"] {
            assert_eq!(url(Subscription, path, None), format!("{chatgpt}/responses"));
            assert_eq!(url(ApiKey, path, None), "https://api.openai.com/v1/responses");
        }
        assert_eq!(url(Subscription, "/v1/responses/compact", Some("")), format!("{chatgpt}/responses/compact"));
        assert_eq!(
            url(ApiKey, "/v1/chat/completions", Some("a=1&b")),
            "https://api.openai.com/v1/chat/completions?a=1&b"
        );
        assert_eq!(
            url(ApiKey, "/v1/embeddings", Some("key=pool&a=1&%6Bey=x&Token=y")),
            "https://api.openai.com/v1/embeddings?a=1"
        );
        assert_eq!(url(ApiKey, "/v1/embeddings", Some("key=pool")), "https://api.openai.com/v1/embeddings");
    }

    #[test]
    fn the_recorded_request_goes_out_with_the_accounts_own_words_only() {
        let recorded = fixtures::requests(include_str!("../../fixtures/codex_http.json"));
        let turn = recorded.iter().find(|request| request.head().path == "/v1/responses").expect("a turn");
        let bound = credentials(&[(WORKSPACE, "ws-1"), (FEDRAMP, "true")]);
        let out =
            build(&turn.head(), &account(AccountKind::Subscription), &bound, &Bases::default()).expect("servable");
        let set: Vec<_> = out.set.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
        assert_eq!(
            set,
            [("authorization", "Bearer upstream-token"), ("chatgpt-account-id", "ws-1"), ("x-openai-fedramp", "true")]
        );
        assert!(out.set[0].1.is_sensitive());
        assert!(!out.remove.contains(&WORKSPACE_HEADER));
        assert_eq!((out.edits.len(), out.decoded), (0, false));

        let out =
            build(&turn.head(), &account(AccountKind::ApiKey), &credentials(&[]), &Bases::default()).expect("servable");
        for name in [turn_state::HEADER, WORKSPACE_HEADER, FEDRAMP_HEADER, COOKIE] {
            assert!(out.remove.contains(&name), "{name}");
        }
        assert!(out.decoded);
    }

    #[test]
    fn only_zstd_goes_out_compressed_and_only_to_chatgpt() {
        for (encoding, kind, decoded) in [
            ("zstd", AccountKind::Subscription, false),
            ("zstd", AccountKind::ApiKey, true),
            ("gzip", AccountKind::Subscription, true),
        ] {
            let headers: HeaderMap = [(CONTENT_ENCODING, HeaderValue::from_static(encoding))].into_iter().collect();
            let head = Head { method: &Method::POST, path: "/v1/responses", query: None, headers: &headers };
            let out = build(&head, &account(kind), &credentials(&[]), &Bases::default()).expect("servable");
            assert_eq!(out.decoded, decoded, "{encoding} {kind:?}");
        }
    }
}
