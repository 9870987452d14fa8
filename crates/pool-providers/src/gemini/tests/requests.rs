//! Demands and outbound requests.

use bytes::Bytes;
use http::{HeaderMap, Method};
use pool_core::scan::splice;
use pool_core::{AccountKind, Client, Demand};
use serde_json::Value;

use super::{account, credentials, gemini, headers_of, recorded};
use crate::gemini::routes::ROUTES;
use crate::provider::Provider as _;
use crate::reply::Failure;
use crate::request::{Bases, Body, Carry, Head, Outbound, Serving, Wrap};
use crate::routes::{Route, Table};

struct Request {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Body,
}

impl Request {
    fn post(target: &str, body: &str) -> Self {
        Self {
            method: Method::POST,
            target: target.into(),
            headers: HeaderMap::new(),
            body: Body { bytes: Bytes::from(body.to_owned()), whole: true },
        }
    }

    fn recorded(request: &Value) -> Self {
        Self {
            headers: headers_of(request),
            ..Self::post(request["url"].as_str().expect("a URL"), &request["body"].to_string())
        }
    }

    fn head(&self) -> Head<'_> {
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target.as_str(), None),
        };
        Head { method: &self.method, path, query, headers: &self.headers }
    }

    fn route(&self) -> &'static Route {
        Table::of([ROUTES]).find(&self.head()).expect("a route")
    }

    fn demand(&self) -> Demand {
        gemini().demand(self.route(), &self.head(), &self.body)
    }

    fn outbound(&self, kind: AccountKind, project: Option<&str>) -> Result<Outbound, Failure> {
        self.outbound_as(kind, project, None)
    }

    fn outbound_as(&self, kind: AccountKind, project: Option<&str>, model: Option<&str>) -> Result<Outbound, Failure> {
        let credentials = credentials("made-up", project);
        let (account, bases) = (account(kind), Bases::default());
        let serving = Serving { account: &account, credentials: &credentials, bases: &bases, carry: Carry::All, model };
        gemini().outbound(self.route(), &self.head(), &self.body, &serving)
    }

    /// The body as it goes out.
    fn edited(&self, outbound: &Outbound) -> String {
        let edits = outbound.edits.iter().map(|edit| (edit.range.clone(), &edit.with[..]));
        String::from_utf8(splice::apply(&self.body.bytes, edits).expect("edits that fit")).expect("text")
    }
}

fn model_calls(recording: &str) -> Vec<Request> {
    let exchanges = recorded(recording);
    let requests = exchanges.iter().map(|exchange| &exchange["request"]);
    requests
        .filter(|request| request["url"].as_str().is_some_and(|url| url.contains("enerateContent")))
        .map(Request::recorded)
        .collect()
}

fn header<'a>(outbound: &'a Outbound, name: &str) -> Option<&'a str> {
    let (_, value) = outbound.set.iter().find(|(set, _)| set == name)?;
    assert!(value.is_sensitive());
    value.to_str().ok()
}

#[test]
fn all_calls_of_a_recorded_session_are_one_conversation() {
    for (recording, kinds) in [
        (include_str!("../../../fixtures/gemini_oauth.json"), &[][..]),
        (include_str!("../../../fixtures/gemini_gca.json"), &[][..]),
        (include_str!("../../../fixtures/gemini_apikey.json"), &[AccountKind::ApiKey][..]),
    ] {
        let demands: Vec<Demand> = model_calls(recording).iter().map(Request::demand).collect();
        assert!(demands.len() >= 3, "classifier, first turn, turn with the tool's result");
        for demand in &demands {
            assert_eq!(demand.client, Client::OwnCli);
            assert_eq!(demand.kinds, kinds);
            assert!(demand.session.is_some());
            assert_eq!(demand.session, demands[0].session);
            let model = demand.model.as_ref().expect("a model");
            assert_eq!(demand.families, [format!("model:{model}")]);
            assert!(!demand.light && !demand.is_bound());
        }
        assert_ne!(demands[0].model, demands[1].model, "the classifier runs on a model of its own");
    }
}

#[test]
fn programs_with_the_same_first_words_are_told_apart_and_their_turns_are_not() {
    let session = |body: &str| Request::post("/v1/models/m:generateContent", body).demand().session;
    let first = r#"{"contents": [{"role": "user", "parts": [{"text": "Translate:"}, {"text": "one"}]}]}"#;
    let later = r#"{"contents": [{"role": "user", "parts": [{"text": "Translate:"}, {"text": "one"}]}, {"role": "model", "parts": []}]}"#;
    let other = r#"{"contents": [{"role": "user", "parts": [{"text": "Translate:"}, {"text": "two"}]}]}"#;
    let system = r#"{"system_instruction": {"parts": [{"text": "S"}]}, "contents": [{"role": "user", "parts": [{"text": "Translate:"}, {"text": "one"}]}]}"#;
    assert!(session(first).is_some());
    assert_eq!(session(first), session(later));
    assert_ne!(session(first), session(other));
    assert_ne!(session(first), session(system));
    for nothing in ["", "{}", r#"{"contents": []}"#, "[1"] {
        assert_eq!(session(nothing), None, "{nothing}");
    }
}

#[test]
fn side_calls_are_light_and_cached_contents_bind() {
    let count =
        Request::post("/v1internal:countTokens", r#"{"request": {"model": "models/gemini-x", "contents": []}}"#);
    let demand = count.demand();
    assert!(demand.light);
    assert_eq!(demand.families, ["model:gemini-x"]);

    for (body, bound) in [
        (r#"{"cachedContent": "cachedContents/1"}"#, true),
        (r#"{"cached_content": "cachedContents/1"}"#, true),
        (r#"{"cachedContent": null}"#, false),
        (r#"{"contents": [{"cachedContent": 1}]}"#, false),
    ] {
        assert_eq!(Request::post("/v1beta/models/m:generateContent", body).demand().is_bound(), bound, "{body}");
    }
    let wrapped = r#"{"model": "m", "request": {"cachedContent": "projects/1/cachedContents/2"}}"#;
    assert!(Request::post("/v1internal:generateContent", wrapped).demand().is_bound());
    assert_eq!(Request::post("/v1beta/models/m:embedContent", r#"{"contents": [{}]}"#).demand().session, None);
}

#[test]
fn on_a_login_only_the_project_changes() {
    for request in model_calls(include_str!("../../../fixtures/gemini_gca.json")) {
        let outbound = request.outbound(AccountKind::Subscription, Some("own-project")).expect("a request");
        assert_eq!(outbound.url, format!("https://cloudcode-pa.googleapis.com{}", request.target));
        assert_eq!(header(&outbound, "authorization"), Some("Bearer made-up"));
        assert_eq!(outbound.wrap, Wrap::None);
        let before = String::from_utf8(request.body.bytes.to_vec()).expect("text");
        assert_eq!(request.edited(&outbound), before.replace("\"fake-project-1\"", "\"own-project\""));
    }
    for (body, after) in [
        (r#"{"model":"m","request":{"project":"x"}}"#, r#"{"project":"p\"q","model":"m","request":{"project":"x"}}"#),
        (r"{ }", r#"{"project":"p\"q" }"#),
        (r#"{"project": null}"#, r#"{"project": "p\"q"}"#),
    ] {
        let request = Request::post("/v1internal:generateContent", body);
        let outbound = request.outbound(AccountKind::Subscription, Some("p\"q")).expect("a request");
        assert_eq!(request.edited(&outbound), after);
    }
    // Token counting names no project and gets none.
    let count = Request::post("/v1internal:countTokens", r#"{"request": {"model": "models/m", "contents": []}}"#);
    assert!(count.outbound(AccountKind::Subscription, Some("p")).expect("a request").edits.is_empty());
}

#[test]
fn on_a_key_a_code_assist_request_is_unwrapped_to_the_byte() {
    for request in model_calls(include_str!("../../../fixtures/gemini_gca.json")) {
        let body: Value = serde_json::from_slice(&request.body.bytes).expect("JSON");
        let outbound = request.outbound(AccountKind::ApiKey, None).expect("a request");
        let method = request.target.strip_prefix("/v1internal:").expect("a method");
        let model = body["model"].as_str().expect("a model");
        assert_eq!(outbound.url, format!("https://generativelanguage.googleapis.com/v1beta/models/{model}:{method}"));
        assert_eq!(header(&outbound, "x-goog-api-key"), Some("made-up"));
        assert_eq!(outbound.wrap, Wrap::Around { before: "{\"response\":", after: "}" });
        let mut wanted = body["request"].clone();
        wanted.as_object_mut().expect("an object").shift_remove("session_id").expect("a session");
        assert_eq!(request.edited(&outbound), wanted.to_string());
    }
    for (body, after) in [
        (
            r#"{"model":"m","request": {"session_id":"s", "contents" : [ 1 ] } , "project":"p"}"#,
            r#"{ "contents" : [ 1 ] }"#,
        ),
        (r#"{"request":{"labels":{"a":"b"},"contents":[],"session_id":"s"},"model":"models/m"}"#, r#"{"contents":[]}"#),
        (r#"{"request":{"session_id":"s","labels":{}},"model":"m"}"#, "{}"),
    ] {
        let request = Request::post("/v1internal:generateContent", body);
        let outbound = request.outbound(AccountKind::ApiKey, None).expect("a request");
        assert_eq!(outbound.url, "https://generativelanguage.googleapis.com/v1beta/models/m:generateContent");
        assert_eq!(request.edited(&outbound), after);
    }
    let count = Request::post("/v1internal:countTokens", r#"{"request":{"model":"models/m","contents":[{"a":1}]}}"#);
    let outbound = count.outbound(AccountKind::ApiKey, None).expect("a request");
    assert_eq!(outbound.url, "https://generativelanguage.googleapis.com/v1beta/models/m:countTokens");
    assert_eq!((count.edited(&outbound).as_str(), outbound.wrap), (r#"{"contents":[{"a":1}]}"#, Wrap::None));
}

#[test]
fn a_public_request_goes_out_as_it_is_without_the_clients_key() {
    for (target, url) in [
        (
            "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse",
            "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse",
        ),
        ("/v1/models/m:generateContent?key=pool-secret", "/v1/models/m:generateContent"),
        ("/v1/models/m:generateContent?k%65y=pool-secret&a=b&access_token=x&c", "/v1/models/m:generateContent?a=b&c"),
    ] {
        let request = Request::post(target, r#"{"contents":[]}"#);
        let outbound = request.outbound(AccountKind::ApiKey, None).expect("a request");
        assert_eq!(outbound.url, format!("https://generativelanguage.googleapis.com{url}"));
        assert_eq!(header(&outbound, "x-goog-api-key"), Some("made-up"));
        assert!(outbound.edits.is_empty() && outbound.wrap == Wrap::None);
        assert_eq!(request.demand().kinds, [AccountKind::ApiKey]);
        assert!(matches!(request.outbound(AccountKind::Subscription, Some("p")), Err(Failure::NotServed { .. })));
    }
    for (target, url) in
        [("/v1beta/models?pageSize=5", "/v1beta/models?pageSize=5"), ("/v1beta/models/m", "/v1beta/models/m")]
    {
        let list = Request { method: Method::GET, ..Request::post(target, "") };
        let outbound = list.outbound(AccountKind::ApiKey, None).expect("a request");
        assert_eq!(outbound.url, format!("https://generativelanguage.googleapis.com{url}"));
        assert!(list.demand().light);
    }
}

#[test]
fn what_cannot_be_carried_over_says_why() {
    let key = AccountKind::ApiKey;
    let login = AccountKind::Subscription;
    let generate = "/v1internal:generateContent";
    let cases = [
        (key, generate, r#"{"model":"m"}"#, 400, "an object `request`"),
        (key, generate, r#"{"model":"m","request":[]}"#, 400, "an object `request`"),
        (key, generate, r#"{"request":{}}"#, 400, "needs a `model`"),
        (key, generate, r#"{"model":"../files/x","request":{}}"#, 400, "not a model's name"),
        (key, generate, r#"{"model":"m?key=x","request":{}}"#, 400, "not a model's name"),
        (key, "/v1internal:streamGenerateContent", r#"{"model":"m","request":{}}"#, 400, "alt=sse"),
        (key, "/v1beta/models/a%20b:generateContent", "{}", 400, "name in the path"),
        (login, generate, "[]", 400, "not a JSON object"),
    ];
    for (kind, target, body, status, says) in cases {
        match Request::post(target, body).outbound(kind, Some("p")) {
            Err(Failure::BadRequest { status: got, message }) => {
                assert_eq!(got, status, "{body}");
                assert!(message.contains(says), "{message}");
            }
            other => panic!("{body}: {other:?}"),
        }
    }

    // Only the beginning of the body is there: enough where the project stands in it.
    let mut long = Request::post(generate, r#"{"model":"m","project":"x","request":{"con"#);
    long.body.whole = false;
    let outbound = long.outbound(login, Some("p")).expect("a request");
    assert_eq!(long.edited(&outbound), r#"{"model":"m","project":"p","request":{"con"#);
    assert!(matches!(long.outbound(key, None), Err(Failure::BadRequest { status, .. }) if status == 413));
    long.body.bytes = Bytes::from_static(br#"{"model":"m","request":{"con"#);
    assert!(matches!(long.outbound(login, Some("p")), Err(Failure::BadRequest { status, .. }) if status == 413));
    assert!(matches!(long.outbound(login, None), Err(Failure::UpstreamDown { .. })));
}

#[test]
fn an_alias_goes_out_as_the_model_behind_it_and_nothing_else_changes() {
    const MODEL: &str = "gemini-3.8-flash";
    let at = |target: &str| (target.to_owned(), target.replace("best", MODEL));
    for (kind, (target, path), body, sent) in [
        (AccountKind::ApiKey, at("/v1beta/models/best:generateContent"), r#"{ "contents":[]}"#, r#"{ "contents":[]}"#),
        (
            AccountKind::ApiKey,
            at("/v1beta/models/best:countTokens"),
            r#"{"generateContentRequest":{"model" : "models/best"}}"#,
            r#"{"generateContentRequest":{"model" : "models/gemini-3.8-flash"}}"#,
        ),
        (
            AccountKind::Subscription,
            at("/v1internal:generateContent"),
            r#"{"model" : "best", "project":"p", "request":{"contents":[]}}"#,
            r#"{"model" : "gemini-3.8-flash", "project":"own", "request":{"contents":[]}}"#,
        ),
        (
            AccountKind::ApiKey,
            ("/v1internal:generateContent".to_owned(), "/v1beta/models/gemini-3.8-flash:generateContent".to_owned()),
            r#"{"model":"best","project":"p","request":{"contents":[]}}"#,
            r#"{"contents":[]}"#,
        ),
    ] {
        let request = Request::post(&target, body);
        let outbound = request.outbound_as(kind, Some("own"), Some(MODEL)).expect("can go out");
        assert!(outbound.url.ends_with(&path), "{target}: {}", outbound.url);
        assert_eq!(request.edited(&outbound), sent, "{target}");
    }
}
