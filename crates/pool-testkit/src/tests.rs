//! Tests of the fake itself, over the wire.
