//! The environment and the command line as settings.

use std::ffi::OsString;

use super::fault::{Fault, Faults, Origin};
use super::keys;
use super::nearest::nearest;
use super::value::{Kind, Value};

/// What every variable of ours begins with.
const PREFIX: &str = "LICENSE_GATE__";

/// What a flag says about a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As it is typed, such as `--listen`.
    pub name: &'static str,
    /// The key it sets, such as `server.listen`.
    pub key: &'static str,
    /// Its values; more than one for a flag that may be repeated.
    pub words: Vec<String>,
}

/// The flag's setting. Each use of a repeatable flag is one element; nothing is split at commas.
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

/// The settings among `variables`, by name; those without our prefix are none of ours.
pub(super) fn environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    faults: &mut Faults,
) -> Vec<Value> {
    let ours = variables.into_iter().filter_map(|(name, word)| {
        let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
        faults.take(variable(&name, word))
    });
    let mut settings: Vec<Value> = ours.collect();
    settings.sort_by(|one, other| one.origin.cmp(&other.origin));
    settings
}

fn variable(name: &str, word: OsString) -> Result<Value, Fault> {
    let origin = Origin::Environment(name.into());
    let Some(key) = keys::all().find(|key| variable_of(key) == name) else {
        return Err(Fault::new(origin, "", unknown(name)));
    };
    let Ok(word) = word.into_string() else {
        return Err(Fault::new(origin, key, "is not UTF-8 text"));
    };
    Ok(Value { key: key.to_owned(), origin, kind: Kind::Word(word) })
}

fn unknown(name: &str) -> String {
    let names: Vec<String> = keys::all().map(variable_of).collect();
    let meant = nearest(name, names.iter().map(String::as_str)).unwrap_or_default();
    format!("is no setting; the nearest is {meant}")
}

/// `server.tls.cert_file` is `LICENSE_GATE__SERVER__TLS__CERT_FILE`.
fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_by_name_and_misspelled_ones_named() {
        let variables = [
            ("LICENSE_GATE__UPSTREAM__URL", "http://a:1"),
            ("LICENSE_GATE__SERVER__TLS__CERT_FILE", "c.pem"),
            ("LICENSE_GATE__UPSTREAM__ULR", "x"),
            ("license_gate__upstream__url", "not ours"),
            ("PATH", "/bin"),
        ];
        let mut faults = Faults::default();
        let found =
            environment(variables.map(|(name, word)| (name.into(), word.into())), &mut faults);
        let keys: Vec<&str> = found.iter().map(|value| &*value.key).collect();
        assert_eq!(keys, ["server.tls.cert_file", "upstream.url"]);
        assert_eq!(
            faults.to_string(),
            "LICENSE_GATE__UPSTREAM__ULR: is no setting; the nearest is LICENSE_GATE__UPSTREAM__URL"
        );
    }
}
