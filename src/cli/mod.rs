//! One file per subcommand, thin: arguments in, exit code out, everything else by the same functions as the gate.

pub mod inspect;
pub mod issue;
pub mod keys;
pub mod streams;
