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
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};

use crate::api::Api;
use crate::auth::WorkerDashboard;
use crate::downstream::tls::Tls;
use crate::downstream::{self, Acceptor, Connections, Share, Trust};
use crate::gate::Gate;
use crate::proxy::{Proxy, RequestIds, Tunnels};
use crate::service::{Failures, Observer, Redirect, Service, Stages};
use crate::shutdown::{Drain, Phase, detach_local};
use crate::sweep::Sweep;
use crate::systemd::Marks;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::{Metrics, WorkerMetrics};
use crate::upstream::{self, Client, Probe};

/// How long connections may take to end after they are cut.
const CUT_GRACE: Duration = Duration::from_millis(500);

/// The parts of a worker.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// Settings of the client's side.
    pub downstream: downstream::Config,
    /// Settings of the dashboard's side.
    pub upstream: upstream::Config,
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
    /// TLS towards the dashboard.
    pub upstream_tls: Option<Arc<upstream::Tls>>,
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
    /// The stop phase.
    pub phase: watch::Receiver<Phase>,
}

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
pub fn start(
    index: usize,
    sockets: Vec<Socket>,
    blueprint: Blueprint,
) -> io::Result<thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = move || {
        let marks = blueprint.marks.clone();
        LocalSet::new().block_on(&runtime, run(index, sockets, blueprint));
        marks.inspect(|marks| marks.end(index));
        // Dropping it would wait for threads that look up a name.
        runtime.shutdown_background();
    };
    thread::Builder::new().name(format!("worker-{index}")).spawn(work)
}

async fn run(index: usize, sockets: Vec<Socket>, mut blueprint: Blueprint) {
    let (sweep, drain) = (Sweep::new(), Drain::default());
    let metrics = blueprint.metrics.worker();
    blueprint.upstream.metrics = Some(metrics.clone());
    let upstream =
        Client::new(blueprint.upstream.clone(), blueprint.upstream_tls.clone(), sweep.clone());
    let ticking = sweep.clone();
    detach_local(async move { ticking.run().await });
    blueprint.marks.take().map(|marks| detach_local(marks.keep(index)));
    let tidied = upstream.clone();
    detach_local(async move { tidied.tidy().await });

    // Requests about callers use separate connections, which forwarded requests never use.
    let client = Client::without_reuse(
        blueprint.upstream.clone(),
        blueprint.upstream_tls.clone(),
        sweep.clone(),
    );
    let dashboard = WorkerDashboard { client, drain: drain.clone() };
    // One prober is enough for the gate.
    if index == 0 {
        let (probe, drain) = (probe(&blueprint, &sweep), drain.clone());
        detach_local(async move {
            tokio::select! {
                () = probe.run() => {}
                () = drain.begun() => {}
            }
        });
    }
    let acceptor = acceptor(&blueprint, upstream, dashboard, metrics, &sweep, &drain);
    let service = Rc::new(acceptor.service.redirecting());
    let redirecting = Rc::new(Acceptor { service, ..acceptor.clone() });
    let acceptor = Rc::new(acceptor);
    let accepting: Vec<_> = sockets
        .into_iter()
        .map(|Socket { share, redirects }| {
            let acceptor = if redirects { redirecting.clone() } else { acceptor.clone() };
            detach_local(async move {
                if let Err(error) = acceptor.run(share).await {
                    tracing::error!(event = "listener.failed", %error, "cannot listen");
                }
            })
        })
        .collect();
    let mut phase = blueprint.phase;
    reached(&mut phase, Phase::Draining).await;
    stop(accepting, &mut phase, &sweep, &drain).await;
}

/// Waits for the listeners to close and the work in flight to end, and cuts it in the phase [`Phase::Cut`].
async fn stop(
    mut accepting: Vec<JoinHandle<()>>,
    phase: &mut watch::Receiver<Phase>,
    sweep: &Sweep,
    drain: &Drain,
) {
    drain.advance(Phase::Draining);
    sweep.wake_all();
    let ended = async {
        for listener in &mut accepting {
            // A panic was logged by the panic hook.
            drop(listener.await);
        }
        drain.emptied().await;
    };
    tokio::select! {
        () = ended => return,
        () = reached(phase, Phase::Cut) => {}
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

fn probe(blueprint: &Blueprint, sweep: &Sweep) -> Probe {
    Probe {
        config: blueprint.upstream.clone(),
        tls: blueprint.upstream_tls.clone(),
        host: blueprint.root_host.clone(),
        metrics: blueprint.metrics.clone(),
        sweep: sweep.clone(),
    }
}

fn acceptor(
    blueprint: &Blueprint,
    upstream: Client,
    dashboard: WorkerDashboard,
    metrics: WorkerMetrics,
    sweep: &Sweep,
    drain: &Drain,
) -> Acceptor<Service> {
    let Blueprint { downstream, .. } = blueprint;
    let proxy = Proxy::new(
        upstream,
        blueprint.root_host.clone(),
        &blueprint.instance,
        Tunnels::new(drain.clone(), blueprint.grace_period, metrics.clone()),
    );
    let service = Service::new(Stages {
        gate: blueprint.gate.clone(),
        api: blueprint.api.clone(),
        proxy,
        dashboard,
        ids: RequestIds::new(crate::random::bytes()),
        trust: Trust {
            proxies: downstream.trusted_proxies.clone(),
            header: downstream.trusted_header,
        },
        observer: Rc::new(Observer { metrics: metrics.clone(), access: blueprint.access.clone() }),
        failures: blueprint.failures.clone(),
        redirect: blueprint.redirect.clone(),
    });
    Acceptor {
        service: Rc::new(service),
        timeouts: downstream.timeouts,
        limits: downstream.limits,
        connections: blueprint.connections.clone(),
        tls: blueprint.tls.clone(),
        hsts: hsts(downstream.hsts),
        proxies: downstream.proxy_protocol.then(|| downstream.trusted_proxies[..].into()),
        sweep: sweep.clone(),
        drain: drain.clone(),
        metrics,
    }
}

/// The value of `Strict-Transport-Security`; `None` for 0.
fn hsts(max_age: Duration) -> Option<HeaderValue> {
    let seconds = max_age.as_secs();
    // Cannot fail: it is ASCII.
    (seconds > 0).then(|| HeaderValue::try_from(format!("max-age={seconds}")).ok()).flatten()
}
