//! The whole gate. [`App::build`] does everything that can fail at startup; [`App::run`] only serves.

mod descriptors;
mod error;
mod life;
mod reload;
mod start;
mod status;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::admin::{self, Admin, Configured, Listen, Probed, ReloadRequest};
use crate::api::endpoint::Router;
use crate::api::{self, Api};
use crate::auth::Auth;
use crate::clock::{self, Clock};
use crate::config::{Config, Sources};
use crate::downstream::tls::Tls;
use crate::downstream::{self, Bound, Connections, Inherited, ListenAddress, Scheme};
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
use crate::worker::{self, Blueprint, Dashboard, Socket, Worker};

use life::{AFTER_CUT, Life};
use reload::{Reloader, Watching};

pub use error::Error;

/// A gate that has loaded its files and bound its addresses, but does not serve yet.
#[derive(Debug)]
pub struct App {
    config: Config,
    sources: Option<Sources>,
    root_url: RootUrl,
    bound: Vec<Bound>,
    redirects: Vec<Bound>,
    admin: Option<Admin>,
    probed: Arc<Probed>,
    reloads: mpsc::Receiver<ReloadRequest>,
    auth: Arc<Auth>,
    context: api::Context,
    blueprint: Blueprint,
    life: Life,
    phase: watch::Sender<Phase>,
    systemd: Systemd,
    delivery: Option<Delivery>,
}

/// Reloads that may wait for their turn; the admin listener has no more connections.
const MAX_RELOADS: usize = 64;

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
    pub async fn build_at(config: Config, clock: Clock) -> Result<Self, Error> {
        let control = Handle::current();
        let (systemd, delivery) = Systemd::from_environment();
        let workers = workers(&config.downstream);
        let share = descriptors::share(&config, workers);
        let mut downstream = config.downstream.clone();
        downstream.limits.max_connections = share.clients;
        let mut inherited = inherited(&config.downstream)?;
        let root_url = RootUrl::parse(&config.root_url)?;
        let metrics = Arc::<Metrics>::default();
        metrics.config_loaded(clock.now().as_secs());
        let auth = Arc::new(Auth::new(&config.auth, root_url.clone(), control.clone())?);
        let life::Begun { life, context, housekeeping } =
            life::begin(&config, &root_url, clock.clone(), &control, &metrics).await?;
        let access = access_log(&config.telemetry)?;
        let tls = certificate(&config.downstream)?;
        let sockets = SocketLimit::new(share.dashboard);
        let dashboard = dashboard(upstream::Config { sockets, ..config.upstream.clone() })?;
        let (phase, watched) = watch::channel(Phase::Serving);
        let bound = bind(&downstream.listen, None, workers, &mut inherited)?;
        let redirects = bind(&downstream.redirect, Some(Scheme::Http), workers, &mut inherited)?;
        let redirect = Redirect::new(&root_url, downstream.acme_dir.as_deref());
        let admin = listen_admin(&config.admin)?;
        let (requests, reloads) = mpsc::channel(MAX_RELOADS);
        let configured = Configured {
            tls: tls.clone(),
            upstream_tls: dashboard.tls.clone(),
            send_timeout: downstream.timeouts.send,
            setup: start::setup(&config),
        };
        let probed = Arc::new(Probed {
            reader: context.reader.clone(),
            housekeeping,
            clock,
            metrics: metrics.clone(),
            phase: watched.clone(),
            configured: ArcSwap::from_pointee(configured),
            reloads: requests,
        });
        let blueprint = Blueprint {
            downstream,
            dashboard,
            grace_period: config.shutdown.grace_period,
            api: Arc::new(Api::new(auth.clone(), context.clone())),
            gate: gate(&config, &root_url),
            root_host: root_url.host_header().to_owned(),
            instance: crate::random::name(),
            tls,
            metrics,
            access,
            redirect,
            failures: Arc::default(),
            connections: Connections::default(),
            marks: systemd.marks(workers),
            phase: watched,
        };
        Ok(Self {
            config,
            sources: None,
            root_url,
            bound,
            redirects,
            admin,
            probed,
            reloads,
            auth,
            context,
            blueprint,
            life,
            phase,
            systemd,
            delivery,
        })
    }

    /// Reads the configuration from `sources` again at each reload.
    #[must_use]
    pub fn reloading(self, sources: Sources) -> Self {
        Self { sources: Some(sources), ..self }
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

    /// Serves until SIGTERM or SIGINT; a second signal ends the grace period. SIGHUP reloads the configuration.
    ///
    /// # Errors
    /// [`Error::Worker`].
    pub async fn run(self, signals: shutdown::Signals) -> Result<(), Error> {
        let shutdown::Signals { mut stop, mut hangup } = signals;
        let hangup = async move || {
            if hangup.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        };
        self.serve(async move || stop.next().await, hangup).await
    }

    /// Serves until `stop` returns. The first time, it drains; the second time, it closes the remaining connections.
    ///
    /// # Errors
    /// [`Error::Worker`].
    pub async fn run_until(self, stop: impl AsyncFnMut()) -> Result<(), Error> {
        self.serve(stop, std::future::pending).await
    }

    /// As [`run_until`](Self::run_until), with a reload each time that `hangup` returns.
    async fn serve(
        self,
        mut stop: impl AsyncFnMut(),
        hangup: impl AsyncFnMut(),
    ) -> Result<(), Error> {
        let Self { config, sources, root_url, mut bound, mut redirects, admin, probed, .. } = self;
        let Self { mut reloads, auth, context, blueprint, life, phase, systemd, delivery, .. } =
            self;
        let (served, mut over) = watch::channel(());
        let place = admin.as_ref().map(|admin| admin.place().clone());
        let state = probed.clone();
        if let Some(admin) = admin {
            let end = async move { drop(over.changed().await) };
            detach(async move { admin.serve(state, end).await });
        }
        delivery.map(|delivery| detach(delivery.run()));
        let marks = blueprint.marks.clone();
        marks.map(|marks| detach(systemd.clone().watch(marks)));
        let mut watching = Watching::default();
        watching.replace(blueprint.tls.as_ref(), blueprint.dashboard.tls.as_ref());
        let running = life.start();
        let number = workers(&blueprint.downstream);
        let workers = start(&mut bound, &mut redirects, &blueprint)?;
        start::log(&bound, &redirects, place.as_ref(), &probed, number);
        if systemd.is_notified() {
            let status = status::ready(&systemd, &probed);
            detach(status::keep(systemd.clone(), probed.clone(), status));
        }
        let (threads, workers) = workers.into_iter().map(|it| (it.thread, it.reloads)).unzip();
        let (current_shutdown, _) = watch::channel(config.shutdown);
        let mut reloader = Reloader {
            sources,
            config,
            root_url,
            auth,
            context,
            blueprint,
            workers,
            probed,
            running,
            shutdown: current_shutdown,
            systemd,
            watching,
            reading: None,
        };
        tokio::select! {
            () = stop() => {}
            () = reloader.run(&mut reloads, hangup) => {}
        }
        drop(reloads);
        let Reloader { running, shutdown, systemd, .. } = reloader;
        let shutdown = *shutdown.borrow();
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

fn gate(config: &Config, root_url: &RootUrl) -> Gate {
    let _ = config;
    Gate::new(Router::new(root_url.base_path()))
}

fn dashboard(config: upstream::Config) -> Result<Arc<Dashboard>, Error> {
    let tls = upstream::Tls::load(&config).map_err(Error::UpstreamTls)?;
    Ok(Arc::new(Dashboard { tls: tls.map(Arc::new), config }))
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

/// Binds `addresses`; `scheme`: theirs, if they name none.
fn bind(
    addresses: &[downstream::Listen],
    scheme: Option<Scheme>,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Vec<Bound>, Error> {
    let mut bound = Vec::new();
    for listen in addresses {
        let listen = &downstream::Listen { scheme: listen.scheme.or(scheme), ..listen.clone() };
        let sockets = downstream::bind(listen, workers, inherited);
        bound
            .extend(sockets.map_err(|source| Error::Bind { place: listen.place.clone(), source })?);
    }
    Ok(bound)
}

/// Gives each worker its socket on every address.
fn start(
    bound: &mut [Bound],
    redirects: &mut [Bound],
    blueprint: &Blueprint,
) -> Result<Vec<Worker>, Error> {
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
