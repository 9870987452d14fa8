//! What ties a conversation to its account, from a cache that costs its price to state that nobody else has.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The strongest tie of a request to the account that its conversation is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// Its prompt cache alone: a move costs what the cache saves, and nothing once that is cold.
    #[default]
    Cache,
    /// A routing token of the turn under way. A move drops it.
    TurnState,
    /// Reasoning that the account has sealed. A move leaves it behind if the next account refuses it.
    SealedReasoning,
    /// Thinking that the account has signed. After a move the provider may refuse it; clients then send the conversation
    /// without.
    SignedThinking,
    /// It continues an answer that the account, or one socket to it, has stored.
    StoredAnswer,
    /// A conversation that the provider keeps.
    Conversation,
    /// A container in which code of the conversation runs.
    Container,
    /// An uploaded file.
    File,
    /// A cached content that was made by a call of its own.
    CachedContent,
}

impl Binding {
    /// Can another account only fail? If not, a move has a price, which may be nothing.
    pub fn is_hard(self) -> bool {
        match self {
            Self::Cache | Self::TurnState | Self::SealedReasoning | Self::SignedThinking => false,
            Self::StoredAnswer | Self::Conversation | Self::Container | Self::File | Self::CachedContent => true,
        }
    }

    /// As records keep it.
    pub fn code(self) -> &'static str {
        Self::ALL.iter().find(|(binding, _)| *binding == self).map_or("cache", |(_, code)| code)
    }

    /// From a record; what is unknown there ties no more than a cache.
    pub fn of_code(code: &str) -> Self {
        Self::ALL.iter().find(|(_, known)| *known == code).map_or(Self::Cache, |(binding, _)| *binding)
    }

    const ALL: [(Self, &str); 9] = [
        (Self::Cache, "cache"),
        (Self::TurnState, "turn_state"),
        (Self::SealedReasoning, "sealed_reasoning"),
        (Self::SignedThinking, "signed_thinking"),
        (Self::StoredAnswer, "stored_answer"),
        (Self::Conversation, "conversation"),
        (Self::Container, "container"),
        (Self::File, "file"),
        (Self::CachedContent, "cached_content"),
    ];
}

/// Completes "it is held by …".
impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cache => "its prompt cache",
            Self::TurnState => "the routing of the turn under way",
            Self::SealedReasoning => "reasoning that the account has sealed",
            Self::SignedThinking => "thinking that the account has signed",
            Self::StoredAnswer => "an answer that the account has stored",
            Self::Conversation => "a conversation that the account keeps",
            Self::Container => "a container of the account",
            Self::File => "a file that was uploaded to the account",
            Self::CachedContent => "a cached content of the account",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_back_what_was_kept() {
        for (binding, code) in Binding::ALL {
            assert_eq!(Binding::of_code(binding.code()), binding);
            assert_eq!(serde_json::to_value(binding).expect("a text"), code, "one spelling everywhere");
        }
        assert_eq!(Binding::of_code("of a later version"), Binding::Cache);
    }
}
