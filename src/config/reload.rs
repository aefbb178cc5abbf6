//! What a reload changes: the difference between the configuration in force and the one that was read.
//!
//! `settings.rs` states for each setting whether a reload applies it. A setting that needs a restart keeps its value.

use super::coherence;
use super::effective::{Config, Loaded};
use super::fault::{Fault, Faults};
use super::keys;
use super::settings::{Applies, applies};

/// What a reload does.
#[derive(Clone, Debug)]
pub struct Reload {
    /// The configuration to run with.
    pub config: Config,
    /// The settings that a reload applies, in the order of the documentation.
    pub changed: Vec<&'static str>,
    /// The settings that differ and need a restart.
    pub restart: Vec<&'static str>,
}

impl Reload {
    /// The settings that differ, in the order of the documentation, and when each is applied.
    pub fn differences(&self) -> impl Iterator<Item = (&'static str, Applies)> {
        let differs = |key: &&str| self.changed.contains(key) || self.restart.contains(key);
        keys::all().filter(differs).map(|key| (key, applies(key)))
    }
}

impl Loaded {
    /// The reload from `running` to these settings.
    ///
    /// # Errors
    /// Settings that contradict those that need a restart and therefore keep their values.
    pub fn reload_of(self, running: &Config) -> Result<Reload, Faults> {
        let (restart, changed) = keys::differing(running, &self.config)
            .partition::<Vec<_>, _>(|key| applies(key) == Applies::Restart);
        let mut merged = self;
        keep(&mut merged.config, running);
        let mut faults = Faults::default();
        if !restart.is_empty() {
            coherence::check(&mut merged, &mut faults);
        }
        match faults.is_empty() {
            true => Ok(Reload { config: merged.config, changed, restart }),
            false => Err(faults.into_iter().map(Fault::of_merged).collect()),
        }
    }
}

/// Keeps the values of settings that need a restart.
fn keep(config: &mut Config, running: &Config) {
    let (new, old) = (&mut config.downstream, &running.downstream);
    new.listen.clone_from(&old.listen);
    new.redirect.clone_from(&old.redirect);
    new.workers = old.workers;
    new.proxy_protocol = old.proxy_protocol;
    config.root_url.clone_from(&running.root_url);
    config.store.clone_from(&running.store);
    config.admin.clone_from(&running.admin);
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::settings::settings;
    use super::super::{Sources, render};
    use super::*;

    /// A value for each setting that differs from its default: the manual's example, or another one.
    fn other(name: &str, example: &str) -> String {
        match name {
            "server.listen" => r#"["127.0.0.1:1"]"#.to_owned(),
            "auth.users" => String::new(),
            _ => example.to_owned(),
        }
    }

    fn loaded(text: &str) -> Loaded {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("gate.toml");
        std::fs::write(&path, text).expect("written");
        let environment = Vec::<(OsString, OsString)>::new();
        let sources = Sources { file: Some(path), environment, ..Sources::default() };
        Loaded::from_sources(sources).expect(text)
    }

    #[test]
    fn every_setting_is_applied_or_named_for_a_restart() {
        // What some settings need to be good.
        let needs = |name: &str| match name {
            name if name.starts_with("server.tls.") => {
                "server.tls.cert_file = \"/c\"\nserver.tls.key_file = \"/d\""
            }
            "server.proxy_protocol" => "server.trusted_proxies = [\"10.0.0.0/8\"]",
            "upstream.tls.cert_file" | "upstream.tls.key_file" => {
                "upstream.tls.cert_file = \"/c\"\nupstream.tls.key_file = \"/d\""
            }
            "notify.url" => "notify.secret_file = \"/s\"",
            _ => "",
        };
        for setting in settings() {
            let name = setting.name;
            let example = other(name, setting.example);
            if example.is_empty() {
                continue;
            }
            let base = needs(name);
            let others = base.lines().filter(|line| !line.starts_with(name));
            let set: String = others.map(|line| format!("{line}\n")).collect();
            let running = loaded(base).config;
            let read = loaded(&format!("{set}{name} = {example}\n"));
            let (before, wanted) = (render(&running, name), render(&read.config, name));
            if before == wanted {
                // The example is the default.
                continue;
            }
            let reload = read.reload_of(&running).expect(name);
            let expected = match setting.applies {
                Applies::Restart => (vec![], vec![name], before),
                Applies::AtOnce | Applies::NewConnections => (vec![name], vec![], wanted),
            };
            let now = render(&reload.config, name);
            assert_eq!((reload.changed, reload.restart, now), expected, "{name}");
            // All others are as they were.
            for other in settings().iter().filter(|other| other.name != name) {
                assert_eq!(render(&reload.config, other.name), render(&running, other.name));
            }
        }
    }

    #[test]
    fn a_change_that_is_not_shown_is_a_change() {
        let secret = |query: &str| {
            format!(
                "license.jwks_url = \"https://a/k?{query}\"\nlicense.revocations = \"https://a/r?{query}\"\nrenewal.url = \"https://a/n?{query}\"\nnotify.url = \"https://a/{query}\"\nnotify.secret_file = \"/s\"\n[[auth.users]]\nname = \"ops\"\npassword_hash = \"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQxMjM{query}$dGhpc2lzYWhhc2hvZnRoaXJ0eXR3b2J5dGVzISEhISE\"\npermissions = []\n"
            )
        };
        let running = loaded(&secret("a")).config;
        let reload = loaded(&secret("b")).reload_of(&running).expect("a reload");
        let expected =
            ["license.jwks_url", "license.revocations", "renewal.url", "notify.url", "auth.users"];
        assert_eq!(reload.changed, expected);
        let same = loaded(&secret("a")).reload_of(&running).expect("a reload");
        assert!(same.changed.is_empty() && same.restart.is_empty(), "{:?}", same.changed);
    }

    #[test]
    fn what_contradicts_a_setting_that_stays_is_a_fault() {
        let tls = "server.tls.cert_file = \"/c\"\nserver.tls.key_file = \"/k\"\n";
        let running = loaded(&format!("{tls}server.listen = [\"https://127.0.0.1:1\"]")).config;
        let read = loaded("server.listen = [\"http://127.0.0.1:1\"]");
        let faults = read.reload_of(&running).expect_err("a fault").to_string();
        assert!(faults.contains("server.listen: https://127.0.0.1:1 needs"), "{faults}");
        assert!(faults.contains("change at a restart only"), "{faults}");
    }
}
