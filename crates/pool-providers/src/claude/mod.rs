//! Claude: its files, requests and replies.
