//! The command line.

mod against;
mod commands;
mod faults;
mod files;
mod inspect;
mod layers;
mod vendor;
