//! The dashboard's side: one upstream, reached over pooled connections of HTTP/1.1, or over few of HTTP/2.
//!
//! A [`Client`] belongs to one worker. [`Client::send`] writes a request head from whatever [`Fields`] it is given, streams
//! the body, and answers as soon as the answer's head is there; what crosses is end-to-end only, hop-by-hop fields end here.
//! A reused connection that turns out to be closed is replaced, once, when the request can be sent again.

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
mod verify;

use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::CONNECTION;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Empty};

use crate::message::{Fields, Response};
use crate::sweep::Sweep;
use crate::telemetry::metrics::Moment;
use connect::Protocol;
use error::{ENDLESS_INTERIM, SHORT};
use http1::{Connection, Exchange};
use http2::{Again, Links, Taken};
use pool::Pool;

pub use answer::{Answer, AnswerBody};
pub use config::{Config, Origin, TlsConfig};
pub use error::{Error, TlsFault};
pub use http1::Upgraded;
pub use probe::Probe;
pub use request::{FieldWriter, Head, Upload, WriteFields};
pub use stream::Stream;
pub use tls::{Clients, Tls};

/// The one upstream, as one worker reaches it.
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
    /// A client with an empty pool; nothing is connected before it is needed. `tls` is that of `config`, shared by workers.
    pub fn new(config: Config, tls: Option<Arc<Tls>>, sweep: Sweep) -> Self {
        let pool = Pool::new(&config, &sweep, true);
        Self(Rc::new(Inner { config, tls, pool, links: Rc::default(), sweep }))
    }

    /// A client that never reuses a connection of HTTP/1.1: whatever the dashboard sends behind a response, and however late,
    /// no other request gets it for its response. HTTP/2 keeps responses apart by itself, on connections of this client's own.
    pub fn without_reuse(config: Config, tls: Option<Arc<Tls>>, sweep: Sweep) -> Self {
        let pool = Pool::new(&config, &sweep, false);
        Self(Rc::new(Inner { config, tls, pool, links: Rc::default(), sweep }))
    }

    /// Closes pooled connections that are too old, or that the dashboard has closed; for ever.
    pub async fn tidy(&self) {
        self.0.pool.tidy().await;
    }

    /// Sends a request; answers with the head of the answer, whose body then streams.
    ///
    /// # Errors
    /// [`Error`], by whose fault it is.
    pub async fn send<F: WriteFields, B: Upload>(
        &self,
        head: &Head<'_, F>,
        body: B,
    ) -> Result<Answer<B>, Error> {
        if self.0.config.http2 && head.upgrade.is_none() {
            // Boxed, as the connecting below: it is large, and every request would carry the room for it.
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
            let place = match links.take(config, tls.as_ref(), sweep).await? {
                Taken::Place(place) => place,
                Taken::Http1(io) => return self.send_http1(self.connection(io), head, body).await,
            };
            let reused = place.is_reused();
            let failure = match http2::ask(place, head, body, sweep, config).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let costs = match failure.again {
                // Each connection that had grown old is met once.
                Again::Unsent if reused => 0,
                Again::Unsent | Again::Unprocessed => 1,
                Again::Broken if reused && head.is_idempotent() => 1,
                Again::Broken | Again::No => return Err(failure.error),
            };
            body = match failure.body {
                Some(untouched) if costs <= retries => untouched,
                Some(_) | None => return Err(failure.error),
            };
            retries -= costs;
        }
    }

    /// Sends a request without a body, and collects the answer when it is at most `limit_bytes` long.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`Error::TooLarge`].
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
    ) -> Result<Response<crate::body::Body<Box<AnswerBody<Empty<Bytes>>>>>, Error> {
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
            // Closed in order, each would hold its port for a minute (TIME_WAIT), and frequent questions would use up all ports.
            connection.reset_on_drop();
        }
        Box::new(connection)
    }
}
