//! What OpenAI's API keeps on an account, and how it is named.
//!
//! Ids are unique over all kinds, with a prefix that says which (the API reference's examples at
//! <https://developers.openai.com/api/reference>): responses, conversations, files, uploads in parts, batches, vector stores,
//! containers, realtime calls.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, header};
use pool_core::scan::json::Paths;

use crate::objects::Objects;

const PREFIXES: [&str; 10] = ["resp_", "conv_", "file-", "file_", "upload_", "batch_", "vs_", "vsfb_", "cntr_", "rtc_"];

/// A stored response: in the stream's `response.created`, or the answer itself.
static RESPONSE: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["response.id", "id"]));
static ID: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["id"]));
/// A finished upload is a file.
static UPLOAD: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["id", "file.id"]));
/// What a batch has come to is in files.
static BATCH: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["id", "output_file_id", "error_file_id"]));

static STORE: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["store"]));

/// Responses are stored unless the request says otherwise.
pub(super) const A_RESPONSE: Objects = Objects { unless: Some(&STORE), ..Objects::told(&RESPONSE) };
pub(super) const BY_ID: Objects = Objects::told(&ID);
pub(super) const AN_UPLOAD: Objects = Objects::told(&UPLOAD);
pub(super) const A_BATCH: Objects = Objects::told(&BATCH);
/// A call is named by the `Location` of its answer (`/v1/realtime/calls/rtc_…`).
pub(super) const A_CALL: Objects = Objects { header: Some("location"), ..Objects::NONE };
/// A socket can join a call.
pub(super) const IN_A_CALL: Objects = Objects { query: &["call_id"], ..Objects::NONE };

pub(super) fn id(text: &str) -> Option<&str> {
    let last = text.rsplit('/').next()?;
    let named = |prefix: &str| last.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
    PREFIXES.into_iter().any(named).then_some(last)
}

/// The subprotocols that a socket asks for, without those in which a browser's client hides its credential and whose it is
/// (`src/realtime/websocket.ts` of OpenAI's JavaScript SDK 7.57.0). `None`: none are left.
pub(super) fn subprotocols(client: &HeaderMap) -> Option<HeaderValue> {
    const HIDDEN: [&str; 3] = ["openai-insecure-api-key.", "openai-organization.", "openai-project."];
    let values = client.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let kept: Vec<&str> = values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty() && !HIDDEN.iter().any(|hidden| name.starts_with(hidden)))
        .collect();
    HeaderValue::try_from(kept.join(", ")).ok().filter(|_| !kept.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_same_wherever_it_is_named() {
        for (text, expected) in [
            ("resp_0123", Some("resp_0123")),
            ("file-0123", Some("file-0123")),
            ("/v1/files/file-0123", Some("file-0123")),
            ("/v1/realtime/calls/rtc_0123", Some("rtc_0123")),
            ("rtc_", None),
            ("say file-0123", None),
            ("msg_0123", None),
            ("", None),
        ] {
            assert_eq!(id(text), expected, "{text}");
        }
    }

    #[test]
    fn no_credential_hides_in_a_subprotocol() {
        for (asked, expected) in [
            (
                "realtime, openai-insecure-api-key.made-up, openai-beta.realtime-v1",
                Some("realtime, openai-beta.realtime-v1"),
            ),
            ("openai-project.p,realtime,openai-organization.o", Some("realtime")),
            ("openai-insecure-api-key.made-up", None),
        ] {
            let headers = HeaderMap::from_iter([(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(asked))]);
            assert_eq!(
                subprotocols(&headers).as_ref().map(HeaderValue::as_bytes),
                expected.map(str::as_bytes),
                "{asked}"
            );
        }
        assert_eq!(subprotocols(&HeaderMap::new()), None);
    }
}
