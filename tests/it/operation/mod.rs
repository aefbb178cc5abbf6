//! Operation: logs, a log that is not read, too few descriptors, files that cannot be read, and the deployment
//! examples.

mod admin;
mod admin_listener;
mod deploy;
mod descriptors;
mod failures;
mod flags;
mod health;
mod log_level;
mod logs;
mod metrics;
mod privileges;
mod probe;
mod reload;
mod starts;
mod streams;
mod systemd;
mod upgrade;
