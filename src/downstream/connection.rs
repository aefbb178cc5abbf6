//! One task per client connection: TLS handshake, HTTP/1.1 or HTTP/2, deadlines, drain.
//!
//! Which protocol: by ALPN on TLS, by the first bytes (RFC 9113 section 3.4) on a plain socket. Every wait for the client is
//! under a deadline; a wait for the dashboard is not this module's. A connection that is taken over by an upgrade stays in
//! its task until the tunnel ends.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::http2;
use super::io::Io;
use super::peer::{InFlight, Peer};
use super::request_body::{RequestBody, Tracked};
use super::stream::{Socket, Stream};
use super::{Limits, Service};
use crate::shutdown::{Drain, Phase};
use crate::sweep::Deadline;

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a refused client may go on sending before its unread bytes cost it our answer (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// What all connections of a worker share.
#[derive(Debug)]
pub(super) struct Context<S> {
    pub(super) service: Rc<S>,
    pub(super) limits: Limits,
    pub(super) drain: Drain,
}

/// Serves one accepted socket to its end.
pub(super) async fn serve<S: Service>(
    socket: Socket,
    tls: Option<TlsAcceptor>,
    peer: Rc<Peer>,
    context: Rc<Context<S>>,
) {
    let outcome = match tls {
        Some(acceptor) => serve_tls(socket, acceptor, &peer, &context).await,
        None => serve_plain(socket, &peer, &context).await,
    };
    if let Err(error) = outcome {
        tracing::debug!(client.address = %peer.address, %error, "connection ended early");
    }
}

async fn serve_tls<S: Service>(
    socket: Socket,
    acceptor: TlsAcceptor,
    peer: &Rc<Peer>,
    context: &Rc<Context<S>>,
) -> io::Result<()> {
    peer.deadline().set(peer.timeouts().tls_handshake);
    // As without TLS: who has not said anything yet is not waited for when the gate stops.
    let heard = before(Phase::Draining, peer.deadline(), &context.drain, socket.heard()).await;
    let Some(heard) = heard else { return Ok(()) };
    heard?;
    let handshake = within(peer.deadline(), &context.drain, acceptor.accept(socket));
    let stream = handshake.await.ok_or(io::ErrorKind::TimedOut)??;
    peer.deadline().set(peer.timeouts().request_header);
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = Stream::Tls(Box::new(stream));
    serve_http(stream, BytesMut::new(), h2, peer, context).await
}

async fn serve_plain<S: Service>(
    socket: Socket,
    peer: &Rc<Peer>,
    context: &Rc<Context<S>>,
) -> io::Result<()> {
    peer.deadline().set(peer.timeouts().request_header);
    let mut stream = Stream::Plain(socket);
    let mut early = BytesMut::new();
    // A client that has not said anything yet is not waited for when the gate stops: browsers connect ahead of need.
    let sniffed = sniff(&mut stream, &mut early);
    let sniffed = before(Phase::Draining, peer.deadline(), &context.drain, sniffed).await;
    let Some(h2) = sniffed else {
        if !early.is_empty() {
            peer.deadline().set(LINGER);
            let told = stream.write_all(REQUEST_TIMEOUT);
            return within(peer.deadline(), &context.drain, told).await.unwrap_or(Ok(()));
        }
        return Ok(());
    };
    match h2? {
        Some(h2) => serve_http(stream, early, h2, peer, context).await,
        None => Ok(()),
    }
}

/// Whether the client speaks HTTP/2 with prior knowledge; `None` when it left without a word.
async fn sniff(stream: &mut Stream, early: &mut BytesMut) -> io::Result<Option<bool>> {
    loop {
        let known = early.len().min(H2_PREFACE.len());
        if known > 0 && early[..known] != H2_PREFACE[..known] {
            return Ok(Some(false));
        }
        if known == H2_PREFACE.len() {
            return Ok(Some(true));
        }
        early.reserve(4096);
        let read = poll_fn(|cx| tokio_util::io::poll_read_buf(Pin::new(&mut *stream), cx, early));
        if read.await? == 0 {
            return Ok((!early.is_empty()).then_some(false));
        }
    }
}

async fn serve_http<S: Service>(
    stream: Stream,
    early: BytesMut,
    h2: bool,
    peer: &Rc<Peer>,
    context: &Rc<Context<S>>,
) -> io::Result<()> {
    if h2 {
        return http2::serve(Io::http2(stream, early, peer.clone()), peer, context).await;
    }
    serve_h1(Io::http1(stream, early, peer.clone()), peer, context).await
}

async fn serve_h1<S: Service>(io: Io, peer: &Rc<Peer>, context: &Rc<Context<S>>) -> io::Result<()> {
    let service = service_fn(|request| call(context.service.clone(), peer.clone(), request));
    let probe = io.probe();
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        // Keeps the library from reading ahead, with a buffer, while a request is in flight: the probe does, without.
        .half_close(true)
        .max_headers(context.limits.max_headers)
        .max_header_size(context.limits.max_header_bytes)
        .max_buf_size(context.limits.max_header_bytes.max(MIN_BUFFER_BYTES))
        .serve_connection(TokioIo::new(io), service);
    let mut told = false;
    let end = poll_fn(|cx| {
        match context.drain.phase() {
            Phase::Serving | Phase::Leaving => {}
            Phase::Draining if told => {}
            Phase::Draining => {
                told = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            Phase::Cut => return Poll::Ready(End::Cut),
        }
        if peer.deadline().has_passed(cx) && peer.is_idle() {
            return Poll::Ready(End::Late);
        }
        if let Poll::Ready(outcome) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(End::Done(outcome));
        }
        match !peer.is_idle() && probe.poll_gone(cx).is_ready() {
            true => Poll::Ready(End::Cut),
            false => Poll::Pending,
        }
    });
    let end = end.await;
    let parts = connection.into_parts();
    let io = parts.io.into_inner();
    match end {
        End::Cut => Ok(()),
        End::Late if peer.has_partial_head() && !io.is_blocked() => {
            refuse_late(io, peer, context).await
        }
        End::Late => close(io, peer, context).await,
        End::Done(outcome) => match (peer.taken_over(), outcome) {
            (Some(takeover), Ok(())) => {
                takeover(io.into_tunnel(&parts.read_buf)).await;
                Ok(())
            }
            (_, Ok(())) => close(io, peer, context).await,
            (_, Err(error)) => {
                let refused = error.is_parse();
                tracing::debug!(client.address = %peer.address, %error, "HTTP/1.1 connection failed");
                if refused { close(io, peer, context).await } else { Ok(()) }
            }
        },
    }
}

/// The parser's buffer must hold a whole head, and wants room for body bytes.
const MIN_BUFFER_BYTES: usize = 64 * 1024;

/// How an HTTP connection came to its end.
enum End {
    Done(hyper::Result<()>),
    Late,
    Cut,
}

const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

async fn refuse_late<S>(mut io: Io, peer: &Rc<Peer>, context: &Rc<Context<S>>) -> io::Result<()> {
    peer.deadline().set(LINGER);
    let told = within(peer.deadline(), &context.drain, async {
        io.write_all(REQUEST_TIMEOUT).await?;
        io.shutdown().await
    });
    told.await.unwrap_or(Ok(()))
}

/// Ends our half; reads on for a moment when the client is still sending, lest a reset overtakes our answer.
async fn close<S>(mut io: Io, peer: &Rc<Peer>, context: &Rc<Context<S>>) -> io::Result<()> {
    peer.deadline().set(LINGER);
    let ended = within(peer.deadline(), &context.drain, async {
        io.shutdown().await?;
        while io.has_unread() && poll_fn(|cx| io.poll_discard(cx)).await? > 0 {}
        Ok(())
    });
    ended.await.unwrap_or(Ok(()))
}

/// In flight from the call on, not from the first poll: the socket may be asked for more in between.
pub(super) fn call<S: Service>(
    service: Rc<S>,
    peer: Rc<Peer>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Tracked<S::Body>>, Infallible>> {
    let in_flight = InFlight::new(peer.clone());
    let request = request.map(|body| RequestBody::new(body, peer.clone()));
    async move {
        let response = service.call(request, peer).await;
        Ok(response.map(|body| Tracked::new(body, in_flight)))
    }
}

/// `future`, unless the deadline passes or the worker cuts its connections first.
async fn within<F: Future>(deadline: &Deadline, drain: &Drain, future: F) -> Option<F::Output> {
    before(Phase::Cut, deadline, drain, future).await
}

/// `future`, unless the deadline passes or the worker comes to `phase` first.
pub(super) async fn before<F: Future>(
    phase: Phase,
    deadline: &Deadline,
    drain: &Drain,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let over = drain.phase() >= phase || deadline.has_passed(cx);
        if over { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}
