//! Sets up everything that maintains the license: trusted keys, the store, and the tasks that run by themselves.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::error::Error;
use crate::api;
use crate::certificate;
use crate::clock::Clock;
use crate::config::{Config, Reload};
use crate::feed::{
    self, Installer, Issuer, Keyring, Mounted, RemoteKeys, RemoteRevocations, Renewal, WatchedFile,
    WatchedKeys,
};
use crate::license::{self, FileKeys, KeyFault, KeyFiles, Keys, Policy, RevocationList, RootUrl};
use crate::notify::{Events, Monitor, Notifier, Receiver, Receivers, Wake};
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
    notifier: Notifier<Housekeeping>,
    parts: Parts,
    sources: Sources,
    authorities: Authorities,
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
    receivers: Receivers,
    clock: Clock,
    proxies: Proxies,
}

/// What `[license]` names: one task for each. A reload replaces them.
#[derive(Debug)]
struct Sources {
    mounted: Mounted,
    keys: Option<Fetch<RemoteKeys>>,
    revocations: Option<Fetch<RemoteRevocations>>,
}

/// SHA-256 of the file `renewal.ca_file`.
type Authorities = Option<[u8; 32]>;

impl Life {
    /// Starts all tasks on the control runtime. They run until it ends.
    pub(super) fn start(self) -> Running {
        let Self { others, monitor, notifier, parts, sources, authorities } = self;
        detach(store::follow_others(others, parts.writer.clone()));
        detach(parts.writer.clone().keep_up());
        let (watched, sending) = (monitor.turn(), notifier.turn());
        detach(monitor.run());
        detach(notifier.run());
        detach(parts.renewal.clone().run());
        detach(parts.installer.clone().fetch_wanted_keys());
        let Sources { mounted, keys, revocations } = sources;
        let mut running = Running {
            parts,
            authorities,
            mounted: Source::default(),
            keys: Source::default(),
            revocations: Source::default(),
            watched,
            sending,
            held: None,
        };
        running.watch(mounted);
        running.keys.run(keys.map(Fetch::run));
        running.revocations.run(revocations.map(Fetch::run));
        running
    }
}

/// The task of a source. What it has passed to the store is completed if the task ends.
#[derive(Default)]
struct Source(Option<JoinHandle<()>>);

impl Source {
    fn run(&mut self, work: Option<impl Future<Output = ()> + Send + 'static>) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
        self.0 = work.map(detach);
    }

    async fn end(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            // It may be in the middle of a step.
            let _ = task.await;
        }
    }
}

/// The tasks after their start.
pub(super) struct Running {
    parts: Parts,
    authorities: Authorities,
    mounted: Source,
    keys: Source,
    revocations: Source,
    /// Locked while changes of the license are announced.
    watched: Arc<Mutex<()>>,
    /// Locked while events are sent.
    sending: Arc<Mutex<()>>,
    /// Both, while the store is handed over; those that could be locked.
    held: Option<[Option<OwnedMutexGuard<()>>; 2]>,
}

impl Running {
    /// Gives the lease back, so that another replica renews and notifies from now on. Waits for `limit` at most.
    pub(super) async fn leave(self, limit: Duration) {
        // If the database is not reachable, the lease expires by itself.
        let given = self.parts.housekeeping.give_lease_back(Lease::Schedule);
        let _ = tokio::time::timeout(limit, given).await;
    }

    /// Ends the tasks that write to the store, before another process opens it. Returns once no call to the issuer or to the webhook is in
    /// flight, or after `limit`.
    pub(super) async fn pause(&mut self, limit: Duration) {
        let until = Instant::now() + limit;
        self.parts.receivers.send_replace(None);
        // The answer to a call that is in flight must be stored.
        let _ = timeout_at(until, self.parts.renewal.pause()).await;
        // Already held if the store could not be taken back.
        if self.held.is_none() {
            // An event that is queued must be noted as announced, or the other process would announce it again.
            let watched = timeout_at(until, self.watched.clone().lock_owned()).await;
            // An event that the webhook has accepted must be noted as sent, or the other process would send it again.
            let sending = timeout_at(until, self.sending.clone().lock_owned()).await;
            self.held = Some([watched.ok(), sending.ok()]);
        }
        for source in [&mut self.mounted, &mut self.keys, &mut self.revocations] {
            source.end().await;
        }
    }

    /// Continues after [`pause`](Self::pause), except for what the settings name: [`start_again`](Self::start_again).
    pub(super) fn resume(&mut self) {
        self.parts.renewal.resume();
        self.held = None;
    }

    /// Starts what the settings name after a [`pause`](Self::pause), with what was [prepared](Parts::prepare) for `config`.
    pub(super) async fn start_again(&mut self, prepared: Prepared, config: &Config) {
        let Prepared { named, receiver } = prepared;
        let Parts { writer, installer, receivers, .. } = &self.parts;
        receivers.send_replace(receiver.map(Arc::new));
        let (keys, refresher) = self.parts.remote_keys(config, named.jwks).unzip();
        installer.set_keys(refresher);
        self.keys.run(keys.map(Fetch::run));
        let fetch = self.parts.remote_revocations(named.revocations);
        self.revocations.run(fetch.map(Fetch::run));
        // They may have changed meanwhile.
        let mut mounted = mounted(config, None);
        mounted.reload(writer).await;
        self.watch(mounted);
    }

    /// Takes and changes the stored license.
    pub(super) fn writer(&self) -> &Writer {
        &self.parts.writer
    }

    /// What stays over a reload.
    pub(super) fn parts(&self) -> Parts {
        self.parts.clone()
    }

    /// Uses what was [prepared](Parts::prepare) for `reload`, and leaves alone what has not changed. A renewal, a change of the
    /// license or the delivery of an event that has begun continues.
    pub(super) async fn reload(&mut self, prepared: Prepared, reload: &Reload) {
        let Prepared { named, receiver } = prepared;
        let config = &reload.config;
        // How outgoing calls are made.
        let is_other_client = reload.concerns(&["renewal.ca_file", "renewal.timeout"])
            || named.authorities != self.authorities;
        self.authorities = named.authorities;
        if reload.concerns(&["license."]) {
            self.parts.writer.set_policy(named.policy).await;
        }
        if reload.concerns(&["license.file", "license.keys", "license.revocations"]) {
            self.mounted.end().await;
        }
        let is_other_jwks = reload.concerns(&["license.jwks_url"]);
        if is_other_jwks || is_other_client {
            self.keys.end().await;
        }
        let Parts { writer, keyring, installer, renewal, events, receivers, .. } = &self.parts;
        let is_other_file = reload.concerns(&["license.keys"]);
        if is_other_file || is_other_jwks {
            let files = is_other_file.then(|| named.keys.logged());
            keyring.reload(files, is_other_jwks.then(Keys::empty)).await;
        }
        if is_other_jwks || is_other_client {
            let (keys, refresher) = self.parts.remote_keys(config, named.jwks).unzip();
            installer.set_keys(refresher);
            self.keys.run(keys.map(Fetch::run));
        }
        if reload.concerns(&["license.revocations"]) || is_other_client {
            self.revocations.end().await;
            let fetch = self.parts.remote_revocations(named.revocations);
            self.revocations.run(fetch.map(Fetch::run));
        }
        if reload.concerns(&["renewal.url"]) || is_other_client {
            renewal.set_issuer(named.issuer);
        }
        events.set_sent(receiver.is_some());
        let is_other_secret = match (&*receivers.borrow(), &receiver) {
            (Some(one), Some(other)) => !one.has_secret_of(other),
            (one, other) => one.is_some() != other.is_some(),
        };
        if reload.concerns(&["notify."]) || is_other_secret || is_other_client {
            receivers.send_replace(receiver.map(Arc::new));
        }
        if reload.concerns(&["license.file", "license.keys", "license.revocations"]) {
            if config.license.file.is_none() {
                writer.withdraw_file().await;
            }
            let mut mounted = mounted(config, is_other_file.then_some(&named.key_files));
            mounted.reload(writer).await;
            self.watch(mounted);
        }
    }

    fn watch(&mut self, mounted: Mounted) {
        let (keyring, writer) = (self.parts.keyring.clone(), self.parts.writer.clone());
        self.mounted.run(Some(mounted.watch(keyring, writer)));
    }
}

/// The files that `config` names, not read yet except for `keys`.
fn mounted(config: &Config, keys: Option<&KeyFiles>) -> Mounted {
    Mounted {
        keys: WatchedKeys::new(config.license.keys.clone(), keys),
        license: config.license.file.clone().map(WatchedFile::new),
        revocations: revocation_file(config).map(WatchedFile::new),
    }
}

/// What a reload is going to use.
pub(super) struct Prepared {
    named: Named,
    receiver: Option<Receiver>,
}

/// What the settings name, loaded.
pub(super) struct Named {
    proxies: Proxies,
    client: Client,
    authorities: Authorities,
    issuer: Option<Issuer>,
    policy: Policy,
    keys: Trusted,
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
        // Before the client reads the file: a change in between is seen at the next reload.
        let authorities = config.outgoing.ca_file.as_deref().and_then(certificate::digest);
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
        Ok(Self {
            proxies,
            client,
            authorities,
            issuer,
            policy,
            keys,
            key_files,
            jwks,
            revocations,
        })
    }
}

impl Parts {
    /// Loads what `config` names, and changes nothing yet. Blocks on files.
    ///
    /// # Errors
    /// A setting cannot be used.
    pub(super) fn prepare(&self, config: &Config, root_url: &RootUrl) -> Result<Prepared, Error> {
        let named = Named::load(config, root_url, self.proxies.clone(), &self.clock)?;
        let receiver = Receiver::new(&config.notify, &named.client)?;
        Ok(Prepared { named, receiver })
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
    let keys = named.keys.logged();
    warn_without_keys(config, &keys);
    let receiver = Receiver::new(&config.notify, &named.client)?;
    let (license, store) = open(config, named.policy, &clock, control, metrics, keys.all()).await?;
    let Store { reader, writer, housekeeping, fetched_keys, others, .. } = store;

    let wake = Wake::default();
    let queue = (housekeeping.clone(), wake.clone());
    let events = Events::new(Some(queue), reader.clone(), clock.clone());
    events.set_sent(receiver.is_some());
    let (receivers, _) = watch::channel(receiver.map(Arc::new));
    let notifier = Notifier::new(&receivers, housekeeping.clone(), wake, clock.clone());
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
        keyring: Keyring::new(keys, fetched_keys, writer.clone()),
        writer: writer.clone(),
        housekeeping: housekeeping.clone(),
        installer: installer.clone(),
        renewal: renewal.clone(),
        events: events.clone(),
        receivers,
        clock: clock.clone(),
        proxies: named.proxies,
    };
    let (keys, refresher) = parts.remote_keys(config, named.jwks).unzip();
    installer.set_keys(refresher);
    let revocations = parts.remote_revocations(named.revocations);
    let mut mounted = Mounted { license, ..mounted(config, Some(&named.key_files)) };
    mounted.begin(&writer).await;
    let monitor =
        Monitor::begin(reader.clone(), writer.clone(), housekeeping.clone(), clock.clone(), events)
            .await
            .with_rules(rules);
    let sources = Sources { mounted, keys, revocations };
    let authorities = named.authorities;
    let life = Life { others, monitor, notifier, parts, sources, authorities };
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

/// Keys of the files, and the faults of others.
struct Trusted {
    keys: FileKeys,
    faults: Vec<KeyFault>,
}

impl Trusted {
    /// The keys, once the faults are logged.
    fn logged(self) -> FileKeys {
        feed::log_faults(self.faults);
        self.keys
    }
}

/// The keys to trust. Broken ones are left out.
fn keys(config: &license::Config) -> Result<(Trusted, KeyFiles), Error> {
    let files = KeyFiles::read(&config.keys);
    let (keys, faults) = match FileKeys::read(&files) {
        Ok(loaded) => loaded,
        Err(fault) if fault.is_missing() && !config.keys_named => Default::default(),
        Err(fault) => return Err(fault.into()),
    };
    Ok((Trusted { keys, faults }, files))
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
