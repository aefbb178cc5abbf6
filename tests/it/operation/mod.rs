//! What an operator meets: logs and those who do not read them, descriptors that run out, files that cannot be read, and the
//! examples of a deployment.

mod admin;
mod deploy;
mod descriptors;
mod failures;
mod logs;
mod metrics;
mod privileges;
mod probe;
mod streams;
