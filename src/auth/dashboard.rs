//! Client for the dashboard's user API, with the caller's own credential.
//!
//! First `identity_path`: 200 with the administrator flag set and the disabled flag not set grants every action. Otherwise
//! `permissions_path`: the key of an action grants it. A 401 is passed on with the dashboard's message. A late response,
//! other JSON, a redirect or any other status is an error, never a grant.

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

/// Largest response. The permissions of a user may take a few hundred kilobytes.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Longest message of the dashboard that is passed on.
const MAX_MESSAGE_CHARS: usize = 512;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Sends requests to the dashboard and runs checks. Belongs to one thread; clones share it.
pub trait Dashboard: Clone + 'static {
    /// Sends `request` and returns the whole response, at most `limit_bytes`.
    fn fetch(
        &self,
        request: Request<()>,
        limit_bytes: usize,
    ) -> impl Future<Output = Result<Response<Bytes>, upstream::Error>>;

    /// Runs `work` to its end, even if the request that started it ends earlier.
    fn run(&self, work: impl Future<Output = ()> + 'static);

    /// Resolves once the gate stops. Work without callers must then end.
    fn stopping(&self) -> impl Future<Output = ()>;
}

/// The connection of a worker to the dashboard.
#[derive(Clone, Debug)]
pub struct WorkerDashboard {
    /// Connections for these requests only.
    pub client: upstream::Client,
    /// Makes a stopping worker wait for its checks.
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

/// Paths and fields of the dashboard's user API.
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
    /// `host` is the host of the root URL.
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

    /// The grants of `credential` at the dashboard.
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
        // A dashboard without a permissions API, or one that refuses it, grants nothing.
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

    /// The dashboard's statistics, requested with `credential`.
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

/// The JSON of a response with status 200.
fn read(path: &str, answer: &Response<Bytes>) -> Result<Value, Denied> {
    match answer.status() {
        StatusCode::OK => serde_json::from_slice(trimmed_bytes(answer.body()))
            .map_err(|_| LookupError::NotJson { path: path.into() }.into()),
        StatusCode::UNAUTHORIZED => Err(refused(answer.body())),
        status => Err(LookupError::Status { path: path.into(), status }.into()),
    }
}

/// The refusal with the dashboard's message and code, if it sent any.
fn refused(body: &[u8]) -> Denied {
    let body: Value = serde_json::from_slice(trimmed_bytes(body)).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let message = text("message").unwrap_or("Unauthorized");
    let code = text("messageId").filter(|code| is_code(code)).unwrap_or("auth.unauthorized");
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
