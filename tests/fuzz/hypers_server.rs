//! hyper's server as the oracle for requests.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::rt::ReadBufCursor;
use hyper::server::conn::http1;
use hyper::service::service_fn;

/// A request as hyper reads it.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) head: Parts,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
    /// Whether its body ended.
    pub(crate) whole: bool,
}

/// How hyper's connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// After the last request, as it asked.
    Closed,
    /// The next request, or its body, is malformed.
    Refused(String),
    /// The next request is incomplete.
    Waiting,
}

/// hyper's end of a client's connection.
struct Feed {
    pieces: VecDeque<Vec<u8>>,
    /// How many polls are pending before the end is read, so that it does not cut a request that is being answered.
    patience: usize,
    starved: Rc<Cell<bool>>,
}

impl hyper::rt::Read for Feed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(piece) = self.pieces.front_mut() {
            let taken = buf.remaining().min(piece.len());
            buf.put_slice(&piece.drain(..taken).collect::<Vec<_>>());
            if piece.is_empty() {
                self.pieces.pop_front();
            }
            return Poll::Ready(Ok(()));
        }
        let Some(left) = self.patience.checked_sub(1) else {
            self.starved.set(true);
            return Poll::Ready(Ok(()));
        };
        self.patience = left;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl hyper::rt::Write for Feed {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The requests that hyper reads from `pieces`, and how the connection ends.
pub(crate) fn read(pieces: VecDeque<Vec<u8>>) -> (Vec<Read>, End) {
    let requests = Rc::<RefCell<Vec<Read>>>::default();
    let starved = Rc::<Cell<bool>>::default();
    let feed = Feed { pieces, patience: 16, starved: starved.clone() };
    let keep = |request| keep(request, requests.clone());
    let connection =
        http1::Builder::new().header_read_timeout(None).serve_connection(feed, service_fn(keep));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let end = match runtime.block_on(connection) {
        _ if starved.get() => End::Waiting,
        Ok(()) => End::Closed,
        Err(error) => End::Refused(error.to_string()),
    };
    (requests.take(), end)
}

/// Records the request, and responds after its end.
async fn keep(
    request: Request<Incoming>,
    requests: Rc<RefCell<Vec<Read>>>,
) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    let (head, mut body) = request.into_parts();
    let at = requests.borrow().len();
    let trailers = HeaderMap::new();
    requests.borrow_mut().push(Read { head, body: Vec::new(), trailers, whole: false });
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let read = &mut requests.borrow_mut()[at];
        match frame.into_data() {
            Ok(data) => read.body.extend_from_slice(&data),
            Err(frame) => read.trailers = frame.into_trailers().expect("trailers"),
        }
    }
    requests.borrow_mut()[at].whole = true;
    Ok(Response::new(Empty::new()))
}
