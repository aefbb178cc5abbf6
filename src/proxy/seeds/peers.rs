//! The two sides of a scenario, on hyper, and the service between them.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};

use super::super::{ForwardedBody, Proxy, RequestIds, upgrade};
use super::CLIENT;
use super::scenario::{Exchange, Kind, Leaves, Payload, Protocol, Scenario};
use crate::api::endpoint::Router;
use crate::downstream::refuse::Refused;
use crate::downstream::{self, Peer, RealClient, RequestBody};
use crate::gate::{Gate, Route};
use crate::message::{self, Body, RequestHead};
use crate::socket::memory::{self, End, Seed};
use crate::upstream;

/// The gate between them: forwards everything.
pub(super) struct Through(Rc<(Proxy, RequestIds)>);

impl Through {
    pub(super) fn new(proxy: Proxy) -> Self {
        Self(Rc::new((proxy, RequestIds::new([7; 16]))))
    }
}

/// The body of a response to the client.
pub(super) struct Passed(Body<ForwardedBody>);

impl http_body::Body for Passed {
    type Data = Bytes;
    type Error = upstream::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, upstream::Error>>> {
        Pin::new(&mut self.get_mut().0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl downstream::ResponseBody for Passed {
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), upstream::Error>> {
        match &mut self.0 {
            Body::Stream(stream) => stream.poll_upload(cx),
            Body::Whole(_) => Poll::Ready(Ok(())),
        }
    }
}

fn failed(status: StatusCode) -> message::Response<Passed> {
    let response = message::Response::new(Passed(Body::Whole(Bytes::new())));
    message::Response { status, ..response }
}

impl downstream::Service for Through {
    type Body = Passed;

    fn refuse(&self, _: Refused, _: Method, _: Rc<Peer>) -> message::Response<Passed> {
        failed(StatusCode::BAD_REQUEST)
    }

    fn call(
        &self,
        head: RequestHead,
        body: RequestBody,
        peer: Rc<Peer>,
    ) -> impl Future<Output = message::Response<Passed>> + 'static {
        let stages = self.0.clone();
        async move {
            let (proxy, ids) = &*stages;
            let client = RealClient::direct(CLIENT.ip());
            let id = ids.name(&head.headers, false);
            let routed = Gate::new(Router::new(""), None).route(&head);
            let Ok(Route::Dashboard(permit)) = routed else {
                return failed(StatusCode::NOT_FOUND);
            };
            let forwarded = proxy.forward(permit, &head, body, &peer, client, &id).await;
            match forwarded {
                Ok(mut response) => {
                    id.put_on(&mut response);
                    response.map(Passed)
                }
                Err(error) => {
                    tracing::warn!(event = "seeds.failed", %error, ?error, "not forwarded");
                    failed(StatusCode::BAD_GATEWAY)
                }
            }
        }
    }
}

/// The bytes of `stream`, in either direction. Each stream begins at a different offset.
fn pattern(stream: usize) -> Bytes {
    static PATTERN: OnceLock<Bytes> = OnceLock::new();
    let all =
        PATTERN.get_or_init(|| (0..2_000_000_usize).map(|at| (at / 251 + at) as u8).collect());
    all.slice(stream * 17..)
}

const TRAILER: &str = "x-end";

/// A body that returns its bytes in pieces, after random delays.
struct Paced {
    left: Bytes,
    payload: Payload,
    owes_trailers: bool,
    seed: Seed,
    /// Notified when all bytes were read, or the body is dropped.
    given: Rc<Notify>,
}

impl Paced {
    fn new(payload: Payload, stream: usize, seed: Seed) -> Self {
        let left = pattern(stream).slice(..payload.bytes);
        Self { left, payload, owes_trailers: payload.trailers, seed, given: Rc::default() }
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.given.notify_one();
    }
}

/// Sometimes yields to other tasks.
fn delays(seed: &Seed, cx: &Context<'_>) -> bool {
    let delays = seed.delays();
    if delays {
        cx.waker().wake_by_ref();
    }
    delays
}

async fn delay(seed: &Seed) {
    while seed.delays() {
        tokio::task::yield_now().await;
    }
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if delays(&this.seed, cx) {
            return Poll::Pending;
        }
        if this.left.is_empty() {
            return Poll::Ready(std::mem::take(&mut this.owes_trailers).then(|| {
                let value = HeaderValue::from_static("reached");
                Ok(Frame::trailers(HeaderMap::from_iter([(
                    http::HeaderName::from_static(TRAILER),
                    value,
                )])))
            }));
        }
        let piece = match this.seed.delays() {
            true => 1 + this.seed.below(this.left.len()),
            false => this.left.len().min(65_536),
        };
        let data = this.left.split_to(piece);
        if this.left.is_empty() {
            this.given.notify_one();
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && !self.owes_trailers
    }

    fn size_hint(&self) -> SizeHint {
        match self.payload.known {
            true => SizeHint::with_exact(self.left.len() as u64),
            false => SizeHint::default(),
        }
    }
}

/// How much of a body is read before its reader disconnects.
type Limit = Rc<Cell<Option<usize>>>;

/// Reads `body` to its expected end; with `counted`, that is its last byte. After `limit` bytes the reader disconnects: `Ok(false)`.
async fn read(
    mut body: Incoming,
    payload: Payload,
    stream: usize,
    seed: &Seed,
    limit: &Limit,
    counted: bool,
) -> Result<bool, String> {
    let mut expected = pattern(stream).slice(..payload.bytes);
    let mut ended_by_trailers = false;
    while !counted || !expected.is_empty() {
        delay(seed).await;
        let Some(frame) = body.frame().await else { break };
        match frame.map_err(|error| format!("stream {stream} broke off: {error:?}"))?.into_data() {
            Ok(data) => {
                if data.len() > expected.len() || expected[..data.len()] != data {
                    return Err(format!("stream {stream}: wrong bytes"));
                }
                drop(expected.split_to(data.len()));
                if let Some(left) = limit.get() {
                    limit.set(Some(left.saturating_sub(data.len())));
                    if left <= data.len() {
                        return Ok(false);
                    }
                }
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                ended_by_trailers = trailers.contains_key(TRAILER);
            }
        }
    }
    if counted {
        // Dropping it before its end would close the dashboard's connection.
        tokio::task::spawn_local(async move { while body.frame().await.is_some() {} });
    }
    if !expected.is_empty() {
        return Err(format!("stream {stream} ends {} bytes early", expected.len()));
    }
    match counted || ended_by_trailers == payload.trailers {
        true => Ok(true),
        false => Err(format!("stream {stream}: trailers: {ended_by_trailers}")),
    }
}

/// Both directions of a WebSocket.
async fn tunnel<T: AsyncRead + AsyncWrite>(
    io: T,
    (out, into): (Payload, Payload),
    stream: usize,
    seed: &Seed,
    limit: &Limit,
) -> Result<bool, String> {
    let (mut reader, mut writer) = tokio::io::split(io);
    let write = async {
        let mut left = pattern(stream).slice(..out.bytes);
        while !left.is_empty() {
            delay(seed).await;
            let piece = 1 + seed.below(left.len().min(70_000));
            writer
                .write_all(&left.split_to(piece))
                .await
                .map_err(|error| format!("tunnel: {error}"))?;
        }
        writer.shutdown().await.map_err(|error| format!("tunnel's end: {error}"))
    };
    let read = async {
        let mut expected = pattern(stream).slice(..into.bytes);
        let mut buf = vec![0; 9_000];
        loop {
            delay(seed).await;
            match reader.read(&mut buf).await.map_err(|error| format!("tunnel: {error}"))? {
                0 if expected.is_empty() => return Ok(true),
                0 => return Err(format!("a tunnel ends {} bytes early", expected.len())),
                read if read > expected.len() || expected[..read] != buf[..read] => {
                    return Err("a tunnel: wrong bytes".to_owned());
                }
                read => drop(expected.split_to(read)),
            }
            if let Some(left) = limit.get() {
                limit.set(Some(left.saturating_sub(1_000)));
                if left <= 1_000 {
                    return Ok(false);
                }
            }
        }
    };
    let (mut write, mut read) = (pin!(write), pin!(read));
    let (mut written, mut was_read) = (None, None);
    poll_fn(|cx| {
        if written.is_none()
            && let Poll::Ready(outcome) = write.as_mut().poll(cx)
        {
            written = Some(outcome);
        }
        if was_read.is_none()
            && let Poll::Ready(outcome) = read.as_mut().poll(cx)
        {
            was_read = Some(outcome);
        }
        match (&written, &was_read) {
            (Some(Err(error)), _) => Poll::Ready(Err(error.clone())),
            (_, Some(Err(error))) => Poll::Ready(Err(error.clone())),
            (_, Some(Ok(false))) => Poll::Ready(Ok(false)),
            (Some(Ok(())), Some(Ok(true))) => Poll::Ready(Ok(true)),
            _ => Poll::Pending,
        }
    })
    .await
}

/// The dashboard: its connections, and the outcomes of its requests.
#[derive(Clone)]
pub(super) struct Dashboard(Rc<Served>);

struct Served {
    scenario: Rc<Scenario>,
    seed: Seed,
    outcomes: RefCell<Vec<Result<bool, String>>>,
    settled: Notify,
    begun: Cell<usize>,
    limit: Limit,
    /// Its connections end with this.
    open: tokio::sync::watch::Sender<bool>,
}

impl Dashboard {
    pub(super) fn new(scenario: Rc<Scenario>, seed: Seed) -> Self {
        let limit = match scenario.leaves {
            Leaves::Dashboard(limit) => Some(limit),
            Leaves::Neither | Leaves::Client(_) => None,
        };
        Self(Rc::new(Served {
            scenario,
            seed,
            outcomes: RefCell::default(),
            settled: Notify::new(),
            begun: Cell::new(0),
            limit: Rc::new(Cell::new(limit)),
            open: tokio::sync::watch::Sender::new(true),
        }))
    }

    /// Waits until all requests were read, and checks their content.
    async fn is_content(&self) -> Result<(), String> {
        loop {
            let outcomes = self.0.outcomes.borrow().clone();
            if let Some(Err(error)) = outcomes.iter().find(|outcome| outcome.is_err()) {
                return Err(format!("at the dashboard: {error}"));
            }
            if outcomes.len() == self.0.begun.get() {
                return Ok(());
            }
            self.0.settled.notified().await;
        }
    }

    /// Opens a connection to it.
    pub(super) fn connection(&self) -> End {
        let (end, own) = memory::pair(&self.0.seed, self.0.scenario.most);
        tokio::task::spawn_local(self.clone().serve(own));
        end
    }

    async fn serve(self, io: End) {
        let mut open = self.0.open.subscribe();
        let protocol = self.0.scenario.dashboard;
        let io = TokioIo::new(io);
        let service = service_fn(move |request| self.clone().respond(request));
        let served = async {
            match protocol {
                // The gate always uses HTTP/1.1 for a WebSocket.
                Protocol::Http1 => {
                    let server = hyper::server::conn::http1::Builder::new();
                    drop(server.serve_connection(io, service).with_upgrades().await);
                }
                Protocol::Http2(stream, connection) => {
                    serve_either(io, service, stream, connection).await
                }
            }
        };
        tokio::select! {
            () = served => {}
            _ = open.wait_for(|open| !open) => {}
        }
    }

    async fn respond(self, request: Request<Incoming>) -> Result<Response<Paced>, Infallible> {
        let Served { scenario, seed, begun, limit, .. } = &*self.0;
        let index: usize = request.uri().path()[1..].parse().expect("its number");
        let Exchange { kind, up, down } = scenario.exchanges[index];
        begun.set(begun.get() + 1);
        let mut response = Response::new(Paced::new(down, index, seed.clone()));
        if down.trailers {
            response.headers_mut().insert("trailer", HeaderValue::from_static(TRAILER));
        }
        let settle = {
            let served = self.0.clone();
            move |outcome: Result<bool, String>| {
                if outcome == Ok(false) {
                    served.open.send_replace(false);
                }
                served.outcomes.borrow_mut().push(outcome);
                served.settled.notify_one();
            }
        };
        let (seed, limit) = (seed.clone(), limit.clone());
        match kind {
            Kind::WebSocket => {
                let key = request.headers()["sec-websocket-key"].to_str().expect("a key");
                let accept = upgrade::accept_of(key);
                let upgraded = hyper::upgrade::on(request);
                tokio::task::spawn_local(async move {
                    let outcome = match upgraded.await {
                        Ok(io) => tunnel(TokioIo::new(io), (down, up), index, &seed, &limit).await,
                        Err(error) => Err(format!("no upgrade: {error}")),
                    };
                    settle(outcome);
                });
                let none = Payload { bytes: 0, known: false, trailers: false };
                let mut response = Response::new(Paced::new(none, index, self.0.seed.clone()));
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                let headers = response.headers_mut();
                headers.insert("connection", HeaderValue::from_static("upgrade"));
                headers.insert("upgrade", HeaderValue::from_static("websocket"));
                headers.insert("sec-websocket-accept", accept.parse().expect("a value"));
                return Ok(response);
            }
            Kind::Http { at_once: true, .. } => {
                // hyper's HTTP/1.1 server does not report the end of a request after its response.
                let counted = scenario.dashboard == Protocol::Http1;
                tokio::task::spawn_local(async move {
                    settle(read(request.into_body(), up, index, &seed, &limit, counted).await);
                });
            }
            Kind::Http { at_once: false, .. } => {
                settle(read(request.into_body(), up, index, &seed, &limit, false).await);
            }
        }
        delay(&self.0.seed).await;
        Ok(response)
    }
}

/// Detects the protocol by the first bytes: an HTTP/2 dashboard gets WebSockets over HTTP/1.1.
async fn serve_either<S, F>(io: TokioIo<End>, service: S, stream: u32, connection: u32)
where
    S: hyper::service::Service<
            Request<Incoming>,
            Response = Response<Paced>,
            Error = Infallible,
            Future = F,
        > + 'static,
    F: Future<Output = Result<Response<Paced>, Infallible>> + 'static,
{
    let io = io.into_inner();
    let first = poll_fn(|cx| io.poll_first(cx)).await;
    let io = TokioIo::new(io);
    if first == Some(b'P') {
        let mut server = hyper::server::conn::http2::Builder::new(Local::default());
        server.initial_stream_window_size(stream).initial_connection_window_size(connection);
        drop(server.serve_connection(io, service).await);
    } else {
        let server = hyper::server::conn::http1::Builder::new();
        drop(server.serve_connection(io, service).with_upgrades().await);
    }
}

/// Runs tasks on this thread, and can abort them.
#[derive(Clone, Default)]
struct Local(Rc<RefCell<Vec<AbortHandle>>>);

impl Local {
    fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        let task = tokio::task::spawn_local(future);
        self.0.borrow_mut().push(task.abort_handle());
        task
    }

    fn abort(&self) {
        self.0.borrow_mut().drain(..).for_each(|task| task.abort());
    }
}

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        self.spawn(future);
    }
}

/// How a client sends requests.
enum Asking {
    Http1(hyper::client::conn::http1::SendRequest<Paced>),
    Http2(hyper::client::conn::http2::SendRequest<Paced>),
}

/// The client: runs the scenario, and disconnects.
pub(super) async fn exchange(
    io: End,
    scenario: Rc<Scenario>,
    seed: Seed,
    dashboard: &Dashboard,
) -> Result<(), String> {
    let io = TokioIo::new(io);
    let limit: Limit = Rc::new(Cell::new(match scenario.leaves {
        Leaves::Client(limit) => Some(limit),
        Leaves::Neither | Leaves::Dashboard(_) => None,
    }));
    let text = |error: hyper::Error| format!("no handshake: {error}");
    let tasks = Local::default();
    // Whether the gate has announced extended CONNECT.
    let mut tunnels = None;
    let mut asking = match scenario.client {
        Protocol::Http1 => {
            let (asking, connection) =
                hyper::client::conn::http1::handshake(io).await.map_err(text)?;
            tasks.spawn(connection.with_upgrades());
            Asking::Http1(asking)
        }
        Protocol::Http2(stream, window) => {
            let (asking, connection) = hyper::client::conn::http2::Builder::new(tasks.clone())
                .initial_stream_window_size(stream)
                .initial_connection_window_size(window)
                .handshake(io)
                .await
                .map_err(text)?;
            let connection = Rc::new(RefCell::new(connection));
            let driven = connection.clone();
            tasks.spawn(poll_fn(move |cx| Pin::new(&mut *driven.borrow_mut()).poll(cx)));
            tunnels = Some(move || connection.borrow().is_extended_connect_protocol_enabled());
            Asking::Http2(asking)
        }
    };
    let (left, mut outcomes) = (Rc::new(Notify::new()), Vec::new());
    for (index, exchange) in scenario.exchanges.iter().enumerate() {
        let asked = Asked { index, exchange: *exchange, seed: seed.clone(), limit: limit.clone() };
        match &mut asking {
            Asking::Http1(asking) => {
                asking.ready().await.map_err(|error| format!("no next request: {error}"))?;
                let (request, given) = asked.request(Version::HTTP_11);
                if !asked.outcome(asking.send_request(request), given).await? {
                    left.notify_one();
                    break;
                }
            }
            Asking::Http2(asking) => {
                asking.ready().await.map_err(|error| format!("no next request: {error}"))?;
                while exchange.kind == Kind::WebSocket && !tunnels.as_ref().is_some_and(|on| on()) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let (request, given) = asked.request(Version::HTTP_2);
                let (response, left) = (asking.send_request(request), left.clone());
                outcomes.push(tasks.spawn(async move {
                    let outcome = asked.outcome(response, given).await;
                    if outcome == Ok(false) {
                        left.notify_one();
                    }
                    outcome
                }));
            }
        }
    }
    let all = async {
        for outcome in outcomes {
            outcome.await.map_err(|error| error.to_string())??;
        }
        match scenario.leaves {
            Leaves::Neither => dashboard.is_content().await,
            Leaves::Client(_) | Leaves::Dashboard(_) => Ok(()),
        }
    };
    let outcome = tokio::select! {
        biased;
        () = left.notified() => Ok(()),
        outcome = all => outcome,
    };
    tasks.abort();
    outcome
}

/// One request of the client.
struct Asked {
    index: usize,
    exchange: Exchange,
    seed: Seed,
    limit: Limit,
}

impl Asked {
    fn request(&self, version: Version) -> (Request<Paced>, Rc<Notify>) {
        let Exchange { kind, up, .. } = self.exchange;
        let websocket = kind == Kind::WebSocket;
        let none = Payload {
            bytes: 0,
            known: !(websocket && version == Version::HTTP_2),
            trailers: false,
        };
        let body = Paced::new(if websocket { none } else { up }, self.index, self.seed.clone());
        let given = body.given.clone();
        let mut request = Request::new(body);
        *request.uri_mut() = format!("http://gate.example/{}", self.index).parse().expect("a URI");
        let headers = request.headers_mut();
        headers.insert("te", HeaderValue::from_static("trailers"));
        if version == Version::HTTP_11 {
            headers.insert("host", HeaderValue::from_static("gate.example"));
            headers.insert("connection", HeaderValue::from_static("te"));
        }
        if up.trailers && !websocket {
            headers.insert("trailer", HeaderValue::from_static(TRAILER));
        }
        match (websocket, version) {
            (false, _) if up.bytes > 0 || !up.known => *request.method_mut() = Method::POST,
            (false, _) => {}
            (true, Version::HTTP_2) => {
                headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
                *request.method_mut() = Method::CONNECT;
                request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
            }
            (true, _) => {
                headers.insert("connection", HeaderValue::from_static("upgrade"));
                headers.insert("upgrade", HeaderValue::from_static("websocket"));
                headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
                headers.insert(
                    "sec-websocket-key",
                    HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
                );
            }
        }
        (request, given)
    }

    /// `Ok(false)`: it disconnected early.
    async fn outcome(
        self,
        response: impl Future<Output = hyper::Result<Response<Incoming>>>,
        given: Rc<Notify>,
    ) -> Result<bool, String> {
        let Exchange { kind, up, down } = self.exchange;
        let response = response.await.map_err(|error| format!("no response: {error:?}"))?;
        let status = response.status();
        match kind {
            Kind::WebSocket => {
                if !matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::OK) {
                    return Err(format!("no WebSocket: {status}"));
                }
                let io = hyper::upgrade::on(response).await;
                let io = io.map_err(|error| format!("no upgrade: {error}"))?;
                tunnel(TokioIo::new(io), (up, down), self.index, &self.seed, &self.limit).await
            }
            Kind::Http { uploads_first, .. } => {
                if status != StatusCode::OK {
                    return Err(format!("status {status}"));
                }
                if uploads_first && up.bytes > 0 {
                    given.notified().await;
                }
                read(response.into_body(), down, self.index, &self.seed, &self.limit, false).await
            }
        }
    }
}
