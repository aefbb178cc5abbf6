//! Is this caller allowed this licensing action?
//!
//! In: a request's head, the client's address, the worker's way to the dashboard. Out: the caller's [`Credential`], or
//! [`Denied`]. In this order: credentials there and of a kind we know, origin, a grant remembered, the limits of questions
//! in flight and of refused passwords (`flights.rs`), and only then the question itself, to the dashboard (`dashboard.rs`) or
//! to the configured users (`local.rs`). Grants are remembered, refusals never; nothing that went wrong is ever a grant.
//! Only a refused password counts as a failed sign-in: a session cookie cannot be guessed.

mod cache;
mod config;
mod credential;
mod dashboard;
mod denied;
mod flights;
mod grants;
mod limit;
mod local;
mod origin;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http::request::Parts;
use tokio::runtime::Handle;

use crate::license::RootUrl;

pub use config::{Config, Mode, User};
pub use credential::{Caller, Credential};
pub use dashboard::{Dashboard, WorkerDashboard};
pub use denied::{Denied, LookupError, StatisticsError};
pub use grants::Action;

use grants::Known;
pub use local::SetupError;

use cache::Cache;
use dashboard::UserApi;
use flights::{Flight, Flights, Turn};
use grants::shortened;
use limit::Limiter;
use local::LocalUsers;

/// Decides who may do what. Shared by all workers.
#[derive(Debug)]
pub struct Auth {
    session_cookie: Option<String>,
    public_check: bool,
    root_url: RootUrl,
    checker: Arc<Checker>,
    writes: Limiter,
}

/// What a question needs, which may outlive the request that asked it.
#[derive(Debug)]
struct Checker {
    backend: Backend,
    cache: Cache,
    flights: Arc<Flights>,
}

/// A caller who may do what it asked for.
#[derive(Debug)]
pub struct SignedIn {
    /// What it showed.
    pub credential: Credential,
    /// Its login at the dashboard or among the local users, at most 256 bytes. A dashboard that names nobody leaves the name that
    /// was typed, or `session`.
    pub name: String,
}

impl SignedIn {
    fn new(credential: Credential, known: &Known) -> Self {
        let name = match (&known.login, credential.basic()) {
            (Some(login), _) => login,
            (None, Some((user, _))) => shortened(user),
            (None, None) => "session",
        };
        Self { name: name.to_owned(), credential }
    }
}

/// Who knows the callers.
#[derive(Debug)]
enum Backend {
    Dashboard(UserApi),
    Local(LocalUsers),
}

impl Auth {
    /// The authorisation of `config` for the instance at `root_url`; passwords are hashed on `control`.
    ///
    /// # Errors
    ///
    /// [`SetupError`] names the local user whose settings cannot be used.
    pub fn new(config: &Config, root_url: RootUrl, control: Handle) -> Result<Self, SetupError> {
        let (backend, session_cookie) = match config.mode {
            Mode::Dashboard => {
                let questions = UserApi::new(config, root_url.host_header());
                (Backend::Dashboard(questions), Some(config.session_cookie.clone()))
            }
            Mode::Local => (Backend::Local(LocalUsers::new(&config.users, control)?), None),
        };
        Ok(Self {
            session_cookie,
            public_check: config.public_check,
            root_url,
            checker: Arc::new(Checker {
                backend,
                cache: Cache::new(config.cache_ttl),
                flights: Arc::new(Flights::new(config.failed_sign_ins_per_minute)),
            }),
            writes: Limiter::new(config.writes_per_minute),
        })
    }

    /// Lets the caller of `head` do `action`, or says why not.
    ///
    /// # Errors
    ///
    /// See [`Denied`].
    pub async fn require<D: Dashboard>(
        &self,
        action: Action,
        head: &Parts,
        caller: Caller<'_>,
        dashboard: &D,
    ) -> Result<SignedIn, Denied> {
        let credential = Credential::of(&head.headers, self.session_cookie.as_deref())?;
        if !matches!(head.method, Method::GET | Method::HEAD)
            && !origin::allowed(head, &self.root_url)
        {
            return Err(Denied::Origin);
        }
        let Checker { cache, flights, .. } = &*self.checker;
        if let Some(known) = cache.recall(&credential, action, Instant::now()) {
            return Ok(SignedIn::new(credential, &known));
        }
        let question = cache.question(&credential, caller.address);
        let is_password = credential.basic().is_some();
        let (answer, new) = flights.join(question, caller.address, is_password)?;
        if let Some(flight) = new {
            let checker = self.checker.clone();
            dashboard.run(checker.ask(flight, credential.clone(), caller, dashboard.clone()));
        }
        let known = answer.verdict().await?;
        let allowed = known.grants.contain(action);
        let caller = SignedIn::new(credential, &known);
        if allowed { Ok(caller) } else { Err(Denied::Forbidden { action, name: caller.name }) }
    }

    /// Counts a change asked for from `address`.
    ///
    /// # Errors
    ///
    /// How long to wait, when there have been too many within a minute.
    pub fn count_write(&self, address: IpAddr) -> Result<(), Duration> {
        self.writes.take(address, Instant::now())
    }

    /// Whether anybody may ask if the license is valid.
    pub fn check_is_public(&self) -> bool {
        self.public_check
    }

    /// The dashboard's statistics as JSON, asked for with the caller's own `credential`.
    ///
    /// # Errors
    ///
    /// See [`StatisticsError`].
    pub async fn statistics<D: Dashboard>(
        &self,
        credential: &Credential,
        caller: Caller<'_>,
        dashboard: &D,
    ) -> Result<Bytes, StatisticsError> {
        let Backend::Dashboard(questions) = &self.checker.backend else {
            return Err(StatisticsError::Local);
        };
        let slot = self.checker.flights.slot(caller.address).map_err(StatisticsError::Denied)?;
        let statistics = questions.statistics(credential, caller, dashboard).await;
        drop(slot);
        if let Err(StatisticsError::Denied(Denied::Refused { .. })) = statistics {
            self.checker.cache.forget(credential);
        }
        statistics
    }
}

impl Checker {
    /// Asks the dashboard, or the local users, and settles the question.
    fn ask<D: Dashboard>(
        self: Arc<Self>,
        mut flight: Flight,
        credential: Credential,
        caller: Caller<'_>,
        dashboard: D,
    ) -> impl Future<Output = ()> + 'static {
        let (address, request_id) = (caller.address, caller.request_id.to_owned());
        async move {
            if credential.basic().is_some() {
                match flight.turn().await {
                    Turn::Now => {}
                    Turn::Denied(denied) => return flight.finish(Err(denied)),
                    Turn::Abandoned => return,
                }
            }
            let caller = Caller { address, request_id: &request_id };
            let judged = async {
                match &self.backend {
                    Backend::Dashboard(questions) => {
                        questions.grants(&credential, caller, &dashboard).await
                    }
                    Backend::Local(users) => users.grants(&credential).await,
                }
            };
            let left_alone = async {
                dashboard.stopping().await;
                flight.abandoned().await;
            };
            let verdict = tokio::select! {
                biased;
                verdict = judged => verdict,
                () = left_alone => return,
            };
            match &verdict {
                Ok(known) => self.cache.remember(&credential, known.clone(), Instant::now()),
                Err(Denied::Refused { .. }) => self.cache.forget(&credential),
                Err(_) => {}
            }
            flight.finish(verdict);
        }
    }
}

#[cfg(test)]
#[path = "stopping_tests.rs"]
mod stopping_tests;
