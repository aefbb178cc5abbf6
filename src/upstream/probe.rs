//! Probes of the dashboard, and the log of whether it can be reached.
//!
//! One per gate. Each contact of a worker counts. At the start, and after `upstream.probe_interval` without any contact, the gate
//! makes a connection of its own and closes it, or sends a GET for `upstream.probe_path` on it. No forwarded request ever uses
//! that connection. After a failed contact the next probe comes sooner: one request that fails is not an outage.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{HOST, USER_AGENT};
use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::connect::{self, Protocol};
use super::{Client, Config, Error, Tls, TlsFault};
use crate::backoff::Backoff;
use crate::clock::Moment;
use crate::sweep::Sweep;
use crate::telemetry::Episode;
use crate::telemetry::metrics::{Contacts, Metrics, Reached};

/// How long the dashboard must be down to be logged as down.
const OUTAGE: Duration = Duration::from_secs(1);

/// Pause before the first probe, and after the first that failed; it doubles up to `upstream.probe_interval`.
const RETRY: Duration = Duration::from_millis(500);

/// Shortest time between two checks of its state.
const LOOK: Duration = Duration::from_millis(250);

/// Time for the dashboard to close a TLS connection in turn.
const CLOSE: Duration = Duration::from_secs(1);

/// The prober of a gate.
#[derive(Debug)]
pub struct Probe {
    /// Settings of the dashboard's side; `metrics` counts the probes.
    pub config: Config,
    /// TLS towards the dashboard, if there is.
    pub tls: Option<Arc<Tls>>,
    /// `Host` of the probe's GET.
    pub host: String,
    /// The contacts of all workers.
    pub metrics: Arc<Metrics>,
    /// Deadlines of the current thread.
    pub sweep: Sweep,
}

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Upstream(#[from] Error),
    #[error("the dashboard responded to the probe with {0}")]
    Status(StatusCode),
    #[error("upstream.probe_path cannot be requested")]
    Request(#[from] http::Error),
}

impl Failure {
    const fn is_failed_contact(&self) -> bool {
        match self {
            Self::Upstream(error) => error.is_failed_contact(),
            Self::Status(_) => true,
            Self::Request(_) => false,
        }
    }
}

impl Probe {
    /// Probes and logs for ever.
    pub async fn run(self) {
        let mut log = Log::default();
        let (mut probed, mut failures) = (Moment::now(), 0_u32);
        loop {
            let now = Moment::now();
            let contacts = self.metrics.contacts(now);
            let next_look = log.look(contacts, now, &self);
            if contacts.reached == Reached::Up {
                failures = 0;
            }
            let due = self.due(contacts, probed, failures);
            if due.is_some_and(|due| due <= now) {
                self.probe().await;
                failures = failures.saturating_add(1);
                probed = Moment::now();
                continue;
            }
            let wake = [due, next_look].into_iter().flatten().min();
            let failed = async {
                sleep(LOOK).await;
                self.metrics.contact_failed().await;
            };
            tokio::select! {
                () = sleep(wake.unwrap_or(now).since(now)), if wake.is_some() => {}
                () = failed => {}
            }
        }
    }

    /// When the next probe is due, unless there is traffic until then.
    fn due(&self, contacts: Contacts, probed: Moment, failures: u32) -> Option<Moment> {
        let interval = self.config.probe_interval;
        let retry = Backoff { first: RETRY.min(interval), most: interval };
        let due = match contacts.reached {
            Reached::Unknown | Reached::Down => probed.after(retry.after(failures, None, 0.0)),
            Reached::Up => contacts.last.map_or(probed, |last| last.max(probed)).after(interval),
        };
        (!interval.is_zero()).then_some(due)
    }

    async fn probe(&self) {
        let outcome = match &self.config.probe_path {
            Some(path) => self.get(path).await,
            None => self.connect().await.map_err(Failure::from),
        };
        let Some(metrics) = &self.config.metrics else { return };
        match outcome {
            Ok(()) => metrics.upstream_answered(Moment::now()),
            Err(failure) if failure.is_failed_contact() => {
                metrics.upstream_failed(Moment::now(), &failure);
            }
            Err(failure) => {
                tracing::debug!(error = &failure as &dyn std::error::Error, "a probe was not made");
            }
        }
    }

    /// Connects and closes.
    async fn connect(&self) -> Result<(), Error> {
        let wanted = if self.config.http2 { Protocol::Http2 } else { Protocol::Http1 };
        let tls = self.tls.as_deref();
        let (mut stream, _) = connect::connect(&self.config, tls, wanted, &self.sweep).await?;
        if tls.is_none() {
            return Ok(());
        }
        // With TLS 1.3, a dashboard that refuses the gate's certificate reports it after the handshake.
        let close = async {
            stream.shutdown().await?;
            while stream.read(&mut [0; 1024]).await? > 0 {}
            Ok(())
        };
        match timeout(CLOSE, close).await {
            Ok(Err(source)) => match TlsFault::within(&source) {
                Some(fault) => {
                    Err(Error::Tls { origin: self.config.origin.to_string(), fault, source })
                }
                None => Ok(()),
            },
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    async fn get(&self, path: &str) -> Result<(), Failure> {
        let mut config = self.config.clone();
        // A slow panel may take minutes; a dashboard that takes longer than this for a probe hangs.
        config.response_header_timeout = match config.response_header_timeout {
            Duration::ZERO => config.connect_timeout,
            limit => limit.min(config.connect_timeout),
        };
        let request = Request::get(path)
            .header(HOST, &self.host)
            .header(USER_AGENT, concat!("license-gate/", env!("CARGO_PKG_VERSION")))
            .body(())?;
        // Each probe has a client of its own, and with it a connection of its own over HTTP/2 too.
        let client = Client::without_reuse(config, self.tls.clone(), self.sweep.clone());
        let status = client.ask(request).await?.status;
        if status.is_server_error() { Err(Failure::Status(status)) } else { Ok(()) }
    }
}

/// The log of the dashboard's state: a line when it is down, and a line when it is up again.
#[derive(Debug, Default)]
struct Log {
    /// The first failure since the last success.
    failing_since: Option<Moment>,
    is_down: bool,
    is_logged: bool,
    episode: Episode,
}

impl Log {
    /// Logs a change that has lasted. `Some`: when to check again, even if nothing happens.
    fn look(&mut self, contacts: Contacts, now: Moment, probe: &Probe) -> Option<Moment> {
        if contacts.reached != Reached::Down {
            let since = self.failing_since.take();
            let was_down = std::mem::take(&mut self.is_down);
            self.is_logged = false;
            if contacts.reached == Reached::Up && self.episode.ended(Instant::now()).is_some() {
                tracing::info!(
                    event = "upstream.up",
                    upstream = %probe.config.origin,
                    duration_ms = since.map(|since| now.since(since).as_millis()),
                    "the dashboard is up again"
                );
            }
            // The last contact failed, although one has succeeded within the second.
            if contacts.doubt_ends.is_some() {
                self.failing_since = since.filter(|_| !was_down).or(Some(now));
            }
            return contacts.doubt_ends;
        }
        self.is_down = true;
        let since = *self.failing_since.get_or_insert(now);
        // One line at most for each minute of an unsteady state: the next check logs what this one may not.
        if !self.is_logged && now.since(since) >= OUTAGE {
            self.is_logged = self.episode.failed(Instant::now()).is_some();
            if self.is_logged {
                tracing::warn!(
                    event = "upstream.down",
                    upstream = %probe.config.origin,
                    cause = probe.metrics.failure_cause(),
                    "the dashboard is down: the last contact failed; check that it runs, and upstream.url"
                );
            }
        }
        Some(now.after(LOOK))
    }
}
