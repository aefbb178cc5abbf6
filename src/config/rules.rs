//! Parses `[[gate.rules]]`: names, paths, methods, requirements.

use std::time::Duration;

use http::Method;

use super::effective::Config;
use super::fault::{Fault, Faults, Origin};
use super::key::show;
use super::quantity::duration;
use super::text;
use super::value::{Kind, Value};
use crate::auth::Mode;
use crate::license::RootUrl;
use crate::rules::{Glob, GlobError, Methods, Requirement, Rule, Rules, Unreachable};
use crate::telemetry::metrics::Metrics;
use crate::text::nearest;

const FIELDS: [&str; 8] =
    ["name", "paths", "methods", "require", "grace", "allow", "dry_run", "message"];
/// Each of these is a label of metrics, and a part of log lines and responses.
const LONGEST_NAME: usize = 64;
const LONGEST_MESSAGE: usize = 1000;

/// All rules, or all faults.
pub(super) fn rules(value: &Value) -> Result<Vec<Rule>, Faults> {
    let tables = match &value.kind {
        Kind::List(tables) => tables,
        Kind::Word(_) => return Err(value.fault("can only be set in the file").into()),
        _ => return Err(value.fault("takes tables: write [[gate.rules]]").into()),
    };
    let mut faults = Faults::default();
    let mut rules: Vec<Rule> = Vec::new();
    for table in tables {
        if let Some(rule) = faults.take(rule(table)) {
            if let Some(other) = rules.iter().find(|other| other.name == rule.name) {
                let message = format!("there are two rules {:?}: rename one", other.name);
                faults.push(table.fault(message));
            }
            rules.push(rule);
        }
    }
    faults.or(rules)
}

/// Faults of rules that depend on other settings, or on other rules.
pub(super) fn check(config: &Config) -> Vec<Fault> {
    let Config { gate, rules_at, root_url, .. } = config;
    let Ok(root_url) = RootUrl::parse(root_url) else { return Vec::new() };
    let fault = |at: usize, message: String| {
        let origin = rules_at.get(at).cloned().unwrap_or(Origin::Default);
        Fault::new(origin, "gate.rules.paths", message)
    };
    let mut faults = Vec::new();
    for (at, rule) in gate.rules.iter().enumerate() {
        let mut paths = rule.paths.iter();
        if let Some(glob) = paths.find(|glob| glob.is_licensing(root_url.base_path())) {
            faults.push(fault(at, format!("\"{glob}\" {}", GlobError::Licensing)));
        }
    }
    if let Err(error) = Rules::new(gate, root_url.base_path(), &Metrics::default()) {
        faults.push(fault(error.at, error.to_string()));
    }
    faults
}

/// Warnings about rules that are allowed but probably not intended.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let Config { gate, rules_at, root_url, .. } = config;
    let at = |index: usize| match rules_at.get(index) {
        Some(origin) => format!("{origin}: gate.rules"),
        None => "gate.rules".to_owned(),
    };
    let mut warnings = Vec::new();
    for (index, rule) in gate.rules.iter().enumerate() {
        let (place, name) = (at(index), &rule.name);
        if let Some(glob) = rule.paths.iter().find(|glob| glob.is_everything() && !rule.allow) {
            let effect = match config.auth.mode {
                Mode::Dashboard => {
                    "nobody can open the dashboard's sign-in page, and so nobody can sign in to install one"
                }
                Mode::Local => "nobody can use the dashboard",
            };
            warnings.push(format!("{place}: the rule {name:?} has the path \"{glob}\", which is everything: without a license {effect}; name the paths of a feature"));
        }
        let needless = !rule.grace.is_zero()
            || !rule.message.is_empty()
            || rule.requirement != Requirement::License;
        if rule.allow && needless {
            warnings.push(format!("{place}: the rule {name:?} has allow = true, so that require, grace and message have no effect; remove them, or allow"));
        }
        if rule.allow && rule.dry_run {
            warnings.push(format!("{place}: the rule {name:?} has allow = true and dry_run = true: a dry run admits nothing, so that the rule has no effect; remove one of them"));
        }
    }
    if gate.dry_run && gate.rules.is_empty() {
        warnings.push("gate.dry_run is set, but there are no [[gate.rules]]".to_owned());
    }
    if config.empty_tables.contains_key("gate") {
        warnings.push(
            "[gate] is empty: without [[gate.rules]] no request depends on the license".to_owned(),
        );
    }
    let Ok(root_url) = RootUrl::parse(root_url) else { return warnings };
    let rules = Rules::new(gate, root_url.base_path(), &Metrics::default());
    for Unreachable { at: index, by } in rules.iter().flatten().flat_map(Rules::unreachable) {
        let by: Vec<_> = by.into_iter().map(|rule| format!("{:?}", rule.name)).collect();
        let (place, name, by) = (at(index), &gate.rules[index].name, by.join(", "));
        warnings.push(format!("{place}: the rule {name:?} never decides: all of its requests match {by} above it; move it up, or remove it"));
    }
    warnings
}

/// A rule as TOML, without the settings that have their defaults.
pub(super) fn table(rule: &Rule, comment: &str) -> String {
    let list = |names: Vec<String>| toml::Value::from(names);
    let text = |text: &str| toml::Value::from(text);
    let mut fields = vec![
        ("name", text(&rule.name)),
        ("paths", list(rule.paths.iter().map(ToString::to_string).collect())),
    ];
    if !rule.methods.are_all() {
        let names = rule.methods.names().into_iter().map(str::to_owned);
        fields.push(("methods", list(names.collect())));
    }
    if rule.allow {
        fields.push(("allow", true.into()));
    } else {
        fields.push(("require", text(&rule.requirement.to_string())));
        fields.push(("grace", show::duration(rule.grace)));
        fields.push(("dry_run", rule.dry_run.into()));
        fields.push(("message", text(&rule.message)));
    }
    let lines = fields.into_iter().map(|(name, value)| format!("{name} = {value}\n"));
    format!("\n[[gate.rules]]{comment}\n{}", lines.collect::<String>())
}

fn rule(table: &Value) -> Result<Rule, Faults> {
    let Kind::Table(fields) = &table.kind else {
        return Err(table.fault("takes tables: write [[gate.rules]]").into());
    };
    let mut faults = Faults::default();
    let mut found = FIELDS.map(|_| None);
    for field in fields {
        match FIELDS.iter().position(|name| field.key == format!("gate.rules.{name}")) {
            Some(at) => found[at] = Some(field),
            None => faults.push(unknown(field)),
        }
    }
    let [name, paths, methods, require, grace, allow, dry_run, message] = found;
    if name.is_none() {
        faults.push(table.fault("a rule has no name: add name = \"…\""));
    }
    if paths.is_none() {
        faults.push(table.fault("a rule has no paths: add paths = [\"/…\"]"));
    }
    let rule = Rule {
        name: read(&mut faults, name, rule_name).unwrap_or_default(),
        paths: read(&mut faults, paths, globs).unwrap_or_default(),
        methods: read(&mut faults, methods, all_methods).unwrap_or(Methods::ALL),
        requirement: read(&mut faults, require, requirement).unwrap_or(Requirement::License),
        grace: read(&mut faults, grace, duration).unwrap_or(Duration::ZERO),
        allow: read(&mut faults, allow, Value::boolean).unwrap_or(false),
        dry_run: read(&mut faults, dry_run, Value::boolean).unwrap_or(false),
        message: read(&mut faults, message, notice).unwrap_or_default(),
    };
    faults.or(rule)
}

fn read<T, F: Into<Faults>>(
    faults: &mut Faults,
    field: Option<&Value>,
    read: impl Fn(&Value) -> Result<T, F>,
) -> Option<T> {
    field.and_then(|field| faults.take(read(field)))
}

fn unknown(field: &Value) -> Fault {
    let name = field.key.strip_prefix("gate.rules.").unwrap_or_default();
    field.fault(match nearest(name, FIELDS) {
        Some(meant) => format!("unknown key; the nearest is gate.rules.{meant}"),
        None => format!("unknown key; a rule has {}", FIELDS.join(", ")),
    })
}

fn rule_name(value: &Value) -> Result<String, Fault> {
    match text::name(value)? {
        long if long.chars().count() > LONGEST_NAME => {
            Err(value.fault(format!("is longer than {LONGEST_NAME} characters")))
        }
        name => Ok(name),
    }
}

fn notice(value: &Value) -> Result<String, Fault> {
    match text::any(value)? {
        long if long.chars().count() > LONGEST_MESSAGE => {
            Err(value.fault(format!("is longer than {LONGEST_MESSAGE} characters")))
        }
        message => Ok(message),
    }
}

fn globs(value: &Value) -> Result<Vec<Glob>, Faults> {
    let globs = value.each(glob)?;
    match globs.is_empty() {
        true => Err(value.fault("names no path, so that the rule has no effect: add one").into()),
        false => Ok(globs),
    }
}

fn glob(value: &Value) -> Result<Glob, Fault> {
    let text = value.text()?;
    text.parse().map_err(|error: GlobError| value.fault(format!("{text:?} {error}")))
}

fn all_methods(value: &Value) -> Result<Methods, Faults> {
    let methods = value.each(method)?;
    match methods.is_empty() {
        true => Err(value
            .fault("names no method, so that the rule has no effect: remove it for all methods")
            .into()),
        false => Ok(Methods::of(methods)),
    }
}

fn method(value: &Value) -> Result<Method, Fault> {
    let text = text::name(value)?;
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        let upper = text.to_ascii_uppercase();
        return Err(value.fault(format!("methods are in upper case: write {upper:?}")));
    }
    if text == "CONNECT" {
        let message = "the gate forwards no CONNECT; a WebSocket counts as \"GET\": write that";
        return Err(value.fault(message));
    }
    Method::from_bytes(text.as_bytes())
        .map_err(|_| value.fault(format!("{text:?} is not a method such as \"POST\"")))
}

fn requirement(value: &Value) -> Result<Requirement, Fault> {
    match text::name(value)?.split_once(':') {
        None if value.text()? == "license" => Ok(Requirement::License),
        Some(("product", product)) if !product.trim().is_empty() => {
            Ok(Requirement::Product(product.trim().to_owned()))
        }
        _ => {
            let text = value.text()?;
            Err(value.fault(format!("{text:?} is neither \"license\" nor \"product:NAME\"")))
        }
    }
}
