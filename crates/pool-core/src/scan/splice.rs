//! Editing bytes at found places.
