//! The relay: one request from its arrival to its last byte. [`path`] tells the story.

pub mod answer;
pub mod attempt;
pub mod body;
pub mod deliver;
pub mod delivery;
mod draw;
mod echo;
pub mod estate;
pub mod headers;
pub mod keep_alive;
mod listing;
mod menu;
pub mod meter;
pub mod miss;
pub mod path;
pub mod receive;
pub mod tap;
pub mod until;
pub mod wrap;
pub mod ws;
