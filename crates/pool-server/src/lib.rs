//! The server: everything that codex-pool does. It listens, forwards, watches files and keeps tokens fresh; what to decide it
//! asks of `pool-core`, what providers say it asks of `pool-providers`.

pub mod admit;
pub mod app;
pub mod clock;
pub mod config;
pub mod contributions;
mod dispatch;
pub mod door;
mod edge;
pub mod events;
pub mod explain;
pub mod forecast;
pub mod friends;
pub mod memory;
pub mod network;
pub mod notices;
mod pages;
pub mod people;
pub mod pool;
pub mod relay;
pub mod replicas;
pub mod roster;
mod server;
pub mod sessions;
pub mod setup;
pub mod spend;
pub mod status;
pub mod upstream;

pub use config::Config;
pub use pages::openapi::document as openapi;
pub use server::{Server, StartError};
