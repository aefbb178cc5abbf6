//! A small HTTP server for the examples: accept, respond, read a small body.
//!
//! A handler turns a request into a response; [`serve`] runs it for every connection, over HTTP/1.1 with upgrades, until it
//! is dropped. Bodies are boxed, because an example need not be fast.

use std::convert::Infallible;
use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The body of every response.
pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// Serves every connection of `listener` with `handler`, until dropped. Runs on a `LocalSet`.
pub(crate) async fn serve<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<Body>> + 'static,
{
    let handler = Rc::new(handler);
    loop {
        // After an accept error (a client that gave up, no descriptor left), the next client may succeed.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let handler = Rc::clone(&handler);
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // An error here means that the client disconnected.
            let _ = connection.with_upgrades().await;
        });
    }
}

/// Runs `work` on a new current-thread runtime, where [`serve`] may spawn.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(tokio::task::LocalSet::new().block_on(&runtime, work))
}

/// A response that caches must not store.
pub(crate) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A JSON response.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    answer(status, "application/json", value.to_string())
}

/// The complete body, if it has at most `limit_bytes`.
pub(crate) async fn read(body: Incoming, limit_bytes: usize) -> Option<Bytes> {
    Limited::new(body, limit_bytes).collect().await.ok().map(http_body_util::Collected::to_bytes)
}
