//! What a request creates upstream and what it names: things that live on one account (files, batches, stored responses).
//!
//! A row of the route table says where ids stand ([`Objects`]); [`addressed`] and [`mentioned`] read them from requests,
//! [`Telling`] from answers. What an id looks like is the provider's ([`Provider::object`]).

use std::sync::LazyLock;

use http::HeaderMap;
use pool_core::TokenCounts;
use pool_core::scan::json::{self, Finder, Found, Paths};
use pool_core::scan::sse::Scanner;

use crate::provider::Provider;
use crate::reply::{News, Reader, Stage};
use crate::request::{Body, Head};
use crate::routes::Route;

/// What a route has to do with things that live on one account. In its path, `{object}` stands for the id of one.
#[derive(Clone, Copy, Debug)]
pub struct Objects {
    /// Where the answer names what lives on the account from now on.
    pub told: Option<&'static LazyLock<Paths>>,
    /// A header of the answer that names one at its end.
    pub header: Option<&'static str>,
    /// Keys of the query that name one.
    pub query: &'static [&'static str],
    /// The member of the body that says, if it is `false`, that nothing is kept.
    pub unless: Option<&'static LazyLock<Paths>>,
}

impl Objects {
    /// Creates nothing, and has nothing in its query.
    pub const NONE: Self = Self { told: None, header: None, query: &[], unless: None };

    pub const fn told(paths: &'static LazyLock<Paths>) -> Self {
        Self { told: Some(paths), ..Self::NONE }
    }

    pub fn creates(&self) -> bool {
        self.told.is_some() || self.header.is_some()
    }
}

/// The conversation of all that a caller has an account keep, so that it comes to one account: a later request may name two of
/// these things.
pub const KEEPING: &str = "what is kept";

/// An id longer than this is nobody's.
const LONGEST_ID: usize = 256;

/// In a stream, what is created is named at the beginning or not at all.
const BEGINNING: u64 = 256 << 10;

/// The one id of what a text names.
pub fn id<'t>(provider: &dyn Provider, text: &'t str) -> Option<&'t str> {
    let last = || text.rsplit('/').next();
    let id = provider.object(text).or_else(last).filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)?;
    Some(id)
}

/// The ids that a request is addressed to, in its path and query. Without knowing where they live it can go nowhere.
pub fn addressed(provider: &dyn Provider, route: &Route, head: &Head<'_>) -> Vec<String> {
    let path = route.object_in(head.path).into_iter().filter_map(|text| id(provider, text)).map(str::to_owned);
    let keys = route.objects.query;
    let in_query =
        head.query_pairs().filter(|(key, _)| keys.contains(&key.as_ref())).map(|(_, value)| value.into_owned());
    path.chain(in_query).collect()
}

/// The ids that a body names, in whatever string. May give one more than once.
///
/// Strings are what is looked at, not members: so no place is forgotten, and an id cannot hide behind another way to write
/// it. A text that does no more than name an id counts as well.
pub fn mentioned<'b>(provider: &'b dyn Provider, body: &'b Body) -> impl Iterator<Item = String> + 'b {
    let is_json = matches!(body.bytes.trim_ascii_start().first(), Some(b'{' | b'['));
    let text = if is_json { &body.bytes[..] } else { &[] };
    json::strings(text, LONGEST_ID).filter_map(|text| provider.object(&text).map(str::to_owned))
}

/// Will what the request asks for be kept upstream?
pub fn is_kept(route: &Route, body: &Body) -> bool {
    let refused = |member: &LazyLock<Paths>| json::find(&body.bytes, member).raw(0) == Some(b"false");
    route.objects.creates() && !route.objects.unless.is_some_and(refused)
}

/// The id that the head of an answer tells.
pub fn told_by_head(provider: &dyn Provider, route: &Route, headers: &HeaderMap) -> Option<String> {
    let text = headers.get(route.objects.header?)?.to_str().ok()?;
    id(provider, text).map(str::to_owned)
}

/// Reads the ids out of an answer, beside another reader.
pub struct Telling {
    inner: Box<dyn Reader>,
    form: Form,
    fed: u64,
}

impl std::fmt::Debug for Telling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telling").field("fed", &self.fed).finish_non_exhaustive()
    }
}

enum Form {
    Document(Box<Finder>),
    Stream(Box<Scanner>),
    /// All is told.
    Deaf,
}

impl Telling {
    /// The reader for an answer of this route. `stream`: it is an event stream.
    pub fn beside(inner: Box<dyn Reader>, route: &Route, stream: bool) -> Box<dyn Reader> {
        let Some(paths) = route.objects.told else { return inner };
        let form = if stream {
            Form::Stream(Box::new(Scanner::new(paths, LONGEST_ID)))
        } else {
            Form::Document(Box::new(Finder::new(paths, LONGEST_ID)))
        };
        Box::new(Self { inner, form, fed: 0 })
    }

    fn listen(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut told = Vec::new();
        self.fed = self.fed.saturating_add(bytes.len() as u64);
        match &mut self.form {
            Form::Document(finder) => {
                finder.feed(bytes);
                let paths = finder.found().iter().map(|found| found.path).collect::<Vec<_>>();
                told.extend(paths.into_iter().filter_map(|path| text(&finder.take(path)?)));
            }
            Form::Stream(scanner) => {
                scanner.feed(bytes, |event| told.extend(event.found.iter().filter_map(text)));
                if !told.is_empty() || self.fed > BEGINNING {
                    self.form = Form::Deaf;
                }
            }
            Form::Deaf => {}
        }
        told
    }
}

fn text(found: &Found) -> Option<String> {
    found.string().filter(|text| !text.is_empty()).map(std::borrow::Cow::into_owned)
}

impl Reader for Telling {
    fn feed(&mut self, bytes: &[u8]) -> News {
        let created = self.listen(bytes);
        let mut news = self.inner.feed(bytes);
        news.created.extend(created);
        news
    }

    fn finish(&mut self) -> News {
        self.inner.finish()
    }

    fn stage(&self) -> Stage {
        self.inner.stage()
    }

    fn usage(&self) -> Option<TokenCounts> {
        self.inner.usage()
    }

    fn model(&self) -> Option<&str> {
        self.inner.model()
    }

    fn hidden(&mut self) -> (Vec<std::ops::Range<u64>>, u64) {
        self.inner.hidden()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;
    use crate::gemini::OauthClient;
    use crate::provider::Registry;
    use crate::routes::Table;

    fn registry() -> Registry {
        Registry::new(OauthClient::default())
    }

    fn body(text: &str) -> Body {
        Body { bytes: Bytes::copy_from_slice(text.as_bytes()), whole: true }
    }

    /// What a request names: addressed, mentioned, and whether its answer will be kept.
    fn named(method: &Method, target: &str, text: &str) -> (Vec<String>, Vec<String>, bool) {
        let registry = registry();
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let headers = HeaderMap::new();
        let head = Head { method, path, query, headers: &headers };
        let table = Table::new(&registry);
        let route = table.find(&head).unwrap_or_else(|| panic!("no row for {target}"));
        let provider = registry.get(route.provider).expect("known");
        let body = body(text);
        (addressed(provider, route, &head), mentioned(provider, &body).collect(), is_kept(route, &body))
    }

    type Ids = &'static [&'static str];

    #[test]
    fn requests_name_things_in_path_query_and_body() {
        let (get, post) = (Method::GET, Method::POST);
        // Words that only look like ids are known to nobody.
        #[rustfmt::skip]
        let cases: &[(&Method, &str, &str, Ids, Ids, bool)] = &[
            (&get, "/v1/files/file-1/content", "", &["file-1"], &[], false),
            (&get, "/v1/files/other%2D1", "", &["other%2D1"], &[], false),
            (&post, "/v1/files", "--edge", &[], &[], true),
            (&get, "/v1/vector_stores/vs_1/files/file-2", "", &["vs_1"], &[], false),
            (&post, "/v1/batches", r#"{"input_file_id":"file-1"}"#, &[], &["file-1"], true),
            (&post, "/v1/responses", r#"{"input":[{"content":[{"file_id":"file\u002d1"}]}],"conversation":{"id":"conv_1"}}"#,
                &[], &["file_id", "file-1", "conv_1"], true),
            (&post, "/v1/responses", r#"{"store":false,"input":"see file-1","tools":[{"vector_store_ids":["vs_1"]}]}"#,
                &[], &["vs_1"], false),
            (&post, "/v1/responses", r#"{"store":true}"#, &[], &[], true),
            (&post, "/v1/messages", r#"{"messages":[{"content":[{"source":{"file_id":"file_1"}}]}]}"#, &[], &["file_id", "file_1"], false),
            (&get, "/v1/messages/batches/msgbatch_1/results", "", &["msgbatch_1"], &[], false),
            (&get, "/v1beta/files/a-1:download?alt=media", "", &["files/a-1"], &[], false),
            (&post, "/v1beta/batches/b1:cancel", "", &["batches/b1"], &[], false),
            (&post, "/upload/v1beta/files?upload%5Fid=U%2D1&upload_protocol=resumable", "bytes", &["U-1"], &[], true),
            (&post, "/v1beta/models/gemini-3.8-flash:generateContent",
                r#"{"cachedContent":"cachedContents/c1","contents":[{"parts":[{"fileData":{"fileUri":"https://h/v1beta/files/f1"}}]}]}"#,
                &[], &["cachedContents/c1", "files/f1"], false),
        ];
        for (method, target, text, by_address, in_body, kept) in cases {
            let (addressed, mentioned, is_kept) = named(method, target, text);
            assert_eq!(
                (&addressed[..], &mentioned[..], is_kept),
                (&texts(by_address)[..], &texts(in_body)[..], *kept),
                "{target} {text}"
            );
        }
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    /// A reader that hears nothing.
    struct Nobody;

    impl Reader for Nobody {
        fn feed(&mut self, _bytes: &[u8]) -> News {
            News::default()
        }
        fn finish(&mut self) -> News {
            News::default()
        }
        fn stage(&self) -> Stage {
            Stage::Meaningful
        }
        fn usage(&self) -> Option<TokenCounts> {
            None
        }
        fn model(&self) -> Option<&str> {
            None
        }
    }

    fn told(path: &str, stream: bool, answer: &str, chunk: usize) -> Vec<String> {
        let registry = registry();
        let table = Table::new(&registry);
        let headers = HeaderMap::new();
        let head = Head { method: &Method::POST, path, query: None, headers: &headers };
        let mut reader = Telling::beside(Box::new(Nobody), table.find(&head).expect(path), stream);
        answer.as_bytes().chunks(chunk).flat_map(|piece| reader.feed(piece).created).collect()
    }

    #[test]
    fn answers_tell_ids_in_any_chunks() {
        let long = "x".repeat(100_000);
        let response =
            format!(r#"{{"id":"resp_1","output":[{{"id":"msg_1","text":"{long}"}}],"previous_response_id":"resp_0"}}"#);
        let created = r#"{"type":"response.created","response":{"id":"resp_1","store":true}}"#;
        let stream =
            format!("event: response.created\ndata: {created}\n\ndata: {{\"id\":\"x\",\"delta\":\"{long}\"}}\n\n");
        let batch = r#"{"id":"batch_1","output_file_id":null,"error_file_id":"file-9"}"#;
        for chunk in [1, 7, 4096, 1 << 20] {
            assert_eq!(told("/v1/responses", false, &response, chunk), ["resp_1"], "{chunk}");
            assert_eq!(told("/v1/responses", true, &stream, chunk.min(64))[..1], ["resp_1"], "{chunk}");
            assert_eq!(told("/v1/batches", false, batch, chunk), ["batch_1", "file-9"]);
            assert_eq!(told("/upload/v1beta/files", false, r#"{"file":{"name":"files/f1"}}"#, chunk), ["files/f1"]);
        }
        assert!(told("/v1/chat/completions", false, &response, 10).is_empty());
    }

    #[test]
    fn a_head_tells_an_id_too() {
        let registry = registry();
        let table = Table::new(&registry);
        for (path, name, value, expected) in [
            ("/v1/realtime/calls", "location", "/v1/realtime/calls/rtc_1", "rtc_1"),
            (
                "/upload/v1beta/files",
                "x-goog-upload-url",
                "https://h.example/upload/v1beta/files?upload_id=U1&x=y",
                "U1",
            ),
        ] {
            let headers = HeaderMap::new();
            let head = Head { method: &Method::POST, path, query: None, headers: &headers };
            let route = table.find(&head).expect(path);
            let provider = registry.get(route.provider).expect("known");
            let answer = HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static(value))]);
            assert_eq!(told_by_head(provider, route, &answer).as_deref(), Some(expected));
        }
    }
}
