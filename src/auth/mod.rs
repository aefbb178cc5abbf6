//! Decides whether a caller may perform a licensing action.
//!
//! Input: the head of the request, the client's address, the worker's connection to the dashboard. Output: the caller's
//! [`Credential`] and name, or [`Denied`]. The order is: read the credentials, check the origin, look for a cached grant,
//! apply the limits of checks in flight and of refused passwords (`flights.rs`), and only then check the credentials with
//! the dashboard (`dashboard.rs`) or the configured users (`local.rs`). Grants are cached, refusals never; an error is never
//! a grant. Only a refused password counts as a failed sign-in, because a session cookie cannot be guessed.
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

use grants::{Grants, Known};
pub use local::SetupError;

use cache::Cache;
use dashboard::UserApi;
use flights::{Flight, Flights, Turn};
use grants::shortened;
use limit::Limiter;
use local::LocalUsers;

/// Authorizes licensing actions. Shared by all workers.
#[derive(Debug)]
pub struct Auth {
    session_cookie: Option<String>,
    /// Where a browser signs in, and where its session is rotated, with `mode = "dashboard"`.
    sign_in: Option<[String; 2]>,
    public_check: bool,
    root_url: RootUrl,
    checker: Arc<Checker>,
    writes: Limiter,
}

/// What a check needs. A check may outlive the request that started it.
#[derive(Debug)]
struct Checker {
    backend: Backend,
    cache: Cache,
    flights: Arc<Flights>,
}

/// An authorized caller.
#[derive(Debug)]
pub struct SignedIn {
    /// Its credential.
    pub credential: Credential,
    /// Its login at the dashboard or among the local users, at most 256 bytes. If the dashboard returns no login: the user
    /// name of Basic, or `session`.
    pub name: String,
    grants: Grants,
}

impl SignedIn {
    fn new(credential: Credential, known: &Known) -> Self {
        let name = match (&known.login, credential.basic()) {
            (Some(login), _) => login,
            (None, Some((user, _))) => shortened(user),
            (None, None) => "session",
        };
        Self { name: name.to_owned(), credential, grants: known.grants }
    }

    /// Whether the caller may perform `action`.
    pub const fn may(&self, action: Action) -> bool {
        self.grants.contain(action)
    }
}

/// What a browser without a valid session does at the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignIn {
    /// It signs in.
    Log,
    /// It rotates its session.
    Rotate,
}

impl SignIn {
    /// `messageId` of the dashboard if the session must be rotated.
    pub const ROTATE_CODE: &str = "session.token.rotate";

    /// A letter for each.
    pub const fn letter(self) -> char {
        match self {
            Self::Log => 'l',
            Self::Rotate => 'r',
        }
    }
}

/// Where callers are checked.
#[derive(Debug)]
enum Backend {
    Dashboard(UserApi),
    Local(LocalUsers),
}

impl Auth {
    /// Authorization with the settings `config` for the instance at `root_url`. Passwords are hashed on `control`.
    ///
    /// # Errors
    ///
    /// [`SetupError`] names the local user whose settings cannot be used.
    pub fn new(config: &Config, root_url: RootUrl, control: Handle) -> Result<Self, SetupError> {
        let sign_in = (config.mode == Mode::Dashboard)
            .then(|| [config.login_path.clone(), config.rotate_path.clone()]);
        let (backend, session_cookie) = match config.mode {
            Mode::Dashboard => {
                let user_api = UserApi::new(config, root_url.host_header());
                (Backend::Dashboard(user_api), Some(config.session_cookie.clone()))
            }
            Mode::Local => (Backend::Local(LocalUsers::new(&config.users, control)?), None),
        };
        Ok(Self {
            session_cookie,
            sign_in,
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

    /// Checks whether the sender of `head` may perform `action`.
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
        let check = cache.check_id(&credential, caller.address);
        let is_password = credential.basic().is_some();
        let (answer, new) = flights.join(check, caller.address, is_password)?;
        if let Some(flight) = new {
            let checker = self.checker.clone();
            dashboard.run(checker.check(flight, credential.clone(), caller, dashboard.clone()));
        }
        let known = answer.verdict().await?;
        let allowed = known.grants.contain(action);
        let caller = SignedIn::new(credential, &known);
        if allowed { Ok(caller) } else { Err(Denied::Forbidden { action, name: caller.name }) }
    }

    /// Whether a request comes from a page of the gate's own origin, or not from a page.
    pub fn is_own_page(&self, head: &Parts) -> bool {
        origin::allowed(head, &self.root_url)
    }

    /// The path of the dashboard, below the base path, where a browser signs in. `None` with `mode = "local"`.
    pub fn sign_in_path(&self, kind: SignIn) -> Option<&str> {
        let [login, rotate] = self.sign_in.as_ref()?;
        Some(match kind {
            SignIn::Log => login,
            SignIn::Rotate => rotate,
        })
    }

    /// Counts a change requested from `address`.
    ///
    /// # Errors
    ///
    /// How long to wait, if there were too many within a minute.
    pub fn count_write(&self, address: IpAddr) -> Result<(), Duration> {
        self.writes.take(address, Instant::now())
    }

    /// Whether `GET /check` needs no credentials.
    pub fn check_is_public(&self) -> bool {
        self.public_check
    }

    /// The dashboard's statistics as JSON, requested with the caller's `credential`.
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
        let Backend::Dashboard(user_api) = &self.checker.backend else {
            return Err(StatisticsError::Local);
        };
        let slot = self.checker.flights.slot(caller.address).map_err(StatisticsError::Denied)?;
        let statistics = user_api.statistics(credential, caller, dashboard).await;
        drop(slot);
        if let Err(StatisticsError::Denied(Denied::Refused { .. })) = statistics {
            self.checker.cache.forget(credential);
        }
        statistics
    }
}

impl Checker {
    /// Checks `credential` with the dashboard or the local users, and ends the flight with the verdict.
    fn check<D: Dashboard>(
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
            let checked = async {
                match &self.backend {
                    Backend::Dashboard(user_api) => {
                        user_api.grants(&credential, caller, &dashboard).await
                    }
                    Backend::Local(users) => users.grants(&credential).await,
                }
            };
            let stopped = async {
                dashboard.stopping().await;
                flight.abandoned().await;
            };
            let verdict = tokio::select! {
                biased;
                verdict = checked => verdict,
                () = stopped => return,
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
