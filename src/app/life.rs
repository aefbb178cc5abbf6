//! Sets up everything that maintains the license: trusted keys, the store, and the tasks that run by themselves.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::error::Error;
use crate::api;
use crate::clock::Clock;
use crate::config::Config;
use crate::feed::{
    self, Installer, Issuer, Keyring, Mounted, RemoteKeys, RemoteRevocations, Renewal, WatchedFile,
    WatchedKeys,
};
use crate::license::{self, FileKeys, KeyFiles, Keys, Policy, RevocationList, RootUrl};
use crate::notify::{Events, Monitor, Notifier, Wake};
use crate::outgoing::{Client, Fetch, Proxies, Refresher};
use crate::problem;
use crate::shutdown::detach;
use crate::store::{self, Context, Housekeeping, Lease, LicenseTrust, Store, Writer};
use crate::telemetry::metrics::Metrics;

/// How long threads may take to end after all connections were closed.
pub(super) const AFTER_CUT: Duration = Duration::from_secs(1);

/// The tasks that run by themselves while the gate serves.
#[derive(Debug)]
pub(super) struct Life {
    others: store::Others,
    writer: Writer,
    housekeeping: Housekeeping,
    mounted: Mounted,
    keyring: Keyring,
    monitor: Monitor,
    renewal: Renewal,
    installer: Installer,
    keys: Option<Fetch<RemoteKeys>>,
    revocations: Option<Fetch<RemoteRevocations>>,
    notifier: Option<Notifier<Housekeeping>>,
}

impl Life {
    /// Starts all tasks on the control runtime. They run until it ends.
    pub(super) fn start(self) -> Running {
        let running = Running { housekeeping: self.housekeeping };
        detach(store::follow_others(self.others, self.writer.clone()));
        detach(self.writer.clone().keep_up());
        detach(self.mounted.watch(self.keyring, self.writer));
        detach(self.monitor.run());
        detach(self.renewal.run());
        detach(self.installer.fetch_wanted_keys());
        self.keys.map(|fetch| detach(fetch.run()));
        self.revocations.map(|fetch| detach(fetch.run()));
        self.notifier.map(|notifier| detach(notifier.run()));
        running
    }
}

/// The tasks after their start.
pub(super) struct Running {
    housekeeping: Housekeeping,
}

impl Running {
    /// Gives the lease back, so that another replica renews and notifies from now on. Waits for `limit` at most.
    pub(super) async fn leave(self, limit: Duration) {
        // If the database is not reachable, the lease expires by itself.
        let given = self.housekeeping.give_lease_back(Lease::Schedule);
        let _ = tokio::time::timeout(limit, given).await;
    }
}

/// What [`begin`] sets up: the tasks, and what API and probes need of them.
pub(super) struct Begun {
    pub(super) life: Life,
    pub(super) context: api::Context,
    pub(super) housekeeping: Housekeeping,
}

/// Loads keys and license, and sets up the tasks.
///
/// # Errors
/// A setting cannot be used, or the store cannot be opened.
pub(super) async fn begin(
    config: &Config,
    root_url: &RootUrl,
    clock: Clock,
    control: &Handle,
    metrics: &Arc<Metrics>,
    keys_from: String,
) -> Result<Begun, Error> {
    let client = Client::new(&config.outgoing, Proxies::from_environment(), clock.clone());
    let issuer = Issuer::new(&config.feed, &client)?;
    let (keys, key_files) = keys(&config.license)?;
    let (license, store) = open(config, root_url, &clock, control, metrics, keys.all()).await?;
    let Store { reader, writer, housekeeping, fetched_keys, others, .. } = store;

    let keyring = Keyring::new(keys, fetched_keys, writer.clone());
    let (fetched, early) = remote_keys(config, &client, &keyring, &housekeeping, &clock)?.unzip();
    let installer = Installer::new(reader.clone(), writer.clone(), early);
    let wake = Wake::default();
    let notifier =
        Notifier::new(&config.notify, &client, housekeeping.clone(), wake.clone(), clock.clone())?;
    let queue = notifier.is_some().then(|| (housekeeping.clone(), wake));
    let events = Events::new(queue, reader.clone(), clock.clone());
    let renewal = Renewal::new(
        issuer,
        feed::Context {
            reader: reader.clone(),
            installer: installer.clone(),
            writer: writer.clone(),
            housekeeping: housekeeping.clone(),
            events: events.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            control: control.clone(),
        },
    );
    let mut mounted = Mounted {
        keys: WatchedKeys::new(config.license.keys.clone(), &key_files),
        license,
        revocations: revocation_file(config).map(WatchedFile::new),
    };
    mounted.begin(&writer).await;
    let monitor =
        Monitor::begin(reader.clone(), writer.clone(), housekeeping.clone(), clock.clone(), events);
    let life = Life {
        others,
        writer: writer.clone(),
        housekeeping: housekeeping.clone(),
        mounted,
        keyring,
        monitor: monitor.await,
        renewal: renewal.clone(),
        installer: installer.clone(),
        keys: fetched,
        revocations: remote_revocations(config, &client, &writer, &clock)?,
        notifier,
    };
    let metrics = metrics.clone();
    let context = api::Context {
        reader,
        writer,
        installer,
        renewal,
        housekeeping: housekeeping.clone(),
        keys_from,
        clock,
        metrics,
    };
    Ok(Begun { life, context, housekeeping })
}

/// Opens the store with the license in `license.file`. Returns the watch on that file and the store.
async fn open(
    config: &Config,
    root_url: &RootUrl,
    clock: &Clock,
    control: &Handle,
    metrics: &Arc<Metrics>,
    keys: Keys,
) -> Result<(Option<WatchedFile>, Store), Error> {
    let policy = Policy::new(root_url.clone(), &config.license);
    let context = Context {
        trust: LicenseTrust { keys: Arc::new(keys), policy: Arc::new(policy) },
        render: api::render,
        clock: clock.clone(),
        jwks_url: config.license.jwks_url.as_ref().map(ToString::to_string),
        history: config.store.history,
        metrics: metrics.clone(),
        control: control.clone(),
    };
    let mut file = config.license.file.clone().map(WatchedFile::new);
    let offered = file.as_mut().and_then(WatchedFile::look);
    // On a blocking thread: the connection to a database runs on this runtime.
    let settings = config.store.clone();
    let opening = control.spawn_blocking(move || store::open(&settings, offered, context));
    let opened = opening.await.map_err(|error| store::Error::Unavailable(error.into()))?;
    let mut store = opened?;
    for fault in store.faults.drain(..) {
        let remedy = problem::remedy(&fault);
        let error = format!("{:#}{remedy}", anyhow::Error::new(fault));
        tracing::warn!(event = "store.attention", error, "the store needs attention");
    }
    if let (Some(offering), Some(file)) = (&store.offering, &file) {
        feed::log_offering(offering, file.path());
    }
    Ok((file, store))
}

fn remote_keys(
    config: &Config,
    client: &Client,
    keyring: &Keyring,
    housekeeping: &Housekeeping,
    clock: &Clock,
) -> Result<Option<(Fetch<RemoteKeys>, Refresher)>, Error> {
    let Some(url) = &config.license.jwks_url else { return Ok(None) };
    let key = "license.jwks_url";
    let endpoint = client.endpoint(key, key, url)?;
    let (keyring, housekeeping) = (keyring.clone(), housekeeping.clone());
    let recipient = RemoteKeys { url: url.to_string(), keyring, housekeeping };
    Ok(Some(Fetch::new(key, endpoint, recipient, clock.clone())))
}

fn remote_revocations(
    config: &Config,
    client: &Client,
    writer: &Writer,
    clock: &Clock,
) -> Result<Option<Fetch<RemoteRevocations>>, Error> {
    let Some(RevocationList::Url(url)) = &config.license.revocations else { return Ok(None) };
    let key = "license.revocations";
    let endpoint = client.endpoint(key, key, url)?;
    let recipient = RemoteRevocations { writer: writer.clone() };
    Ok(Some(Fetch::new(key, endpoint, recipient, clock.clone()).0))
}

fn revocation_file(config: &Config) -> Option<std::path::PathBuf> {
    match &config.license.revocations {
        Some(RevocationList::File(path)) => Some(path.clone()),
        Some(RevocationList::Url(_)) | None => None,
    }
}

/// The trusted keys. Broken ones are logged and left out. Without any key, the gate starts with a warning, because the
/// dashboard must stay available.
fn keys(config: &license::Config) -> Result<(FileKeys, KeyFiles), Error> {
    let files = KeyFiles::read(&config.keys);
    let fetched = config.jwks_url.is_some();
    let (keys, faults) = match FileKeys::read(&files) {
        Ok(loaded) => loaded,
        Err(fault) if fault.is_missing() && !config.keys_named => Default::default(),
        Err(fault) => return Err(fault.into()),
    };
    feed::log_faults(faults);
    if keys.is_empty() && !fetched {
        tracing::warn!(
            event = "keys.none",
            path = %config.keys.display(),
            "no issuer key is trusted: no license can be verified; set license.keys"
        );
    }
    Ok((keys, files))
}
