//! Sets up everything that maintains the license: trusted keys, the store, and the tasks that run by themselves.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

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
use crate::outgoing::{Client, Endpoint, Fetch, Proxies, Refresher};
use crate::problem;
use crate::rules::Published;
use crate::shutdown::detach;
use crate::store::{self, Context, Housekeeping, Lease, LicenseTrust, Store, Writer};
use crate::telemetry::metrics::Metrics;

/// Settings that name documents to fetch.
const JWKS_URL: &str = "license.jwks_url";
const REVOCATIONS: &str = "license.revocations";

/// How long threads may take to end after all connections were closed.
pub(super) const AFTER_CUT: Duration = Duration::from_secs(1);

/// What maintains the license, before the gate serves.
#[derive(Debug)]
pub(super) struct Life {
    others: store::Others,
    monitor: Monitor,
    parts: Parts,
    sources: Sources,
}

/// What stays over a reload.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    writer: Writer,
    housekeeping: Housekeeping,
    keyring: Keyring,
    installer: Installer,
    renewal: Renewal,
    events: Events,
    wake: Wake,
    clock: Clock,
    proxies: Proxies,
}

/// What `[license]`, `[renewal]` and `[notify]` name: one task for each. A reload replaces them.
#[derive(Debug)]
struct Sources {
    mounted: Mounted,
    keys: Option<Fetch<RemoteKeys>>,
    revocations: Option<Fetch<RemoteRevocations>>,
    notifier: Option<Notifier<Housekeeping>>,
}

impl Life {
    /// Starts all tasks on the control runtime. They run until it ends.
    pub(super) fn start(self) -> Running {
        let Self { others, monitor, parts, sources } = self;
        detach(store::follow_others(others, parts.writer.clone()));
        detach(parts.writer.clone().keep_up());
        detach(monitor.run());
        detach(parts.renewal.clone().run());
        detach(parts.installer.clone().fetch_wanted_keys());
        let tasks = sources.start(&parts);
        Running { parts, tasks }
    }
}

impl Sources {
    fn start(self, parts: &Parts) -> Vec<JoinHandle<()>> {
        let Self { mounted, keys, revocations, notifier } = self;
        let (keyring, writer) = (parts.keyring.clone(), parts.writer.clone());
        let tasks = [
            Some(detach(mounted.watch(keyring, writer))),
            keys.map(|fetch| detach(fetch.run())),
            revocations.map(|fetch| detach(fetch.run())),
            notifier.map(|notifier| detach(notifier.run())),
        ];
        tasks.into_iter().flatten().collect()
    }
}

/// The tasks after their start.
pub(super) struct Running {
    parts: Parts,
    /// Of the sources.
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Gives the lease back, so that another replica renews and notifies from now on. Waits for `limit` at most.
    pub(super) async fn leave(self, limit: Duration) {
        // If the database is not reachable, the lease expires by itself.
        let given = self.parts.housekeeping.give_lease_back(Lease::Schedule);
        let _ = tokio::time::timeout(limit, given).await;
    }

    /// Ends what writes to the store by itself, before another process takes it. Returns once no call to the issuer is in flight, or after
    /// `limit`.
    pub(super) async fn pause(&mut self, limit: Duration) {
        // The answer to a call that is in flight must be stored.
        let _ = tokio::time::timeout(limit, self.parts.renewal.pause()).await;
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
    }

    /// Goes on after [`pause`](Self::pause), with what was [prepared](Parts::prepare) for `config`.
    pub(super) async fn resume(&mut self, prepared: Prepared, config: &Config) {
        self.parts.renewal.resume();
        self.reload(prepared, config, config).await;
    }

    /// Takes and changes the stored license.
    pub(super) fn writer(&self) -> &Writer {
        &self.parts.writer
    }

    /// What stays over a reload.
    pub(super) fn parts(&self) -> Parts {
        self.parts.clone()
    }

    /// Uses what was [prepared](Parts::prepare) for `config` instead of what `former` names. A renewal that has begun goes on, and so does a
    /// change of the license.
    pub(super) async fn reload(&mut self, prepared: Prepared, former: &Config, config: &Config) {
        let Prepared { named, notifier } = prepared;
        for task in self.tasks.drain(..) {
            task.abort();
            // Its end releases the files and the queue of events for its successor.
            let _ = task.await;
        }
        let Parts { writer, keyring, installer, renewal, events, .. } = &self.parts;
        writer.set_policy(named.policy).await;
        let is_same_url = former.license.jwks_url == config.license.jwks_url;
        keyring.reload(named.keys, (!is_same_url).then(Keys::empty)).await;
        renewal.set_issuer(named.issuer);
        events.set_sent(notifier.is_some());
        let (keys, refresher) = self.parts.remote_keys(config, named.jwks).unzip();
        installer.set_keys(refresher);
        let revocations = self.parts.remote_revocations(named.revocations);
        if config.license.file.is_none() {
            writer.withdraw_file().await;
        }
        let mut mounted = Mounted {
            keys: WatchedKeys::new(config.license.keys.clone(), &named.key_files),
            license: config.license.file.clone().map(WatchedFile::new),
            revocations: revocation_file(config).map(WatchedFile::new),
        };
        mounted.reload(writer).await;
        let sources = Sources { mounted, keys, revocations, notifier };
        self.tasks = sources.start(&self.parts);
    }
}

/// What a reload is going to use.
pub(super) struct Prepared {
    named: Named,
    notifier: Option<Notifier<Housekeeping>>,
}

/// What the settings name, loaded.
pub(super) struct Named {
    proxies: Proxies,
    client: Client,
    issuer: Option<Issuer>,
    policy: Policy,
    keys: FileKeys,
    key_files: KeyFiles,
    jwks: Option<Endpoint>,
    revocations: Option<Endpoint>,
}

impl Named {
    /// Loads it. Blocks on files.
    ///
    /// # Errors
    /// A setting cannot be used.
    pub(super) fn load(
        config: &Config,
        root_url: &RootUrl,
        proxies: Proxies,
        clock: &Clock,
    ) -> Result<Self, Error> {
        let client = Client::new(&config.outgoing, proxies.clone(), clock.clone());
        let issuer = Issuer::new(&config.feed, &client)?;
        let endpoint =
            |key, url: Option<&Uri>| url.map(|url| client.endpoint(key, key, url)).transpose();
        let jwks = endpoint(JWKS_URL, config.license.jwks_url.as_ref())?;
        let list = match &config.license.revocations {
            Some(RevocationList::Url(url)) => Some(url),
            Some(RevocationList::File(_)) | None => None,
        };
        let revocations = endpoint(REVOCATIONS, list)?;
        let (keys, key_files) = keys(&config.license)?;
        let policy = Policy::new(root_url.clone(), &config.license);
        Ok(Self { proxies, client, issuer, policy, keys, key_files, jwks, revocations })
    }
}

impl Parts {
    /// Loads what `config` names, and changes nothing yet. Blocks on files.
    ///
    /// # Errors
    /// A setting cannot be used.
    pub(super) fn prepare(&self, config: &Config, root_url: &RootUrl) -> Result<Prepared, Error> {
        let named = Named::load(config, root_url, self.proxies.clone(), &self.clock)?;
        let notifier = self.notifier(config, &named.client)?;
        Ok(Prepared { named, notifier })
    }

    fn notifier(
        &self,
        config: &Config,
        client: &Client,
    ) -> Result<Option<Notifier<Housekeeping>>, Error> {
        let (queue, wake, clock) =
            (self.housekeeping.clone(), self.wake.clone(), self.clock.clone());
        Ok(Notifier::new(&config.notify, client, queue, wake, clock)?)
    }

    fn remote_keys(
        &self,
        config: &Config,
        endpoint: Option<Endpoint>,
    ) -> Option<(Fetch<RemoteKeys>, Refresher)> {
        let url = config.license.jwks_url.as_ref()?.to_string();
        let (keyring, housekeeping) = (self.keyring.clone(), self.housekeeping.clone());
        let recipient = RemoteKeys { url, keyring, housekeeping };
        Some(Fetch::new(JWKS_URL, endpoint?, recipient, self.clock.clone()))
    }

    fn remote_revocations(&self, endpoint: Option<Endpoint>) -> Option<Fetch<RemoteRevocations>> {
        let recipient = RemoteRevocations { writer: self.writer.clone() };
        Some(Fetch::new(REVOCATIONS, endpoint?, recipient, self.clock.clone()).0)
    }
}

/// What [`begin`] sets up: the tasks, and what API and probes need of them.
pub(super) struct Begun {
    pub(super) life: Life,
    pub(super) context: api::Context,
    pub(super) housekeeping: Housekeeping,
}

/// Loads the license, and sets up the tasks.
///
/// # Errors
/// A setting cannot be used, or the store cannot be opened.
pub(super) async fn begin(
    config: &Config,
    named: Named,
    clock: Clock,
    control: &Handle,
    metrics: &Arc<Metrics>,
    rules: &Published,
    keys_from: String,
) -> Result<Begun, Error> {
    warn_without_keys(config, &named.keys);
    let (license, store) =
        open(config, named.policy, &clock, control, metrics, named.keys.all()).await?;
    let Store { reader, writer, housekeeping, fetched_keys, others, .. } = store;

    let wake = Wake::default();
    let queue = (housekeeping.clone(), wake.clone());
    let events = Events::new(Some(queue), reader.clone(), clock.clone());
    events.set_sent(config.notify.url.is_some());
    let installer = Installer::new(reader.clone(), writer.clone(), None);
    let renewal = Renewal::new(
        named.issuer,
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
    let parts = Parts {
        keyring: Keyring::new(named.keys, fetched_keys, writer.clone()),
        writer: writer.clone(),
        housekeeping: housekeeping.clone(),
        installer: installer.clone(),
        renewal: renewal.clone(),
        events: events.clone(),
        wake,
        clock: clock.clone(),
        proxies: named.proxies,
    };
    let notifier = parts.notifier(config, &named.client)?;
    let (keys, refresher) = parts.remote_keys(config, named.jwks).unzip();
    installer.set_keys(refresher);
    let revocations = parts.remote_revocations(named.revocations);
    let mut mounted = Mounted {
        keys: WatchedKeys::new(config.license.keys.clone(), &named.key_files),
        license,
        revocations: revocation_file(config).map(WatchedFile::new),
    };
    mounted.begin(&writer).await;
    let monitor =
        Monitor::begin(reader.clone(), writer.clone(), housekeeping.clone(), clock.clone(), events)
            .await
            .with_rules(rules);
    let sources = Sources { mounted, keys, revocations, notifier };
    let life = Life { others, monitor, parts, sources };
    let metrics = metrics.clone();
    let context = api::Context {
        reader,
        writer,
        installer,
        renewal,
        housekeeping: housekeeping.clone(),
        rules: rules.clone(),
        keys_from,
        clock,
        metrics,
    };
    Ok(Begun { life, context, housekeeping })
}

/// Opens the store with the license in `license.file`. Returns the watch on that file and the store.
async fn open(
    config: &Config,
    policy: Policy,
    clock: &Clock,
    control: &Handle,
    metrics: &Arc<Metrics>,
    keys: Keys,
) -> Result<(Option<WatchedFile>, Store), Error> {
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

fn revocation_file(config: &Config) -> Option<std::path::PathBuf> {
    match &config.license.revocations {
        Some(RevocationList::File(path)) => Some(path.clone()),
        Some(RevocationList::Url(_)) | None => None,
    }
}

/// The trusted keys. Broken ones are logged and left out.
fn keys(config: &license::Config) -> Result<(FileKeys, KeyFiles), Error> {
    let files = KeyFiles::read(&config.keys);
    let (keys, faults) = match FileKeys::read(&files) {
        Ok(loaded) => loaded,
        Err(fault) if fault.is_missing() && !config.keys_named => Default::default(),
        Err(fault) => return Err(fault.into()),
    };
    feed::log_faults(faults);
    Ok((keys, files))
}

/// Without any key, the gate serves with a warning, because the dashboard must stay available.
fn warn_without_keys(config: &Config, keys: &FileKeys) {
    let license::Config { keys: path, jwks_url, .. } = &config.license;
    if keys.is_empty() && jwks_url.is_none() {
        tracing::warn!(
            event = "keys.none",
            path = %path.display(),
            "no issuer key is trusted: no license can be verified; set license.keys"
        );
    }
}
