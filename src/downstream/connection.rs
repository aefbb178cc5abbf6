//! One task per client connection: TLS handshake, HTTP/1.1 or HTTP/2, deadlines, drain.
//!
//! Which protocol: by ALPN on TLS, by the first bytes (RFC 9113 section 3.4) on a plain socket. Every wait for the client is
//! under a deadline; a wait for the dashboard is not this module's. A connection that is taken over by an upgrade stays in
//! its task until the tunnel ends.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use tokio_rustls::LazyConfigAcceptor;

use super::peer::Peer;
use super::stream::{Socket, Stream};
use super::tls::Tls;
use super::{Limits, Service, http1, http2};
use crate::shutdown::{Drain, Phase};
use crate::sweep::Deadline;

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Room for one read of a request's head; bodies have buffers of their own.
const SCRATCH_BYTES: usize = 16 * 1024;

/// What all connections of a listener share. Belongs to one worker.
#[derive(Debug)]
pub(super) struct Shared<S> {
    pub(super) service: Rc<S>,
    pub(super) limits: Limits,
    pub(super) drain: Drain,
    /// Into which everybody reads.
    pub(super) scratch: http1::Scratch,
    /// From which the next answer is written.
    pub(super) spare: RefCell<Vec<u8>>,
    pub(super) date: http1::DateLine,
}

impl<S> Shared<S> {
    pub(super) fn new(service: Rc<S>, limits: Limits, drain: Drain) -> Self {
        Self {
            service,
            limits,
            drain,
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            spare: RefCell::default(),
            date: http1::DateLine::new(),
        }
    }
}

/// Serves one accepted socket to its end.
pub(super) async fn serve<S: Service>(
    socket: Socket,
    tls: Option<Arc<Tls>>,
    peer: Rc<Peer>,
    shared: Rc<Shared<S>>,
) {
    let outcome = match tls {
        Some(tls) => serve_tls(socket, &tls, &peer, &shared).await,
        None => serve_plain(socket, &peer, &shared).await,
    };
    if let Err(error) = outcome {
        tracing::debug!(client.address = %peer.address, %error, "connection ended early");
    }
}

async fn serve_tls<S: Service>(
    socket: Socket,
    tls: &Tls,
    peer: &Rc<Peer>,
    shared: &Rc<Shared<S>>,
) -> io::Result<()> {
    peer.deadline().set(peer.timeouts().tls_handshake);
    // As without TLS: who has not said anything yet is not waited for when the gate stops.
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket);
    let hello = before(Phase::Draining, peer.deadline(), &shared.drain, hello).await;
    let Some(hello) = hello else { return Ok(()) };
    let handshake = hello?.into_stream(tls.current().config.clone());
    let handshake = within(peer.deadline(), &shared.drain, handshake);
    let stream = handshake.await.ok_or(io::ErrorKind::TimedOut)??;
    peer.deadline().set(peer.timeouts().request_header);
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = Stream::Tls(Box::new(stream));
    serve_http(stream, BytesMut::new(), h2, peer, shared).await
}

async fn serve_plain<S: Service>(
    socket: Socket,
    peer: &Rc<Peer>,
    shared: &Rc<Shared<S>>,
) -> io::Result<()> {
    peer.deadline().set(peer.timeouts().request_header);
    let mut stream = Stream::Plain(socket);
    let mut early = BytesMut::new();
    // A client that has not said anything yet is not waited for when the gate stops: browsers connect ahead of need.
    let sniffed = sniff(&mut stream, &mut early);
    let sniffed = before(Phase::Draining, peer.deadline(), &shared.drain, sniffed).await;
    let h2 = match sniffed {
        Some(sniffed) => sniffed?,
        // It began like HTTP/2 and went no further: HTTP/1.1 says what is to be said.
        None if !early.is_empty() => Some(false),
        None => return Ok(()),
    };
    match h2 {
        Some(h2) => serve_http(stream, early, h2, peer, shared).await,
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
    shared: &Rc<Shared<S>>,
) -> io::Result<()> {
    if h2 {
        return http2::serve(stream, early, peer, shared).await;
    }
    http1::serve(stream, early, peer, shared).await
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
