//! Checker the dashboard who a caller is, with the caller's own credential.
//!
//! `identity_path` first: 200 with the administrator flag set and the disabled flag not is everything. Otherwise
//! `permissions_path`, where the action's key is the grant. 401 is the dashboard's word and passed on; an answer that is
//! late, no JSON, a redirect or anything else than 200 is no answer, and no answer is no grant.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{HeaderName, Request, Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use super::cache::Verdict;
use super::config::Config;
use super::credential::{Caller, Credential};
use super::denied::{DEADLINE, Denied, LookupError, StatisticsError};
use super::grants::{Action, Grants, Known, shortened};
use crate::shutdown::Drain;
use crate::text::trimmed_bytes;
use crate::upstream;

/// A user with thousands of permissions has a few hundred kilobytes of them.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Longer words of the dashboard are cut for the caller.
const MAX_MESSAGE_CHARS: usize = 512;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A way to the dashboard, and a place to ask from. Belongs to one thread; clones share it.
pub trait Dashboard: Clone + 'static {
    /// The whole answer to `request`, at most `limit_bytes`.
    fn fetch(
        &self,
        request: Request<()>,
        limit_bytes: usize,
    ) -> impl Future<Output = Result<Response<Bytes>, upstream::Error>>;

    /// Runs `work` to its end, whatever becomes of the request that began it.
    fn run(&self, work: impl Future<Output = ()> + 'static);

    /// Resolves once the gate stops: work that nobody waits for must then end.
    fn stopping(&self) -> impl Future<Output = ()>;
}

/// A worker's way to the dashboard.
#[derive(Clone, Debug)]
pub struct WorkerDashboard {
    /// Connections that carry nothing else.
    pub client: upstream::Client,
    /// A worker that stops waits for the questions it has begun.
    pub drain: Drain,
}

impl Dashboard for WorkerDashboard {
    async fn fetch(
        &self,
        request: Request<()>,
        limit_bytes: usize,
    ) -> Result<Response<Bytes>, upstream::Error> {
        self.client.fetch(request, limit_bytes).await
    }

    fn run(&self, work: impl Future<Output = ()> + 'static) {
        self.drain.spawn(|counted| async move {
            work.await;
            drop(counted);
        });
    }

    async fn stopping(&self) {
        self.drain.begun().await;
    }
}

/// What is asked of the dashboard, and how its answers are read.
#[derive(Debug)]
pub(super) struct UserApi {
    identity_path: String,
    permissions_path: String,
    stats_path: String,
    admin_field: String,
    disabled_field: String,
    host: String,
}

impl UserApi {
    /// `host` is what the dashboard is called by its users.
    pub(super) fn new(config: &Config, host: &str) -> Self {
        Self {
            identity_path: config.identity_path.clone(),
            permissions_path: config.permissions_path.clone(),
            stats_path: config.stats_path.clone(),
            admin_field: config.admin_field.clone(),
            disabled_field: config.disabled_field.clone(),
            host: host.to_owned(),
        }
    }

    /// What the dashboard grants to `credential`.
    pub(super) async fn grants<D: Dashboard>(
        &self,
        credential: &Credential,
        caller: Caller<'_>,
        dashboard: &D,
    ) -> Verdict {
        let path = &self.identity_path;
        let identity = self.ask(path, credential, caller, dashboard).await?;
        let identity = read(path, &identity)?;
        let login = identity.get("login").and_then(Value::as_str);
        let login = login.filter(|login| !login.trim().is_empty());
        let login = login.map(|login| shortened(login).into());
        let known = |grants| Known { grants, login };
        if self.is_administrator(&identity) {
            return Ok(known(Grants::all()));
        }
        let path = &self.permissions_path;
        let permissions = self.ask(path, credential, caller, dashboard).await?;
        // A dashboard without permissions of its own, or one that keeps them to itself, has granted none.
        if matches!(permissions.status(), StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
            return Ok(known(Grants::default()));
        }
        match read(path, &permissions)? {
            Value::Object(granted) => {
                let grants = granted.keys().filter_map(|name| Action::named(name)).collect();
                Ok(known(grants))
            }
            _ => Err(LookupError::NotJson { path: path.clone() }.into()),
        }
    }

    /// The dashboard's statistics as `credential` may see them.
    pub(super) async fn statistics<D: Dashboard>(
        &self,
        credential: &Credential,
        caller: Caller<'_>,
        dashboard: &D,
    ) -> Result<Bytes, StatisticsError> {
        let path = &self.stats_path;
        let answer = self.ask(path, credential, caller, dashboard).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            StatusCode::UNAUTHORIZED => Err(StatisticsError::Denied(refused(answer.body()))),
            StatusCode::FORBIDDEN => Err(StatisticsError::Forbidden),
            status => Err(LookupError::Status { path: path.clone(), status }.into()),
        }
    }

    fn is_administrator(&self, identity: &Value) -> bool {
        identity.pointer(&self.admin_field) == Some(&Value::Bool(true))
            && identity.pointer(&self.disabled_field) != Some(&Value::Bool(true))
    }

    async fn ask<D: Dashboard>(
        &self,
        path: &str,
        credential: &Credential,
        caller: Caller<'_>,
        dashboard: &D,
    ) -> Result<Response<Bytes>, LookupError> {
        let request = self.request(path, credential, caller);
        let request = request.map_err(|source| LookupError::Path { path: path.into(), source })?;
        match timeout(DEADLINE, dashboard.fetch(request, MAX_ANSWER_BYTES)).await {
            Ok(answer) => {
                answer.map_err(|source| LookupError::Upstream { path: path.into(), source })
            }
            Err(_) => Err(LookupError::Timeout { path: path.into() }),
        }
    }

    fn request(
        &self,
        path: &str,
        credential: &Credential,
        caller: Caller<'_>,
    ) -> Result<Request<()>, http::Error> {
        let address = match caller.address {
            IpAddr::V6(address) => address.to_canonical(),
            v4 => v4,
        };
        let address = address.to_string();
        let mut request = Request::get(path)
            .header(HOST, &self.host)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("license-gate/", env!("CARGO_PKG_VERSION")))
            .header(X_FORWARDED_FOR, &address)
            .header(X_REAL_IP, &address)
            .header(X_REQUEST_ID, caller.request_id)
            .body(())?;
        credential.apply(request.headers_mut());
        Ok(request)
    }
}

/// The JSON of a 200.
fn read(path: &str, answer: &Response<Bytes>) -> Result<Value, Denied> {
    match answer.status() {
        StatusCode::OK => serde_json::from_slice(trimmed_bytes(answer.body()))
            .map_err(|_| LookupError::NotJson { path: path.into() }.into()),
        StatusCode::UNAUTHORIZED => Err(refused(answer.body())),
        status => Err(LookupError::Status { path: path.into(), status }.into()),
    }
}

/// The dashboard's own words, as far as it has any.
fn refused(body: &[u8]) -> Denied {
    let words: Value = serde_json::from_slice(trimmed_bytes(body)).unwrap_or_default();
    let word = |name: &str| words.get(name).and_then(Value::as_str).filter(|word| !word.is_empty());
    let message = word("message").unwrap_or("Unauthorized");
    let code = word("messageId").filter(|code| is_code(code)).unwrap_or("auth.unauthorized");
    Denied::Refused {
        code: code.to_owned(),
        message: message.chars().take(MAX_MESSAGE_CHARS).collect(),
    }
}

fn is_code(text: &str) -> bool {
    text.len() <= 128
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

#[cfg(test)]
#[path = "dashboard_tests.rs"]
mod tests;
