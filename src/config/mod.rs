//! Reads flags, environment and file into one [`Config`], which contains the `Config` of each module.
//!
//! A flag overrides an environment variable (`LICENSE_GATE__UPSTREAM__URL`), which overrides the file, which overrides the
//! default. Overridden values are checked too. All [`Fault`]s are reported at once, each with its key and the file and
//! line, variable or flag that set it. A file is read only if it is named. [`Loaded::examine`] checks the files that a
//! configuration names.
//!
//! The table of all settings is in `keys`. Values are parsed in `address`, `quantity`, `text` and `users`.

mod address;
mod coherence;
mod effective;
mod environment;
mod examine;
mod exposed;
mod fault;
mod file;
mod key;
mod keys;
mod quantity;
mod reload;
mod rules;
mod settings;
mod text;
mod users;
mod value;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

pub use effective::{Config, Loaded};
pub use environment::Flag;
pub use exposed::Exposed;
pub use fault::{Fault, Faults, Origin};
pub use reload::Reload;
pub use settings::{Applies, Kind, Setting, settings};

use file::Content;

use crate::auth::User;
use crate::license::printable;

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file; `None`: no file is read.
    pub file: Option<PathBuf>,
    /// The whole environment, including variables that are not settings.
    pub environment: Vec<(OsString, OsString)>,
    /// The flags of the command line.
    pub flags: Vec<Flag>,
}

impl Loaded {
    /// Reads and checks all of `sources`.
    ///
    /// # Errors
    /// Every fault of every source.
    pub fn from_sources(sources: Sources) -> Result<Self, Faults> {
        let (loaded, faults) = Self::with_faults(sources);
        faults.or(loaded)
    }

    /// The settings of `sources` that could be read, and every fault.
    pub fn with_faults(sources: Sources) -> (Self, Faults) {
        let mut faults = Faults::default();
        let file = sources.file.as_deref().map_or_else(|| Ok(Content::default()), file::read);
        let Content { mut settings, empty } = faults.take(file).unwrap_or_default();
        let (variables, misnamed) = environment::environment(sources.environment, &mut faults);
        settings.extend(variables);
        settings.extend(sources.flags.into_iter().map(environment::flag));

        let mut loaded = Self::default();
        loaded.config.misnamed = misnamed;
        loaded.config.empty_tables = empty;
        for setting in settings {
            faults.take(keys::read(&mut loaded.config, &setting));
            loaded.origins.insert(setting.key, setting.origin);
        }
        coherence::check(&mut loaded, &mut faults);
        loaded.config.secrets_in = loaded.file_with_secrets();
        (loaded, faults)
    }
}

impl Loaded {
    /// The effective configuration as TOML, secrets masked. A comment after each value states its [`Origin`].
    pub fn render_masked(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for (key, value) in keys::shown(&self.config) {
            let (parent, name) = key.rsplit_once('.').unwrap_or(("", key));
            if parent != section {
                let gap = if text.is_empty() { "" } else { "\n" };
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{gap}[{parent}]");
                section = parent;
            }
            let _ = writeln!(text, "{name} = {value}{}", comment(&self.origin(key)));
        }
        let Config { auth, users_at, gate, rules_at, .. } = &self.config;
        for (user, at) in auth.users.iter().zip(users_at) {
            text.push_str(&user_table(user, &comment(at)));
        }
        for (rule, at) in gate.rules.iter().zip(rules_at) {
            text.push_str(&rules::table(rule, &comment(at)));
        }
        text
    }
}

fn comment(origin: &Origin) -> String {
    // The name of a file may contain a line break, which would end the comment.
    format!("  # {}", printable(&origin.to_string()))
}

impl Config {
    /// Warnings about settings that are allowed but probably not intended.
    pub fn warnings(&self) -> Vec<String> {
        let incoherent = coherence::warnings(self).into_iter().map(str::to_owned);
        let incoherent = incoherent.chain(rules::warnings(self));
        incoherent.chain(self.misnamed.iter().cloned()).collect()
    }
}

fn user_table(user: &User, comment: &str) -> String {
    let name = toml::Value::String(user.name.clone());
    let permissions: toml::Value = user.permissions.clone().into();
    format!(
        "\n[[auth.users]]{comment}\nname = {name}\npassword_hash = \"***\"\npermissions = {permissions}\n"
    )
}

/// One setting of `config` as it is shown.
#[cfg(test)]
fn render(config: &Config, name: &str) -> Option<toml::Value> {
    keys::shown(config).find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::license::RevocationList;
    use crate::store;

    fn load(sources: Sources) -> Result<Config, Faults> {
        Loaded::from_sources(sources).map(|loaded| loaded.config)
    }

    #[test]
    fn without_sources_all_settings_have_their_defaults() {
        let loaded = Loaded::from_sources(Sources::default()).expect("defaults are good");
        assert_eq!(loaded.render_masked(), Loaded::default().render_masked());
        let values = loaded.render_masked().lines().filter(|line| line.contains('=')).count();
        assert_eq!(loaded.render_masked().matches("  # default\n").count(), values);
    }

    #[test]
    fn a_rendered_configuration_reads_back_unchanged() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("gate.toml");
        let mut config = Config::default();
        // A relative path read from the file becomes one relative to the file.
        config.license.keys = "/keys".into();
        config.license.file = Some("/license.jwt".into());
        config.license.jwks_url = Some("https://a/jwks.json".parse().expect("a URL"));
        config.license.revocations = Some(RevocationList::File("/http:/revoked.jwt".into()));
        config.store = store::Config { copy: "/copy".into(), ..store::Config::file("/data") };
        config.store.history = 3;
        config.store.audit_max_bytes = 3 << 20;
        config.notify.url = Some("http://a/hook".parse().expect("a URL"));
        config.notify.secret_file = Some("/secret".into());
        config.admin.listen = Some(crate::admin::Listen::Unix("/admin.sock".into()));
        config.admin.hosts = vec!["gate.internal".to_owned()];
        config.telemetry.level = "license_gate::upstream=debug,warn".parse().expect("levels");
        config.downstream.timeouts.idle = std::time::Duration::from_millis(90_500);
        let text = Loaded { config, ..Loaded::default() }.render_masked();
        std::fs::write(&path, &text).expect("written");
        let again = Loaded::from_sources(Sources { file: Some(path), ..Sources::default() });
        let again = again.expect("good").render_masked();
        let values = |text: &str| {
            let value = |line: &str| line.split("  # ").next().map(str::to_owned);
            text.lines().filter_map(value).collect::<Vec<_>>()
        };
        assert_eq!(values(&again), values(&text));
        assert!(again.contains("gate.toml:2\n") && !again.contains("# default"), "{again}");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_value_or_a_fault_of_one_line(at in 0..keys::all().count(), word in "\\PC{0,20}") {
            let key = keys::all().nth(at).expect("a key");
            let flag = Flag { name: "--flag", key, words: vec![word] };
            if let Err(faults) = load(Sources { flags: vec![flag], ..Sources::default() }) {
                proptest::prop_assert_eq!(faults.to_string().lines().count(), faults.len());
            }
        }
    }
}
