//! Codex's socket where upstream has none, or no longer, and where an account ends in the middle of a conversation.

#[path = "../support/mod.rs"]
mod support;

mod play;
mod reach;
mod transcripts;
