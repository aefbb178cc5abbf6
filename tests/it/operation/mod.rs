//! Operation: logs, a log that is not read, too few descriptors, files that cannot be read, and the deployment
//! examples.

mod admin;
mod deploy;
mod descriptors;
mod failures;
mod logs;
mod privileges;
mod streams;
