//! Is this caller allowed this licensing action?
//!
//! In: a request's head, the client's address, the worker's way to the dashboard. Out: the caller's [`Credential`], or
//! [`Denied`]. In this order: credentials there and of a kind we know, origin, a grant remembered, the limit of failed
//! sign-ins, and only then the question itself, to the dashboard (`dashboard.rs`) or to the configured users
//! (`local.rs`). Grants are remembered, refusals never; nothing that went wrong is ever a grant.

mod cache;
mod config;
mod credential;
mod dashboard;
mod denied;
mod grants;
mod limit;
mod local;
mod origin;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http::request::Parts;
use tokio::runtime::Handle;

use crate::license::RootUrl;

pub use config::{Config, Mode, User};
pub use credential::Credential;
pub use dashboard::{AskError, Dashboard};
pub use denied::{Denied, StatisticsError};
pub use grants::Action;

use grants::Known;
pub use local::SetupError;

use cache::{Cache, Verdict};
use dashboard::Questions;
use limit::Limiter;
use local::LocalUsers;

/// Who asks, as far as the connection tells.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The client's address, behind trusted proxies too.
    pub address: IpAddr,
    /// The request's id, for the dashboard's log and the answer's `traceID`.
    pub request_id: &'a str,
}

/// Decides who may do what. Shared by all workers.
#[derive(Debug)]
pub struct Auth {
    judge: Judge,
    session_cookie: Option<String>,
    public_check: bool,
    root_url: RootUrl,
    cache: Cache,
    failures: Limiter,
    writes: Limiter,
}

/// A caller who may do what it asked for.
#[derive(Debug)]
pub struct SignedIn {
    /// What it showed.
    pub credential: Credential,
    /// Its name: the one it signed in with, or what the dashboard calls the session's owner.
    pub name: String,
}

impl SignedIn {
    fn new(credential: Credential, known: &Known) -> Self {
        let name = match (credential.basic(), &known.login) {
            (Some((user, _)), _) => user.to_owned(),
            (None, Some(login)) => login.to_string(),
            (None, None) => "session".to_owned(),
        };
        Self { credential, name }
    }
}

/// Who knows the callers.
#[derive(Debug)]
enum Judge {
    Dashboard(Questions),
    Local(LocalUsers),
}

impl Auth {
    /// The authorisation of `config` for the instance at `root_url`; passwords are hashed on `control`.
    ///
    /// # Errors
    ///
    /// [`SetupError`] names the local user whose settings cannot be used.
    pub fn new(config: &Config, root_url: RootUrl, control: Handle) -> Result<Self, SetupError> {
        let (judge, session_cookie) = match config.mode {
            Mode::Dashboard => {
                let questions = Questions::new(config, root_url.host_header());
                (Judge::Dashboard(questions), Some(config.session_cookie.clone()))
            }
            Mode::Local => (Judge::Local(LocalUsers::new(&config.users, control)?), None),
        };
        Ok(Self {
            judge,
            session_cookie,
            public_check: config.public_check,
            root_url,
            cache: Cache::new(config.cache_ttl),
            failures: Limiter::new(config.failed_sign_ins_per_minute),
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
        if let Some(known) = self.cache.recall(&credential, action, Instant::now()) {
            return Ok(SignedIn::new(credential, &known));
        }
        let ask = || self.ask(&credential, caller, dashboard);
        let known = self.cache.ask_once(&credential, caller.address, ask).await;
        let known = known.inspect_err(|denied| {
            if matches!(denied, Denied::Refused { .. }) {
                self.cache.forget(&credential);
            }
        })?;
        self.cache.remember(&credential, known.clone(), Instant::now());
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
        match &self.judge {
            Judge::Dashboard(questions) => {
                questions.statistics(credential, caller, dashboard).await
            }
            Judge::Local(_) => Err(StatisticsError::Local),
        }
    }

    /// Asks the dashboard, or the local users. One of the failures that the address has left is held meanwhile. A refused session
    /// is not counted: it has expired, or needs rotation.
    async fn ask<D: Dashboard>(
        &self,
        credential: &Credential,
        caller: Caller<'_>,
        dashboard: &D,
    ) -> Verdict {
        let is_password = credential.basic().is_some();
        if is_password {
            let taken = self.failures.take(caller.address, Instant::now());
            taken.map_err(|retry_after| Denied::TooManyFailures { retry_after })?;
        }
        let verdict = match &self.judge {
            Judge::Dashboard(questions) => questions.grants(credential, caller, dashboard).await,
            Judge::Local(users) => users.grants(credential).await,
        };
        if is_password && !matches!(verdict, Err(Denied::Refused { .. })) {
            self.failures.give_back(caller.address, Instant::now());
        }
        verdict
    }
}
