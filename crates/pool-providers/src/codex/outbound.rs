//! How a request goes out: to ChatGPT's backend for a subscription, to OpenAI's API for a key. The body goes as it came, but for the closed list of edits.

use std::borrow::Cow;
use std::sync::LazyLock;

use bytes::Bytes;
use http::HeaderName;
use http::header::{CONTENT_ENCODING, COOKIE, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use pool_core::scan::json::{Paths, find};
use pool_core::{Account, AccountKind};
use serde_json::value::RawValue;

use super::auth::{FEDRAMP_HEADER, WORKSPACE_HEADER, credential_headers};
use super::objects::subprotocols;
use super::{demand, turn_state};
use crate::reply::Failure;
use crate::request::{Body, Carry, Edit, Head, Outbound, Serving};
use crate::routes::{Kind, Route};

/// Name the owner of the credential that the client believes it uses; ours replaces it.
const OWNERS: [HeaderName; 3] =
    [HeaderName::from_static("openai-organization"), HeaderName::from_static("openai-project"), COOKIE];

/// Where the client's bases end, longest first.
const CLIENT_BASES: [&str; 3] = ["/backend-api/codex/", "/v1/", "/"];

/// Query keys that can hold a pool credential.
const SECRET_KEYS: [&str; 4] = ["key", "api_key", "access_token", "token"];

/// Items whose `encrypted_content` only the account that sealed them can open, and that a conversation can do without. (A
/// compaction's content is sealed too, but it is the conversation.)
const DISPENSABLE: &str = "reasoning";

static METADATA_STATE: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["client_metadata.x-codex-turn-state"]));

static INPUT: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["input"]));

pub(super) fn build(route: &Route, head: &Head<'_>, body: &Body, serving: &Serving<'_>) -> Result<Outbound, Failure> {
    let Serving { account, credentials, bases, carry, model } = *serving;
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
    if route.kind == Kind::Tunnel {
        match subprotocols(head.headers) {
            Some(asked) => set.push((SEC_WEBSOCKET_PROTOCOL, asked)),
            None => remove.push(SEC_WEBSOCKET_PROTOCOL),
        }
    }
    let mut edits = if carry == Carry::Bare { without_sealed(&body.bytes) } else { Vec::new() };
    if is_socket(head) {
        edits.extend(turn_state_of_message(&body.bytes, account));
    }
    edits.extend(model.and_then(|model| demand::renamed(head, &body.bytes, model)));
    edits.sort_by_key(|edit| edit.range.start);
    Ok(Outbound {
        url: format!("{base}/{rest}{}", query(head)),
        set,
        remove,
        edits,
        decoded: account.kind == AccountKind::ApiKey || !is_zstd_or_plain(head),
        ..Outbound::default()
    })
}

fn is_socket(head: &Head<'_>) -> bool {
    head.headers.contains_key(UPGRADE)
}

/// On a socket, the turn state stands in the message: as this account handed it out, or not at all.
fn turn_state_of_message(body: &[u8], account: &Account) -> Option<Edit> {
    let found = find(body, &METADATA_STATE);
    let echoed = found.string(0).and_then(|text| Some(turn_state::own(text.as_bytes(), account)?.to_vec()));
    let own = echoed.and_then(|own| String::from_utf8(own).ok());
    match own {
        Some(own) => Some(Edit { range: found.range(0)?, with: serde_json::Value::from(own).to_string().into() }),
        None => Some(Edit { range: found.key_range(0)?, with: Bytes::new() }),
    }
}

/// Takes the sealed reasoning out of the input, each item with one of the commas around it. Items that cannot be read stay.
fn without_sealed(body: &[u8]) -> Vec<Edit> {
    #[derive(serde::Deserialize)]
    struct Item<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<Cow<'a, str>>,
        encrypted_content: Option<serde::de::IgnoredAny>,
    }
    let found = find(body, &INPUT);
    let Some(input) = found.range(0).and_then(|range| body.get(range)) else { return Vec::new() };
    let Ok(items) = serde_json::from_slice::<Vec<&RawValue>>(input) else { return Vec::new() };
    let place = |item: &RawValue| {
        let start = item.get().as_ptr() as usize - body.as_ptr() as usize;
        start..start + item.get().len()
    };
    let sealed = |item: &RawValue| {
        serde_json::from_str::<Item>(item.get())
            .is_ok_and(|item| item.kind.as_deref() == Some(DISPENSABLE) && item.encrypted_content.is_some())
    };
    let mut edits = Vec::new();
    // The end of the last item that stays: what follows it, comma included, goes with the next that does not.
    let mut kept: Option<usize> = None;
    for (index, item) in items.iter().enumerate() {
        let here = place(item);
        if !sealed(item) {
            kept = Some(here.end);
            continue;
        }
        let range = match (kept, items.get(index + 1)) {
            (Some(end), _) => end..here.end,
            (None, Some(next)) => here.start..place(next).start,
            (None, None) => here,
        };
        kept = kept.map(|_| range.end);
        edits.push(Edit { range, with: Bytes::new() });
    }
    edits
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
    use pool_core::scan::splice;
    use pool_core::{Account, Credentials, Secret, Settings};

    use crate::request::Bases;

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

    fn built(head: &Head<'_>, body: &str, account: &Account, credentials: &Credentials, carry: Carry) -> Outbound {
        let body = Body { bytes: body.to_owned().into(), whole: true };
        let bases = Bases::default();
        let route = &super::super::routes::ROUTES[0];
        build(route, head, &body, &Serving { account, credentials, bases: &bases, carry, model: None })
            .expect("servable")
    }

    fn url(kind: AccountKind, path: &str, query: Option<&str>) -> String {
        let head = Head { method: &Method::POST, path, query, headers: &HeaderMap::new() };
        built(&head, "", &account(kind), &credentials(&[]), Carry::All).url
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
        let out = built(&turn.head(), "", &account(AccountKind::Subscription), &bound, Carry::All);
        let set: Vec<_> = out.set.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
        assert_eq!(
            set,
            [("authorization", "Bearer upstream-token"), ("chatgpt-account-id", "ws-1"), ("x-openai-fedramp", "true")]
        );
        assert!(out.set[0].1.is_sensitive());
        assert!(!out.remove.contains(&WORKSPACE_HEADER));
        assert_eq!((out.edits.len(), out.decoded), (0, false));

        let out = built(&turn.head(), "", &account(AccountKind::ApiKey), &credentials(&[]), Carry::All);
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
            let out = built(&head, "", &account(kind), &credentials(&[]), Carry::All);
            assert_eq!(out.decoded, decoded, "{encoding} {kind:?}");
        }
    }

    #[test]
    fn on_a_socket_the_turn_state_of_a_message_goes_to_its_own_account_only() {
        let (here, there) = (account(AccountKind::Subscription), account(AccountKind::ApiKey));
        let there = Account { id: Identity::File("b.json".into()).account_id(ID), ..there };
        let mut handed = HeaderMap::new();
        handed.insert(turn_state::HEADER, HeaderValue::from_static("opaque"));
        turn_state::hand_out(&mut handed, &here);
        let marked = handed[turn_state::HEADER].to_str().expect("text");
        let message = |state: &str| format!(r#"{{"input":[],"client_metadata":{{{state}"turn_id":"t"}}}}"#);
        let echoed = message(&format!(r#""x-codex-turn-state": "{marked}","#));
        let upgrade: HeaderMap = [(UPGRADE, HeaderValue::from_static("websocket"))].into_iter().collect();
        let head = Head { method: &Method::GET, path: "/v1/responses", query: None, headers: &upgrade };
        let sent = |body: &str, account: &Account| {
            let out = built(&head, body, account, &credentials(&[]), Carry::All);
            let edits = out.edits.iter().map(|edit| (edit.range.clone(), &edit.with[..]));
            String::from_utf8(splice::apply(body.as_bytes(), edits).expect("edits that fit")).expect("text")
        };
        assert_eq!(sent(&echoed, &here), message(r#""x-codex-turn-state": "opaque","#));
        assert_eq!(sent(&echoed, &there), message(""));
        assert_eq!(sent(&message(r#""x-codex-turn-state":"unmarked","#), &here), message(""));
        assert_eq!(sent(&message(""), &here), message(""));
    }

    #[test]
    fn an_alias_goes_out_as_the_model_behind_it_and_nothing_else_changes() {
        let sealed = r#"{"type":"reasoning","encrypted_content":"x"}"#;
        let form = "--x\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nfast\r\n--x--";
        let multipart = [(http::header::CONTENT_TYPE, HeaderValue::from_static("multipart/form-data; boundary=x"))];
        for (headers, body, expected) in [
            (
                HeaderMap::new(),
                r#"{ "model" : "fast", "x": 1.50}"#.to_owned(),
                r#"{ "model" : "gpt-5.5", "x": 1.50}"#.to_owned(),
            ),
            (
                HeaderMap::new(),
                format!(r#"{{"input":[{sealed}],"model":"fast"}}"#),
                r#"{"input":[],"model":"gpt-5.5"}"#.into(),
            ),
            (multipart.into_iter().collect(), form.to_owned(), form.replace("fast", "gpt-5.5")),
            (HeaderMap::new(), "{}".into(), "{}".into()),
        ] {
            let head = Head { method: &Method::POST, path: "/v1/responses", query: None, headers: &headers };
            let seen = Body { bytes: body.clone().into(), whole: true };
            let (account, credentials, bases) = (account(AccountKind::ApiKey), credentials(&[]), Bases::default());
            let (account, credentials, bases) = (&account, &credentials, &bases);
            let serving = Serving { account, credentials, bases, carry: Carry::Bare, model: Some("gpt-5.5") };
            let out = build(&super::super::routes::ROUTES[0], &head, &seen, &serving).expect("servable");
            let edits = out.edits.iter().map(|edit| (edit.range.clone(), &edit.with[..]));
            let sent = splice::apply(body.as_bytes(), edits).expect("edits that fit");
            assert_eq!(String::from_utf8(sent).expect("text"), expected);
        }
    }

    #[test]
    fn sealed_reasoning_stays_behind_where_it_was_refused_and_nothing_else_does() {
        let head = Head { method: &Method::POST, path: "/v1/responses", query: None, headers: &HeaderMap::new() };
        let bare = |body: &str, carry| {
            let out = built(&head, body, &account(AccountKind::Subscription), &credentials(&[]), carry);
            let edits = out.edits.iter().map(|edit| (edit.range.clone(), &edit.with[..]));
            String::from_utf8(splice::apply(body.as_bytes(), edits).expect("edits that fit")).expect("text")
        };
        let sealed = r#"{"type":"reasoning","summary":[],"encrypted_content":"x]}"}"#;
        let (a, b) = (r#"{"type":"message","n":1}"#, r#"{"n":2,"type":"function_call"}"#);
        let open = r#"{"type":"reasoning","encrypted_content":null}"#;
        let compaction = r#"{"type":"compaction","encrypted_content":"kept"}"#;
        for (items, left) in [
            (vec![a, sealed, b], format!("{a}, {b}")),
            (vec![sealed, a, sealed], a.to_owned()),
            (vec![sealed, sealed, a, b], format!("{a}, {b}")),
            (vec![a, sealed, sealed], a.to_owned()),
            (vec![sealed], String::new()),
            (vec![open, compaction, a], format!("{open}, {compaction}, {a}")),
            (vec![], String::new()),
        ] {
            let body = format!(r#"{{"model":"m", "input": [{}], "stream":true}}"#, items.join(", "));
            assert_eq!(bare(&body, Carry::Bare), format!(r#"{{"model":"m", "input": [{left}], "stream":true}}"#));
            assert_eq!(bare(&body, Carry::All), body);
        }
        for odd in [r#"{"input":"text"}"#, r#"{"input":[{"type":"reasoning","#, "", "[]"] {
            assert_eq!(bare(odd, Carry::Bare), odd);
        }
    }
}
