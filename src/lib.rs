//! license-gate: a reverse proxy in front of a metrics dashboard that keeps its license.
pub mod admin;
pub mod api;
pub mod auth;
pub mod body;
pub mod chunk;
pub mod clock;
pub mod downstream;
pub mod feed;
pub mod hop;
pub mod license;
pub mod path;
pub mod problem;
pub mod shutdown;
pub mod store;
pub mod sweep;
pub mod telemetry;
pub mod upstream;
