//! Checks what a configuration refers to: certificates, keys, trust anchors, addresses. Reads files, never writes.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD};
use rustls::crypto::aws_lc_rs::default_provider;

use super::effective::{Config, Loaded};
use super::fault::{Fault, Faults};
use crate::certificate::{self, File};
use crate::clock::Clock;
use crate::downstream::{self, ListenAddress, PRIVILEGED};
use crate::feed::WatchedFile;
use crate::license::{self, KeyError, KeyFault, Keys, RevocationList};
use crate::notify::Secret;
use crate::outgoing::{Client, Proxies, SetupError};
use crate::store;
use crate::upstream::Origin;

impl Loaded {
    /// Checks that a gate can start: the files that it needs exist, can be parsed and fit together.
    ///
    /// # Errors
    /// Every fault, with the key that names the file.
    pub fn examine(&self) -> Result<(), Faults> {
        let mut faults = Faults::default();
        faults.extend(self.certificate());
        faults.extend(self.upstream_tls());
        faults.extend(self.authorities("renewal.ca_file", self.config.outgoing.ca_file.as_deref()));
        faults.extend(self.calls());
        faults.extend(self.issuer_keys());
        faults.extend(self.secret());
        faults.extend(self.store());
        faults.extend(self.database());
        faults.or(())
    }

    /// Checks what does not prevent a start: broken keys beside good ones, addresses that do not belong to this machine.
    /// Does not bind the ports, because a gate may be running.
    ///
    /// # Errors
    /// Every fault, with the key that names the file or address.
    pub fn examine_closely(&self) -> Result<(), Faults> {
        let mut faults = Faults::default();
        let (fatal, keys) = self.load_keys();
        if !fatal {
            let named = self.config.license.keys_named;
            let is_relevant = |fault: &KeyFault| named || !is_vacant(fault);
            faults.extend(keys.into_iter().filter(is_relevant).map(|fault| self.key_fault(fault)));
        }
        faults.extend(self.addresses());
        faults.extend(self.unreadable_files());
        faults.extend(self.challenges());
        faults.or(())
    }

    /// The default path of the issuer's keys, if no other source of keys is set and it does not exist.
    pub fn missing_default_keys(&self) -> Option<&Path> {
        let license::Config { keys, keys_named, jwks_url, .. } = &self.config.license;
        (!keys_named && jwks_url.is_none() && !keys.exists()).then_some(keys)
    }

    /// Watched files that do not exist yet: the key that names each, and its path.
    pub fn missing_files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.watched_files().filter(|(_, path)| !path.exists())
    }

    /// `server.acme_dir`, if it does not exist yet.
    pub fn missing_challenges(&self) -> Option<&Path> {
        let dir = self.config.downstream.acme_dir.as_deref()?;
        let found = std::fs::metadata(dir);
        found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound).then_some(dir)
    }

    /// `server.acme_dir`, if it is not a directory that this user can enter.
    fn challenges(&self) -> Option<Fault> {
        let dir = self.config.downstream.acme_dir.as_deref()?;
        let key = "server.acme_dir";
        match std::fs::metadata(dir) {
            Ok(found) if !found.is_dir() => {
                Some(self.fault(key, format!("{} is not a directory", dir.display())))
            }
            Ok(_) => {
                let entered = rustix::fs::accessat(CWD, dir, Access::EXEC_OK, AtFlags::EACCESS);
                let user = rustix::process::geteuid().as_raw();
                let message = format!("user {user} cannot enter {}", dir.display());
                entered.is_err().then(|| self.fault(key, message))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                let message = format!("{} cannot be used", dir.display());
                Some(self.fault(key, message).caused_by(error))
            }
        }
    }

    /// Watched files that exist but cannot be read: a pipe, a directory, no permission.
    fn unreadable_files(&self) -> Vec<Fault> {
        let unreadable = |(key, path): (&'static str, &Path)| {
            let error = WatchedFile::new(path.to_owned()).look()?.err()?;
            let is_missing = error.kind() == std::io::ErrorKind::NotFound;
            let message = format!("{} cannot be read", path.display());
            (!is_missing).then(|| self.fault(key, message).caused_by(error))
        };
        self.watched_files().filter_map(unreadable).collect()
    }

    fn watched_files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let license::Config { file, revocations, .. } = &self.config.license;
        let revocations = match revocations {
            Some(RevocationList::File(path)) => Some(path),
            Some(RevocationList::Url(_)) | None => None,
        };
        let named = [("license.file", file.as_ref()), ("license.revocations", revocations)];
        named.into_iter().filter_map(|(key, path)| Some((key, path?.as_path())))
    }

    /// The store's directory, if this user cannot write it: its key and path. A gate starts without that permission, but
    /// cannot change the license.
    pub fn unwritable_directory(&self) -> Option<(&'static str, &Path)> {
        let (key, dir) = self.directory();
        let working = Path::new(".");
        let mut ancestors =
            dir.ancestors().map(|dir| if dir.as_os_str().is_empty() { working } else { dir });
        let existing = ancestors.find(|dir| dir.exists())?;
        (!is_writable(existing)).then_some((key, dir))
    }

    /// Warnings about the directory that the gate writes to: what other users can do in it, and entries that the gate does
    /// not use. Empty if the directory does not exist or this user cannot read it.
    pub fn shared_directory(&self) -> Vec<String> {
        let (key, dir) = self.directory();
        let Ok(found) = store::examined(dir) else { return Vec::new() };
        let store::Examined { owner, mode, user, refused } = found;
        let place = format!("{key}: {} has mode {mode:04o}", dir.display());
        let is_own = owner == user;
        let mut warnings = Vec::new();
        if is_own && mode & 0o1000 != 0 {
            warnings.push(format!("{place}, and a gate does not change it, because of the sticky bit: give the gate a directory of its own"));
        } else if is_own && mode & 0o077 != 0 {
            warnings.push(format!("{place}: a gate sets it to 0700, so that other users and groups can no longer enter it; if the directory contains directories that are not the gate's, its mode is not changed"));
        } else if !is_own && (mode & 0o022 != 0 || owner != 0) {
            warnings.push(format!("{place} and belongs to user {owner}: other users than {user} can remove the license and the audit log; give the gate a directory that belongs to user {user} and has mode 0700"));
        }
        let more = refused.len().saturating_sub(store::MOST_NAMED);
        let named = refused.into_iter().take(store::MOST_NAMED);
        warnings.extend(named.map(|(path, why)| format!("{key}: {path} is not used: {why}")));
        if more > 0 {
            warnings.push(format!("{key}: {more} more entries of {} are not used", dir.display()));
        }
        warnings
    }

    /// The directory that the gate writes to, and its key.
    fn directory(&self) -> (&'static str, &Path) {
        let key = match &self.config.store.location {
            store::Location::File(_) => "store.url",
            #[cfg(feature = "postgres")]
            store::Location::Postgres(_) => "store.copy",
        };
        (key, self.config.store.dir())
    }

    fn addresses(&self) -> Vec<Fault> {
        let listen = self.config.downstream.listen.iter().map(|l| ("server.listen", &l.place));
        let redirect = self.config.downstream.redirect.iter();
        let redirect = redirect.map(|l| ("server.redirect", &l.place));
        let admin = self.config.admin.listen.clone().map(ListenAddress::from);
        let admin = admin.as_ref().map(|place| ("admin.listen", place));
        listen
            .chain(redirect)
            .chain(admin)
            .filter_map(|(key, place)| self.place(key, place))
            .collect()
    }

    /// Checks that the gate can listen there. Sockets from systemd are not known here.
    fn place(&self, key: &str, place: &ListenAddress) -> Option<Fault> {
        match place {
            ListenAddress::Tcp(address) => {
                if let Err(error) = TcpListener::bind(SocketAddr::new(address.ip(), 0)) {
                    let message = format!("cannot listen on {} on this machine", address.ip());
                    return Some(self.fault(key, message).caused_by(error));
                }
                downstream::lacks_privilege(*address)
                    .then(|| self.fault(key, format!("cannot listen on {address}: {PRIVILEGED}")))
            }
            ListenAddress::Unix(path) => {
                let found = std::fs::symlink_metadata(path);
                if found.is_ok_and(|found| !found.file_type().is_socket()) {
                    return Some(self.fault(key, format!("{} is not a socket", path.display())));
                }
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty())?;
                if !dir.is_dir() {
                    return Some(self.fault(key, format!("{} is not a directory", dir.display())));
                }
                let user = rustix::process::geteuid().as_raw();
                let message = format!("user {user} cannot write the directory {}", dir.display());
                (!is_writable(dir)).then(|| self.fault(key, message))
            }
            ListenAddress::Systemd(_) => None,
        }
    }

    fn certificate(&self) -> Vec<Fault> {
        let Some(files) = &self.config.downstream.tls else { return Vec::new() };
        let keys = ["server.tls.cert_file", "server.tls.key_file"];
        let mut faults = self.pair(keys, &files.cert_file, &files.key_file);
        let clients = files.client_ca_file.as_deref();
        faults.extend(self.authorities("server.tls.client_ca_file", clients));
        faults
    }

    fn upstream_tls(&self) -> Vec<Fault> {
        let upstream = &self.config.upstream;
        let tls = &upstream.tls;
        let mut faults = Vec::new();
        faults.extend(self.authorities("upstream.tls.ca_file", tls.ca_file.as_deref()));
        if matches!(upstream.origin, Origin::Https { .. }) && tls.ca_file.is_none() {
            let platform = certificate::platform_authorities().err();
            let fault = |error| self.fault("upstream.tls.ca_file", "is needed").caused_by(error);
            faults.extend(platform.map(fault));
        }
        if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
            faults.extend(self.pair(
                ["upstream.tls.cert_file", "upstream.tls.key_file"],
                cert,
                key,
            ));
        }
        faults
    }

    /// The faults of either file, or of the two together. `keys` are the settings that name the files.
    fn pair(&self, keys: [&str; 2], cert: &Path, key: &Path) -> Vec<Fault> {
        let unusable = |of: &str, error| self.fault(of, "cannot be used").caused_by(error);
        let read = |path, judge: fn(&File) -> Result<(), certificate::Error>| {
            let file = File::read(path)?;
            judge(&file).map(|()| file)
        };
        let cert = read(cert, |file| file.certificates().map(drop));
        let key = read(key, |file| file.key().map(drop));
        match (cert, key) {
            (Ok(cert), Ok(key)) => certificate::pair(&cert, &key, &default_provider())
                .err()
                .map(|error| unusable(keys[1], error))
                .into_iter()
                .collect(),
            (cert, key) => {
                let cert = cert.err().map(|error| unusable(keys[0], error));
                cert.into_iter().chain(key.err().map(|error| unusable(keys[1], error))).collect()
            }
        }
    }

    fn authorities(&self, key: &str, path: Option<&Path>) -> Option<Fault> {
        let read = |path| File::read(path)?.authorities(Clock::system().now());
        let error = path.map(read)?.err()?;
        Some(self.fault(key, "cannot be used").caused_by(error))
    }

    fn issuer_keys(&self) -> Vec<Fault> {
        let (fatal, faults) = self.load_keys();
        let faults = faults.into_iter().filter(|_| fatal);
        faults.map(|fault| self.key_fault(fault)).collect()
    }

    /// The faults of the issuer's keys, and whether they prevent a start. An empty directory does not: keys may be added.
    fn load_keys(&self) -> (bool, Vec<KeyFault>) {
        let license::Config { keys: path, keys_named, .. } = &self.config.license;
        match Keys::load(path) {
            Ok((keys, faults)) => (*keys_named && keys.is_empty() && !path.is_dir(), faults),
            Err(fault) => (*keys_named || !fault.is_missing(), vec![fault]),
        }
    }

    fn key_fault(&self, fault: KeyFault) -> Fault {
        self.fault("license.keys", "cannot be used").caused_by(fault)
    }

    /// Checks that the gate can make its outgoing calls: trusted authorities, URLs, proxies.
    fn calls(&self) -> Vec<Fault> {
        let Config { license, outgoing, feed, notify, .. } = &self.config;
        let revocations = match &license.revocations {
            Some(RevocationList::Url(url)) => Some(url),
            Some(RevocationList::File(_)) | None => None,
        };
        let urls = [
            ("renewal.url", feed.url.as_ref()),
            ("license.jwks_url", license.jwks_url.as_ref()),
            ("license.revocations", revocations),
            ("notify.url", notify.url.as_ref()),
        ];
        let client = Client::new(outgoing, Proxies::from_environment(), Clock::system());
        let failing = |(key, url): (&'static str, Option<&http::Uri>)| {
            let error = client.endpoint(key, key, url?).err()?;
            match error {
                // `examine` reports the file of `renewal.ca_file` itself.
                SetupError::Authorities(_) if outgoing.ca_file.is_some() => None,
                SetupError::Authorities(error) => {
                    Some(self.fault("renewal.ca_file", "is needed").caused_by(error))
                }
                error => Some(self.fault(key, "cannot be called").caused_by(error)),
            }
        };
        let mut faults: Vec<_> = urls.into_iter().filter_map(failing).collect();
        // All URLs report the same missing authorities.
        faults.dedup_by_key(|fault| fault.to_string());
        faults
    }

    fn secret(&self) -> Option<Fault> {
        let read = self.config.notify.secret_file.as_deref().map(Secret::read)?;
        let fault = |error| self.fault("notify.secret_file", "cannot be used").caused_by(error);
        read.err().map(fault)
    }

    /// A gate creates a missing directory, and starts with one that it cannot write. A file in its place is a fault.
    fn store(&self) -> Option<Fault> {
        let (key, dir) = match &self.config.store.location {
            store::Location::File(dir) => ("store.url", dir),
            #[cfg(feature = "postgres")]
            store::Location::Postgres(_) => ("store.copy", &self.config.store.copy),
        };
        let is_other = std::fs::metadata(dir).is_ok_and(|found| !found.is_dir());
        is_other.then(|| self.fault(key, format!("{} is not a directory", dir.display())))
    }

    /// Checks the files that the URL of a database names.
    #[cfg(feature = "postgres")]
    fn database(&self) -> Option<Fault> {
        let store::Location::Postgres(database) = &self.config.store.location else { return None };
        let error = database.examine().err()?;
        Some(
            self.fault("store.url", "cannot be used: sslrootcert, sslcert or sslkey")
                .caused_by(error),
        )
    }

    #[cfg(not(feature = "postgres"))]
    fn database(&self) -> Option<Fault> {
        None
    }
}

fn is_writable(dir: &Path) -> bool {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(CWD, dir, access, AtFlags::EACCESS).is_ok()
}

/// Whether there are no keys at all, which is not a fault of the default path.
fn is_vacant(fault: &KeyFault) -> bool {
    fault.is_missing() || matches!(fault.error(), KeyError::Empty)
}
