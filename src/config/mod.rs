//! Flags, environment and file in, one [`Config`] out: made of the `Config` each module defines for itself.
//!
//! A flag beats an environment variable (`LICENSE_GATE__UPSTREAM__URL`), which beats the file, which beats the default.
//! Everything that was said is checked, also what another layer overrides, and every [`Fault`] is reported at once with
//! its key and the file and line, variable or flag it came from. No file is read unless it is named.
//! Whether the files a configuration names can be used is [`Loaded::examine`]'s question.

mod coherence;
mod effective;
mod examine;
mod exposed;
mod fault;
mod file;
mod keys;
mod read;
mod settings;
mod value;
mod words;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

pub use effective::{Config, Loaded};
pub use exposed::Exposed;
pub use fault::{Fault, Faults, Origin};
pub use settings::{Kind, Setting, settings};
pub use words::Flag;

use crate::auth::User;

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file; `None`: none is read.
    pub file: Option<PathBuf>,
    /// The environment, ours and others' variables alike.
    pub environment: Vec<(OsString, OsString)>,
    /// What the command line says.
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

    /// What could be read of `sources`, for whoever wants to look on, and every fault of them.
    pub fn with_faults(sources: Sources) -> (Self, Faults) {
        let mut faults = Faults::default();
        let file = sources.file.as_deref().map_or(Ok(Vec::new()), file::read);
        let mut settings = faults.take(file).unwrap_or_default();
        let (variables, misnamed) = words::environment(sources.environment, &mut faults);
        settings.extend(variables);
        settings.extend(sources.flags.into_iter().map(words::flag));

        let mut loaded = Self::default();
        loaded.config.misnamed = misnamed;
        for setting in settings {
            faults.take(keys::read(&mut loaded.config, &setting));
            loaded.origins.insert(setting.key, setting.origin);
        }
        coherence::check(&mut loaded, &mut faults);
        loaded.config.secrets_in = loaded.file_with_secrets();
        (loaded, faults)
    }
}

impl Config {
    /// The effective configuration as TOML, secrets masked.
    pub fn render_masked(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for (key, value) in keys::shown(self) {
            let (parent, name) = key.rsplit_once('.').unwrap_or(("", key));
            if parent != section {
                let gap = if text.is_empty() { "" } else { "\n" };
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{gap}[{parent}]");
                section = parent;
            }
            let _ = writeln!(text, "{name} = {value}");
        }
        self.auth.users.iter().for_each(|user| text.push_str(&user_table(user)));
        text
    }

    /// What is allowed and yet worth a line in the log.
    pub fn warnings(&self) -> Vec<String> {
        let incoherent = coherence::warnings(self).into_iter().map(str::to_owned);
        incoherent.chain(self.misnamed.iter().cloned()).collect()
    }
}

fn user_table(user: &User) -> String {
    let name = toml::Value::String(user.name.clone());
    let permissions: toml::Value = user.permissions.clone().into();
    format!(
        "\n[[auth.users]]\nname = {name}\npassword_hash = \"***\"\npermissions = {permissions}\n"
    )
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
    fn no_source_at_all_gives_the_defaults() {
        let config = load(Sources::default()).expect("defaults are good");
        assert_eq!(config.render_masked(), Config::default().render_masked());
    }

    #[test]
    fn what_is_rendered_reads_back_as_the_same() {
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
        config.downstream.timeouts.idle = std::time::Duration::from_millis(90_500);
        std::fs::write(&path, config.render_masked()).expect("written");
        let again = load(Sources { file: Some(path), ..Sources::default() }).expect("good");
        assert_eq!(again.render_masked(), config.render_masked());
    }

    proptest::proptest! {
        #[test]
        fn no_word_is_too_odd_for_any_key(at in 0..keys::all().count(), word in "\\PC{0,20}") {
            let key = keys::all().nth(at).expect("a key");
            let flag = Flag { name: "--flag", key, words: vec![word] };
            if let Err(faults) = load(Sources { flags: vec![flag], ..Sources::default() }) {
                proptest::prop_assert_eq!(faults.to_string().lines().count(), faults.len());
            }
        }
    }
}
