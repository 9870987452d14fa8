//! The server: everything that codex-pool does. It listens, forwards, watches files and keeps tokens fresh; what to decide it
//! asks of `pool-core`, what providers say it asks of `pool-providers`.

pub mod clock;
pub mod config;
pub mod pool;
pub mod relay;
pub mod status;
pub mod upstream;

pub use config::Config;
