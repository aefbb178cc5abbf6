//! What happens to a request, from its head to its response.
//!
//! ```text
//! request ─ refused? ─ gate: route ─┬─ licensing API ────┬─ response
//!                                   └─ proxy ─ upstream ─┘
//! ```
//!
//! Requests on the addresses of `server.redirect` are answered by `redirect` instead.
//!
//! This is the only place where an error becomes a response and a log line. Each worker has one service; workers share only [`Api`], with
//! the license snapshot, and counters.

mod denied;
mod failures;
mod observe;
mod redirect;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONNECTION, CONTENT_LENGTH};
use http::{HeaderValue, Method, Request, StatusCode};

use crate::api::endpoint::Endpoint;
use crate::api::{Api, Caller};
use crate::auth::WorkerDashboard;
use crate::clock::Moment;
use crate::downstream::refuse::{self, Refused};
use crate::downstream::{self, Current, Peer, RealClient, RequestBody, Trust, Written};
use crate::gate::{Gate, Route};
use crate::message::{Body, RequestHead, Response};
use crate::problem::Problem;
use crate::proxy::{ForwardError, Proxy, RequestId, RequestIds};
use crate::telemetry::metrics::Handler;
use failures::Area;
use observe::{Answer, Observation};

pub use failures::Failures;
pub use observe::{Observed, Observer};
pub use redirect::Redirect;

/// Largest body of a redirected request that is read, and dropped, to keep the connection.
const MAX_DROPPED_BYTES: u64 = 64 * 1024;

/// The service of one worker.
#[derive(Clone, Debug)]
pub struct Service {
    stages: Rc<Current<Stages>>,
    /// Its requests are redirected. Not a type of its own: with a second instance of `downstream`, the compiler inlines less of it.
    redirects: bool,
}

/// The stages of a request, and the state that they use.
#[derive(Debug)]
pub struct Stages {
    /// Routes them.
    pub gate: Gate,
    /// Answers `/api/licensing/*`.
    pub api: Arc<Api>,
    /// Forwards them.
    pub proxy: Proxy,
    /// Client for the dashboard's user API.
    pub dashboard: WorkerDashboard,
    /// Makes the ids of requests.
    pub ids: RequestIds,
    /// The trusted proxies.
    pub trust: Trust,
    /// Counts and logs them.
    pub observer: Rc<Observer>,
    /// The log of failed requests.
    pub failures: Arc<Failures>,
    /// Answers requests on the addresses of `server.redirect`.
    pub redirect: Redirect,
}

impl Service {
    /// A service with these stages.
    pub fn new(stages: Stages) -> Self {
        Self { stages: Rc::new(Current::new(stages)), redirects: false }
    }

    /// Answers the next requests with `stages`, also those of open connections.
    pub fn replace(&self, stages: Stages) {
        self.stages.set(stages);
    }

    /// The same for the addresses of `server.redirect`.
    pub fn redirecting(&self) -> Self {
        Self { redirects: true, ..self.clone() }
    }
}

impl downstream::Service for Service {
    type Body = Observed;

    fn refuse(&self, refused: Refused, method: Method, peer: Rc<Peer>) -> Response<Observed> {
        let stages = self.stages.get();
        let mut observed = Observation::new(stages.observer.clone());
        let handler = if self.redirects { Handler::Redirect } else { Handler::Gate };
        let response = stages.refused(refused, method, &peer, handler, &mut observed);
        observed.watch(response)
    }

    fn at_once(&self, request: &RequestHead, peer: &Peer) -> Option<&'static Written> {
        match self.redirects || !request.uri.path().ends_with("/check") {
            true => None,
            false => self.stages.get().public_check(request, peer),
        }
    }

    fn call(
        &self,
        head: RequestHead,
        body: RequestBody,
        peer: Rc<Peer>,
    ) -> impl Future<Output = Response<Observed>> + 'static {
        let (stages, redirects) = (self.stages.get(), self.redirects);
        let mut observed = Observation::new(stages.observer.clone());
        async move {
            let response = match redirects {
                false => stages.answer(head, body, &peer, &mut observed).await,
                // Boxed: every request would reserve memory for it.
                true => Box::pin(stages.redirected(head, body, &peer, &mut observed)).await,
            };
            observed.watch(response)
        }
    }
}

impl Stages {
    /// The client of a request, and the request's id; both are noted for the access log.
    fn begin(
        &self,
        head: &RequestHead,
        peer: &Peer,
        observed: &mut Observation,
    ) -> (RealClient, RequestId) {
        let client = RealClient::of(peer, &head.headers, &self.trust);
        let id = self.ids.name(&head.headers, client.trusted);
        observed.asked(head, client, &id);
        (client, id)
    }

    async fn answer(
        &self,
        head: RequestHead,
        body: RequestBody,
        peer: &Rc<Peer>,
        observed: &mut Observation,
    ) -> Answer {
        let (client, id) = self.begin(&head, peer, observed);
        let method = head.method.clone();
        let (response, handler) = match self.route(&head) {
            Ok(Route::Dashboard(permit)) => {
                observed.routed(Handler::Proxy);
                let grace = permit.grace();
                let forwarded = self.proxy.forward(permit, &head, body, peer, client, &id).await;
                let mut response = self.forwarded(forwarded, &head, id, observed);
                if let Some(until) = grace {
                    denied::warn(&mut response.headers, until);
                }
                (response, Handler::Proxy)
            }
            Ok(Route::Refused(denial)) => {
                let response = {
                    let (html, base) = (accepts_html(&head), self.gate.base());
                    denied::response(&denial, &head, html, base, id.as_str())
                };
                let mut response = finished(response, &head.method);
                id.put_on(&mut response);
                (response, Handler::Gate)
            }
            Ok(Route::Licensing(_)) if body.handover().is_some() => {
                (self.refusal(Refused::NoTunnel.into(), &head, id), Handler::Gate)
            }
            Ok(Route::Licensing(endpoint)) => {
                observed.routed(Handler::Licensing);
                let scheme = client.scheme(peer, &head.headers);
                let mut request = head.into_request(body);
                request.extensions_mut().insert(scheme);
                // Boxed: it is large and rare, and every request would reserve memory for it.
                let response = Box::pin(self.licensing(endpoint, request, client, &id)).await;
                let mut response = finished(response, &method);
                id.put_on(&mut response);
                (response, Handler::Licensing)
            }
            Err(problem) => (self.refusal(problem, &head, id), Handler::Gate),
        };
        observed.answered(&method, &response, handler);
        response
    }

    /// The response of an address of `server.redirect`, also while the gate stops.
    async fn redirected(
        &self,
        head: RequestHead,
        body: RequestBody,
        peer: &Rc<Peer>,
        observed: &mut Observation,
    ) -> Answer {
        let (client, id) = self.begin(&head, peer, observed);
        observed.routed(Handler::Redirect);
        let answered = match refuse::check(&head) {
            Ok(()) => self.redirect.answer(&head, client, peer).await,
            Err(refused) => Err(refused.into()),
        };
        let (failures, kind) = (&self.failures.redirect, self.redirect.kind(&head));
        let mut response = match answered {
            Ok(response) => {
                failures.works(kind);
                let mut response = finished(response, &head.method);
                id.put_on(&mut response);
                response
            }
            Err(problem) => {
                report(&problem, &id, failures, kind);
                refusal(problem, &head, id)
            }
        };
        if http_body::Body::size_hint(&body).upper().is_none_or(|left| left > MAX_DROPPED_BYTES) {
            response.headers.set(CONNECTION, HeaderValue::from_static("close"));
        }
        observed.answered(&head.method, &response, Handler::Redirect);
        response
    }

    /// The response to a check without credentials, which needs no waiting. Probes send many. The access log line is written when the
    /// record is dropped.
    fn public_check(&self, request: &RequestHead, peer: &Peer) -> Option<&'static Written> {
        self.check(request).ok()?;
        let Ok(Some(Endpoint::Check)) = self.gate.endpoint(request) else { return None };
        let written = self.api.public_check()?;
        let metrics = &self.observer.metrics;
        metrics.request_at_once(Handler::Licensing, &request.method, StatusCode::OK);
        if let Some(log) = &self.observer.access {
            let client = RealClient::of(peer, &request.headers, &self.trust);
            let id = self.ids.name(&request.headers, client.trusted);
            let mut record = observe::record(log, request, client, &id);
            record.status = Some(StatusCode::OK);
            record.handler = Handler::Licensing;
            if request.method != Method::HEAD {
                record.bytes = written.body().len() as u64;
            }
        }
        Some(written)
    }

    /// Refuses a request whose head was not parsed.
    fn refused(
        &self,
        refused: Refused,
        method: Method,
        peer: &Peer,
        handler: Handler,
        observed: &mut Observation,
    ) -> Answer {
        let head = RequestHead { method, ..RequestHead::default() };
        let id = self.ids.name(&head.headers, false);
        let client = RealClient::direct(peer.address.ip());
        observed.unparsed(client, &id);
        observed.routed(handler);
        let response = match refused {
            // The event `connections.full` reports these.
            Refused::Full => refusal(refused.into(), &head, id),
            _ => self.refusal(refused.into(), &head, id),
        };
        observed.answered(&head.method, &response, handler);
        response
    }

    fn forwarded(
        &self,
        outcome: Result<Answer, ForwardError>,
        asked: &RequestHead,
        id: RequestId,
        observed: &mut Observation,
    ) -> Answer {
        match outcome {
            Ok(mut response) => {
                self.failures.dashboard.works(());
                observed.upstream_answered();
                id.put_on(&mut response);
                response
            }
            Err(error) => {
                observed.failed(&error);
                if let Some(kind) = error.kind() {
                    self.observer.metrics.upstream_error(kind);
                }
                if let ForwardError::Upstream(failure) = &error
                    && failure.is_failed_contact()
                {
                    self.observer.metrics.upstream_failed(Moment::now(), failure);
                }
                let problem = Problem::from(error);
                report(&problem, &id, &self.failures.dashboard, ());
                refusal(problem, asked, id)
            }
        }
    }

    fn refusal(&self, problem: Problem, asked: &RequestHead, id: RequestId) -> Answer {
        report(&problem, &id, &self.failures.gate, ());
        refusal(problem, asked, id)
    }

    fn route(&self, head: &RequestHead) -> Result<Route, Problem> {
        self.check(head)?;
        Ok(self.gate.route(head)?)
    }

    /// Refuses requests that are not valid, or too late.
    fn check(&self, head: &RequestHead) -> Result<(), Problem> {
        refuse::check(head)?;
        Ok(())
    }

    async fn licensing(
        &self,
        endpoint: Endpoint,
        request: Request<RequestBody>,
        client: RealClient,
        id: &RequestId,
    ) -> http::Response<Bytes> {
        let caller = Caller { address: client.address, request_id: id.as_str() };
        let failures = &self.failures.licensing;
        match self.api.answer(endpoint, request, caller, &self.dashboard).await {
            Ok(response) => {
                failures.works(endpoint);
                response
            }
            Err(problem) => {
                report(&problem, id, failures, endpoint);
                problem.into_response(id.as_str())
            }
        }
    }
}

/// A response to `HEAD` has the length of the omitted body (RFC 9110 section 9.3.2). The length in a 304 would be that of the 200.
fn finished(mut response: http::Response<Bytes>, method: &Method) -> Answer {
    if *method == Method::HEAD && response.status() != StatusCode::NOT_MODIFIED {
        let length = std::mem::take(response.body_mut()).len();
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    Response::from(response.map(Body::Whole))
}

/// Whether `Accept` names HTML.
fn accepts_html(asked: &RequestHead) -> bool {
    let accepts = asked.headers.get(&ACCEPT).unwrap_or_default();
    accepts.windows(9).any(|part| part.eq_ignore_ascii_case(b"text/html"))
}

/// A problem as a response: a page for browsers, JSON for other clients.
fn refusal(problem: Problem, asked: &RequestHead, id: RequestId) -> Answer {
    let response = match accepts_html(asked) {
        true => problem.into_page(id.as_str()),
        false => problem.into_response(id.as_str()),
    };
    let mut response = finished(response, &asked.method);
    id.put_on(&mut response);
    response
}

/// Logs a problem: server errors as warnings, denied access with the id that the response contains.
#[cold]
fn report<P: Copy + PartialEq>(problem: &Problem, id: &RequestId, failures: &Area<P>, place: P) {
    if problem.status().is_server_error() {
        return failures.failed(place, problem, id);
    }
    let (request_id, status, code) = (id.as_str(), problem.status().as_u16(), problem.code());
    let cause = problem.causes();
    match problem.access_error_id() {
        Some(access_error_id) => tracing::info!(
            event = "access.denied",
            request_id,
            access_error_id,
            cause,
            "a caller was denied access"
        ),
        None => tracing::debug!(request_id, status, code, cause, "a request was refused"),
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let (status, code) = match refused {
            Refused::Connect => (StatusCode::METHOD_NOT_ALLOWED, "request.connect"),
            Refused::Protocol => (StatusCode::NOT_IMPLEMENTED, "request.connect-protocol"),
            Refused::NoHost => (StatusCode::BAD_REQUEST, "request.host-missing"),
            Refused::SeveralHosts => (StatusCode::BAD_REQUEST, "request.host-repeated"),
            Refused::MalformedHost => (StatusCode::BAD_REQUEST, "request.host-malformed"),
            Refused::HostMismatch => (StatusCode::BAD_REQUEST, "request.host-mismatch"),
            Refused::Length => (StatusCode::BAD_REQUEST, "request.length-malformed"),
            Refused::Target => (StatusCode::BAD_REQUEST, "request.target-malformed"),
            Refused::NoTunnel => (StatusCode::BAD_REQUEST, "request.no-tunnel"),
            Refused::PlainHttp => (StatusCode::BAD_REQUEST, "request.plain-http"),
            Refused::Malformed(_) => (StatusCode::BAD_REQUEST, "request.malformed"),
            Refused::Coding => (StatusCode::BAD_REQUEST, "request.coding-unknown"),
            Refused::LengthAndCoding => (StatusCode::BAD_REQUEST, "request.length-ambiguous"),
            Refused::Fragment => (StatusCode::BAD_REQUEST, "request.target-fragment"),
            Refused::LargeHead => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "request.head-too-large")
            }
            Refused::ManyFields => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "request.fields-too-many")
            }
            Refused::Full => (StatusCode::SERVICE_UNAVAILABLE, "gate.full"),
            Refused::Late => (StatusCode::REQUEST_TIMEOUT, "request.head-timeout"),
            Refused::LateEnd => (StatusCode::REQUEST_TIMEOUT, "request.body-timeout"),
        };
        let problem = Self::new(status, code, refused.to_string())
            .header(CONNECTION, HeaderValue::from_static("close"));
        match refused {
            Refused::Connect => problem.header(
                ALLOW,
                HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            ),
            Refused::Full => problem.retry_after(1).proxy_error("connection_limit_reached"),
            _ => problem,
        }
    }
}
