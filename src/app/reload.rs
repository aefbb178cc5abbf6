//! Reload: reads the configuration again, and uses what has changed without touching an open connection.
//!
//! ```text
//! read, checked ── prepared: files, keys, certificates ── in use: license, workers, probes, log
//!       any fault: nothing has changed                          cannot fail
//! ```
//!
//! Reloads are performed one after the other. Each connection keeps the settings that it was accepted with; each request gets the
//! stages that are in use when it begins.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::descriptors;
use super::error::Error;
use super::life::Prepared;
use super::operator::{By, Operator};
use super::parts::{access_log, certificate, dashboard as new_dashboard, gate, workers};
use super::start::setup;
use crate::admin::{Configured, NotReloaded, ReloadRequest, Reloaded};
use crate::api::Api;
use crate::auth::Auth;
use crate::clock::Moment;
use crate::config::{Config, Loaded, Reload, Sources};
use crate::downstream::tls::Tls;
use crate::rules::Rules;
use crate::service::Redirect;
use crate::telemetry;
use crate::text::chain;
use crate::upstream;
use crate::worker::{Dashboard, Order};

/// Time to read the configuration and the files that it names. A file system may hang.
const READ: Duration = Duration::from_secs(10);
/// How long an answer waits for the workers.
const APPLY: Duration = Duration::from_secs(5);
/// Faults that are logged.
const MAX_LOGGED: usize = 16;

/// Everything that a reload is going to use, loaded.
struct Next {
    reload: Reload,
    auth: Option<Arc<Auth>>,
    tls: Option<Arc<Tls>>,
    dashboard: Option<Arc<Dashboard>>,
    sources: Prepared,
    rules: Option<Arc<Rules>>,
    access: Option<telemetry::access::AccessLog>,
}

impl Reload {
    /// Whether a setting with a key below one of `prefixes` has changed.
    pub(super) fn concerns(&self, prefixes: &[&str]) -> bool {
        self.changed.iter().any(|key| prefixes.iter().any(|prefix| key.starts_with(prefix)))
    }
}

impl Operator {
    /// Reads the configuration, and uses what has changed.
    pub(super) async fn reload(&mut self, by: By<'_>) -> Result<Reloaded, NotReloaded> {
        let done = self.attempt().await;
        let (by, address) = match by {
            By::Signal => ("SIGHUP", None),
            By::Admin(address) => ("admin", Some(tracing::field::display(address))),
        };
        match &done {
            Ok(Reloaded { changed, restart }) => {
                self.probed.metrics.config_loaded(self.probed.clock.now().as_secs());
                let (changed, restart) = (changed.join(" "), restart.join(" "));
                tracing::info!(
                    target: telemetry::AUDIT,
                    event = "config.reloaded",
                    by,
                    address,
                    changed,
                    needs_restart = restart,
                    "the configuration was reloaded"
                );
                if !restart.is_empty() {
                    tracing::warn!(
                        event = "config.needs_restart",
                        settings = restart,
                        "these settings have changed and take effect at the next start"
                    );
                }
            }
            Err(NotReloaded::Faults(faults)) => {
                self.probed.metrics.reload_failed();
                tracing::warn!(
                    target: telemetry::AUDIT,
                    event = "config.not_reloaded",
                    by,
                    address,
                    faults = faults.len(),
                    "the configuration has faults: nothing has changed"
                );
                for error in faults.iter().take(MAX_LOGGED) {
                    tracing::warn!(event = "config.fault", error, "a fault of the configuration");
                }
            }
            // The future was dropped.
            Err(NotReloaded::Interrupted) => {}
            Err(NotReloaded::Busy(why)) => {
                self.probed.metrics.reload_failed();
                tracing::warn!(
                    target: telemetry::AUDIT,
                    event = "config.not_reloaded",
                    by,
                    address,
                    error = why,
                    "the configuration was not reloaded: nothing has changed"
                );
            }
        }
        done
    }

    /// Answers the requests that are open when the operator ends.
    pub(super) fn end_reloads(&mut self, requests: &mut mpsc::Receiver<ReloadRequest>) {
        let (answer, is_applying) = (self.answer.take(), self.is_applying);
        if is_applying {
            tracing::info!(
                target: telemetry::AUDIT,
                "the gate stops during a reload: some of the changes may apply until it ends"
            );
        }
        let why = || match self.replaced_by.is_some() {
            true => NotReloaded::Busy("another process serves now: repeat the request there"),
            false => NotReloaded::Busy("the gate is stopping"),
        };
        if let Some(answer) = answer {
            // The client may have left.
            let _ = answer.send(Err(if is_applying { NotReloaded::Interrupted } else { why() }));
        }
        requests.close();
        while let Ok(request) = requests.try_recv() {
            let _ = request.answer.send(Err(why()));
        }
    }

    async fn attempt(&mut self) -> Result<Reloaded, NotReloaded> {
        let next = self.prepare().await?;
        let known = self.config.warnings();
        for warning in next.reload.config.warnings().iter().filter(|it| !known.contains(it)) {
            tracing::warn!(event = "config.warning", "{warning}");
        }
        let reloaded =
            Reloaded { changed: next.reload.changed.clone(), restart: next.reload.restart.clone() };
        // If the gate stops meanwhile, this stays set.
        self.is_applying = true;
        self.apply(next).await;
        self.is_applying = false;
        Ok(reloaded)
    }

    /// Reads, checks and loads everything on a thread that may block.
    async fn prepare(&mut self) -> Result<Next, NotReloaded> {
        if self.reading.as_ref().is_some_and(|reading| !reading.is_finished()) {
            // Another one would hang too, and each takes a thread.
            return Err(NotReloaded::Busy(
                "an earlier reload still reads the configuration: a file or file system hangs",
            ));
        }
        let (sources, running, root_url) =
            (self.sources.clone(), self.config.clone(), self.root_url.clone());
        let (parts, control) = (self.running.parts(), Handle::current());
        let metrics = self.probed.metrics.clone();
        let sockets = self.blueprint.dashboard.config.sockets.clone();
        let work = move || -> Result<Next, NotReloaded> {
            let reload = read(sources, &running)?;
            let faulty = |error: Error| NotReloaded::Faults(vec![chain(&error)]);
            let config = &reload.config;
            let auth = ["auth.", "upstream.url", "limits.writes", "limits.failed"];
            let auth = match reload.concerns(&auth) {
                true => {
                    let auth = Auth::new(&config.auth, root_url.clone(), control);
                    Some(Arc::new(auth.map_err(|error| faulty(error.into()))?))
                }
                false => None,
            };
            let tls = match reload.concerns(&["server.tls."]) {
                true => certificate(&config.downstream).map_err(faulty)?,
                false => None,
            };
            let dashboard = match reload.concerns(&["upstream.", "timeouts.send"]) {
                true => {
                    let config = upstream::Config { sockets, ..config.upstream.clone() };
                    Some(new_dashboard(config).map_err(faulty)?)
                }
                false => None,
            };
            // Always: the files that they name may have changed.
            let sources = parts.prepare(config, &root_url).map_err(faulty)?;
            let rules = Rules::new(&config.gate, root_url.base_path(), &metrics);
            let rules = rules.map_err(|error| faulty(error.into()))?.map(Arc::new);
            let access = access_log(&config.telemetry).map_err(faulty)?;
            Ok(Next { auth, tls, dashboard, sources, rules, access, reload })
        };
        let mut reading = tokio::task::spawn_blocking(work);
        match timeout(READ, &mut reading).await {
            Ok(Ok(next)) => next,
            Ok(Err(_)) => Err(NotReloaded::Busy("reading the configuration failed: see the log")),
            Err(_) => {
                self.reading = Some(reading.abort_handle());
                Err(NotReloaded::Busy("reading the configuration took more than 10 s"))
            }
        }
    }

    /// Uses what was prepared. Nothing here can fail.
    async fn apply(&mut self, next: Next) {
        let Next { reload, auth, tls, dashboard, sources, rules, access } = next;
        let Self { blueprint, probed, .. } = self;
        if reload.concerns(&["log.level"]) {
            telemetry::set_levels(reload.config.telemetry.level.clone());
        }
        telemetry::set_format(reload.config.telemetry.format);
        self.running.reload(sources, &reload).await;
        let is_other_tls = reload.concerns(&["server.tls."]);
        if is_other_tls {
            blueprint.tls = tls;
        }
        if reload.concerns(&["upstream.url"]) {
            blueprint.metrics.forget_contacts(Moment::now());
        }
        let is_other_dashboard = dashboard.is_some();
        if let Some(dashboard) = dashboard {
            blueprint.dashboard = dashboard;
        }
        let (tls, upstream_tls) = (blueprint.tls.clone(), blueprint.dashboard.tls.clone());
        if is_other_tls || is_other_dashboard {
            self.watching.replace(tls.as_ref(), upstream_tls.as_ref());
        }
        if let Some(auth) = auth {
            self.auth = auth;
        }
        let Config { downstream, shutdown, .. } = &reload.config;
        let workers = workers(downstream);
        let max_connections = match reload.concerns(&["limits.max_connections"]) {
            true => {
                let share = descriptors::share(&reload.config, workers, self.passing.sockets());
                blueprint.dashboard.config.sockets.set(share.dashboard);
                share.clients
            }
            false => blueprint.downstream.limits.max_connections,
        };
        blueprint.downstream.clone_from(downstream);
        blueprint.downstream.limits.max_connections = max_connections;
        blueprint.grace_period = shutdown.grace_period;
        let setup = setup(&reload.config);
        self.context.keys_from.clone_from(&setup.keys);
        blueprint.api = Arc::new(Api::new(self.auth.clone(), self.context.clone()));
        probed.rules.replace(rules);
        blueprint.gate = gate(&self.root_url, probed);
        blueprint.redirect = Redirect::new(&self.root_url, downstream.acme_dir.as_deref());
        blueprint.access = access;
        probed.configured.store(Arc::new(Configured {
            tls: tls.clone(),
            upstream_tls: upstream_tls.clone(),
            send_timeout: downstream.timeouts.send,
            setup,
        }));
        self.shutdown.send_replace(*shutdown);
        self.config = reload.config;
        self.workers.order(&Order::Reload(Box::new(self.blueprint.clone()))).await;
        if !is_other_tls && let Some(tls) = tls {
            look_again(move || tls.look(true)).await;
        }
        if !is_other_dashboard && let Some(tls) = upstream_tls {
            look_again(move || tls.watched().look(true)).await;
        }
    }
}

/// Reads the configuration, and compares it with the one in force.
fn read(sources: Option<Sources>, running: &Config) -> Result<Reload, NotReloaded> {
    let Some(sources) = sources else {
        let config = running.clone();
        return Ok(Reload { config, changed: Vec::new(), restart: Vec::new() });
    };
    let (loaded, mut faults) = Loaded::with_faults(sources);
    faults.extend(loaded.examine().err().into_iter().flatten());
    let checked = faults.or(()).and_then(|()| loaded.reload_of(running));
    checked.map_err(|faults| {
        NotReloaded::Faults(faults.into_iter().map(|fault| fault.to_string()).collect())
    })
}

/// Reads the files of a certificate again. If the file system hangs, the watching task reads them later.
async fn look_again(look: impl FnOnce() + Send + 'static) {
    let _ = timeout(APPLY, tokio::task::spawn_blocking(look)).await;
}
