//! Forwards requests to the dashboard, and streams its responses back.

mod error;
mod headers;
mod request_id;
#[cfg(test)]
mod seeds;
mod tunnel;
mod upgrade;
mod websocket;

use std::borrow::Cow;
use std::rc::Rc;

use http::header::VIA;

use crate::downstream::{Peer, RawTarget, RealClient, RequestBody};
use crate::gate::Permit;
use crate::message::{Body, Fields, RequestHead, Response, policy};
use crate::upstream::{self, AnswerBody, Client, Head, Upgraded};
use headers::ForwardedFields;
use upgrade::Translated;

pub use error::ForwardError;
pub use request_id::{RequestId, RequestIds};
pub use tunnel::Tunnels;

/// The body of a forwarded response.
pub type ForwardedBody = Box<AnswerBody<RequestBody>>;

/// The proxy of one worker.
#[derive(Debug)]
pub struct Proxy {
    client: Client,
    root_host: String,
    via: String,
    /// The comment that identifies this gate's own `Via`.
    instance: String,
    tunnels: Rc<Tunnels>,
}

impl Proxy {
    /// A proxy that uses `client`. `root_host` replaces a missing `Host`; `instance` is the id of this process.
    pub fn new(client: Client, root_host: String, instance: &str, tunnels: Tunnels) -> Self {
        let instance = format!("({instance})");
        let via = format!("1.1 license-gate {instance}");
        Self { client, root_host, via, instance, tunnels: Rc::new(tunnels) }
    }

    /// Sends a request to the dashboard, and returns its response once the head was received.
    ///
    /// # Errors
    /// [`ForwardError`], if there is no response to pass on.
    pub async fn forward(
        &self,
        _permit: Permit,
        head: &RequestHead,
        body: RequestBody,
        peer: &Rc<Peer>,
        client: RealClient,
        id: &RequestId,
    ) -> Result<Response<Body<ForwardedBody>>, ForwardError> {
        let present = head.headers.present();
        if present.has(policy::VIA) && self.is_loop(&head.headers) {
            return Err(ForwardError::Loop);
        }
        let translated = body.handover().cloned().map(Translated::new);
        let upgrade = match &translated {
            Some(_) => Some(upgrade::WEBSOCKET.clone()),
            None if present.has(policy::UPGRADE) => upgrade::wanted(head, &body),
            None => None,
        };
        let fields = ForwardedFields {
            request: head,
            peer,
            client,
            id,
            root_host: &self.root_host,
            via: &self.via,
            upgrade: upgrade.is_some(),
            key: translated.as_ref().map(Translated::key),
            present,
        };
        let target = target(head);
        let request =
            Head { method: &head.method, target: &target, fields, upgrade: upgrade.as_ref() };
        let upstream::Answer { mut response, upgraded } = self.client.send(&request, body).await?;
        let (tunnels, owner) = (self.tunnels.clone(), peer.clone());
        match (upgraded, translated) {
            (None, None) => {}
            (Some(upgraded), None) => {
                upgrade::accept(&mut response, upgrade.as_ref());
                let Upgraded { io: upstream, early } = upgraded;
                peer.take_over(Box::new(move |client| {
                    Box::pin(tunnels.relay(client, upstream, early, owner))
                }));
            }
            (Some(upgraded), Some(translated)) => {
                let handover = translated.accept(&mut response)?;
                let Upgraded { io: upstream, early } = upgraded;
                handover.take_over(Box::new(move |client| {
                    Box::pin(tunnels.relay(client, upstream, early, owner))
                }));
            }
            (None, Some(_)) => upgrade::decline(&response)?,
        }
        Ok(response)
    }

    fn is_loop(&self, headers: &Fields) -> bool {
        let mut lines = headers.get_all(&VIA).filter_map(|line| str::from_utf8(line).ok());
        lines.any(|line| line.contains(&self.instance))
    }
}

/// Path and query as sent. If an absolute target has a query but no path, the path is `/` (RFC 9112 section 3.2.1).
fn target(request: &RequestHead) -> Cow<'_, str> {
    if !request.extensions.is_empty()
        && let Some(raw) = request.extensions.get::<RawTarget>()
    {
        return raw.as_str().into();
    }
    match request.uri.path_and_query().map_or("/", |target| target.as_str()) {
        query if query.starts_with('?') => format!("/{query}").into(),
        target => target.into(),
    }
}
