//! The whole gate. [`App::build`] does everything that can fail at startup; [`App::run`] only serves.

mod descriptors;
mod error;
mod life;
mod operator;
mod parts;
mod reload;
mod start;
mod status;
mod upgrade;
mod workers;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::admin::{self, Admin, Configured, Listen, Probed, ReloadRequest};
use crate::api::{self, Api};
use crate::auth::Auth;
use crate::clock::Clock;
use crate::config::{Config, Sources};
use crate::downstream::{
    self, Bound, Connections, Inherited, Left, ListenAddress, Scheme, SocketFile,
};
use crate::license::RootUrl;
use crate::outgoing::Proxies;
use crate::rules::{Published, Rules};
use crate::service::Redirect;
use crate::shutdown::{self, Intake, Phase, detach};
use crate::socket::SocketLimit;
use crate::systemd::{Delivery, Systemd};
use crate::telemetry::metrics::Metrics;
use crate::upstream;
use crate::worker::{self, Blueprint, Socket, Worker};

use life::{AFTER_CUT, Life, Named};
use operator::{ADMIN, Lost, Operator, Passing, Watching};
use parts::{access_log, certificate, dashboard, gate, workers};
use upgrade::{Predecessor, Wanted};
use workers::Workers;

pub use error::Error;
pub use upgrade::Program;

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
    program: Option<Program>,
    predecessor: Option<Predecessor>,
}

/// Which setting an address belongs to, for the process that takes its sockets over.
const LISTEN: &str = "listen";
const REDIRECT: &str = "redirect";

/// Time for the answers of the admin listener, when another process serves and nothing else is in flight.
const ADMIN_ANSWERS: Duration = Duration::from_secs(1);
/// How long responses and tunnels of a process that was replaced may last.
const REPLACED: Duration = Duration::from_secs(3600);

/// Reloads that may wait for their turn: one for each connection of the admin listener.
const MAX_RELOADS: usize = admin::MAX_CONNECTIONS;

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
        let (mut predecessor, mut inherited) = match Predecessor::from_environment()? {
            Some((predecessor, inherited)) => (Some(predecessor), inherited),
            None => (None, inherited(&config.downstream)?),
        };
        let share = descriptors::share(&config, workers, inherited.sockets());
        let mut downstream = config.downstream.clone();
        downstream.limits.max_connections = share.clients;
        let root_url = RootUrl::parse(&config.root_url)?;
        let metrics = Arc::<Metrics>::default();
        metrics.config_loaded(clock.now().as_secs());
        let rules = Rules::new(&config.gate, root_url.base_path(), &metrics)?.map(Arc::new);
        let rules = Published::new(rules);
        let auth = Arc::new(Auth::new(&config.auth, root_url.clone(), control.clone())?);
        let named = Named::load(&config, &root_url, Proxies::from_environment(), &clock)?;
        let access = access_log(&config.telemetry)?;
        let tls = certificate(&config.downstream)?;
        let sockets = SocketLimit::new(share.dashboard);
        let dashboard = dashboard(upstream::Config { sockets, ..config.upstream.clone() })?;
        let (phase, watched) = watch::channel(Phase::Serving);
        let bound = bind(&downstream.listen, LISTEN, workers, &mut inherited)?;
        let redirects = bind(&downstream.redirect, REDIRECT, workers, &mut inherited)?;
        let redirect = Redirect::new(&root_url, downstream.acme_dir.as_deref());
        let admin = listen_admin(&config.admin, &mut inherited)?;
        let used = inherited.taken().to_vec();
        drop(inherited);
        if let Some(predecessor) = &mut predecessor {
            predecessor.ready().await?;
        }
        let setup = start::setup(&config);
        let life::Begun { life, context, housekeeping } = life::begin(
            &config,
            named,
            clock.clone(),
            &control,
            &metrics,
            &rules,
            setup.keys.clone(),
        )
        .await?;
        if let Some(predecessor) = &mut predecessor {
            predecessor.open(&used).await?;
            for address in bound.iter().chain(&redirects) {
                let failed = |source| Error::Bind { place: address.place.clone(), source };
                address.listen().map_err(failed)?;
            }
        }
        let (requests, reloads) = mpsc::channel(MAX_RELOADS);
        let configured = Configured {
            tls: tls.clone(),
            upstream_tls: dashboard.tls.clone(),
            send_timeout: downstream.timeouts.send,
            setup,
        };
        let probed = Arc::new(Probed {
            reader: context.reader.clone(),
            housekeeping,
            clock,
            metrics: metrics.clone(),
            phase: watched.clone(),
            rules,
            configured: ArcSwap::from_pointee(configured),
            reloads: requests,
        });
        let blueprint = Blueprint {
            downstream,
            dashboard,
            grace_period: config.shutdown.grace_period,
            api: Arc::new(Api::new(auth.clone(), context.clone())),
            gate: gate(&root_url, &probed),
            root_host: root_url.host_header().to_owned(),
            instance: crate::random::name(),
            tls,
            metrics,
            access,
            redirect,
            failures: Arc::default(),
            connections: Connections::default(),
            marks: systemd.marks(workers),
            intake: Intake::default(),
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
            program: None,
            predecessor,
        })
    }

    /// Reads the configuration from `sources` again at each reload.
    #[must_use]
    pub fn reloading(self, sources: Sources) -> Self {
        Self { sources: Some(sources), ..self }
    }

    /// Starts `program` at an upgrade.
    #[must_use]
    pub fn upgrading_to(self, program: Program) -> Self {
        Self { program: Some(program), ..self }
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

    /// Serves until SIGTERM or SIGINT; a second signal ends the grace period. SIGHUP reloads the configuration, SIGUSR2 upgrades.
    ///
    /// # Errors
    /// [`Error::Worker`].
    pub async fn run(self, signals: shutdown::Signals) -> Result<(), Error> {
        let shutdown::Signals { mut stop, mut hangup, mut upgrade } = signals;
        let next = async move || {
            tokio::select! {
                Some(()) = hangup.recv() => Wanted::Reload,
                Some(()) = upgrade.recv() => Wanted::Upgrade,
                else => std::future::pending().await,
            }
        };
        self.serve(async move || stop.next().await, next).await
    }

    /// Serves until `stop` returns. The first time, it drains; the second time, it closes the remaining connections.
    ///
    /// # Errors
    /// [`Error::Worker`].
    pub async fn run_until(self, stop: impl AsyncFnMut()) -> Result<(), Error> {
        self.serve(stop, std::future::pending).await
    }

    /// As [`run_until`](Self::run_until), and does what `next` returns.
    async fn serve(
        self,
        mut stop: impl AsyncFnMut(),
        mut next: impl AsyncFnMut() -> Wanted,
    ) -> Result<(), Error> {
        let Self { config, sources, root_url, mut bound, mut redirects, mut admin, .. } = self;
        let Self { mut reloads, auth, context, blueprint, life, phase, systemd, delivery, .. } =
            self;
        let Self { probed, program, predecessor, .. } = self;
        let (served, mut over) = watch::channel(());
        let place = admin.as_ref().map(|admin| admin.place().clone());
        let mut admin_file = admin.as_mut().and_then(Admin::take_file);
        let mut passing = Passing::default();
        passing.add(&bound);
        passing.add(&redirects);
        let mut admin_is_left = Left::default();
        if let (Some(admin), Some(listen)) = (&admin, &config.admin.listen) {
            admin_is_left = passing.add_admin(admin, listen);
        }
        let state = probed.clone();
        let admin = admin.map(|admin| {
            let end = async move { drop(over.changed().await) };
            detach(async move { admin.serve(state, end).await })
        });
        delivery.map(|delivery| detach(delivery.run()));
        let marks = blueprint.marks.clone();
        marks.map(|marks| detach(systemd.clone().watch(marks)));
        let mut watching = Watching::default();
        watching.replace(blueprint.tls.as_ref(), blueprint.dashboard.tls.as_ref());
        let running = life.start();
        let number = workers(&blueprint.downstream);
        let workers = start(&mut bound, &mut redirects, number, &blueprint)?;
        start::log(&bound, &redirects, place.as_ref(), &probed, number);
        if let Some(predecessor) = predecessor {
            predecessor.serving().await;
            bound.iter_mut().chain(&mut redirects).for_each(Bound::take_file_over);
            if admin_file.is_none()
                && let Some(Listen::Unix(path)) = &place
            {
                admin_file = SocketFile::of(path).ok();
            }
        }
        if systemd.is_notified() {
            let status = status::ready(&systemd, &probed);
            detach(status::keep(systemd.clone(), probed.clone(), status));
        }
        let (threads, workers) = workers.into_iter().map(|it| (it.thread, it.orders)).unzip();
        let (current_shutdown, _) = watch::channel(config.shutdown);
        let mut operator = Operator {
            sources,
            program,
            passing,
            config,
            root_url,
            auth,
            context,
            blueprint,
            workers: Workers(workers),
            probed,
            running,
            shutdown: current_shutdown,
            systemd,
            watching,
            reading: None,
            lost: Lost::default(),
            reported: None,
            replaced_by: None,
            answer: None,
            is_applying: false,
        };
        tokio::select! {
            () = stop() => {}
            () = operator.run(&mut reloads, &mut next) => {}
        }
        operator.end_reloads(&mut reloads);
        drop(reloads);
        let Operator { running, shutdown, systemd, passing, replaced_by, .. } = operator;
        // The workers close the sockets.
        drop(passing);
        bound.iter_mut().chain(&mut redirects).for_each(Bound::close);
        let shutdown = *shutdown.borrow();
        let [delay, grace_period] =
            [shutdown.delay, shutdown.grace_period].map(humantime::format_duration);
        let mut served = Some(served);
        let mut is_second = false;
        if replaced_by.is_some() {
            bound.iter_mut().chain(&mut redirects).for_each(Bound::leave_file);
            if !admin_is_left.load(Ordering::Relaxed)
                && let Some(file) = admin_file.take()
            {
                file.leave();
            }
            served.take();
            phase.send_replace(Phase::Replaced);
        } else {
            tracing::info!(%delay, %grace_period, "stopping");
            systemd.stopping();
            phase.send_replace(Phase::Leaving);
            tokio::select! {
                () = tokio::time::sleep(shutdown.delay) => {}
                () = stop() => is_second = true,
            }
        }
        let mut ended = tokio::task::spawn_blocking(move || join(threads));
        if let Some(replaced_by) = replaced_by {
            let pass_on = async {
                loop {
                    replaced_by.pass_on(next().await);
                }
            };
            tokio::select! {
                _ = &mut ended => {
                    if let Some(admin) = admin {
                        // A reload that was requested here may not be answered yet.
                        let _ = tokio::time::timeout(ADMIN_ANSWERS, admin).await;
                    }
                    tracing::info!("stopped: another process serves");
                    return Ok(());
                }
                () = tokio::time::sleep(REPLACED) => {}
                () = stop() => {}
                () = pass_on => {}
            }
            tracing::info!(%grace_period, "stopping");
        }
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
        drop((bound, redirects, admin_file));
        running.leave(AFTER_CUT).await;
        tracing::info!("stopped");
        Ok(())
    }
}

fn listen_admin(config: &admin::Config, inherited: &mut Inherited) -> Result<Option<Admin>, Error> {
    let Some(listen) = &config.listen else { return Ok(None) };
    let failed = |source| Error::Bind { place: listen.clone().into(), source };
    let former = inherited.former(&format!("{ADMIN} {listen}"));
    let former = former.and_then(|sockets| sockets.into_iter().next());
    Admin::bind(listen, former, config).map(Some).map_err(failed)
}

/// The sockets from systemd, if an address names any. Otherwise the variables of systemd are not touched.
fn inherited(config: &downstream::Config) -> Result<Inherited, Error> {
    let mut listen = config.listen.iter().chain(&config.redirect);
    let wanted = listen.any(|l| matches!(l.place, ListenAddress::Systemd(_)));
    if wanted { Inherited::take().map_err(Error::Inherited) } else { Ok(Inherited::default()) }
}

/// Binds `addresses`. Those that redirect are plain.
fn bind(
    addresses: &[downstream::Listen],
    role: &str,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Vec<Bound>, Error> {
    let mut bound = Vec::new();
    for listen in addresses {
        let plain = (role == REDIRECT).then_some(Scheme::Http);
        let listen = &downstream::Listen { scheme: listen.scheme.or(plain), ..listen.clone() };
        let sockets = downstream::bind(listen, role, workers, inherited);
        bound
            .extend(sockets.map_err(|source| Error::Bind { place: listen.place.clone(), source })?);
    }
    Ok(bound)
}

/// Gives each worker at least one socket on every address.
fn start(
    bound: &mut [Bound],
    redirects: &mut [Bound],
    workers: usize,
    blueprint: &Blueprint,
) -> Result<Vec<Worker>, Error> {
    let mut shares: Vec<Vec<Socket>> = (0..workers).map(|_| Vec::new()).collect();
    let addresses = bound.iter_mut().map(|address| (address, false));
    for (address, redirects) in addresses.chain(redirects.iter_mut().map(|it| (it, true))) {
        for (at, share) in address.shares().enumerate() {
            shares[at % workers].push(Socket { share, redirects });
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
