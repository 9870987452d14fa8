//! What Anthropic's API keeps for an organisation: uploaded files and batches of messages
//! (<https://docs.claude.com/en/api/files-create>, <https://docs.claude.com/en/api/creating-message-batches>).

use std::sync::LazyLock;

use pool_core::scan::json::Paths;

use crate::objects::Objects;

static ID: LazyLock<Paths> = LazyLock::new(|| Paths::new(&["id"]));

pub(super) const BY_ID: Objects = Objects::told(&ID);

pub(super) fn id(text: &str) -> Option<&str> {
    let last = text.rsplit('/').next()?;
    let named = |prefix: &str| last.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
    ["file_", "msgbatch_"].into_iter().any(named).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_same_wherever_it_is_named() {
        for (text, expected) in [
            ("file_011CNha8iCJcU1wXNR6q4V8w", Some("file_011CNha8iCJcU1wXNR6q4V8w")),
            ("/v1/messages/batches/msgbatch_01", Some("msgbatch_01")),
            ("file_", None),
            ("toolu_01", None),
            ("see file_01", None),
        ] {
            assert_eq!(id(text), expected, "{text}");
        }
    }
}
