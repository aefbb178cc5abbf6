//! Counts and logs each request, from its head to the last byte of its response.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Version};
use http_body::{Frame, SizeHint};

use crate::clock::Moment;
use crate::downstream::{self, RealClient};
use crate::message::{Body, RequestHead, Response};
use crate::proxy::{ForwardError, ForwardedBody, RequestId};
use crate::telemetry::access::{AccessLog, Flag, Record};
use crate::telemetry::metrics::{Handler, UpstreamErrorKind, WorkerMetrics};
use crate::upstream;

/// A response to the client.
pub(super) type Answer = Response<Body<ForwardedBody>>;

/// Counts and logs the requests of one worker.
#[derive(Debug)]
pub struct Observer {
    /// The worker's metrics.
    pub metrics: WorkerMetrics,
    /// The access log, if it is enabled.
    pub access: Option<AccessLog>,
}

/// A request that is observed. It counts as in flight until this is dropped; its access log line is then written.
#[derive(Debug)]
pub(super) struct Observation {
    observer: Rc<Observer>,
    record: Option<Box<Record>>,
    began: Moment,
    /// When the dashboard's response began.
    upstream: Option<Moment>,
    /// What answered; `None`: nothing yet.
    handler: Option<Handler>,
    is_cut: bool,
}

impl Observation {
    pub(super) fn new(observer: Rc<Observer>) -> Self {
        observer.metrics.request_began();
        Self {
            observer,
            record: None,
            began: Moment::now(),
            upstream: None,
            handler: None,
            is_cut: false,
        }
    }

    pub(super) fn asked(&mut self, head: &RequestHead, client: RealClient, id: &RequestId) {
        let log = self.observer.access.as_ref();
        self.record = log.map(|log| Box::new(record(log, head, client, id)));
    }

    /// A request whose head was not parsed is logged without its fields.
    pub(super) fn unparsed(&mut self, client: RealClient, id: &RequestId) {
        let Some(log) = &self.observer.access else { return };
        let method = Method::from_bytes(b"-").unwrap_or_default();
        let mut record = log.record(method, Version::HTTP_11, client.address);
        record.request_id = id.as_str().to_owned();
        self.record = Some(Box::new(record));
    }

    /// What will answer: a client that does not wait for it leaves a line that names it.
    pub(super) fn routed(&mut self, handler: Handler) {
        if let Some(record) = &mut self.record {
            record.handler = handler;
        }
    }

    pub(super) fn upstream_answered(&mut self) {
        let now = Moment::now();
        self.upstream = Some(now);
        self.observer.metrics.upstream_answered(now);
        if let Some(record) = &mut self.record {
            record.upstream = Some(record.elapsed());
        }
    }

    pub(super) fn failed(&mut self, error: &ForwardError) {
        if let Some(record) = &mut self.record {
            record.flag = error.flag();
        }
    }

    pub(super) fn answered(&mut self, method: &Method, response: &Answer, handler: Handler) {
        let now = self.upstream.unwrap_or_else(Moment::now);
        self.observer.metrics.request(handler, method, response.status, self.began, now);
        self.handler = Some(handler);
        if let Some(record) = &mut self.record {
            record.status = Some(response.status);
            record.handler = handler;
        }
    }

    /// The response broke off within its body.
    #[cold]
    fn cut(&mut self, error: &upstream::Error) {
        let (kind, flag) = match error {
            upstream::Error::RequestBody(_) => (UpstreamErrorKind::RequestBody, Flag::ClientLeft),
            _ => (UpstreamErrorKind::Cut, Flag::CutByUpstream),
        };
        if !std::mem::replace(&mut self.is_cut, true) {
            self.observer.metrics.upstream_error(kind);
        }
        if let Some(record) = &mut self.record {
            record.flag = Some(flag);
        }
    }

    /// Observes the body of the response.
    pub(super) fn watch(self, response: Answer) -> Response<Observed> {
        response.map(|body| Observed { body, observation: self })
    }
}

/// The access log line of a request, which is written when the record is dropped.
pub(super) fn record(
    log: &AccessLog,
    head: &RequestHead,
    client: RealClient,
    id: &RequestId,
) -> Record {
    let mut record = log.record(head.method.clone(), head.version, client.address);
    record.request_id = id.as_str().to_owned();
    let host = head.headers.get(&HOST).map(String::from_utf8_lossy);
    let authority = || head.uri.authority().map(|authority| authority.as_str().into());
    record.host = host.or_else(authority).unwrap_or_default().into_owned();
    record.path = head.uri.path().to_owned();
    record
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.observer.metrics.request_ended();
        if let Some(handler) = self.handler {
            self.observer.metrics.request_took(handler, self.began, Moment::now());
        }
    }
}

/// The body of a response that is observed.
#[derive(Debug)]
pub struct Observed {
    body: Body<ForwardedBody>,
    observation: Observation,
}

impl downstream::ResponseBody for Observed {
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), upstream::Error>> {
        let Body::Stream(stream) = &mut self.body else { return Poll::Ready(Ok(())) };
        let polled = stream.poll_upload(cx);
        if let Poll::Ready(Err(error)) = &polled
            && !http_body::Body::is_end_stream(&self.body)
        {
            self.observation.cut(error);
        }
        polled
    }
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = upstream::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, upstream::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(record) = &mut this.observation.record {
                    record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                }
            }
            Poll::Ready(Some(Err(error))) => this.observation.cut(error),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if let Some(record) = &mut self.observation.record
            && !http_body::Body::is_end_stream(&self.body)
        {
            record.flag.get_or_insert(Flag::ClientLeft);
        }
    }
}
