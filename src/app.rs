//! The whole gate. [`App::build`] does everything that can fail at startup; [`App::run`] only serves.

mod descriptors;
mod error;
mod life;
mod start;
mod status;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::admin::{self, Admin, Listen, Probed};
use crate::api::endpoint::Router;
use crate::api::{self, Api};
use crate::auth::Auth;
use crate::certificate::watch;
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::downstream::tls::Tls;
use crate::downstream::{self, Bound, Connections, Inherited, ListenAddress};
use crate::gate::Gate;
use crate::license::RootUrl;
use crate::service::Redirect;
use crate::shutdown::{self, Phase, detach};
use crate::socket::SocketLimit;
use crate::systemd::{Delivery, Systemd};
use crate::telemetry;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::upstream;
use crate::worker::{self, Blueprint, Socket};

use life::{AFTER_CUT, Life};

pub use error::Error;

/// A gate that has loaded its files and bound its addresses, but does not serve yet.
#[derive(Debug)]
pub struct App {
    bound: Vec<Bound>,
    redirects: Vec<Bound>,
    admin: Option<Admin>,
    probed: Arc<Probed>,
    blueprint: Blueprint,
    life: Life,
    phase: watch::Sender<Phase>,
    shutdown: shutdown::Config,
    systemd: Systemd,
    delivery: Option<Delivery>,
}

impl App {
    /// Loads keys and license, and binds all addresses. Call it on the runtime for the control work (license changes,
    /// renewal, hashing). Blocks briefly to read files.
    ///
    /// # Errors
    /// The first problem that prevents a start.
    pub async fn build(config: Config) -> Result<Self, Error> {
        Self::build_at(config, Clock::system()).await
    }

    /// Like [`build`](Self::build), with the given clock.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub async fn build_at(mut config: Config, clock: Clock) -> Result<Self, Error> {
        let control = Handle::current();
        let (systemd, delivery) = Systemd::from_environment();
        let workers = workers(&config.downstream);
        let share = descriptors::share(&config, workers);
        config.downstream.limits.max_connections = share.clients;
        config.upstream.sockets = SocketLimit::new(share.dashboard);
        let mut inherited = inherited(&config.downstream)?;
        let root_url = RootUrl::parse(&config.root_url)?;
        let metrics = Arc::<Metrics>::default();
        let (api, probed, life) = licensing(&config, &root_url, clock, &control, &metrics).await?;
        let access = access_log(&config.telemetry)?;
        let tls = certificate(&config.downstream)?;
        let upstream_tls = upstream::Tls::load(&config.upstream).map_err(Error::UpstreamTls)?;
        let (phase, watched) = watch::channel(Phase::Serving);
        let downstream::Config { listen, redirect, tls: files, acme_dir, .. } = &config.downstream;
        let bound = bind(listen, files.is_some(), workers, &mut inherited)?;
        let redirects = bind(redirect, false, workers, &mut inherited)?;
        let redirect = Redirect::new(&root_url, acme_dir.as_deref());
        let admin = listen_admin(&config.admin)?;
        let upstream_tls = upstream_tls.map(Arc::new);
        let probed = Probed {
            phase: watched.clone(),
            tls: tls.clone(),
            upstream_tls: upstream_tls.clone(),
            ..probed
        };
        let probed = Arc::new(probed);
        let blueprint = Blueprint {
            downstream: config.downstream,
            upstream: config.upstream,
            grace_period: config.shutdown.grace_period,
            api: Arc::new(api),
            gate: Gate::new(Router::new(root_url.base_path())),
            root_host: root_url.host_header().to_owned(),
            instance: crate::random::name(),
            tls,
            upstream_tls,
            metrics,
            access,
            redirect,
            failures: Arc::default(),
            connections: Connections::default(),
            marks: systemd.marks(workers),
            phase: watched,
        };
        let shutdown = config.shutdown;
        Ok(Self {
            bound,
            redirects,
            admin,
            probed,
            blueprint,
            life,
            phase,
            shutdown,
            systemd,
            delivery,
        })
    }

    /// The TCP addresses for clients, with their actual ports, in the order of `server.listen`.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let tcp = |bound: &Bound| match &bound.place {
            ListenAddress::Tcp(address) => Some(*address),
            ListenAddress::Unix(_) | ListenAddress::Systemd(_) => None,
        };
        self.bound.iter().filter_map(tcp).collect()
    }

    /// The TCP address where metrics and probes are answered, with the real port; `None`: nowhere, or on a Unix socket.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        match self.admin.as_ref()?.place() {
            Listen::Tcp(address) => Some(*address),
            Listen::Unix(_) => None,
        }
    }

    /// Serves until SIGTERM or SIGINT; a second signal ends the grace period. SIGHUP reloads certificates.
    ///
    /// # Errors
    /// [`Error::Worker`].
    pub async fn run(self, signals: shutdown::Signals) -> Result<(), Error> {
        let shutdown::Signals { mut stop, mut hangup } = signals;
        let (tls, upstream_tls) = self.certificates();
        let systemd = self.systemd.clone();
        detach(async move {
            while hangup.recv().await.is_some() {
                systemd.reloading();
                let (tls, upstream_tls) = (tls.clone(), upstream_tls.clone());
                // On a blocking thread, because a file system may hang. A panic is logged by the panic hook.
                let reload = move || reload(tls.as_deref(), upstream_tls.as_deref());
                let _ = tokio::task::spawn_blocking(reload).await;
                systemd.reloaded();
            }
        });
        self.run_until(async move || stop.next().await).await
    }

    fn certificates(&self) -> (Option<Arc<Tls>>, Option<Arc<upstream::Tls>>) {
        (self.blueprint.tls.clone(), self.blueprint.upstream_tls.clone())
    }

    /// Serves until `stop` returns. The first time, it drains; the second time, it closes the remaining connections.
    ///
    /// # Errors
    /// [`Error::Worker`].
    pub async fn run_until(self, mut stop: impl AsyncFnMut()) -> Result<(), Error> {
        let (tls, upstream_tls) = self.certificates();
        let Self { mut bound, mut redirects, admin, probed, blueprint, life, .. } = self;
        let Self { phase, shutdown, systemd, delivery, .. } = self;
        let (served, mut over) = watch::channel(());
        let place = admin.as_ref().map(|admin| admin.place().clone());
        let state = probed.clone();
        if let Some(admin) = admin {
            let end = async move { drop(over.changed().await) };
            let send = blueprint.downstream.timeouts.send;
            detach(async move { admin.serve(state, send, end).await });
        }
        delivery.map(|delivery| detach(delivery.run()));
        let marks = blueprint.marks.clone();
        marks.map(|marks| detach(systemd.clone().watch(marks)));
        tls.map(|tls| detach(watch(tls)));
        upstream_tls.map(|tls| detach(watch(tls.watched().clone())));
        let running = life.start();
        let workers = workers(&blueprint.downstream);
        let threads = start(&mut bound, &mut redirects, blueprint)?;
        start::log(&bound, &redirects, place.as_ref(), &probed, workers);
        if systemd.is_notified() {
            let status = status::ready(&systemd, &probed);
            detach(status::keep(systemd.clone(), probed, status));
        }
        stop().await;
        let [delay, grace_period] =
            [shutdown.delay, shutdown.grace_period].map(humantime::format_duration);
        tracing::info!(%delay, %grace_period, "stopping");
        systemd.stopping();
        phase.send_replace(Phase::Leaving);
        let is_second = tokio::select! {
            () = tokio::time::sleep(shutdown.delay) => false,
            () = stop() => true,
        };
        let ended = tokio::task::spawn_blocking(move || join(threads));
        phase.send_replace(Phase::Draining);
        let cut = async {
            tokio::select! {
                () = std::future::ready(()), if is_second => {}
                () = tokio::time::sleep(shutdown.grace_period) => {}
                () = stop() => {}
            }
            phase.send_replace(Phase::Cut);
            // Threads that have not ended after this time are abandoned.
            tokio::time::sleep(AFTER_CUT).await;
        };
        tokio::select! {
            _ = ended => {}
            () = cut => {}
        }
        drop(served);
        drop((bound, redirects));
        running.leave(AFTER_CUT).await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Sets up the API, the probes and everything that maintains the license.
async fn licensing(
    config: &Config,
    root_url: &RootUrl,
    clock: Clock,
    control: &Handle,
    metrics: &Arc<Metrics>,
) -> Result<(Api, Probed, Life), Error> {
    let auth = Auth::new(&config.auth, root_url.clone(), control.clone())?;
    let setup = start::setup(config);
    let begun = life::begin(config, root_url, clock, control, metrics, setup.keys.clone()).await?;
    let api::Context { reader, clock, .. } = &begun.context;
    let probed = Probed {
        reader: reader.clone(),
        housekeeping: begun.housekeeping,
        clock: clock.clone(),
        metrics: metrics.clone(),
        phase: watch::channel(Phase::Serving).1,
        tls: None,
        setup,
        upstream_tls: None,
    };
    Ok((Api::new(auth, begun.context), probed, begun.life))
}

fn access_log(config: &telemetry::Config) -> Result<Option<AccessLog>, Error> {
    let now: telemetry::Now = |out| write!(out, "{}", clock::timestamp());
    let log = config.access.then(|| AccessLog::start(config.format, now));
    log.transpose().map_err(Error::Worker)
}

fn listen_admin(config: &admin::Config) -> Result<Option<Admin>, Error> {
    let Some(listen) = &config.listen else { return Ok(None) };
    let failed = |source| Error::Bind { place: listen.clone().into(), source };
    Admin::bind(listen, config).map(Some).map_err(failed)
}

fn certificate(config: &downstream::Config) -> Result<Option<Arc<Tls>>, Error> {
    let tls = config.tls.clone().map(Tls::load).transpose().map_err(Error::Tls)?;
    Ok(tls.map(Arc::new))
}

/// Reloads certificates on SIGHUP. Changed files are also noticed without it.
fn reload(tls: Option<&Tls>, upstream_tls: Option<&upstream::Tls>) {
    match tls.is_some() || upstream_tls.is_some() {
        true => {
            tracing::info!("SIGHUP: reloading certificates; other settings need a restart")
        }
        false => tracing::info!("SIGHUP: no certificates to reload; other settings need a restart"),
    }
    if let Some(tls) = tls {
        tls.look(true);
    }
    if let Some(tls) = upstream_tls {
        tls.watched().look(true);
    }
}

/// The sockets from systemd, if an address names any. Otherwise the variables of systemd are not touched.
fn inherited(config: &downstream::Config) -> Result<Inherited, Error> {
    let mut listen = config.listen.iter().chain(&config.redirect);
    let wanted = listen.any(|l| matches!(l.place, ListenAddress::Systemd(_)));
    if wanted { Inherited::take().map_err(Error::Inherited) } else { Ok(Inherited::default()) }
}

fn workers(config: &downstream::Config) -> usize {
    match config.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}

fn bind(
    addresses: &[downstream::Listen],
    has_certificate: bool,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Vec<Bound>, Error> {
    let mut bound = Vec::new();
    for listen in addresses {
        let sockets = downstream::bind(listen, has_certificate, workers, inherited);
        bound
            .extend(sockets.map_err(|source| Error::Bind { place: listen.place.clone(), source })?);
    }
    Ok(bound)
}

/// Gives each worker its socket on every address.
fn start(
    bound: &mut [Bound],
    redirects: &mut [Bound],
    blueprint: Blueprint,
) -> Result<Vec<JoinHandle<()>>, Error> {
    let mut shares: Vec<Vec<Socket>> = Vec::new();
    let addresses = bound.iter_mut().map(|address| (address, false));
    for (address, redirects) in addresses.chain(redirects.iter_mut().map(|it| (it, true))) {
        shares.resize_with(address.sockets.len().max(shares.len()), Vec::new);
        for (all, share) in shares.iter_mut().zip(address.shares()) {
            all.push(Socket { share, redirects });
        }
    }
    let start = |(index, sockets)| worker::start(index, sockets, blueprint.clone());
    shares.into_iter().enumerate().map(start).collect::<io::Result<_>>().map_err(Error::Worker)
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!(event = "gate.thread_panicked", "a thread ended by a panic");
        }
    }
}
