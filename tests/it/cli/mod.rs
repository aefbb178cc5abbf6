//! The command line.

mod commands;
mod faults;
mod files;
mod layers;
mod vendor;
