//! The dashboard's side: one upstream, over pooled HTTP/1.1 connections or shared HTTP/2 connections.
//!
//! A [`Client`] belongs to one worker. [`Client::send`] writes the head of a request, streams its body, and returns once the head of the
//! response was received. Only end-to-end fields are passed on. If a reused connection turns out to be closed, the request is sent once
//! more on a new one, provided that it is idempotent and nothing of its body was read.

mod answer;
mod config;
mod connect;
mod error;
mod http1;
mod http2;
mod pool;
mod probe;
mod request;
mod stream;
mod tls;

use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::CONNECTION;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Empty};

use crate::clock::Moment;
use crate::message::{Fields, Response};
use crate::sweep::Sweep;
use connect::Protocol;
use error::{ENDLESS_INTERIM, SHORT};
use http1::{Connection, Exchange};
use http2::{Links, Retry, Taken};
use pool::Pool;

pub use answer::{Answer, AnswerBody};
pub use config::{Config, Origin, TlsConfig};
pub use error::{Error, TlsFault};
pub use http1::Upgraded;
pub use probe::Probe;
pub use request::{FieldWriter, Head, Upload, WriteFields};
pub use stream::Stream;
pub use tls::{Clients, Tls};

/// The client of one worker for the upstream.
#[derive(Clone, Debug)]
pub struct Client(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    tls: Option<Arc<Tls>>,
    pool: Pool,
    links: Rc<Links>,
    sweep: Sweep,
}

impl Client {
    /// A client with an empty pool, which connects when it needs to. `tls` is made of `config` and shared by the workers.
    pub fn new(config: Config, tls: Option<Arc<Tls>>, sweep: Sweep) -> Self {
        Self::with_pool(Pool::new(&config, &sweep, true), config, tls, sweep)
    }

    /// A client that never reuses an HTTP/1.1 connection: no request can get bytes for its response that the dashboard has sent after
    /// another one. HTTP/2 separates responses by itself; its connections are not shared with other clients of the worker.
    pub fn without_reuse(config: Config, tls: Option<Arc<Tls>>, sweep: Sweep) -> Self {
        Self::with_pool(Pool::new(&config, &sweep, false), config, tls, sweep)
    }

    fn with_pool(pool: Pool, config: Config, tls: Option<Arc<Tls>>, sweep: Sweep) -> Self {
        Self(Rc::new(Inner { config, tls, pool, links: Rc::default(), sweep }))
    }

    /// Closes pooled connections that were idle for too long, or that the dashboard has closed. Never returns.
    pub async fn tidy(&self) {
        self.0.pool.tidy().await;
    }

    /// Closes connections as soon as they have no request. Requests that use this client go on.
    pub fn retire(&self) {
        self.0.pool.retire();
        self.0.links.retire();
    }

    /// Sends a request, and returns the head of the response with a streaming body.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn send<F: WriteFields, B: Upload>(
        &self,
        head: &Head<'_, F>,
        body: B,
    ) -> Result<Answer<B>, Error> {
        if self.0.config.http2 && head.upgrade.is_none() {
            // Boxed, like connecting below: it is large, and every request would reserve memory for it.
            return Box::pin(self.send_http2(head, body)).await;
        }
        let connection = match self.0.pool.take() {
            Some(connection) => connection,
            None => Box::pin(self.connect()).await?,
        };
        self.send_http1(connection, head, body).await
    }

    async fn send_http1<F: WriteFields, B: Upload>(
        &self,
        mut connection: Box<Connection>,
        head: &Head<'_, F>,
        mut body: B,
    ) -> Result<Answer<B>, Error> {
        let mut retries = self.0.config.retries;
        loop {
            let may_repeat = connection.is_reused() && retries > 0 && head.is_idempotent();
            let mut exchange = Exchange::new(connection, head, body);
            match exchange.answer(&self.0.sweep, self.0.config.response_header_timeout).await {
                Ok(answered) => return Ok(exchange.into_answer(answered, self.0.pool.clone())),
                Err(Error::Closed { unanswered: true, .. })
                    if may_repeat && !exchange.has_begun_body() =>
                {
                    retries -= 1;
                    body = exchange.into_body();
                    connection = Box::pin(self.connect()).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn send_http2<F: WriteFields, B: Upload>(
        &self,
        head: &Head<'_, F>,
        mut body: B,
    ) -> Result<Answer<B>, Error> {
        let Inner { config, tls, pool, links, sweep } = &*self.0;
        let mut retries = config.retries;
        loop {
            if links.speaks_http1()
                && let Some(connection) = pool.take()
            {
                return self.send_http1(connection, head, body).await;
            }
            let slot = match links.take(config, tls.as_ref(), sweep).await? {
                Taken::Http2(slot) => slot,
                Taken::Http1(io) => return self.send_http1(self.connection(io), head, body).await,
            };
            let reused = slot.is_reused();
            let failure = match http2::send(slot, head, body, sweep, config).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let costs = match failure.retry {
                // Does not count: each connection fails this way at most once.
                Retry::Unsent if reused => 0,
                Retry::Unsent | Retry::Unprocessed => 1,
                Retry::Broken if reused && head.is_idempotent() => 1,
                Retry::Broken | Retry::No => return Err(failure.error),
            };
            body = match failure.body {
                Some(untouched) if costs <= retries => untouched,
                Some(_) | None => return Err(failure.error),
            };
            retries -= costs;
        }
    }

    /// Sends a request without a body, and collects a response body of at most `limit_bytes`.
    ///
    /// # Errors
    /// Those of [`send`](Self::send), and [`Error::TooLarge`].
    pub async fn fetch(
        &self,
        request: Request<()>,
        limit_bytes: usize,
    ) -> Result<http::Response<Bytes>, Error> {
        let asked = self.ask(request).await;
        if let Some(metrics) = &self.0.config.metrics {
            match &asked {
                Ok(_) => metrics.upstream_answered(Moment::now()),
                Err(error) if error.is_failed_contact() => {
                    metrics.upstream_failed(Moment::now(), error);
                }
                Err(_) => {}
            }
        }
        let Response { status, headers, mut body, .. } = asked?;
        let mut collected = BytesMut::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                if collected.len() + data.len() > limit_bytes {
                    return Err(Error::TooLarge);
                }
                collected.extend_from_slice(&data);
            }
        }
        let mut response = http::Response::new(collected.freeze());
        *response.status_mut() = status;
        *response.headers_mut() = headers.into_map();
        Ok(response)
    }

    /// Sends a request without a body, and gives the head of the response with a streaming body.
    async fn ask(
        &self,
        request: Request<()>,
    ) -> Result<Response<crate::message::Body<Box<AnswerBody<Empty<Bytes>>>>>, Error> {
        let (mut parts, ()) = request.into_parts();
        if !self.0.pool.reuses() && !self.0.config.http2 {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let head = Head {
            method: &parts.method,
            target,
            fields: Fields::from(parts.headers),
            upgrade: None,
        };
        Ok(self.send(&head, Empty::new()).await?.response)
    }

    async fn connect(&self) -> Result<Box<Connection>, Error> {
        let Inner { config, tls, sweep, .. } = &*self.0;
        let (stream, _) = connect::connect(config, tls.as_deref(), Protocol::Http1, sweep).await?;
        Ok(self.connection(stream))
    }

    fn connection(&self, io: Stream) -> Box<Connection> {
        let connection = Connection::new(io);
        if !self.0.pool.reuses() {
            // A regular close would keep the port in TIME_WAIT for a minute, and frequent requests would use up all ports.
            connection.reset_on_drop();
        }
        Box::new(connection)
    }
}
