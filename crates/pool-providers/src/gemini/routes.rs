//! Gemini's rows of the route table: Code Assist (`/v1internal…`, Gemini CLI with a Google login) and the public API
//! (`/v1beta/models/…` and `/v1/models/…`, Gemini CLI with an API key and the SDKs).

use http::Method;

use super::ID;
use super::objects::{A_BATCH, A_FILE, AN_UPLOAD, BY_NAME};
use crate::objects::Objects;
use crate::routes::{Dialect, Kind, Route, When};

const MAIN: Kind = Kind::Relay { light: false };
const LIGHT: Kind = Kind::Relay { light: true };

const fn row(id: &'static str, method: Method, path: &'static str, kind: Kind) -> Route {
    Route { id, provider: ID, method, path, when: When::Always, kind, objects: Objects::NONE }
}

/// A path that other providers have too.
const fn google(id: &'static str, method: Method, path: &'static str, kind: Kind) -> Route {
    let mut route = row(id, method, path, kind);
    route.when = When::Dialect(Dialect::Google);
    route
}

const fn shared(id: &'static str, path: &'static str) -> Route {
    google(id, Method::GET, path, LIGHT)
}

const fn with(mut route: Route, objects: Objects) -> Route {
    route.objects = objects;
    route
}

const fn socket(id: &'static str, path: &'static str) -> Route {
    let mut route = row(id, Method::GET, path, Kind::Tunnel);
    route.when = When::Upgrade(true);
    route
}

pub(super) static ROUTES: &[Route] = &[
    // Code Assist: the model calls.
    row("gemini code assist generate", Method::POST, "/v1internal:generateContent", MAIN),
    row("gemini code assist stream", Method::POST, "/v1internal:streamGenerateContent", MAIN),
    row("gemini code assist count tokens", Method::POST, "/v1internal:countTokens", LIGHT),
    // Code Assist: what the CLI asks of its account. It gets the pool's answer: the real one names one account's project.
    row("gemini load code assist", Method::POST, "/v1internal:loadCodeAssist", Kind::Answer),
    row("gemini onboard user", Method::POST, "/v1internal:onboardUser", Kind::Answer),
    row("gemini onboard operation", Method::GET, "/v1internal/{*operation}", Kind::Answer),
    row("gemini user quota", Method::POST, "/v1internal:retrieveUserQuota", Kind::Answer),
    row("gemini experiments", Method::POST, "/v1internal:listExperiments", Kind::Answer),
    row("gemini admin controls", Method::POST, "/v1internal:fetchAdminControls", Kind::Answer),
    row("gemini metrics", Method::POST, "/v1internal:recordCodeAssistMetrics", Kind::Answer),
    row("gemini get user setting", Method::GET, "/v1internal:getCodeAssistGlobalUserSetting", Kind::Answer),
    row("gemini set user setting", Method::POST, "/v1internal:setCodeAssistGlobalUserSetting", Kind::Answer),
    row("gemini other code assist call", Method::POST, "/v1internal:{method}", Kind::Refused),
    row("gemini other code assist read", Method::GET, "/v1internal:{method}", Kind::Refused),
    // The public API: the model calls.
    row("gemini generate", Method::POST, "/v1beta/models/{model}:generateContent", MAIN),
    row("gemini stream", Method::POST, "/v1beta/models/{model}:streamGenerateContent", MAIN),
    row("gemini count tokens", Method::POST, "/v1beta/models/{model}:countTokens", LIGHT),
    row("gemini embed", Method::POST, "/v1beta/models/{model}:embedContent", MAIN),
    row("gemini embed batch", Method::POST, "/v1beta/models/{model}:batchEmbedContents", MAIN),
    row("gemini predict", Method::POST, "/v1beta/models/{model}:predict", MAIN),
    row("gemini generate v1", Method::POST, "/v1/models/{model}:generateContent", MAIN),
    row("gemini stream v1", Method::POST, "/v1/models/{model}:streamGenerateContent", MAIN),
    row("gemini count tokens v1", Method::POST, "/v1/models/{model}:countTokens", LIGHT),
    row("gemini embed v1", Method::POST, "/v1/models/{model}:embedContent", MAIN),
    row("gemini embed batch v1", Method::POST, "/v1/models/{model}:batchEmbedContents", MAIN),
    row("gemini predict v1", Method::POST, "/v1/models/{model}:predict", MAIN),
    // The public API: which models there are.
    row("gemini models", Method::GET, "/v1beta/models", LIGHT),
    row("gemini model", Method::GET, "/v1beta/models/{model}", LIGHT),
    shared("gemini models v1", "/v1/models"),
    shared("gemini model v1", "/v1/models/{model}"),
    // The public API: what lives in one account's project.
    with(row("gemini make batch", Method::POST, "/v1beta/models/{model}:batchGenerateContent", MAIN), A_BATCH),
    with(
        row("gemini make embedding batch", Method::POST, "/v1beta/models/{model}:asyncBatchEmbedContent", MAIN),
        A_BATCH,
    ),
    with(row("gemini kept batch", Method::GET, "/v1beta/batches/{object}", LIGHT), A_BATCH),
    row("gemini kept batch cancel", Method::POST, "/v1beta/batches/{object}:cancel", LIGHT),
    row("gemini kept batch delete", Method::DELETE, "/v1beta/batches/{object}", LIGHT),
    row("gemini list of batches", Method::GET, "/v1beta/batches", Kind::List),
    with(row("gemini make cached content", Method::POST, "/v1beta/cachedContents", MAIN), BY_NAME),
    row("gemini kept content", Method::GET, "/v1beta/cachedContents/{object}", LIGHT),
    row("gemini kept content change", Method::PATCH, "/v1beta/cachedContents/{object}", LIGHT),
    row("gemini kept content delete", Method::DELETE, "/v1beta/cachedContents/{object}", LIGHT),
    row("gemini list of contents", Method::GET, "/v1beta/cachedContents", Kind::List),
    with(row("gemini upload", Method::POST, "/upload/v1beta/files", MAIN), AN_UPLOAD),
    with(row("gemini make file", Method::POST, "/v1beta/files", MAIN), A_FILE),
    row("gemini kept file", Method::GET, "/v1beta/files/{object}", LIGHT),
    row("gemini kept file content", Method::GET, "/v1beta/files/{object}:download", LIGHT),
    row("gemini kept file delete", Method::DELETE, "/v1beta/files/{object}", LIGHT),
    row("gemini list of files", Method::GET, "/v1beta/files", Kind::List),
    // The same at the version that the SDK for Python takes by itself (google-genai 3.4.0), where other providers have such paths.
    with(row("gemini make batch v1", Method::POST, "/v1/models/{model}:batchGenerateContent", MAIN), A_BATCH),
    with(google("gemini kept batch v1", Method::GET, "/v1/batches/{object}", LIGHT), A_BATCH),
    google("gemini kept batch cancel v1", Method::POST, "/v1/batches/{object}:cancel", LIGHT),
    google("gemini kept batch delete v1", Method::DELETE, "/v1/batches/{object}", LIGHT),
    google("gemini list of batches v1", Method::GET, "/v1/batches", Kind::List),
    with(row("gemini make cached content v1", Method::POST, "/v1/cachedContents", MAIN), BY_NAME),
    row("gemini kept content v1", Method::GET, "/v1/cachedContents/{object}", LIGHT),
    row("gemini kept content change v1", Method::PATCH, "/v1/cachedContents/{object}", LIGHT),
    row("gemini kept content delete v1", Method::DELETE, "/v1/cachedContents/{object}", LIGHT),
    row("gemini list of contents v1", Method::GET, "/v1/cachedContents", Kind::List),
    with(row("gemini upload v1", Method::POST, "/upload/v1/files", MAIN), AN_UPLOAD),
    google("gemini kept file v1", Method::GET, "/v1/files/{object}", LIGHT),
    google("gemini kept file content v1", Method::GET, "/v1/files/{object}:download", LIGHT),
    google("gemini kept file delete v1", Method::DELETE, "/v1/files/{object}", LIGHT),
    google("gemini list of files v1", Method::GET, "/v1/files", Kind::List),
    // The Live API: sockets that nobody here reads.
    socket("gemini live", "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"),
    socket("gemini live alpha", "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContent"),
    socket("gemini live v1", "/ws/google.ai.generativelanguage.v1.GenerativeService.BidiGenerateContent"),
    // What else an account has in its project: long-running calls, tuned models.
    row("gemini other model call", Method::POST, "/v1beta/models/{*call}", Kind::Refused),
    row("gemini tuned models", Method::GET, "/v1beta/tunedModels", Kind::Refused),
    row("gemini tuned model call", Method::POST, "/v1beta/tunedModels/{*call}", Kind::Refused),
];

/// What a route's request asks for, told by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask<'a> {
    pub(super) surface: Surface,
    /// `generateContent`, `countTokens`, …; empty for a read of the models.
    pub(super) method: &'a str,
    /// Validated: letters, digits, `.`, `_` and `-`.
    pub(super) model: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    CodeAssist,
    /// The version is `v1beta` or `v1`.
    Public {
        version: &'static str,
    },
}

impl Surface {
    /// Does a route speak Code Assist's words?
    pub(super) fn of(route: &Route) -> Self {
        match route.path {
            path if path.starts_with("/v1internal") => Self::CodeAssist,
            path if path.starts_with("/v1/") => Self::Public { version: "v1" },
            _ => Self::Public { version: "v1beta" },
        }
    }
}

/// Does the route go to a model, or ask for models?
pub(super) fn is_about_models(route: &Route) -> bool {
    route.path.starts_with("/v1beta/models") || route.path.starts_with("/v1/models")
}

impl<'a> Ask<'a> {
    /// `None`: the model's name holds characters that no model's name has.
    pub(super) fn read(route: &Route, path: &'a str) -> Option<Self> {
        let surface = Surface::of(route);
        let Surface::Public { version } = surface else {
            return Some(Self { surface, method: path.strip_prefix("/v1internal:").unwrap_or_default(), model: None });
        };
        let below = path.strip_prefix('/')?.strip_prefix(version)?.strip_prefix("/models")?;
        let Some(call) = below.strip_prefix('/') else {
            return Some(Self { surface, method: "", model: None });
        };
        let (model, method) = call.split_once(':').unwrap_or((call, ""));
        is_model(model).then_some(Self { surface, method, model: Some(model) })
    }
}

/// May this text stand as a model's name in a URL?
pub(super) fn is_model(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= 200 && name.bytes().all(allowed) && !name.bytes().all(|byte| byte == b'.')
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::request::Head;
    use crate::routes::Table;

    fn find(method: &Method, path: &str) -> Option<&'static Route> {
        let headers = HeaderMap::from_iter([(
            http::header::USER_AGENT,
            http::HeaderValue::from_static("google-genai-sdk/3.4.0 gl-python/3.11.7"),
        )]);
        Table::of([ROUTES]).find(&Head { method, path, query: None, headers: &headers })
    }

    #[test]
    fn the_table_is_sound() {
        assert_eq!(Table::of([ROUTES]).conflicts(), Vec::<String>::new());
    }

    #[test]
    fn each_request_has_its_row() {
        let post = [
            ("/v1internal:generateContent", "gemini code assist generate"),
            ("/v1internal:streamGenerateContent", "gemini code assist stream"),
            ("/v1internal:loadCodeAssist", "gemini load code assist"),
            ("/v1internal:deleteEverything", "gemini other code assist call"),
            ("/v1beta/models/gemini-3.8-flash:streamGenerateContent", "gemini stream"),
            ("/v1/models/gemini-2.5-pro:generateContent", "gemini generate v1"),
            ("/v1beta/models/gemini-embedding-001:batchEmbedContents", "gemini embed batch"),
            ("/v1beta/models/veo-3:predictLongRunning", "gemini other model call"),
            ("/v1beta/models/gemini-3.8-flash:batchGenerateContent", "gemini make batch"),
            ("/v1beta/cachedContents", "gemini make cached content"),
        ];
        for (path, id) in post {
            assert_eq!(find(&Method::POST, path).map(|route| route.id), Some(id), "{path}");
        }
        let get = [
            ("/v1internal/operations/abc", "gemini onboard operation"),
            ("/v1internal:getCodeAssistGlobalUserSetting", "gemini get user setting"),
            ("/v1beta/models", "gemini models"),
            ("/v1/models/gemini-2.5-pro", "gemini model v1"),
        ];
        for (path, id) in get {
            assert_eq!(find(&Method::GET, path).map(|route| route.id), Some(id), "{path}");
        }
        assert_eq!(find(&Method::DELETE, "/v1beta/files/abc").map(|route| route.id), Some("gemini kept file delete"));
        assert_eq!(find(&Method::DELETE, "/v1beta/tunedModels/abc").map(|route| route.id), None);
    }

    #[test]
    fn the_path_tells_model_and_method() {
        let cases = [
            ("/v1beta/models/gemini-3.8-flash:generateContent", Some((Some("gemini-3.8-flash"), "generateContent"))),
            ("/v1/models/gemini-2.5-pro", Some((Some("gemini-2.5-pro"), ""))),
            ("/v1beta/models", Some((None, ""))),
            ("/v1internal:countTokens", Some((None, "countTokens"))),
            ("/v1beta/models/a%20b:generateContent", None),
            ("/v1beta/models/a?b:generateContent", None),
            ("/v1beta/models/:generateContent", None),
        ];
        for (path, wanted) in cases {
            let method = if path.contains(':') { Method::POST } else { Method::GET };
            let route = find(&method, path).expect("a row");
            let ask = Ask::read(route, path);
            assert_eq!(ask.map(|ask| (ask.model, ask.method)), wanted, "{path}");
        }
    }
}
