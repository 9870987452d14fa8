//! The server: everything that codex-pool does. It listens, forwards, watches files and keeps tokens fresh; what to decide it
//! asks of `pool-core`, what providers say it asks of `pool-providers`.

pub mod admit;
pub mod app;
pub mod clock;
pub mod config;
mod dispatch;
mod edge;
pub mod explain;
pub mod memory;
mod pages;
pub mod pool;
pub mod relay;
mod server;
pub mod spend;
pub mod status;
pub mod upstream;

pub use config::Config;
pub use server::{Server, StartError};
