//! A worker: one thread with its own runtime and sockets. Workers share nothing on the forwarding path.
//!
//! Each worker has its own listener on every address (`SO_REUSEPORT`; Unix sockets are shared), connections to the dashboard, and
//! deadlines. Workers share the license snapshot, certificates, TLS sessions with the dashboard, the count of connections, and the stop
//! phase.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, LocalSet};

use crate::api::Api;
use crate::auth::WorkerDashboard;
use crate::downstream::tls::Tls;
use crate::downstream::{self, Acceptor, Connections, Current, Share, Terms, Trust};
use crate::gate::Gate;
use crate::proxy::{Proxy, RequestIds, Tunnels};
use crate::service::{Failures, Observer, Redirect, Service, Stages};
use crate::shutdown::{Drain, Intake, Phase, detach_local};
use crate::sweep::Sweep;
use crate::systemd::Marks;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::{Metrics, WorkerMetrics};
use crate::upstream::{self, Client, Probe};

/// Orders that may wait for a worker.
const MAX_ORDERS: usize = 16;

/// How long connections may take to end after they are cut.
const CUT_GRACE: Duration = Duration::from_millis(500);

/// The parts of a worker. A reload replaces some of them.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// Settings of the client's side.
    pub downstream: downstream::Config,
    /// The dashboard's side. A reload that does not change it passes the same one again.
    pub dashboard: Arc<Dashboard>,
    /// From closing the listeners until the remaining connections are cut.
    pub grace_period: Duration,
    /// The licensing API.
    pub api: Arc<Api>,
    /// Routes requests.
    pub gate: Gate,
    /// Replaces a missing `Host`.
    pub root_host: String,
    /// The id of this process.
    pub instance: String,
    /// TLS towards clients.
    pub tls: Option<Arc<Tls>>,
    /// The metrics of all workers.
    pub metrics: Arc<Metrics>,
    /// The access log, if it is enabled.
    pub access: Option<AccessLog>,
    /// Answers requests on the addresses of `server.redirect`.
    pub redirect: Redirect,
    /// The log of failed requests.
    pub failures: Arc<Failures>,
    /// Counts the connections of all workers.
    pub connections: Connections,
    /// Marks of progress, if a watchdog asks for them.
    pub marks: Option<Marks>,
    /// Whether another process accepts the clients.
    pub intake: Intake,
    /// The stop phase.
    pub phase: watch::Receiver<Phase>,
}

/// The dashboard's side.
#[derive(Debug)]
pub struct Dashboard {
    /// Its settings.
    pub config: upstream::Config,
    /// TLS towards the dashboard.
    pub tls: Option<Arc<upstream::Tls>>,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    /// Its thread.
    pub thread: thread::JoinHandle<()>,
    /// What it is to change.
    pub orders: mpsc::Sender<(Order, Pending)>,
}

/// What a worker is to change while it serves.
#[derive(Clone, Debug)]
pub enum Order {
    /// It serves with these parts from now on.
    Reload(Box<Blueprint>),
    /// [`Blueprint::intake`] has changed.
    Intake,
}

/// Dropped once the order is carried out.
pub type Pending = Arc<()>;

/// A listening socket of a worker.
#[derive(Debug)]
pub struct Socket {
    /// The socket.
    pub share: Share,
    /// Whether its requests are redirected to `server.root_url`.
    pub redirects: bool,
}

/// Starts worker number `index` on its `sockets`.
///
/// # Errors
/// The thread or its runtime cannot be created.
pub fn start(index: usize, sockets: Vec<Socket>, blueprint: Blueprint) -> io::Result<Worker> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (orders, received) = mpsc::channel(MAX_ORDERS);
    let work = move || {
        let marks = blueprint.marks.clone();
        LocalSet::new().block_on(&runtime, run(index, sockets, blueprint, received));
        marks.inspect(|marks| marks.end(index));
        // Dropping it would wait for threads that look up a name.
        runtime.shutdown_background();
    };
    let thread = thread::Builder::new().name(format!("worker-{index}")).spawn(work)?;
    Ok(Worker { thread, orders })
}

async fn run(
    index: usize,
    sockets: Vec<Socket>,
    blueprint: Blueprint,
    mut orders: mpsc::Receiver<(Order, Pending)>,
) {
    let (sweep, drain) = (Sweep::new(), Drain::with(blueprint.intake.clone()));
    let ticking = sweep.clone();
    detach_local(async move { ticking.run().await });
    blueprint.marks.clone().map(|marks| detach_local(marks.keep(index)));
    let mut phase = blueprint.phase.clone();
    let mut serving = Serving::new(index, &blueprint, &sweep, &drain);
    let accepting: Vec<_> = sockets
        .into_iter()
        .map(|Socket { share, redirects }| {
            let acceptor = serving.acceptor(redirects);
            detach_local(async move {
                if let Err(error) = acceptor.run(share).await {
                    tracing::error!(event = "listener.failed", %error, "cannot listen");
                }
            })
        })
        .collect();
    loop {
        tokio::select! {
            biased;
            Some((order, pending)) = orders.recv() => {
                if let Order::Reload(blueprint) = order {
                    serving.reload(&blueprint);
                }
                // After every order: a full queue takes no `Order::Intake`, and the orders in it follow the change.
                drain.intake_has_changed();
                drop(pending);
            }
            () = reached(&mut phase, Phase::Replaced) => break,
        }
    }
    drop(orders);
    stop(accepting, &mut phase, &sweep, &drain).await;
}

/// Follows the phases, until the listeners are closed and the work in flight has ended, or is cut in the phase [`Phase::Cut`].
async fn stop(
    mut accepting: Vec<JoinHandle<()>>,
    phase: &mut watch::Receiver<Phase>,
    sweep: &Sweep,
    drain: &Drain,
) {
    let ended = async {
        for listener in &mut accepting {
            // A panic was logged by the panic hook.
            drop(listener.await);
        }
        drain.emptied().await;
    };
    let follow = async {
        loop {
            let now = *phase.borrow_and_update();
            if now == Phase::Cut {
                break;
            }
            drain.advance(now);
            sweep.wake_all();
            if phase.changed().await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = ended => return,
        () = follow => {}
    }
    accepting.iter().for_each(JoinHandle::abort);
    drain.advance(Phase::Cut);
    sweep.wake_all();
    // Work that does not end in time is dropped with the runtime.
    drop(tokio::time::timeout(CUT_GRACE, drain.emptied()).await);
}

/// Waits for `phase` or a later one, or until the sender is dropped.
async fn reached(watched: &mut watch::Receiver<Phase>, phase: Phase) {
    drop(watched.wait_for(|now| *now >= phase).await);
}

/// What a worker serves with.
struct Serving {
    index: usize,
    sweep: Sweep,
    drain: Drain,
    metrics: WorkerMetrics,
    connections: Connections,
    service: Service,
    terms: Rc<Current<Terms>>,
    clients: Clients,
}

impl Serving {
    fn new(index: usize, blueprint: &Blueprint, sweep: &Sweep, drain: &Drain) -> Self {
        let (sweep, drain) = (sweep.clone(), drain.clone());
        let metrics = blueprint.metrics.worker();
        let clients = Clients::new(index, blueprint, &metrics, &sweep, &drain);
        let service = Service::new(stages(blueprint, &clients, &metrics, &drain));
        let (terms, connections) =
            (Rc::new(Current::new(terms(blueprint))), blueprint.connections.clone());
        Self { index, sweep, drain, metrics, connections, service, terms, clients }
    }

    /// Serves with `blueprint`: connections that are accepted from now on, and the next requests of open ones.
    fn reload(&mut self, blueprint: &Blueprint) {
        let Self { index, sweep, drain, metrics, .. } = self;
        if !Arc::ptr_eq(&self.clients.of, &blueprint.dashboard) {
            self.clients = Clients::new(*index, blueprint, metrics, sweep, drain);
        }
        self.service.replace(stages(blueprint, &self.clients, metrics, drain));
        self.terms.set(terms(blueprint));
    }

    fn acceptor(&self, redirects: bool) -> Acceptor<Service> {
        let service = if redirects { self.service.redirecting() } else { self.service.clone() };
        Acceptor {
            service: Rc::new(service),
            terms: self.terms.clone(),
            connections: self.connections.clone(),
            sweep: self.sweep.clone(),
            drain: self.drain.clone(),
            metrics: self.metrics.clone(),
        }
    }
}

/// The clients of a worker for one dashboard. Requests in flight keep theirs to their end.
struct Clients {
    of: Arc<Dashboard>,
    forwarding: Client,
    /// Requests about callers use connections of their own, which forwarded requests never use.
    asking: Client,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    fn new(
        index: usize,
        blueprint: &Blueprint,
        metrics: &WorkerMetrics,
        sweep: &Sweep,
        drain: &Drain,
    ) -> Self {
        let of = blueprint.dashboard.clone();
        let config = upstream::Config { metrics: Some(metrics.clone()), ..of.config.clone() };
        let forwarding = Client::new(config.clone(), of.tls.clone(), sweep.clone());
        let asking = Client::without_reuse(config.clone(), of.tls.clone(), sweep.clone());
        let tidied = forwarding.clone();
        let mut tasks = vec![detach_local(async move { tidied.tidy().await })];
        // One prober is enough for the gate.
        if index == 0 {
            let probe = Probe {
                config,
                tls: of.tls.clone(),
                host: blueprint.root_host.clone(),
                metrics: blueprint.metrics.clone(),
                sweep: sweep.clone(),
            };
            let drain = drain.clone();
            tasks.push(detach_local(async move {
                tokio::select! {
                    () = probe.run() => {}
                    () = drain.begun() => {}
                }
            }));
        }
        Self { of, forwarding, asking, tasks }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        // Long responses hold the client.
        [&self.forwarding, &self.asking].into_iter().for_each(Client::retire);
    }
}

fn stages(
    blueprint: &Blueprint,
    clients: &Clients,
    metrics: &WorkerMetrics,
    drain: &Drain,
) -> Stages {
    let Blueprint { downstream, .. } = blueprint;
    let proxy = Proxy::new(
        clients.forwarding.clone(),
        blueprint.root_host.clone(),
        &blueprint.instance,
        Tunnels::new(drain.clone(), blueprint.grace_period, metrics.clone()),
    );
    Stages {
        gate: blueprint.gate.clone(),
        api: blueprint.api.clone(),
        proxy,
        dashboard: WorkerDashboard { client: clients.asking.clone(), drain: drain.clone() },
        ids: RequestIds::new(crate::random::bytes()),
        trust: Trust {
            proxies: downstream.trusted_proxies.clone(),
            header: downstream.trusted_header,
        },
        observer: Rc::new(Observer { metrics: metrics.clone(), access: blueprint.access.clone() }),
        failures: blueprint.failures.clone(),
        redirect: blueprint.redirect.clone(),
    }
}

fn terms(blueprint: &Blueprint) -> Terms {
    let Blueprint { downstream, .. } = blueprint;
    Terms {
        timeouts: downstream.timeouts,
        limits: downstream.limits,
        tls: blueprint.tls.clone(),
        hsts: hsts(downstream.hsts),
        proxies: downstream.proxy_protocol.then(|| downstream.trusted_proxies[..].into()),
    }
}

/// The value of `Strict-Transport-Security`; `None` for 0.
fn hsts(max_age: Duration) -> Option<HeaderValue> {
    let seconds = max_age.as_secs();
    // Cannot fail: it is ASCII.
    (seconds > 0).then(|| HeaderValue::try_from(format!("max-age={seconds}")).ok()).flatten()
}
