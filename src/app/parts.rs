//! What a start and a reload make of the configuration.

use std::sync::Arc;

use super::error::Error;
use crate::admin::Probed;
use crate::api::endpoint::Router;
use crate::clock;
use crate::downstream::tls::Tls;
use crate::gate::{Gate, Judge};
use crate::license::RootUrl;
use crate::telemetry::access::AccessLog;
use crate::worker::Dashboard;
use crate::{downstream, telemetry, upstream};

/// Routes requests by the rules in force.
pub(super) fn gate(root_url: &RootUrl, probed: &Probed) -> Gate {
    let Probed { reader, clock, .. } = probed;
    let judge = |rules| Judge { rules, reader: reader.clone(), clock: clock.clone() };
    Gate::new(Router::new(root_url.base_path()), probed.rules.current().map(judge))
}

/// The dashboard's side, with its certificates loaded. Blocks on files.
///
/// # Errors
/// [`Error::UpstreamTls`]
pub(super) fn dashboard(config: upstream::Config) -> Result<Arc<Dashboard>, Error> {
    let tls = upstream::Tls::load(&config).map_err(Error::UpstreamTls)?;
    Ok(Arc::new(Dashboard { tls: tls.map(Arc::new), config }))
}

/// The access log, if `log.access` is on.
///
/// # Errors
/// [`Error::Worker`]: its thread cannot be started.
pub(super) fn access_log(config: &telemetry::Config) -> Result<Option<AccessLog>, Error> {
    let now: telemetry::Now = |out| write!(out, "{}", clock::timestamp());
    let log = config.access.then(|| AccessLog::start(config.format, now));
    log.transpose().map_err(Error::Worker)
}

/// The certificate for clients, if `server.tls` is set. Blocks on files.
///
/// # Errors
/// [`Error::Tls`]
pub(super) fn certificate(config: &downstream::Config) -> Result<Option<Arc<Tls>>, Error> {
    let tls = config.tls.clone().map(Tls::load).transpose().map_err(Error::Tls)?;
    Ok(tls.map(Arc::new))
}

/// The number of workers: `server.workers`, or one per core.
pub(super) fn workers(config: &downstream::Config) -> usize {
    match config.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}
