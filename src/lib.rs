//! license-gate: a reverse proxy in front of a metrics dashboard that keeps its license.
pub mod admin;
pub mod app;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod downstream;
pub mod feed;
pub mod license;
pub mod problem;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod upstream;
