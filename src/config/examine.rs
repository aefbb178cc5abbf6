//! What a configuration points at: certificates, keys, trust anchors, addresses. Reads, never writes.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::Loaded;
use super::fault::{Fault, Faults};
use crate::downstream::TlsFiles;
use crate::license::{self, KeyError, KeyFault, Keys};

impl Loaded {
    /// Whether everything the configuration names can be used: files are there, parse and fit together.
    ///
    /// # Errors
    /// Every fault, at the place of the key that names the thing.
    pub fn examine(&self) -> Result<(), Faults> {
        let mut faults = Faults::default();
        faults.extend(self.certificate());
        faults.extend(self.trust_anchors());
        faults.extend(self.issuer_keys());
        faults.extend(self.store());
        faults.or(())
    }

    /// What is wrong and yet no reason not to start: broken keys beside good ones, addresses that are not this machine's
    /// at the moment. Ports are left alone: a gate may be running.
    ///
    /// # Errors
    /// Every fault, at the place of the key that names the thing.
    pub fn examine_closely(&self) -> Result<(), Faults> {
        let mut faults = Faults::default();
        let (fatal, keys) = self.load_keys();
        if !fatal {
            let named = self.config.license.keys_named;
            let worth = |fault: &KeyFault| named || !is_vacant(fault);
            faults.extend(keys.into_iter().filter(worth).map(|fault| self.key_fault(fault)));
        }
        faults.extend(self.addresses());
        faults.or(())
    }

    /// The default place of the issuer's keys, when nobody named another and nothing is there.
    pub fn missing_default_keys(&self) -> Option<&Path> {
        let license::Config { keys, keys_named, .. } = &self.config.license;
        (!keys_named && !keys.exists()).then_some(keys)
    }

    fn addresses(&self) -> Vec<Fault> {
        let listen = self.config.downstream.listen.iter().map(|l| ("server.listen", l.address));
        let admin = self.config.admin.listen.map(|address| ("admin.listen", address));
        let refused = listen.chain(admin).filter_map(|(key, address)| {
            let error = TcpListener::bind(SocketAddr::new(address.ip(), 0)).err()?;
            let message = format!("{} cannot be listened to here", address.ip());
            Some(self.fault(key, message).caused_by(error))
        });
        refused.collect()
    }

    fn certificate(&self) -> Vec<Fault> {
        let Some(TlsFiles { cert_file, key_file }) = &self.config.downstream.tls else {
            return Vec::new();
        };
        let chain = self.certificates("server.tls.cert_file", cert_file);
        let key = PrivateKeyDer::from_pem_file(key_file)
            .map_err(|error| self.unreadable("server.tls.key_file", key_file, error));
        match (chain, key) {
            (Ok(chain), Ok(key)) => self.pair(chain, key).into_iter().collect(),
            (chain, key) => chain.err().into_iter().chain(key.err()).collect(),
        }
    }

    fn pair(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Option<Fault> {
        let error = CertifiedKey::from_der(chain, key, &default_provider()).err()?;
        let message = "does not fit the certificate of server.tls.cert_file";
        Some(self.fault("server.tls.key_file", message).caused_by(error))
    }

    fn certificates(&self, key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
        let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        let all: Vec<_> = all.map_err(|error| self.unreadable(key, path, error))?;
        if all.is_empty() {
            return Err(self.fault(key, format!("{} holds no certificate", path.display())));
        }
        Ok(all)
    }

    fn unreadable(&self, key: &str, path: &Path, error: rustls::pki_types::pem::Error) -> Fault {
        let message = format!("{} cannot be used", path.display());
        match error {
            rustls::pki_types::pem::Error::Io(error) => self.fault(key, message).caused_by(error),
            // Its `Debug` holds what was found in the file; its `Display` does not.
            other => self.fault(key, message).caused_by(other.to_string()),
        }
    }

    fn trust_anchors(&self) -> Option<Fault> {
        let path = self.config.feed.ca_file.as_deref()?;
        self.certificates("renewal.ca_file", path).err()
    }

    fn issuer_keys(&self) -> Vec<Fault> {
        let (fatal, faults) = self.load_keys();
        let faults = faults.into_iter().filter(|_| fatal);
        faults.map(|fault| self.key_fault(fault)).collect()
    }

    /// What is wrong with the issuer's keys, and whether a gate could not start with them. A directory may fill later.
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

    /// A directory that is missing is made, one that cannot be written is lived with; a file in its place is a mistake.
    fn store(&self) -> Option<Fault> {
        let dir = &self.config.store.dir;
        let in_the_way = std::fs::metadata(dir).is_ok_and(|found| !found.is_dir());
        in_the_way.then(|| self.fault("store.url", format!("{} is not a directory", dir.display())))
    }
}

/// Whether there is simply nothing, which is no fault of a default.
fn is_vacant(fault: &KeyFault) -> bool {
    fault.is_missing() || matches!(fault.error(), KeyError::Empty)
}
