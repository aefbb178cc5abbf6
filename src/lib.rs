//! license-gate is a reverse proxy in front of a metrics dashboard. It keeps the dashboard's license.
//!
//! # The manual
//!
//! | to | read |
//! |---|---|
//! | build and install the gate, and put it in front of a dashboard | [installing](manual::installing) |
//! | look up a setting | [configuration](manual::configuration) |
//! | call the licensing API | [API](manual::api) |
//! | make features of the dashboard depend on the license | [gate rules](manual::rules) |
//! | see and change the license in a browser | [license page](manual::page) |
//! | see where a license comes from, when it is renewed, when it ends | [life of a license](manual::license) |
//! | issue licenses | [vendor](manual::vendor) |
//! | run several gates with one license | [replicas](manual::replicas) |
//! | keep a record of changes, and be notified of them | [audit and events](manual::audit_and_events) |
//! | watch, stop and repair a running gate | [operating](manual::operating) |
//! | estimate what it costs | [performance](manual::performance) |
//! | judge what it protects against | [security](manual::security) |
//! | look up a term | [glossary](manual::glossary) |
//! | find the file to change | [architecture](manual::architecture) |
//! | build, test and release | [contributing](manual::contributing) |
//! | see why it is built this way | [decisions](manual::decisions) |
//! | change a `poll_` function | [wake-ups](manual::wakeups) |
//!
//! # The code
//!
//! | stage | modules |
//! |---|---|
//! | a request's way | [downstream], [service], [api], [auth], [gate], [rules], [proxy], [upstream] |
//! | a license's way | [feed], [license], [notify], [store] |
//! | start, stop, watch | [app], [worker], [config], [cli], [admin], [telemetry], [shutdown], [systemd] |
//! | protocols | [codec], [http2], [message], [path], [problem], [outgoing], [dial], [socket], [certificate] |
//! | small tools | [backoff], [clock], [random], [sweep], [text] |
//!
//! The code has two main paths. Read [`service`], then [`store`], from top to bottom; every other module is one stage.
//!
//! ```text
//! a request   accept ─ TLS ─ HTTP ─ route ─┬─ licensing API ─────────────┬─ response
//!             └── downstream/ ──┘  service └─ gate ─ proxy ─ upstream ───┘
//! a license   bytes ─────── verified ─────── persisted ────── swapped ───── read by
//!             feed/, api/   license/verify   store/backend    store/held    api, admin
//! ```
//!
//! A module imports from lower rows only, which `tests/layers.rs` checks:
//!
//! ```text
//! 14  cli
//! 13  app
//! 12  worker
//! 11  config
//! 10  service  admin
//! 9   proxy
//! 8   gate
//! 7   api
//! 6   feed  auth
//! 5   notify
//! 4   rules  store
//! 3   license  upstream  downstream
//! 2   codec  http2  outgoing  problem
//! 1   certificate  dial  message  path  random  socket  telemetry  shutdown
//! 0   backoff  clock  manual  sweep  systemd  text
//! ```

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tasks of a test end with its runtime")
)]

// What people read first.
pub mod manual;

// The path of a request.
pub mod downstream;
pub mod service;

pub mod api;
pub mod auth;
pub mod gate;
pub mod proxy;
pub mod rules;
pub mod upstream;

// The path of a license.
pub mod feed;
pub mod license;
pub mod notify;
pub mod store;

// Start, stop, configuration and monitoring.
pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod worker;

// Used by the modules above.
pub mod backoff;
pub mod certificate;
pub mod clock;
pub mod codec;
pub mod dial;
pub mod http2;
pub mod message;
pub mod outgoing;
pub mod path;
pub mod problem;
pub mod random;
pub mod shutdown;
pub mod socket;
pub mod sweep;
pub mod systemd;
pub mod telemetry;
pub mod text;
