//! `[gate]`: the rules as they are written.

use std::fmt;
use std::time::Duration;

use super::glob::Glob;
use super::methods::Methods;

/// `[gate]` and `[[gate.rules]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Whether no rule refuses anything. Default false.
    pub dry_run: bool,
    /// The rules, in order. Default: none.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, in responses, metrics and the log. Unique.
    pub name: String,
    /// The paths that it applies to, at the root and below the base path; at least one.
    pub paths: Vec<Glob>,
    /// The methods that it applies to. Default: all.
    pub methods: Methods,
    /// What it requires. Default: a valid license. Exceptions require nothing.
    pub requirement: Requirement,
    /// How long requests pass after the license has ended. Default 0 s.
    pub grace: Duration,
    /// Whether it is an exception: requests pass, and the rules below it do not apply to them. Default false.
    pub allow: bool,
    /// Whether it refuses nothing. Default false.
    pub dry_run: bool,
    /// Shown in the refusal. Default: empty.
    pub message: String,
}

/// What a rule requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// A valid license.
    License,
    /// A valid license that includes this product.
    Product(String),
}

impl fmt::Display for Requirement {
    /// As in the configuration.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::License => out.pad("license"),
            Self::Product(product) => out.pad(&format!("product:{product}")),
        }
    }
}
