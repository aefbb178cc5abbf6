//! Two live feeds of the same made-up signal: a WebSocket, which also echoes, and server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::http_support::{self as web, Body};

/// Time between two points of a chart.
const BEAT: Duration = Duration::from_millis(250);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// `GET /api/live/ws`: a point every beat, and `{"echo": …}` for each text received.
pub(super) fn websocket(request: Request<Incoming>) -> Response<Body> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        return web::answer(StatusCode::UPGRADE_REQUIRED, "text/plain", "this is a WebSocket");
    };
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
    tokio::task::spawn_local(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let io = TokioIo::new(upgraded);
            talk(WebSocketStream::from_raw_socket(io, Role::Server, None).await).await;
        }
    });
    let mut response = web::answer(StatusCode::SWITCHING_PROTOCOLS, "text/plain", "");
    let headers = response.headers_mut();
    headers.clear();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.extend(accept.ok().map(|value| (SEC_WEBSOCKET_ACCEPT, value)));
    response
}

async fn talk(mut socket: Socket) {
    let mut beats = tokio::time::interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let signal = Signal::new();
    loop {
        let message = tokio::select! {
            _ = beats.tick() => json!({"value": signal.now()}),
            received = socket.next() => match received {
                Some(Ok(Message::Text(text))) => json!({"echo": text.as_str()}),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
        };
        if socket.send(Message::text(message.to_string())).await.is_err() {
            return;
        }
    }
}

/// `GET /api/live/events`: a point every beat as `text/event-stream`, until the client disconnects.
pub(super) fn events() -> Response<Body> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::task::spawn_local(async move {
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let signal = Signal::new();
        for id in 1_u64.. {
            beats.tick().await;
            let event = format!("id: {id}\ndata: {}\n\n", json!({"value": signal.now()}));
            if sender.send(event.into()).await.is_err() {
                return;
            }
        }
    });
    let mut response = web::answer(StatusCode::OK, "text/event-stream", "");
    *response.body_mut() = Fed(receiver).boxed();
    response
}

/// A body that streams from a channel.
struct Fed(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// The signal: two overlapping waves, between 0 and 100.
struct Signal {
    since: Instant,
}

impl Signal {
    fn new() -> Self {
        Self { since: Instant::now() }
    }

    fn now(&self) -> f64 {
        let t = self.since.elapsed().as_secs_f64();
        let value = 50.0 + 28.0 * (t * 0.7).sin() + 12.0 * (t * 2.9).cos() + 4.0 * (t * 11.0).sin();
        (value * 10.0).round() / 10.0
    }
}
