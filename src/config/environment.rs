//! Settings from environment variables and flags.

use std::ffi::OsString;

use super::fault::{Fault, Faults, Origin};
use super::keys;
use super::value::{Kind, Value};
use crate::license::Excerpt;
use crate::text::nearest;

/// Prefix of the variable of every setting.
const PREFIX: &str = "LICENSE_GATE__";

/// Prefix of variables that may be misspelled settings.
const ALMOST: &str = "LICENSE_GATE_";

/// Variables of scripts that call a gate.
const OF_COMMANDS: [&str; 3] = ["LICENSE_GATE_URL", "LICENSE_GATE_USER", "LICENSE_GATE_PASSWORD"];

/// Variables that Kubernetes sets in each container if there is a Service named `license-gate`.
const OF_KUBERNETES: [&str; 2] = ["LICENSE_GATE_SERVICE_", "LICENSE_GATE_PORT_"];
const PORT_OF_KUBERNETES: &str = "LICENSE_GATE_PORT";

/// A flag that sets a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// Its name, such as `--listen`.
    pub name: &'static str,
    /// The key it sets, such as `server.listen`.
    pub key: &'static str,
    /// Its values; more than one for a flag that may be repeated.
    pub words: Vec<String>,
}

/// The setting of a flag. Each use of a repeatable flag is one element, and is not split at commas.
pub(super) fn flag(flag: Flag) -> Value {
    let Flag { name, key, mut words } = flag;
    let setting = |kind| Value { key: key.to_owned(), origin: Origin::Flag(name), kind };
    match words.pop() {
        Some(word) if words.is_empty() && !keys::takes_list(key) => setting(Kind::Word(word)),
        last => {
            words.extend(last);
            setting(Kind::List(words.into_iter().map(|word| setting(Kind::Word(word))).collect()))
        }
    }
}

/// The settings among `variables`, sorted by name, and a warning about each variable that may be a misspelled setting.
pub(super) fn environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    faults: &mut Faults,
) -> (Vec<Value>, Vec<String>) {
    let names =
        variables.into_iter().filter_map(|(name, word)| Some((name.into_string().ok()?, word)));
    let mut candidates: Vec<_> = names.filter(|(name, _)| name.starts_with(ALMOST)).collect();
    candidates.sort();
    let (mut settings, mut warnings) = (Vec::new(), Vec::new());
    for (name, word) in candidates {
        match keys::all().find(|key| variable_of(key) == name) {
            Some(key) => settings.extend(faults.take(variable(&name, key, word))),
            None if is_other(&name) => {}
            None => warnings.push(unknown(&name)),
        }
    }
    (settings, warnings)
}

fn variable(name: &str, key: &str, word: OsString) -> Result<Value, Fault> {
    let origin = Origin::Environment(name.into());
    let Ok(word) = word.into_string() else {
        return Err(Fault::new(origin, key, "is not UTF-8 text"));
    };
    Ok(Value { key: key.to_owned(), origin, kind: Kind::Word(word) })
}

/// Whether `name` belongs to a script or to Kubernetes.
fn is_other(name: &str) -> bool {
    name == PORT_OF_KUBERNETES
        || OF_COMMANDS.contains(&name)
        || OF_KUBERNETES.iter().any(|prefix| name.starts_with(prefix))
}

fn unknown(name: &str) -> String {
    let names: Vec<String> = keys::all().map(variable_of).collect();
    // Compared without the prefix that all names share.
    let rest = |name| str::strip_prefix(name, ALMOST).unwrap_or(name);
    let meant = nearest(rest(name), names.iter().map(|name| rest(name)));
    let hint = match meant {
        Some(meant) => format!("the nearest is {ALMOST}{meant}"),
        None => format!("settings are named like {}", variable_of("upstream.url")),
    };
    let name = Excerpt::of(name);
    format!("the environment variable {} is not a setting and is ignored; {hint}", name.bare())
}

/// `server.tls.cert_file` is `LICENSE_GATE__SERVER__TLS__CERT_FILE`.
fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_set_their_keys_and_misspelled_ones_are_warnings() {
        let variables = [
            ("LICENSE_GATE__UPSTREAM__URL", "http://a:1"),
            ("LICENSE_GATE__SERVER__TLS__CERT_FILE", "c.pem"),
            ("LICENSE_GATE__UPSTREAM__ULR", "x"),
            ("LICENSE_GATE_LOG_LEVEL", "debug"),
            ("LICENSE_GATE_USERS", "x"),
            ("license_gate__upstream__url", "not ours"),
            ("LICENSE_GATE", "not ours"),
            ("LICENSE_GATE_URL", "http://gate"),
            ("LICENSE_GATE_USER", "ops"),
            ("LICENSE_GATE_PASSWORD", "secret"),
            ("LICENSE_GATE_SERVICE_HOST", "10.0.0.1"),
            ("LICENSE_GATE_SERVICE_PORT_HTTP", "80"),
            ("LICENSE_GATE_PORT", "tcp://10.0.0.1:80"),
            ("LICENSE_GATE_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("PATH", "/bin"),
        ];
        let mut faults = Faults::default();
        let variables = variables.map(|(name, word)| (name.into(), word.into()));
        let (found, warnings) = environment(variables, &mut faults);
        let keys: Vec<&str> = found.iter().map(|value| &*value.key).collect();
        assert_eq!(keys, ["server.tls.cert_file", "upstream.url"]);
        assert!(faults.is_empty(), "{faults}");
        let expected = [
            ("LICENSE_GATE_LOG_LEVEL", "the nearest is LICENSE_GATE__LOG__LEVEL"),
            ("LICENSE_GATE_USERS", "settings are named like LICENSE_GATE__UPSTREAM__URL"),
            ("LICENSE_GATE__UPSTREAM__ULR", "the nearest is LICENSE_GATE__UPSTREAM__URL"),
        ];
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, (name, hint)) in warnings.iter().zip(expected) {
            assert!(warning.contains(&format!("{name} is not a setting")), "{warning}");
            assert!(warning.ends_with(hint), "{warning}");
        }
    }
}
