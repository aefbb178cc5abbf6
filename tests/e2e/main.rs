//! End to end with real programs: Chromium, Prometheus, Streamlit, gRPC, git, curl, httpx, Node and a published API client,
//! through the gate.
//!
//! Each test starts what it needs on free ports, and stops it. A test fails if a program is missing (`tests/run` installs all
//! of them). Where possible, the same steps are run without the gate first, and the results through the gate must be the
//! same.
#![cfg(test)]
#![allow(clippy::disallowed_methods, reason = "tasks of a test end with its runtime")]

mod alerts;
mod autobahn;
mod browser;
mod clients;
#[allow(dead_code, reason = "the tests of the store use it too")]
mod cluster;
mod dashboard;
mod demo;
mod deploy;
mod formats;
mod gate;
mod grpc;
mod issuer;
mod openapi;
mod package;
mod page;
mod page_rules;
mod page_states;
mod postgres;
mod process;
mod prometheus;
#[allow(dead_code, reason = "the tests of the store use it too")]
#[path = "../../src/store/postgres/tests/relay.rs"]
mod relay;
mod scrape;
mod sdk;
mod streamlit;
#[allow(dead_code, reason = "the tests of forwarding use it too")]
#[path = "../it/support/two.rs"]
mod two;
mod websocket;
mod wire;

#[path = "../../examples/support/client.rs"]
mod client_support;
#[path = "../../examples/support/dashboard/mod.rs"]
mod dashboard_support;
#[path = "../../examples/support/http.rs"]
mod http_support;
#[path = "../../examples/support/issuer.rs"]
mod issuer_support;
#[path = "../../examples/support/stage.rs"]
mod stage_support;
