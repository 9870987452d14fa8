//! Cutting event streams into events.
