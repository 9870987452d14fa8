//! Gemini: its files, requests and replies.
