//! `/api/licensing/*`.
pub mod endpoint;
