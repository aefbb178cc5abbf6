//! The command line.

mod against;
mod commands;
mod fake;
mod faults;
mod files;
mod hostile;
mod init;
mod inspect;
mod layers;
mod random;
mod remote;
mod terminal;
mod vendor;
