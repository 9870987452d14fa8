//! Codex: its files, requests and replies.
