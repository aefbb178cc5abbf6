//! The dashboard's side: one upstream, reached over pooled connections of HTTP/1.1, or over few of HTTP/2.
//!
//! A [`Client`] belongs to one worker. [`Client::send`] writes a request head from whatever [`Fields`] it is given, streams
//! the body, and answers as soon as the answer's head is there; what crosses is end-to-end only, hop-by-hop fields end here.
//! A reused connection that turns out to be closed is replaced, once, when the request can be sent again.

mod config;
mod connect;
mod http1;
mod http2;
mod pool;
mod stream;
mod tls;
mod verify;

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::CONNECTION;
use http::{HeaderName, HeaderValue, Method, Request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};

use crate::codec;
use crate::message::{Field, Fields, Response};
use crate::sweep::{Deadline, Sweep};
use connect::Protocol;
use http1::{Connection, Exchange};
use http2::{Again, Links, Taken};
use pool::Pool;

pub use config::{Config, Origin, TlsConfig};
pub use http1::Upgraded;
pub use stream::Stream;
pub use tls::{Clients, Tls};

/// Why a request got no (whole) answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made.
    #[error("cannot connect to the upstream {origin}")]
    Connect {
        /// Host and port.
        origin: String,
        /// The system's reason.
        source: io::Error,
    },
    /// `upstream.connect_timeout` passed.
    #[error("the upstream {origin} did not accept a connection in time")]
    ConnectTimeout {
        /// Host and port.
        origin: String,
    },
    /// All file descriptors for connections to the dashboard are in use.
    #[error("the gate has as many connections to the upstream as it has file descriptors for")]
    Full,
    /// TLS did not come about, or broke.
    #[error("no TLS with the upstream {origin}")]
    Tls {
        /// Host and port.
        origin: String,
        /// Whose doing.
        fault: TlsFault,
        /// What was wrong.
        source: io::Error,
    },
    /// `timeouts.send` passed while part of the request waited for the upstream to accept it.
    #[error("the upstream accepted no part of the request in time")]
    SendTimeout,
    /// `upstream.response_header_timeout` passed.
    #[error("the upstream did not answer in time")]
    HeaderTimeout,
    /// The connection ended before the answer did.
    #[error("the upstream closed the connection before its answer was complete")]
    Closed {
        /// Whether not one byte of an answer had come.
        unanswered: bool,
        /// The system's reason; none when the upstream simply closed.
        source: Option<io::Error>,
    },
    /// The answer is not HTTP/1.1 as RFC 9112 has it.
    #[error("the upstream's answer is not valid HTTP: {0}")]
    Nonsense(&'static str),
    /// The answer's body is not framed as RFC 9112 section 7 has it.
    #[error("the upstream's answer is not valid HTTP")]
    Framing(#[source] codec::Fault),
    /// The answer, or all the dashboard says, is not HTTP/2 as RFC 9113 has it.
    #[error("the upstream's answer breaks the rules of HTTP/2")]
    Protocol(#[source] h2::Error),
    /// The request cannot be said in HTTP/2; not the upstream's fault.
    #[error("the request cannot be forwarded: {0}")]
    Unsendable(&'static str),
    /// The request's body failed while it was sent; not the upstream's fault.
    #[error("the request body could not be read")]
    RequestBody(#[source] Box<dyn StdError + Send + Sync>),
    /// A small answer was expected and a large one came.
    #[error("the upstream's answer is larger than expected")]
    TooLarge,
}

/// Interim answers carry nothing on: a dashboard that sends no other would be waited for without end.
const ENDLESS_INTERIM: Error = Error::Nonsense("its interim responses are too large");

/// Why a request's body is refused that is shorter than its head says.
const SHORT: &str = "the request body ended before its Content-Length";

/// How TLS failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The dashboard's certificate is not to be trusted.
    Certificate,
    /// The dashboard sent an alert; it wants a certificate, say.
    Alert,
    /// Anything else.
    Protocol,
}

impl TlsFault {
    /// The fault of TLS within an error of its stream; `None` when it is the socket's.
    fn within(error: &io::Error) -> Option<Self> {
        Some(match error.get_ref()?.downcast_ref()? {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                Self::Certificate
            }
            rustls::Error::AlertReceived(_) => Self::Alert,
            _ => Self::Protocol,
        })
    }
}

impl Error {
    /// How TLS failed, if it did. With TLS 1.3 the dashboard's word on our certificate comes after the handshake.
    pub fn tls_fault(&self) -> Option<TlsFault> {
        match self {
            Self::Tls { fault, .. } => Some(*fault),
            Self::Closed { source: Some(source), .. } => TlsFault::within(source),
            _ => None,
        }
    }
}

/// The end-to-end fields of a request, which are filtered while they are written.
pub trait WriteFields {
    /// Passes each field on.
    fn write(&self, out: &mut impl FieldWriter);
}

/// Writes a request's fields in the form of one protocol.
pub trait FieldWriter {
    /// Writes a field of the gate's own. `name` is in lower case.
    fn field(&mut self, name: &HeaderName, value: &[u8]);

    /// Writes those of `fields` that pass, as they came.
    fn copy(&mut self, fields: &Fields, passes: impl FnMut(Field<'_>) -> bool);
}

impl WriteFields for Fields {
    fn write(&self, out: &mut impl FieldWriter) {
        out.copy(self, |_| true);
    }
}

/// The head of a request to the dashboard.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a, F> {
    /// Sent as it is.
    pub method: &'a Method,
    /// Path and query, sent byte for byte, or `*`.
    pub target: &'a str,
    /// End-to-end fields, `Host` and `Content-Length` among them.
    pub fields: F,
    /// Asks for this protocol instead of HTTP.
    pub upgrade: Option<&'a HeaderValue>,
}

/// What the dashboard answered.
#[derive(Debug)]
pub struct Answer<B> {
    /// Head and streaming body; end-to-end fields only.
    pub response: Response<crate::body::Body<Box<AnswerBody<B>>>>,
    /// The connection itself, after `101 Switching Protocols`.
    pub upgraded: Option<Upgraded>,
}

/// The streaming body of an answer. Dropped before its end, it tells the dashboard that nobody listens.
#[derive(Debug)]
pub enum AnswerBody<B> {
    /// On a connection of its own.
    Http1(http1::AnswerBody<B>),
    /// On a stream among others.
    Http2(http2::AnswerBody<B>),
}

impl<B: Upload> AnswerBody<B> {
    /// Moves the request on while the answer waits for room, and after it has ended. Ready when the request is out, or the
    /// dashboard takes no more of it.
    ///
    /// # Errors
    /// When the answer cannot end well any more.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match self {
            Self::Http1(body) => body.poll_upload(cx),
            Self::Http2(body) => body.poll_upload(cx),
        }
    }
}

impl<B: Upload> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx),
            Self::Http2(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

/// A request's body towards the dashboard.
pub trait Upload: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> + Unpin {}

impl<B: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> + Unpin> Upload for B {}

/// The one upstream, as one worker reaches it.
#[derive(Clone, Debug)]
pub struct Client(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    tls: Option<Arc<Tls>>,
    /// `None`: each request of HTTP/1.1 has a connection of its own.
    pool: Option<Pool>,
    links: Rc<Links>,
    sweep: Sweep,
}

impl Client {
    /// A client with an empty pool; nothing is connected before it is needed. `tls` is that of `config`, shared by workers.
    pub fn new(config: Config, tls: Option<Arc<Tls>>, sweep: Sweep) -> Self {
        let (pool, links) = (Some(Pool::default()), Rc::default());
        Self(Rc::new(Inner { config, tls, pool, links, sweep }))
    }

    /// A client that never reuses a connection of HTTP/1.1: whatever the dashboard sends behind a response, and however late,
    /// no other request gets it for its response. HTTP/2 keeps responses apart by itself, on connections of this client's own.
    pub fn without_reuse(config: Config, tls: Option<Arc<Tls>>, sweep: Sweep) -> Self {
        Self(Rc::new(Inner { config, tls, pool: None, links: Rc::default(), sweep }))
    }

    /// Closes pooled connections that are too old, or that the dashboard has closed; for ever.
    pub async fn tidy(&self) {
        let Inner { config, pool, sweep, .. } = &*self.0;
        if let Some(pool) = pool {
            pool.tidy(config.idle_timeout, &config.places, sweep).await;
        }
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
        let connection = match self.pooled() {
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
            let may_repeat = connection.is_reused() && retries > 0 && is_idempotent(head.method);
            let mut exchange = Exchange::new(connection, head, body);
            match exchange.answer(&self.0.sweep, self.0.config.response_header_timeout).await {
                Ok(answered) => return Ok(exchange.into_answer(answered, self.clone())),
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
        let Inner { config, tls, sweep, links, .. } = &*self.0;
        let mut retries = config.retries;
        loop {
            if links.speaks_http1()
                && let Some(connection) = self.pooled()
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
                Again::Broken if reused && is_idempotent(head.method) => 1,
                Again::Broken | Again::No => return Err(failure.error),
            };
            body = match failure.body {
                Some(untouched) if costs <= retries => untouched,
                Some(_) | None => return Err(failure.error),
            };
            retries -= costs;
        }
    }

    fn pooled(&self) -> Option<Box<Connection>> {
        self.0.pool.as_ref()?.take(self.0.sweep.elapsed(), self.0.config.idle_timeout)
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
        let (mut parts, ()) = request.into_parts();
        if self.0.pool.is_none() && !self.0.config.http2 {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let head = Head {
            method: &parts.method,
            target,
            fields: Fields::from(parts.headers),
            upgrade: None,
        };
        let Response { status, headers, mut body, .. } =
            self.send(&head, Empty::new()).await?.response;
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

    async fn connect(&self) -> Result<Box<Connection>, Error> {
        let Inner { config, tls, sweep, .. } = &*self.0;
        let (stream, _) = connect::connect(config, tls.as_deref(), Protocol::Http1, sweep).await?;
        Ok(self.connection(stream))
    }

    fn connection(&self, io: Stream) -> Box<Connection> {
        let connection = Connection::new(io);
        if self.0.pool.is_none() {
            // Closed in order, each would hold its port for a minute (TIME_WAIT), and frequent questions would use up all ports.
            connection.reset_on_drop();
        }
        Box::new(connection)
    }

    fn deadline(&self) -> Deadline {
        self.0.sweep.deadline()
    }

    /// Takes a connection back that is ready for the next request.
    fn recycle(&self, mut connection: Box<Connection>) {
        // If no place is free, the connection is closed, for a worker that waits for one.
        if let Some(pool) = &self.0.pool
            && !self.0.config.places.are_taken()
        {
            connection.rest(self.0.sweep.elapsed());
            pool.put(connection);
        }
    }
}

/// RFC 9110 section 9.2.2: asking twice is asking once.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}
