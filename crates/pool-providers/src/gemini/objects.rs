//! What the Gemini API keeps for a project: files, cached contents, batches, and uploads under way.
//!
//! Names are resources (`files/abc-123`, `cachedContents/xyz`), in bodies also as addresses that end so (`fileUri`). A file's name
//! can be the client's choice (<https://ai.google.dev/api/files>).

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Uri, header};
use pool_core::scan::json::Paths;

use super::outbound::is_credential;
use crate::objects::Objects;
use crate::request::Head;

const KINDS: [&str; 3] = ["files", "cachedContents", "batches"];

static NAME: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["name"]));
static FILE: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["file.name", "name"]));
/// What a batch has come to is in a file.
static BATCH: LazyLock<Paths> = LazyLock::new(|| {
    Paths::new(&["name", "response.responsesFile", "metadata.output.responsesFile", "output.responsesFile"])
});

/// Where an upload goes on, in the answer to its beginning.
const UPLOAD_URL: &str = "x-goog-upload-url";
const UPLOAD_ID: &str = "upload_id";

pub(super) const BY_NAME: Objects = Objects::told(&NAME);
pub(super) const A_FILE: Objects = Objects::told(&FILE);
pub(super) const A_BATCH: Objects = Objects::told(&BATCH);
pub(super) const AN_UPLOAD: Objects = Objects { header: Some(UPLOAD_URL), query: &[UPLOAD_ID], ..Objects::told(&FILE) };

pub(super) fn id(text: &str) -> Option<&str> {
    if let Some((_, after)) = text.split_once("upload_id=") {
        return after.split('&').next().filter(|id| !id.is_empty());
    }
    let named = |kind: &str| {
        let at = text.rfind(kind).filter(|at| *at == 0 || text.as_bytes()[at - 1] == b'/')?;
        let after = text[at..].strip_prefix(kind)?.strip_prefix('/')?;
        // A method may follow, and a query.
        let length = after.find([':', '?']).unwrap_or(after.len());
        let is_id =
            length > 0 && after[..length].bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        is_id.then(|| &text[at..at + kind.len() + 1 + length])
    };
    KINDS.into_iter().find_map(named)
}

/// An upload goes on at Google's own address: ours takes its place. (Of the SDKs, google-genai 3.4.0 for Python does the same
/// by itself.)
pub(super) fn readdress(head: &Head<'_>, headers: &mut HeaderMap) {
    let Some(theirs) = headers.get(UPLOAD_URL).and_then(|url| url.to_str().ok()?.parse::<Uri>().ok()) else { return };
    let query = theirs.query().unwrap_or_default().split('&').filter(|pair| !is_credential(pair)).collect::<Vec<_>>();
    let scheme = head.header("x-forwarded-proto").filter(|scheme| *scheme == "https").unwrap_or("http");
    let ours =
        head.header(header::HOST.as_str()).map(|host| format!("{scheme}://{host}{}?{}", head.path, query.join("&")));
    match ours.and_then(|ours| HeaderValue::try_from(ours).ok()) {
        Some(ours) => drop(headers.insert(UPLOAD_URL, ours)),
        None => drop(headers.remove(UPLOAD_URL)),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn an_id_is_the_same_wherever_it_is_named() {
        for (text, expected) in [
            ("files/abc-123", Some("files/abc-123")),
            ("/v1beta/files/abc-123", Some("files/abc-123")),
            ("https://generativelanguage.googleapis.com/v1beta/files/abc-123", Some("files/abc-123")),
            (
                "https://generativelanguage.googleapis.com/v1beta/files/abc-123:download?alt=media",
                Some("files/abc-123"),
            ),
            ("cachedContents/x1", Some("cachedContents/x1")),
            ("/v1beta/batches/b1", Some("batches/b1")),
            ("https://h.example/upload/v1beta/files?upload_id=AbC_1&upload_protocol=resumable", Some("AbC_1")),
            ("files/", None),
            ("profiles/abc", None),
            ("files/a b", None),
            ("my files/abc", None),
            ("models/gemini-3.8-flash", None),
        ] {
            assert_eq!(id(text), expected, "{text}");
        }
    }

    #[test]
    fn an_upload_goes_on_here() {
        let theirs = "https://generativelanguage.googleapis.com/upload/v1beta/files?key=made-up&upload_id=AbC&upload_protocol=resumable";
        let asked = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("127.0.0.1:8989"))]);
        let head = Head { method: &Method::POST, path: "/upload/v1beta/files", query: None, headers: &asked };
        let mut headers = HeaderMap::new();
        headers.insert(UPLOAD_URL, HeaderValue::from_static(theirs));
        readdress(&head, &mut headers);
        assert_eq!(
            headers[UPLOAD_URL],
            "http://127.0.0.1:8989/upload/v1beta/files?upload_id=AbC&upload_protocol=resumable"
        );
    }
}
