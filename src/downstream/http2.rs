//! HTTP/2 towards clients (RFC 9113): limits, keep-alive and drain around the library's server.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::Service;
use super::connection::{Shared, call};
use super::io::Io;
use super::peer::Peer;
use crate::shutdown::Phase;

/// How long an HTTP/2 client may take to leave after GOAWAY when it was idle anyway.
const GOAWAY_GRACE: Duration = Duration::from_secs(5);

/// Serves an HTTP/2 connection to its end.
pub(super) async fn serve<S: Service>(
    io: Io,
    peer: &Rc<Peer>,
    shared: &Rc<Shared<S>>,
) -> io::Result<()> {
    let owned = (shared.service.clone(), peer.clone());
    let service = service_fn(move |request| call(owned.0.clone(), owned.1.clone(), request));
    let header_bytes = u32::try_from(shared.limits.max_header_bytes).unwrap_or(u32::MAX);
    let connection = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_concurrent_streams(shared.limits.h2_max_concurrent_streams)
        .max_header_list_size(header_bytes)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let mut leaving = false;
    poll_fn(|cx| {
        let mut leave = false;
        match shared.drain.phase() {
            Phase::Serving | Phase::Leaving => {}
            Phase::Draining => leave = true,
            Phase::Cut => return Poll::Ready(Ok(())),
        }
        if peer.deadline().has_passed(cx) && peer.is_idle() {
            if leaving {
                return Poll::Ready(Ok(()));
            }
            leave = true;
        }
        if leave && !leaving {
            leaving = true;
            connection.as_mut().graceful_shutdown();
            peer.deadline().set(GOAWAY_GRACE);
        }
        connection.as_mut().poll(cx).map_err(io::Error::other)
    })
    .await
}

/// Runs HTTP/2 streams on the worker's own thread.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
