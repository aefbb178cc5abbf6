//! The command line.

mod commands;
mod faults;
mod files;
mod inspect;
mod layers;
mod vendor;
