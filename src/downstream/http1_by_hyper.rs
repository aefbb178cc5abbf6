//! hyper's server instead of [`http1`](super::http1). For tests only, which show that the same [`Service`] works with it.
//!
//! Compiled with the feature `hyper-http1`, and used if the variable `HTTP1_SERVER` is `hyper`. hyper's server does not offer: refusals
//! by [`Service::refuse`], targets that `Uri` does not accept, names in their original case, `timeouts.idle` beside
//! `timeouts.request_header`, `timeouts.send` for a silent client, the half second of silence before a connection ends in a drain,
//! uploads that continue after their response.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::STRICT_TRANSPORT_SECURITY;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, Parts};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;

use super::http1::HandedOver;
use super::io::{Io, Stream};
use super::peer::Peer;
use super::request_body::RequestBody;
use super::shared::{Shared, within};
use super::{Limits, Service};
use crate::message::RequestHead;
use crate::shutdown::Phase;

/// How long closing a connection may take.
const LINGER: Duration = Duration::from_secs(2);

/// hyper's minimum for its buffer, whatever `limits.max_header_bytes` is.
const MIN_BUFFER_BYTES: usize = 8 * 1024;

type Answered<B> = Result<Response<Either<B, Full<Bytes>>>, Infallible>;

/// Serves an HTTP/1.1 connection to its end, or until it is handed over; `early` was already read from it.
pub(super) async fn serve<S: Service>(
    stream: Stream,
    early: BytesMut,
    peer: &Rc<Peer>,
    shared: &Rc<Shared<S>>,
) -> io::Result<Option<HandedOver>> {
    peer.deadline().clear();
    let answer = {
        let (peer, shared) = (peer.clone(), shared.clone());
        move |request: Request<Incoming>| -> Pin<Box<dyn Future<Output = Answered<S::Body>>>> {
            Box::pin(call(request, peer.clone(), shared.clone()))
        }
    };
    let Limits { max_headers, max_header_bytes, .. } = shared.limits;
    let mut connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(peer.timeouts().request_header)
        .max_headers(max_headers)
        .max_buf_size(max_header_bytes.max(MIN_BUFFER_BYTES))
        .serve_connection(TokioIo::new(Io::tunnel(stream, early)), service_fn(answer));
    let served = poll_fn(|cx| {
        let phase = shared.drain.phase();
        if phase == Phase::Cut {
            return Poll::Ready(Ok(()));
        }
        if phase >= Phase::Replaced {
            Pin::new(&mut connection).graceful_shutdown();
        }
        // Not armed; registers this task, so that a change of the phase wakes it.
        let _ = peer.deadline().has_passed(cx);
        connection.poll_without_shutdown(cx)
    })
    .await;
    let Parts { io, read_buf, .. } = connection.into_parts();
    let mut io = io.into_inner();
    if let Err(error) = served {
        if error.is_user() {
            // The response broke off: without a reset it could look complete.
            io.reset();
        }
        return Err(io::Error::other(error));
    }
    if let Some(takeover) = peer.taken_over() {
        io.put_back(&read_buf);
        return Ok(Some((takeover, io)));
    }
    peer.deadline().set(LINGER);
    within(peer.deadline(), &shared.drain, pin!(io.shutdown()))
        .await
        .unwrap_or(Ok(()))
        .map(|()| None)
}

async fn call<S: Service>(
    request: Request<Incoming>,
    peer: Rc<Peer>,
    shared: Rc<Shared<S>>,
) -> Answered<S::Body> {
    let (parts, body) = request.into_parts();
    let head = RequestHead::from(parts);
    let mut response = match shared.service.at_once(&head, &peer) {
        Some(written) => written.response().clone().map(|body| Either::Right(Full::new(body))),
        None => {
            let body = RequestBody::by_hyper(body, peer.clone());
            let response = shared.service.call(head, body, peer).await;
            Response::from(response).map(Either::Left)
        }
    };
    if let Some(hsts) = &shared.hsts
        && !response.status().is_informational()
    {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts.value.clone());
    }
    Ok(response)
}
